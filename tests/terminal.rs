//! What the program looks like: help, colours, dry runs, and what `verify` says first.

use std::fs;

use tempfile::TempDir;

use crate::support::{ADAPTER, fixture, lora_slim, stdout};

#[test]
fn the_short_help_has_headings_and_names_the_long_one() {
    for flag in ["-h", "--help"] {
        let text = stdout(lora_slim().args(["slim", flag]).assert().success());
        for part in ["Input:", "Choice:", "Output:", "Limits:", "Terminal:", "--samples <PATH>", "lora-slim help slim"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("--scorer-limit") && text.lines().count() < 75, "{text}");
    }
    let long = stdout(lora_slim().args(["help", "slim"]).assert().success());
    for part in ["--scorer-limit", "Gates:", "--max-loss-increase", "Example:"] {
        assert!(long.contains(part), "{part}: {long}");
    }
    assert!(!long.contains("lora-slim help slim"), "{long}");
    // What has few flags shows them all, apart from those of all commands.
    let text = stdout(lora_slim().args(["verify", "--help"]).assert().success());
    assert!(text.contains("--any-layers") && !text.contains("--print-config"), "{text}");
    let text = stdout(lora_slim().arg("help").assert().success());
    assert!(text.contains("--print-config") && text.contains("--version"), "{text}");
}

#[test]
fn colours_are_for_terminals_and_who_forces_them() {
    let said = |variables: &[(&str, &str)]| {
        let mut command = lora_slim();
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(variables.iter().copied());
        let assert = command.args(["inspect", "no-such-adapter"]).assert().code(3);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    assert!(!said(&[]).contains('\u{1b}'), "a pipe gets none");
    let forced = said(&[("CLICOLOR_FORCE", "1")]);
    assert!(forced.contains("error:\u{1b}[0m `no-such-adapter`"), "{forced:?}");
    assert!(!said(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\u{1b}'));
}

#[test]
fn bars_say_where_they_begin() {
    let mut command = lora_slim();
    command.arg("scan").arg(fixture(ADAPTER)).arg("--base").arg(fixture("pico/llama-llama3-rope/base"));
    let text = stdout(command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).assert().success());
    let header = text.lines().find(|line| line.contains("boundary")).unwrap();
    let lowest = text.lines().find(|line| line.ends_with("lowest")).unwrap();
    let loss = lowest.split_whitespace().nth(1).unwrap();
    assert!(header.ends_with(&format!("bars from {loss}")), "{text}");
}

#[test]
fn dry_runs_need_no_place() {
    let folder = TempDir::new().unwrap();
    let run = |words: &[&str]| {
        let mut command = lora_slim();
        command.current_dir(folder.path()).arg(words[0]).arg(fixture(ADAPTER)).args(&words[1..]);
        command.assert()
    };
    for change in [&["--boundary", "3"][..], &["--rank", "2"], &["--keep-layers", "0,2", "--dtype", "bf16"]] {
        let words = [&["cut", "--dry-run"], change].concat();
        let dry = stdout(run(&words).success());
        let wet = stdout(run(&[&["cut", "-o", "out"], change].concat()).success());
        assert!(dry.contains('→') && wet.starts_with(&dry) && wet.contains("written to out"), "{dry}\n{wet}");
        // A place that cannot be written is found all the same.
        run(&[&words[..], &["-o", "out"]].concat()).code(2);
        fs::remove_dir_all(folder.path().join("out")).unwrap();
    }
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let dry = json(stdout(run(&["cut", "--boundary", "3", "--dry-run", "--json"]).success()));
    let wet = json(stdout(run(&["cut", "--boundary", "3", "-o", "out", "--json"]).success()));
    assert_eq!(dry, wet);
    fs::remove_dir_all(folder.path().join("out")).unwrap();
    assert!(stdout(run(&["fix", "--dry-run"]).success()).contains("layout"));
    run(&["cut", "--boundary", "3"]).code(2);
    run(&["fix"]).code(2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn verify_counts_first_and_notices_swapped_arguments() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    lora_slim().arg("cut").arg(fixture(ADAPTER)).args(["--boundary", "3", "-o"]).arg(&out).assert().success();
    let verify = |one: &std::path::Path, other: &std::path::Path, more: &[&str], code: i32| {
        stdout(lora_slim().arg("verify").arg(one).arg(other).args(more).assert().code(code))
    };
    assert!(verify(&fixture(ADAPTER), &out, &[], 0).starts_with("verified: 42 of 84 tensors, "));
    let swapped = verify(&out, &fixture(ADAPTER), &[], 5);
    assert!(swapped.starts_with("NOT verified: ") && swapped.contains("the arguments are swapped"), "{swapped}");
    assert_eq!(swapped.lines().count(), 2, "{swapped}");
    let json: serde_json::Value = serde_json::from_str(&verify(&out, &fixture(ADAPTER), &["--json"], 5)).unwrap();
    assert_eq!((&json["verified"], &json["swapped"]), (&false.into(), &true.into()));
    let others = verify(&fixture(ADAPTER), &fixture("pico/mistral/adapter"), &[], 5);
    let first = others.lines().next().unwrap();
    let count = others.lines().count() - 1;
    assert!(first.starts_with(&format!("NOT verified: {count} differences; ")), "{others}");
    assert!(!others.contains("swapped"), "{others}");
}
