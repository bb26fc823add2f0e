//! Many adapters in one run, undisturbed and not.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::Assert;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::kill::{Contents, contents, kills, random};
use crate::support::limits::lora_slim_under;
use crate::support::{ADAPTER, copy_folder, document, documents, fixture, lora_slim, read_json, stdout, write_adapter};

pub const BASE: &str = "pico/llama-llama3-rope/base";
pub const SAMPLES: &str = "pico/samples.tokens.jsonl";

/// Adapters `in/team0/a0`, `in/team1/a1`, …, each with an alpha of its own.
pub fn adapters(folder: &Path, count: usize) {
    for number in 0..count {
        let adapter = folder.join(format!("in/team{}/a{number}", number % 2));
        copy_folder(&fixture(ADAPTER), &adapter);
        set_alpha(&adapter, 2 + number);
    }
}

fn set_alpha(adapter: &Path, alpha: usize) {
    let path = adapter.join("adapter_config.json");
    let mut config = read_json(&path);
    config["lora_alpha"] = json!(alpha);
    fs::write(path, config.to_string()).unwrap();
}

/// The flags with which `batch` slims the adapters below `in`.
pub fn slim_flags() -> [String; 4] {
    let path = |name: &str| fixture(name).display().to_string();
    ["--base".into(), path(BASE), "--samples".into(), path(SAMPLES)]
}

pub fn batch(folder: &Path, output: &str, more: &[&str]) -> Assert {
    lora_slim().current_dir(folder).args(["batch", "in", "-o", output]).args(more).assert()
}

pub fn slim_all(folder: &Path, output: &str, more: &[&str]) -> Assert {
    let flags = slim_flags();
    batch(folder, output, &[&flags.each_ref().map(String::as_str), &["--choose", "best"][..], more].concat())
}

/// All files below a folder but locks, by their path.
pub fn files(folder: &Path) -> Contents {
    let mut files = contents(folder);
    files.retain(|path, _| path.extension().is_none_or(|extension| extension != "lock"));
    files
}

pub fn records(results: &Path) -> Vec<Value> {
    documents(fs::read_to_string(results).unwrap())
}

pub fn names(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["name"].as_str().unwrap()).collect()
}

#[test]
fn a_batch_tells_the_loss_of_what_is_written() {
    for more in [&["--rank", "1"][..], &["--scale", "0.5"], &["--search", "blocks"], &["--dtype", "bf16"]] {
        let folder = TempDir::new().unwrap();
        adapters(folder.path(), 1);
        let flags = slim_flags();
        batch(folder.path(), "out", &[&flags.each_ref().map(String::as_str), &["--boundary", "5"][..], more].concat());
        let record = &records(&folder.path().join("out/results.jsonl"))[0];
        let report = read_json(&folder.path().join("out/team0/a0/slim_report.json"));
        let last_step = report["steps"].as_array().and_then(|steps| steps.last()).map(|step| &step["losses"]);
        let scaled = report.get("scale");
        let subset = report.get("subset");
        let written = last_step.or(scaled).or(subset).unwrap();
        assert_eq!(record["loss"], written["loss"], "{more:?}");
        assert_eq!(record["gain_kept"], written["gain_kept"], "{more:?}");
    }
}

#[test]
fn a_batch_gives_what_each_adapter_gives_alone() {
    for more in [&["--search", "exhaustive"][..], &["--scale", "tune"], &["--rank", "1"], &["--choose", "curve"]] {
        let best = if more.contains(&"--choose") { &[][..] } else { &["--choose", "best"] };
        let flags = slim_flags();
        let flags = [&flags.each_ref().map(String::as_str), best, more].concat();
        let folder = TempDir::new().unwrap();
        adapters(folder.path(), 3);
        batch(folder.path(), "out", &flags).success();
        for number in 0..3 {
            let name = format!("team{}/a{number}", number % 2);
            let alone = folder.path().join(format!("alone{number}"));
            let output = alone.display().to_string();
            let adapter = format!("in/{name}");
            let line = ["slim", &adapter, "-o", &output];
            lora_slim().current_dir(folder.path()).args(line).args(&flags).assert().success();
            let (mut expected, mut found) = (files(&alone), files(&folder.path().join("out").join(&name)));
            let report = |files: &mut Contents| -> Value {
                let mut report: Value = document(files.remove(Path::new("slim_report.json")).unwrap());
                // The work is shared.
                report.as_object_mut().unwrap().remove("work");
                report
            };
            assert_eq!(report(&mut found), report(&mut expected), "{name} {more:?}");
            assert!(found == expected, "{name} {more:?}");
        }
    }
}

#[test]
fn a_bad_adapter_does_not_stop_the_rest() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 5);
    let adapter = |name: &str| folder.path().join("in").join(name);
    fs::write(adapter("team0/a0/adapter_config.json"), "{").unwrap();
    File::options().write(true).open(adapter("team1/a1/adapter_model.safetensors")).unwrap().set_len(1000).unwrap();
    write_adapter(&adapter("team0/other"), &["model.layers.0.mlp.no_such_module"], json!({}));
    let assert = slim_all(folder.path(), "out", &["--json"]).code(3);
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("3 of 6 adapters did not succeed; `out/results.jsonl` says why"), "{told}");
    let streamed = stdout(assert);
    let kept = records(&folder.path().join("out/results.jsonl"));
    assert_eq!(names(&kept), ["team0/a0", "team0/a2", "team0/a4", "team0/other", "team1/a1", "team1/a3"]);
    let mut lines = documents(&streamed);
    lines.sort_by_key(|record| record["name"].to_string());
    assert_eq!(lines, kept);
    for record in &kept {
        let is_good = ["team0/a2", "team0/a4", "team1/a3"].contains(&record["name"].as_str().unwrap());
        assert_eq!(record["status"], if is_good { "done" } else { "failed" }, "{record}");
        let output = folder.path().join("out").join(record["name"].as_str().unwrap());
        assert_eq!(output.exists(), is_good, "{record}");
        assert_eq!(record["exit_code"], if is_good { 0 } else { 3 });
    }
    assert!(kept[3]["error"].as_str().unwrap().contains("no_such_module"), "{}", kept[3]);

    slim_all(folder.path(), "stopped", &["--fail-fast"]).code(3);
    assert_eq!(records(&folder.path().join("stopped/results.jsonl")).len(), 1);
}

#[cfg(unix)]
#[test]
fn only_what_changed_is_done_again() {
    use std::os::unix::fs::MetadataExt;

    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 4);
    let all = ["team0/a0", "team0/a2", "team1/a1", "team1/a3"];
    // Each publication is another folder; a number may be given again, but not at the same time.
    let folders = || {
        all.map(|name| {
            let metadata = fs::metadata(folder.path().join("out").join(name)).unwrap();
            (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
        })
    };
    let redone = |before: [(u64, i64, i64); 4]| {
        let after = folders();
        (0..4).filter(|&place| before[place] != after[place]).map(|place| all[place]).collect::<Vec<_>>()
    };
    slim_all(folder.path(), "out", &[]).success();
    let (before, first) = (folders(), files(&folder.path().join("out")));
    let text = stdout(slim_all(folder.path(), "out", &[]).success());
    assert!(text.contains("4 adapters, 4 of them unchanged"), "{text}");
    assert_eq!(redone(before), [""; 0]);
    assert!(first == files(&folder.path().join("out")));

    // A new time is no change, new bytes are.
    let touched = folder.path().join("in/team0/a0/adapter_config.json");
    fs::write(&touched, fs::read(&touched).unwrap()).unwrap();
    set_alpha(&folder.path().join("in/team1/a1"), 9);
    slim_all(folder.path(), "out", &[]).success();
    assert_eq!(redone(before), ["team1/a1"]);

    let before = folders();
    fs::remove_dir_all(folder.path().join("out/team0/a2")).unwrap();
    slim_all(folder.path(), "out", &[]).success();
    assert_eq!(redone(before), ["team0/a2"]);

    let before = folders();
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    assert_eq!(redone(before), all);

    fs::remove_dir_all(folder.path().join("in/team1/a1")).unwrap();
    let assert = batch(folder.path(), "out", &["--boundary", "2"]).success();
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("1 result without an adapter left as is, first `team1/a1`"), "{told}");
    assert!(folder.path().join("out/team1/a1/adapter_config.json").is_file());
    let kept = records(&folder.path().join("out/results.jsonl"));
    assert!(kept.iter().all(|record| (record["removed"] == true) == (record["name"] == "team1/a1")));
}

#[test]
fn an_output_that_another_run_made_is_not_taken_for_this_one() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 2);
    let kept = |boundary: &str| {
        batch(folder.path(), "out", &["--boundary", boundary]).success();
        read_json(&folder.path().join("out/team0/a0/slim_report.json"))["output"]["kept_layers"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(kept("2"), 2);
    let old = fs::read(folder.path().join("out/results.jsonl")).unwrap();
    assert_eq!(kept("4"), 4);
    // As after a kill before the new record was there.
    fs::write(folder.path().join("out/results.jsonl"), old).unwrap();
    assert_eq!(kept("2"), 2);

    slim_all(folder.path(), "slimmed", &[]).success();
    fs::remove_file(folder.path().join("slimmed/team0/a0.html")).unwrap();
    slim_all(folder.path(), "slimmed", &[]).success();
    assert!(folder.path().join("slimmed/team0/a0.html").is_file());
}

#[test]
fn a_line_that_cannot_be_read_is_done_again() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 3);
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    let path = folder.path().join("out/results.jsonl");
    let whole = fs::read(&path).unwrap();
    let mut broken = whole.clone();
    broken[whole.len() / 2] = 0xff;
    fs::write(&path, broken).unwrap();
    let assert = batch(folder.path(), "out", &["--boundary", "2"]).success();
    assert!(
        String::from_utf8_lossy(&assert.get_output().stderr).contains("1 line of `out/results.jsonl` cannot be read")
    );
    assert!(stdout(assert).contains("3 adapters, 2 of them unchanged"));
    assert!(fs::read(&path).unwrap() == whole);
}

#[test]
fn what_is_beside_a_tokenizer_counts() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 1);
    copy_folder(&fixture("pico/tokenizer"), &folder.path().join("tokenizer"));
    let samples = fixture("pico/text/prompt_completion.jsonl").display().to_string();
    let run = || {
        let base = fixture(BASE).display().to_string();
        let flags =
            ["--base", &base, "--samples", &samples, "--boundary", "2", "--tokenizer", "tokenizer/tokenizer.json"];
        stdout(batch(folder.path(), "out", &flags).success())
    };
    assert!(run().contains("0 of them unchanged"));
    assert!(run().contains("1 of them unchanged"));
    fs::write(folder.path().join("tokenizer/chat_template.jinja"), "{{ messages }}").unwrap();
    assert!(run().contains("0 of them unchanged"));
}

/// Starts a batch and kills it after a while; whether it was still running.
#[cfg(unix)]
fn killed(folder: &Path, after: Duration) -> bool {
    let mut child = Process::new(assert_cmd::cargo::cargo_bin("lora-slim"))
        .current_dir(folder)
        .args(["batch", "in", "-o", "out", "--quiet", "--choose", "best"])
        .args(slim_flags())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while start.elapsed() < after {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

#[cfg(unix)]
#[test]
fn a_batch_that_is_killed_over_and_over_ends_as_if_undisturbed() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 12);
    fs::write(folder.path().join("in/team0/a0/adapter_config.json"), "{").unwrap();
    slim_all(folder.path(), "undisturbed", &[]).code(3);
    let (mut random, mut count) = (random(), 0);
    while count < kills() {
        if killed(folder.path(), Duration::from_millis(random.u64(0..400))) {
            count += 1;
        } else {
            // It was faster: from the beginning.
            fs::remove_dir_all(folder.path().join("out")).unwrap();
        }
        // What is done is whole, and its record says so.
        for record in records_if_any(&folder.path().join("out/results.jsonl")) {
            let is_there = folder.path().join("out").join(record["name"].as_str().unwrap()).exists();
            assert_eq!(is_there, record["status"] == "done", "{record}");
        }
    }
    slim_all(folder.path(), "out", &[]).code(3);
    let (found, expected) = (files(&folder.path().join("out")), files(&folder.path().join("undisturbed")));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, content) in &expected {
        assert!(found[name] == *content, "{}", name.display());
    }
    println!("{count} runs killed");
}

/// The whole lines of results that may end in the middle of one.
#[cfg(unix)]
fn records_if_any(results: &Path) -> Vec<Value> {
    let text = fs::read_to_string(results).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(document).collect()
}

#[test]
fn two_runs_do_not_write_to_one_place() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 1);
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    let held = File::open(folder.path().join("out/.lora-slim.lock")).unwrap();
    held.lock().unwrap();
    let assert = batch(folder.path(), "out", &["--boundary", "2"]).code(4);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("another run is writing `out`"));
    // Another test may be starting a process right now, which has the file open for a moment, too.
    held.unlock().unwrap();
    batch(folder.path(), "out", &["--boundary", "2"]).success();
}

#[test]
fn a_line_that_was_cut_off_is_written_again() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 3);
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    let path = folder.path().join("out/results.jsonl");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    assert!(fs::read(&path).unwrap() == whole);
}

#[test]
fn a_dry_run_prices_and_writes_nothing() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 3);
    fs::write(folder.path().join("in/team0/a0/adapter_config.json"), "{").unwrap();
    let text = stdout(slim_all(folder.path(), "out", &["--dry-run"]).code(3));
    assert!(text.contains("team0/a0: failed") && text.contains("2 adapters, at most 1 × "), "{text}");
    assert!(text.contains("3 adapters: 0 unchanged, 2 to slim, 0 to cut"), "{text}");
    // Standard output is for JSON, of which there is none.
    let assert = slim_all(folder.path(), "out", &["--dry-run", "--json"]).code(3);
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("team0/a0: failed") && told.contains("3 adapters: 0 unchanged, 2 to slim"), "{told}");
    assert_eq!(stdout(assert), "");
    assert!(!folder.path().join("out").exists());
}

/// Each of those that write finds the disk full at about the same time, while more results wait for them.
#[cfg(unix)]
#[test]
fn results_that_cannot_be_kept_end_the_batch() {
    let folder = TempDir::new().unwrap();
    let line = |number: usize| {
        let (base, samples) = (fixture(BASE), fixture(SAMPLES));
        let output = format!("copy{number}");
        format!("{}\n", json!({"adapter": fixture(ADAPTER), "output": output, "base": base, "samples": samples}))
    };
    fs::write(folder.path().join("jobs.jsonl"), (0..500).map(line).collect::<String>()).unwrap();
    // Enough for each adapter and page, but not for a line of each.
    let mut command = lora_slim_under("trap '' XFSZ && ulimit -f 180");
    command.current_dir(folder.path()).args(["batch", "--manifest", "jobs.jsonl", "-o", "out", "--boundary", "2"]);
    let assert = command.assert().code(4);
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("cannot write `out/results.jsonl`"), "{told}");
    let kept = records(&folder.path().join("out/results.jsonl"));
    assert!(!kept.is_empty() && kept.iter().all(|record| record["status"] == "done"));
}
