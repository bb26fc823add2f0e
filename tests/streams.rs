//! Data goes to stdout, and all of it; remarks go to stderr, and `--quiet` silences them.

use std::fs;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::{Command as Process, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ADAPTER, document, fixture, lora_slim, read_json};

/// A full stdout is an error of every command, and costs nothing that was computed; a closed one is no error.
#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_an_error() {
    let folder = TempDir::new().unwrap();
    let run = |words: &[&str], stdout: Stdio| {
        let mut command = Process::new(assert_cmd::cargo::cargo_bin("lora-slim"));
        command
            .current_dir(folder.path())
            .env("HF_HUB_CACHE", fixture("no-such-cache"))
            .env("HF_HUB_OFFLINE", "1")
            .args(words);
        command.stdout(stdout).stderr(Stdio::piped()).output().unwrap()
    };
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    let closed = || Stdio::from(std::io::pipe().unwrap().1);
    let (adapter, missing) = (fixture(ADAPTER).display().to_string(), fixture("no-such-adapter").display().to_string());
    let mut lines: Vec<Vec<String>> = Vec::new();
    for words in commands(folder.path()) {
        lines.push([&words[..], &["--json".into()]].concat());
        lines.push(words);
    }
    let of = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    lines.extend([of(&["completions", "bash"]), of(&["man"]), of(&["schema"]), of(&["check", "--list"])]);
    lines.extend([of(&["--help"]), of(&["cut", "--help"]), of(&["--version"])]);
    lines.push(of(&["cut", &adapter, "--boundary", "2", "-o", "never", "--print-config"]));
    lines.push(of(&["batch", &adapter, "--boundary", "2", "-o", "batch"]));
    lines.push(of(&["batch", &adapter, "--boundary", "2", "-o", "batch", "--json"]));
    lines.push(of(&["batch", &adapter, "--boundary", "3", "-o", "batch", "--dry-run"]));
    for words in &lines {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let clear = || {
            for name in ["slimmed", "cut", "reduced", "fixed"] {
                let _ = fs::remove_dir_all(folder.path().join(name));
            }
            for name in ["slim.html", "scan.html"] {
                let _ = fs::remove_file(folder.path().join(name));
            }
        };
        clear();
        let output = run(&words, full());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{words:?}: {text}");
        assert!(text.contains("error: cannot write to standard output: No space left"), "{words:?}: {text}");
        if words[0] == "slim" && !words.contains(&"--dry-run") {
            assert!(folder.path().join("slimmed").exists() && folder.path().join("slim.html").exists(), "{words:?}");
        }
        clear();
        let output = run(&words, closed());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // An error of the command itself has its own exit code.
    assert_eq!(run(&["inspect", &missing], full()).status.code(), Some(3));
    assert_eq!(run(&["inspect"], full()).status.code(), Some(2));
}

/// Every command that has `--json`, as it is run on the fixtures.
fn commands(folder: &Path) -> Vec<Vec<String>> {
    let path = |name: &str| fixture(name).display().to_string();
    let adapter = path(ADAPTER);
    let (base, samples) = (path("pico/llama-llama3-rope/base"), path("pico/text/prompt_completion.jsonl"));
    let evaluate = ["--base", &base, "--samples", &samples, "--boundary", "3"];
    let done = folder.join("done").display().to_string();
    lora_slim().args(["cut", &adapter, "--boundary", "3", "-o", &done]).assert().success();
    let of = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    vec![
        of(&[&["slim", &adapter, "-o", "slimmed", "--report", "slim.html"], &evaluate[..]].concat()),
        of(&[&["slim", &adapter, "-o", "never", "--dry-run"], &evaluate[..]].concat()),
        of(&[&["scan", &adapter, "--report", "scan.html"], &evaluate[..]].concat()),
        of(&["cut", &adapter, "--boundary", "2", "-o", "cut"]),
        of(&["cut", &adapter, "--boundary", "2", "--rank", "2", "-o", "reduced"]),
        of(&["fix", &path("foreign/peft-no-type/files"), "-o", "fixed"]),
        of(&["inspect", &adapter]),
        of(&["check", &adapter]),
        of(&["plan", &adapter, "--base", &base]),
        of(&["compare", &done, &done]),
        of(&["verify", &adapter, &done]),
        of(&["verify", &adapter, &done, "--tolerance", "1%"]),
    ]
}

#[test]
fn stdout_is_one_json_object() {
    let folder = TempDir::new().unwrap();
    for words in commands(folder.path()) {
        let output = lora_slim().current_dir(folder.path()).args(&words).arg("--json").assert().success();
        let output = output.get_output();
        let printed = document(&output.stdout);
        assert_eq!(printed["schema_version"], 2, "{words:?}");
        assert!(printed["warnings"].is_array(), "{words:?}");
    }
    // The commands that have the flag are those that were run.
    let mut cli = <lora_slim::cli::Cli as clap::CommandFactory>::command();
    cli.build();
    let has_json = |command: &&clap::Command| command.get_arguments().any(|arg| arg.get_long() == Some("json"));
    let known: Vec<&str> = cli
        .get_subcommands()
        .filter(has_json)
        .map(|command| command.get_name())
        .filter(|name| *name != "batch")
        .collect();
    let run = commands(TempDir::new().unwrap().path());
    assert!(known.iter().all(|name| run.iter().any(|words| words[0] == *name)), "{known:?}");
}

#[test]
fn the_json_of_slim_and_cut_is_what_lies_there() {
    let folder = TempDir::new().unwrap();
    for (place, output) in [(0, "slimmed"), (3, "cut"), (4, "reduced")] {
        let words = commands(TempDir::new().unwrap().path()).remove(place);
        let assert = lora_slim().current_dir(folder.path()).args(&words).arg("--json").assert().success();
        let printed = document(&assert.get_output().stdout);
        assert_eq!(printed, read_json(&folder.path().join(output).join("slim_report.json")));
        let talk = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(talk.contains(&format!("written to {output}")), "{talk}");
    }
    // The page has words of samples, stdout has none.
    let words = commands(TempDir::new().unwrap().path()).remove(1);
    let assert = lora_slim().current_dir(folder.path()).args(&words).args(["--json", "--report", "p.html"]).assert();
    let printed = document(&assert.success().get_output().stdout);
    assert!(printed["changed"].as_array().unwrap().iter().all(|sample| sample.get("prompt").is_none()));
}

#[test]
fn quiet_leaves_results_and_errors() {
    let folder = TempDir::new().unwrap();
    for words in commands(folder.path()) {
        let assert = lora_slim().current_dir(folder.path()).args(&words).arg("--quiet").assert().success();
        let output = assert.get_output();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
        // The result of these is a folder, or a yes.
        if ["slim", "cut", "fix", "verify"].contains(&words[0].as_str()) {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{words:?}");
        } else {
            assert!(!output.stdout.is_empty(), "{words:?}");
        }
    }
    let assert =
        lora_slim().args(["cut", "no-such-adapter", "--boundary", "2", "-o", "out", "--quiet"]).assert().code(3);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).starts_with("error: "));
}

#[test]
fn verify_says_what_it_found() {
    let folder = TempDir::new().unwrap();
    let adapter = fixture(ADAPTER);
    let out = folder.path().join("out");
    lora_slim().arg("cut").arg(&adapter).args(["--keep-layers", "0,2", "-o"]).arg(&out).assert().success();
    let verify = |more: &[&str], code: i32| -> Value {
        let assert = lora_slim().arg("verify").arg(&adapter).arg(&out).arg("--json").args(more).assert().code(code);
        document(&assert.get_output().stdout)
    };
    let found = verify(&[], 5);
    assert_eq!(found["verified"], false);
    assert!(found["differences"][0].as_str().unwrap().contains("layer 2 is kept"), "{found}");
    let found = verify(&["--any-layers"], 0);
    assert_eq!((&found["verified"], &found["kept_layers"]), (&true.into(), &serde_json::json!([0, 2])));
    fs::remove_dir_all(&out).unwrap();
    lora_slim().arg("cut").arg(&adapter).args(["--rank", "2", "-o"]).arg(&out).assert().success();
    assert!(verify(&["--tolerance", "0.9"], 0)["change"]["largest"].as_f64().unwrap() > 0.0);
}
