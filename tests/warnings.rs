//! Warnings are data: the same codes in the JSON, at the end of what the terminal shows, on the page, and in a batch.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{copy_folder, document, fixture, lora_slim, read_json, read_safetensors, write_safetensors};

const CASE: &str = "pico/llama-llama3-rope";

/// What `scan` is given.
struct Setup {
    folder: TempDir,
    adapter: PathBuf,
    base: PathBuf,
    samples: PathBuf,
    flags: Vec<String>,
}

impl Setup {
    /// A pico adapter on these samples.
    fn of(case: &str, samples: PathBuf) -> Self {
        let (adapter, base) = (fixture(case).join("adapter"), fixture(case).join("base"));
        Self { folder: TempDir::new().unwrap(), adapter, base, samples, flags: Vec::new() }
    }

    /// The adapter of fixtures/memorised on some of its samples. The base model's last norm is larger, so that what is known is sure.
    fn memorised(samples: &str) -> Self {
        let setup = Self::of(CASE, fixture("memorised").join(samples));
        let base = setup.folder.path().join("base");
        copy_folder(&setup.base, &base);
        let path = base.join("model.safetensors");
        let mut tensors = read_safetensors(&path);
        tensors.get_mut("model.norm.weight").unwrap().1.iter_mut().for_each(|weight| *weight *= 8.0);
        write_safetensors(&path, &tensors);
        Self { adapter: fixture("memorised/adapter"), base, ..setup }
    }

    fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Takes these samples instead.
    fn lines(mut self, lines: &[Value]) -> Self {
        self.samples = self.folder.path().join("samples.jsonl");
        fs::write(&self.samples, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        self
    }

    fn scan(&self) -> Said {
        let mut command = lora_slim();
        command.current_dir(self.folder.path()).arg("scan").arg(&self.adapter).arg("--base").arg(&self.base);
        command.arg("--samples").arg(&self.samples).args(["--json", "--report", "page.html"]).args(&self.flags);
        let assert = command.assert().success();
        let output = assert.get_output();
        Said {
            report: document(&output.stdout),
            terminal: String::from_utf8_lossy(&output.stderr).into_owned(),
            page: fs::read_to_string(self.folder.path().join("page.html")).unwrap(),
        }
    }
}

/// The records of a file of the fixtures.
fn records(name: &str) -> Vec<Value> {
    fs::read_to_string(fixture(name)).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a run says, in all places.
struct Said {
    report: Value,
    terminal: String,
    page: String,
}

impl Said {
    fn codes(&self) -> Vec<&str> {
        let warnings = self.report["warnings"].as_array().map_or(&[][..], Vec::as_slice);
        warnings.iter().map(|warning| warning["code"].as_str().unwrap()).collect()
    }

    fn warning(&self, code: &str) -> &Value {
        let warnings = self.report["warnings"].as_array().unwrap_or_else(|| panic!("no warnings: {}", self.terminal));
        let found = warnings.iter().find(|warning| warning["code"] == code);
        found.unwrap_or_else(|| panic!("no `{code}` among {:?}", self.codes()))
    }

    /// A number behind a warning that all three places have.
    fn figure(&self, code: &str, name: &str) -> f64 {
        let warning = self.warning(code);
        assert!(self.terminal.contains(&format!(" [{code}]")), "{}", self.terminal);
        let summary = self.page.split("<dl class=\"figures\">").next().unwrap();
        assert!(summary.contains(&format!("<code>{code}</code>")), "{code} is not at the top of the page");
        warning["figures"][name].as_f64().unwrap_or(f64::NAN)
    }
}

/// An adapter whose upper layers ruin what its lower ones do: copies of these, far too strong.
fn ruined_above() -> Setup {
    let setup = Setup::memorised("train.jsonl");
    let adapter = setup.folder.path().join("adapter");
    copy_folder(&setup.adapter, &adapter);
    let mut config = read_json(&adapter.join("adapter_config.json"));
    config["layers_to_transform"] = Value::Null;
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let mut tensors = read_safetensors(&adapter.join("adapter_model.safetensors"));
    for (name, (shape, values)) in tensors.clone() {
        let layer: usize = name.split("layers.").nth(1).unwrap().split('.').next().unwrap().parse().unwrap();
        let factor = if name.contains("lora_B") { -20.0 } else { 1.0 };
        let name = name.replace(&format!("layers.{layer}."), &format!("layers.{}.", layer + 3));
        tensors.insert(name, (shape, values.iter().map(|value| factor * value).collect()));
    }
    write_safetensors(&adapter.join("adapter_model.safetensors"), &tensors);
    Setup { adapter, ..setup }
}

/// The base model is another one of the same shape: its tokens are in the opposite order.
fn wrong_base() -> Setup {
    let setup = Setup::memorised("train.jsonl");
    let path = setup.base.join("model.safetensors");
    let mut tensors = read_safetensors(&path);
    let (shape, values) = &tensors["model.embed_tokens.weight"];
    let reversed = (shape.clone(), values.chunks(shape[1]).rev().flatten().copied().collect());
    tensors.insert("model.embed_tokens.weight".into(), reversed);
    write_safetensors(&path, &tensors);
    setup
}

/// Samples, each a second time with one other token.
fn nearly_twice(mut lines: Vec<Value>) -> Vec<Value> {
    for mut line in lines.clone() {
        line["input_ids"][1] = 5.into();
        lines.push(line);
    }
    lines
}

#[test]
fn ten_misleading_setups_are_named() {
    let unseen = || records("memorised/unseen.jsonl");
    let pico = records("pico/samples.tokens.jsonl");
    let seven: Vec<Value> = [0, 2, 3, 4, 6, 7, 9].map(|line| pico[line].clone()).into();
    let half: Vec<Value> = unseen().into_iter().take(8).chain(records("memorised/train.jsonl")).collect();
    let held_out = Setup::memorised("unseen.jsonl").lines(&half).flag("--test");
    let test = fixture("memorised/unseen.jsonl").display().to_string();
    let of = Setup::memorised;
    // The set-up, the code that names it, and a figure of that.
    let setups = [
        ("trained on", of("train.jsonl"), "suspect-samples", "possibly_trained_on", 16.0),
        ("duplicated", of("").lines(&[unseen(), unseen()].concat()), "suspect-samples", "draws", 16.0),
        ("nearly duplicated", of("").lines(&nearly_twice(unseen())), "suspect-samples", "near_duplicates", 16.0),
        ("no template", Setup::of(CASE, fixture("pico/text/prompt_completion.jsonl")), "chat-template-unused", "", 0.0),
        ("wrong base", wrong_base(), "worse-than-base", "", 0.0),
        ("too few", of("").lines(&unseen()[..5]), "few-samples", "samples", 5.0),
        ("runs on", of("train.jsonl").flag("--boundary").flag("2"), "runs-on", "end_accuracy_whole", 1.0),
        ("worse than the base", of("unseen.jsonl"), "worse-than-base", "", 0.0),
        ("a part helps", ruined_above(), "prefix-helps", "boundary", 3.0),
        ("held-out overlap", held_out.flag(&test), "held-out-overlap", "copies", 8.0),
        (
            "unstable",
            Setup::of("pico/glm", PathBuf::new()).lines(&seven).flag("--margin=20%").flag("--confidence=60%"),
            "unstable-choice",
            "rival",
            1.0,
        ),
    ];
    for (name, setup, code, figure, expected) in setups {
        let said = setup.scan();
        let found = said.figure(code, figure);
        assert!(figure.is_empty() || (found - expected).abs() < 1e-9, "{name}: {found}, {:?}", said.warning(code));
    }
}

#[test]
fn samples_choose_what_minimize_drops_and_no_boundary_is_the_users() {
    for count in [4, 8] {
        let lines = records("memorised/train.jsonl")[..count].to_vec();
        let said = Setup::memorised("").lines(&lines).flag("--minimize=bytes").scan();
        assert_eq!(said.figure("few-samples", "samples"), count as f64);
        assert!(!said.codes().contains(&"gives-up-probability"), "{:?}", said.codes());
    }
    let said =
        Setup::memorised("train.jsonl").lines(&records("memorised/train.jsonl")[..4]).flag("--boundary=2").scan();
    assert!(!said.codes().contains(&"few-samples"), "{:?}", said.codes());
}

#[test]
fn the_figure_of_a_comparison_is_that_of_the_measure() {
    let sentence = |measure| {
        let said = ruined_above().flag("--by").flag(measure).scan();
        said.warning("prefix-helps")["sentence"].as_str().unwrap().to_string()
    };
    assert!(sentence("loss").contains(" nats per token, base model "));
    assert!(sentence("accuracy").contains(" % of the tokens correct, base model "));
}

#[test]
fn samples_that_repeat_others_do_not_pass_a_gate() {
    let unseen = records("memorised/unseen.jsonl");
    let setup = Setup::memorised("").lines(&[unseen.clone(), unseen].concat());
    let mut command = lora_slim();
    command.current_dir(setup.folder.path()).arg("scan").arg(&setup.adapter).arg("--base").arg(&setup.base);
    let assert = command.arg("--samples").arg(&setup.samples).args(["--min-samples", "17"]).assert().code(6);
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("`--min-samples 17`, 16 different ones choose"), "{told}");
}

#[test]
fn clean_samples_give_no_warning() {
    let unseen = records("memorised/unseen.jsonl");
    let said = Setup::memorised("").lines(&unseen).scan();
    assert!(!said.codes().contains(&"suspect-samples") && !said.codes().contains(&"few-samples"), "{:?}", said.codes());
    let samples = &said.report["samples"];
    assert_eq!(
        (&samples["draws"], &samples["copies"], &samples["near_duplicates"]),
        (&json!(16), &json!(0), &json!(0))
    );
}

#[test]
fn a_part_that_helps_is_written_and_a_harmful_adapter_is_not() {
    let slim = |setup: &Setup, more: &[&str]| {
        let mut command = lora_slim();
        command.current_dir(setup.folder.path()).arg("slim").arg(&setup.adapter).arg("--base").arg(&setup.base);
        command.arg("--samples").arg(&setup.samples).args(["-o", "out", "--force"]).args(more).assert()
    };
    let ruined = ruined_above();
    for search in ["adaptive", "exhaustive"] {
        slim(&ruined, &["--better-than-base", "--min-gain", "50%", "--search", search]).success();
        let report = read_json(&ruined.folder.path().join("out/slim_report.json"));
        assert_eq!(report["benefit"], json!({"verdict": "prefix-helps", "boundary": 3}));
        assert_eq!(report["chosen"]["boundary"], 3, "{search}");
    }
    let harmful = Setup::memorised("unseen.jsonl");
    let told = |assert: assert_cmd::assert::Assert| String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    let refused = told(slim(&harmful, &["--loss-only"]).code(5));
    assert!(
        refused.contains("is surely above the base model's") && refused.contains("hint: check that it is"),
        "{refused}"
    );
    // The user's boundary is taken, but a gate may refuse it.
    slim(&harmful, &["--boundary", "3"]).success();
    let failed = told(slim(&harmful, &["--boundary", "3", "--better-than-base"]).code(6));
    assert!(
        failed.contains("`--better-than-base 0`, the gain over the base model is surely no less than -"),
        "{failed}"
    );
    let failed = told(slim(&harmful, &["--boundary", "3", "--min-gain", "1%", "--better-than-base=0.5"]).code(6));
    assert!(failed.contains("above the base model's") && failed.contains("`--better-than-base 0.5`"), "{failed}");
}

#[test]
fn a_warning_is_in_every_place() {
    let said = Setup::of(CASE, fixture("pico/text/prompt_completion.jsonl")).scan();
    let warnings = said.report["warnings"].as_array().unwrap();
    assert!(said.codes().contains(&"few-samples"), "{:?}", said.codes());
    assert_eq!(said.warning("few-samples")["figures"]["samples"].as_f64(), said.report["samples"]["draws"].as_f64());
    // The last lines of the terminal are the warnings, in the same order; the page has them before the figures.
    let lines: Vec<&str> = said.terminal.lines().collect();
    let summary = said.page.split("<dl class=\"figures\">").next().unwrap();
    for (line, warning) in lines[lines.len() - warnings.len()..].iter().zip(warnings) {
        let code = warning["code"].as_str().unwrap();
        assert!(
            line.ends_with(&format!(" [{code}]")) && line.contains(warning["sentence"].as_str().unwrap()),
            "{line}"
        );
        assert!(summary.contains(&format!("<code>{code}</code>")), "{code}");
    }
    assert!(lines[0].starts_with("report in"), "{lines:?}");
}

#[test]
fn what_is_left_out_of_the_input_is_a_warning_of_cut_too() {
    let folder = TempDir::new().unwrap();
    let adapter = folder.path().join("adapter");
    copy_folder(&fixture(CASE).join("adapter"), &adapter);
    let mut config = read_json(&adapter.join("adapter_config.json"));
    config["use_mora"] = json!(true);
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let mut command = lora_slim();
    command.current_dir(folder.path()).args(["cut", "adapter", "--boundary", "3", "-o", "out"]);
    let assert = command.assert().success();
    let report = read_json(&folder.path().join("out/slim_report.json"));
    assert_eq!(report["warnings"][0]["code"], "unused-input");
    assert_eq!(report["warnings"][0]["sentence"], report["remarks"][0]);
    let terminal = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(terminal.trim_end().ends_with("[unused-input]"), "{terminal}");
}

#[test]
fn a_batch_has_the_codes_in_its_tables() {
    let folder = TempDir::new().unwrap();
    copy_folder(&fixture(CASE).join("adapter"), &folder.path().join("in/a"));
    let mut command = lora_slim();
    command.current_dir(folder.path()).args(["batch", "in", "-o", "out", "--quiet"]);
    command
        .arg("--base")
        .arg(fixture(CASE).join("base"))
        .arg("--samples")
        .arg(fixture("pico/text/prompt_completion.jsonl"));
    drop(command.assert());
    let line = fs::read_to_string(folder.path().join("out/results.jsonl")).unwrap();
    let record = document(line.lines().next().unwrap());
    let codes: Vec<&str> =
        record["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"few-samples"), "{codes:?}");
    let table = fs::read_to_string(folder.path().join("out/summary.csv")).unwrap();
    assert!(table.contains(&codes.join(" ")), "{table}");
    let page = fs::read_to_string(folder.path().join("out/index.html")).unwrap();
    assert!(page.contains("<code>few-samples</code>"), "{page}");
}
