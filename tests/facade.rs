//! The library's public interface: the same numbers, choice and bytes as the program's.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use lora_slim::rules::{BEST, SMALLEST};
use lora_slim::{Base, Call, Kind, Progress, Samples, Slim, Watcher};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADAPTER, document, fixture, lora_slim, read_json, slim};

fn builder() -> Slim {
    let path = |name: &str| fixture(name).display().to_string();
    Slim::new(path(ADAPTER), Samples::file(path("pico/samples.tokens.jsonl"))).base(path("pico/llama-llama3-rope/base"))
}

#[test]
fn the_library_does_what_the_program_does() {
    let folder = TempDir::new().unwrap();
    let flags = ["--boundary", "3", "--rank", "1", "--dtype", "bf16", "--require-saving", "20%"];
    slim(folder.path(), &flags).success();
    let slimmed =
        builder().boundary(3).exhaustive().step("dtype", Some("bf16")).unwrap().step("rank", Some("1")).unwrap();
    let slimmed = slimmed.gate("require-saving", "20%").unwrap().evaluate().unwrap();
    assert_eq!(slimmed.boundary(), 3);
    let output = folder.path().join("library");
    slimmed.write(&output).unwrap();
    for name in ["adapter_model.safetensors", "adapter_config.json"] {
        let [program, library] = ["out", "library"].map(|out| fs::read(folder.path().join(out).join(name)).unwrap());
        assert!(program == library, "{name}");
    }
    let [program, library] = ["out", "library"].map(|out| read_json(&folder.path().join(out).join("slim_report.json")));
    for part in ["curve", "chosen", "stability", "steps", "gates", "output", "runtimes"] {
        assert_eq!(program[part], library[part], "{part}");
    }
    let written: Value = serde_json::to_value(slimmed.report()).unwrap();
    assert_eq!(written["chosen"], library["chosen"]);
}

#[test]
fn adapters_share_an_open_base() {
    let base = Base::open(&fixture("pico/llama-llama3-rope/base").display().to_string()).unwrap();
    let losses = |slim: Slim| -> Vec<f64> {
        let slimmed = slim.exhaustive().evaluate_on(&base).unwrap();
        slimmed.report().curve.iter().map(|point| point.loss()).collect()
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| losses(builder().rule(BEST)));
        let other = scope.spawn(|| losses(builder().rule(SMALLEST)));
        assert_eq!(one.join().unwrap(), other.join().unwrap());
    });
}

#[test]
fn what_cannot_be_done_is_a_typed_error() {
    let refused = |slim: lora_slim::Result<Slim>| slim.err().map(|error| (error.kind(), error.to_string())).unwrap();
    for refused in [
        refused(builder().step("sharpen", None)),
        refused(builder().step("rank", Some("many"))),
        refused(builder().gate("require-saving", "200%")),
        refused(builder().gate("max-luck", "1")),
    ] {
        assert_eq!(refused.0, Kind::Usage, "{}", refused.1);
    }
    let folder = TempDir::new().unwrap();
    let output: PathBuf = folder.path().join("out");
    let gated = builder().boundary(6).gate("require-saving", "90%").unwrap().evaluate().unwrap();
    assert_eq!(gated.write(&output).unwrap_err().kind(), Kind::FailedGate);
    assert!(!output.exists());
    let stopped = builder().evaluate_with(&mut |_| false).err().map(|error| error.kind());
    assert_eq!(stopped, Some(Kind::Interrupted));
    fs::create_dir(&output).unwrap();
    fs::write(output.join("file"), "").unwrap();
    assert_eq!(builder().boundary(3).evaluate().unwrap().write(&output).unwrap_err().kind(), Kind::Usage);
}

/// Looks on, and stops the call if it says so.
struct Looker {
    stops: bool,
    steps: AtomicU64,
}

impl Looker {
    fn new(stops: bool) -> Self {
        Self { stops, steps: AtomicU64::new(0) }
    }
}

impl Watcher for Looker {
    fn measures(&self, _progress: Progress) {
        self.steps.fetch_add(1, Ordering::SeqCst);
    }

    fn fetches(&self, _done: u64, _total: u64) {}

    fn is_stopped(&self) -> bool {
        self.stops
    }
}

fn call(command: &str, words: &[&str], flags: &Value) -> lora_slim::Result<Call> {
    let words: Vec<OsString> = words.iter().map(|word| fixture(word).into()).collect();
    Call::new(command, &words, flags.as_object().unwrap())
}

fn scan_flags() -> Value {
    let base = fixture("pico/llama-llama3-rope/base");
    json!({"base": base, "samples": fixture("pico/samples.tokens.jsonl")})
}

#[test]
fn a_call_gives_what_the_program_prints() {
    let printed = |command: &str, words: &[&str]| {
        let words: Vec<OsString> = words.iter().map(|word| fixture(word).into()).collect();
        let output = lora_slim().arg(command).args(words).args(["--json"]).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    };
    for (command, words) in [("inspect", &[ADAPTER][..]), ("check", &[ADAPTER]), ("verify", &[ADAPTER, ADAPTER])] {
        let answer = call(command, words, &json!({})).unwrap().run(&Looker::new(false)).unwrap();
        assert_eq!((answer.json + "\n", answer.yes), printed(command, words), "{command}");
    }
    let looker = Looker::new(false);
    let answer = call("scan", &[ADAPTER], &scan_flags()).unwrap().run(&looker).unwrap();
    let report = document(&answer.json);
    assert_eq!(report["curve"].as_array().unwrap().len(), 7);
    assert!(looker.steps.load(Ordering::SeqCst) > 0 && answer.refusal.is_none());
}

#[test]
fn a_call_reads_samples_that_are_no_files() {
    let run = |flags: &Value, passed: Option<Vec<u8>>| -> Value {
        let call = call("scan", &[ADAPTER], flags).unwrap();
        let call = passed.into_iter().fold(call, |call, bytes| call.pass("my samples", bytes));
        document(&call.run(&Looker::new(false)).unwrap().json)
    };
    let of_file = run(&scan_flags(), None);
    let mut flags = scan_flags();
    flags["samples"] = "my samples".into();
    let passed = run(&flags, Some(fs::read(fixture("pico/samples.tokens.jsonl")).unwrap()));
    assert_eq!(passed["samples"]["path"], "my samples");
    assert_eq!(passed["samples"]["sha256"], of_file["samples"]["sha256"]);
    assert_eq!(passed["curve"], of_file["curve"]);
}

#[test]
fn a_call_that_is_wrong_stopped_or_refused_says_so() {
    let kind = |call: lora_slim::Result<Call>| call.err().map(|error| (error.kind(), error.hint()));
    let wrong = |command, flags| kind(call(command, &[ADAPTER], &flags)).unwrap();
    assert_eq!(wrong("scan", json!({"margn": 1})), (Kind::Usage, Some("did you mean `margin`?".into())));
    for (command, flags) in [
        ("scan", json!({"samples": "a", "json": true})),
        ("scan", json!({"samples": "a", "margin": null})),
        ("scan", json!({})),
        ("slim", json!({"samples": "a"})),
        ("batch", json!({})),
        ("completions", json!({})),
    ] {
        assert_eq!(wrong(command, flags).0, Kind::Usage, "{command}");
    }
    let stopped = call("scan", &[ADAPTER], &scan_flags()).unwrap().run(&Looker::new(true));
    assert_eq!(stopped.err().map(|error| error.kind()), Some(Kind::Interrupted));
    let mut flags = scan_flags();
    flags["boundary"] = 3.into();
    flags["dry-run"] = true.into();
    flags["require-saving"] = "90%".into();
    let refused = call("slim", &[ADAPTER], &flags).unwrap().run(&Looker::new(false)).unwrap();
    assert_eq!(refused.refusal.map(|error| error.kind()), Some(Kind::FailedGate));
    assert!(refused.json.contains("\"curve\""));
}

#[test]
fn the_flags_of_calls_are_those_of_the_program() {
    let flags = Call::flags("slim").unwrap();
    let named = |name: &str| flags.iter().find(|flag| flag.name == name);
    assert_eq!(named("chat").unwrap().value, "never");
    assert!(named("samples").unwrap().several && named("metric").unwrap().several);
    assert_eq!(named("margin").unwrap().default.as_deref(), Some("2%"));
    assert!(named("dtype").unwrap().values.contains(&"bf16".into()));
    assert!(named("json").is_none() && named("config").is_none());
    assert!(Call::flags("man").is_none());
}
