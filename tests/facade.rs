//! The library's public interface: the same numbers, choice and bytes as the program's.

use std::fs;
use std::path::PathBuf;

use lora_slim::rules::{BEST, SMALLEST};
use lora_slim::{Base, Kind, Samples, Slim};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{ADAPTER, fixture, read_json, slim};

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
