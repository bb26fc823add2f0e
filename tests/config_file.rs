//! `lora-slim.toml`: flags of a folder, under those of the command line.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADAPTER, copy_folder, document, fixture, lora_slim, read_json, stdout};

/// A folder with a config file that makes `slim` work, and `more` behind it.
fn folder(more: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| fixture(name).display().to_string();
    let (base, samples) = (path("pico/llama-llama3-rope/base"), path("pico/samples.tokens.jsonl"));
    let text = format!("base = '{base}'\nsamples = '{samples}'\n{more}");
    fs::write(folder.path().join("lora-slim.toml"), text).unwrap();
    folder
}

/// Runs a command on the pico adapter in `folder`.
fn run(folder: &TempDir, command: &str, more: &[&str]) -> assert_cmd::assert::Assert {
    lora_slim().current_dir(folder.path()).arg(command).arg(fixture(ADAPTER)).args(more).assert()
}

fn scan(folder: &TempDir, more: &[&str]) -> Value {
    let assert = run(folder, "scan", &[&["--json"], more].concat()).success();
    document(&assert.get_output().stdout)
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn flags_of_the_file_are_flags_of_the_command() {
    let folder = folder("output = 'out'\nboundary = 2\nrequire-saving = '50%'\n");
    let assert = run(&folder, "slim", &[]).success();
    assert!(stderr(&assert).contains("using the flags of `lora-slim.toml`\n"), "{}", stderr(&assert));
    assert_eq!(read_json(&folder.path().join("out/slim_report.json"))["chosen"]["boundary"], 2);
    // Without the file, a flag is missing.
    run(&folder, "slim", &["--no-config"]).code(2);
    assert_eq!(stderr(&run(&folder, "scan", &["--quiet"]).success()), "");
}

#[test]
fn the_command_line_wins_and_a_table_over_what_stands_above() {
    let folder =
        folder("max-samples = 1\nchoose = 'best'\nmetric = ['f1']\n[scan]\nmax-samples = 2\n[cut]\nboundary = 1\n");
    let count = |report: &Value| report["samples"]["count"].as_u64().unwrap();
    let text = fixture("pico/text/prompt_completion.jsonl").display().to_string();
    let plain = ["--samples", &text, "--metric", "exact-match", "--max-new-tokens", "2"];
    let report = scan(&folder, &plain);
    assert_eq!((count(&report), &report["options"]["rule"]), (2, &json!("best")));
    let scores = report["metrics"]["boundaries"][0]["scores"].as_array().unwrap();
    assert_eq!(scores.len(), 1, "a list on the line replaces the list of the file");
    let report = scan(&folder, &[&plain[..], &["--max-samples", "3", "--choose", "smallest"]].concat());
    assert_eq!((count(&report), &report["options"]["rule"]), (3, &json!("smallest")));
    // What conflicts with a flag on the line gives way, too.
    let report = scan(&folder, &[&plain[..], &["--boundary", "2"]].concat());
    assert_eq!(report["options"]["rule"], "boundary");
    // A flag that another command has is not for this one.
    run(&folder, "cut", &["-o", "out"]).success();
    assert_eq!(read_json(&folder.path().join("out/slim_report.json"))["output"]["kept_layers"], json!([0]));
}

#[test]
fn a_batch_has_a_table_too() {
    let folder = folder("require-saving = '20%'\nreport = 'page.html'\n[batch]\noutput = 'out'\nboundary = 2\n");
    copy_folder(&fixture(ADAPTER), &folder.path().join("adapters/one"));
    let batch = |more: &[&str]| {
        let mut command = lora_slim();
        command.current_dir(folder.path()).args(["batch", "adapters"]).args(more).assert()
    };
    let assert = batch(&["--quiet"]).success();
    assert_eq!(stderr(&assert), "");
    let report = read_json(&folder.path().join("out/one/slim_report.json"));
    assert_eq!(report["chosen"]["boundary"], 2);
    assert_eq!(report["gates"][0]["asked"], 0.2);
    // Without the file there are no samples and no output.
    batch(&["--no-config"]).code(2);
}

#[test]
fn a_switch_can_be_off() {
    let folder = folder("controls = true\nboundary = 2\n[scan]\ncontrols = false\n");
    assert!(scan(&folder, &[]).get("alternatives").is_none());
}

#[test]
fn another_file_can_be_named() {
    let folder = folder("boundary = 2");
    fs::rename(folder.path().join("lora-slim.toml"), folder.path().join("scan")).unwrap();
    for line in
        [&["--config", "scan", "--quiet", "scan"][..], &["-q", "--config=scan", "scan"], &["scan", "--config", "scan"]]
    {
        let mut command = lora_slim();
        let assert = command.current_dir(folder.path()).args(line).arg(fixture(ADAPTER)).arg("--json").assert();
        let report = document(&assert.success().get_output().stdout);
        assert_eq!(report["chosen"]["boundary"], 2, "{line:?}");
    }
    let assert = run(&folder, "scan", &["--config", "missing.toml"]).code(3);
    assert!(stderr(&assert).contains("cannot read `missing.toml`"));
    run(&folder, "scan", &["--config", "scan", "--no-config"]).code(2);
}

#[test]
fn mistakes_in_the_file_are_named() {
    for (text, words) in [
        (
            "maxlayers = 3",
            &["`maxlayers` in `lora-slim.toml` is not a flag of any command", "did you mean `max-layers`?"][..],
        ),
        ("[scan]\noutput = 'x'", &["`output` in `lora-slim.toml` is not a flag of `lora-slim scan`"]),
        ("[slmi]\nchat = true", &["`slmi` in `lora-slim.toml`", "did you mean `slim`?"]),
        ("[cut]\nfrobnicate = 1", &["`frobnicate`", "`lora-slim cut`"]),
        ("config = 'other.toml'", &["`config` in `lora-slim.toml` is not a flag"]),
        ("adapter = 'x'", &["`adapter` in `lora-slim.toml` is not a flag"]),
        ("chat = 'yes'", &["`chat` in `lora-slim.toml` should be true or false"]),
        ("margin = true", &["`margin` in `lora-slim.toml` should be a number, a text, or a list"]),
        ("margin = 2026-01-01", &["`margin` in `lora-slim.toml` should be a number"]),
        ("metric = [['f1']]", &["`metric` in `lora-slim.toml` should be"]),
        ("chat = ", &["`lora-slim.toml` is not valid TOML: line 3: "]),
        ("max-layers = 'three'", &["using the flags of `lora-slim.toml`", "'three' for '--max-layers <N>'"]),
        ("margin = '-1%'", &["using the flags of `lora-slim.toml`", "`--margin -1%`"]),
    ] {
        let assert = run(&folder(text), "scan", &[]).code(2);
        let said = stderr(&assert);
        words.iter().for_each(|word| assert!(said.contains(word), "`{word}` is not in: {said}"));
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn what_has_no_flags_needs_no_file() {
    let folder = folder("nonsense = 1");
    for command in ["schema", "man"] {
        lora_slim().current_dir(folder.path()).arg(command).assert().success();
    }
    lora_slim().current_dir(folder.path()).args(["slim", "--help"]).assert().success();
}

#[test]
fn a_printed_config_gives_the_same_run() {
    let folder = folder("boundary = 2\n[slim]\nmax-samples = 8\n");
    let line = [
        "--choose",
        "best",
        "--margin",
        "0.5%",
        "--for",
        "vllm,llama.cpp",
        "--rank",
        "energy:0.99,4",
        "-o",
        "my \"out\"",
    ];
    let of_line = ["--metric=f1,rouge-l", "--metric", "bleu", "--pad-zeros"];
    let line = [&line[..], &of_line].concat();
    let print = |more: &[&str]| stdout(run(&folder, "slim", &[more, &["--print-config"]].concat()).success());
    let printed = print(&line);
    let table: toml::Table = printed.parse().unwrap();
    let flags = table["slim"].as_table().unwrap();
    assert!(!flags.contains_key("boundary"), "it gave way to `--choose`");
    assert_eq!(flags["metric"].as_str(), Some("f1,rouge-l,bleu"));
    assert_eq!((flags["pad-zeros"].as_bool(), flags["max-samples"].as_integer()), (Some(true), Some(8)));
    assert!(printed.contains("\n# confidence = \"95%\"\n") && !printed.contains("# margin"), "{printed}");
    assert!(!folder.path().join("my \"out\"").exists(), "nothing was done");

    fs::write(folder.path().join("printed.toml"), &printed).unwrap();
    assert_eq!(print(&["--config", "printed.toml"]), printed);

    // The same run, and not only the same words.
    let write = |out: &str, more: &[&str]| {
        run(&folder, "slim", &[&["-o", out], more].concat()).success();
        fs::read(folder.path().join(out).join("slim_report.json")).unwrap()
    };
    let short = ["--rank", "2"];
    let printed = print(&[&["-o", "one"], &short[..]].concat());
    fs::write(folder.path().join("printed.toml"), printed).unwrap();
    assert_eq!(write("one", &short), write("two", &["--config", "printed.toml"]));
}

#[test]
fn a_list_of_samples_is_the_flag_repeated() {
    let folder = folder("");
    fs::write(folder.path().join("a,b.jsonl"), "{\"input_ids\": [1, 2, 3]}\n").unwrap();
    fs::write(folder.path().join("c.jsonl"), "{\"input_ids\": [4, 5, 6]}\n").unwrap();
    let base = fixture("pico/llama-llama3-rope/base").display().to_string();
    let text = format!("base = '{base}'\nsamples = ['a,b.jsonl', 'c.jsonl']\n");
    fs::write(folder.path().join("lora-slim.toml"), text).unwrap();
    let report = scan(&folder, &[]);
    assert_eq!(report["samples"]["count"], 2);
    assert_eq!(report["samples"]["path"], "a,b.jsonl, c.jsonl");
    let printed = stdout(run(&folder, "scan", &["--print-config"]).success());
    assert!(printed.contains("samples = [\"a,b.jsonl\", \"c.jsonl\"]"), "{printed}");
    assert_eq!(scan(&folder, &["--samples", "c.jsonl"])["samples"]["count"], 1);
}
