//! Which jobs a batch has, where they write and what they are called.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::batch::{BASE, SAMPLES, adapters, batch, files, names, records};
use crate::support::kill::contents;
use crate::support::{ADAPTER, copy_folder, fixture, lora_slim, read_json, stdout};

#[test]
fn parts_come_to_the_whole() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 9);
    batch(folder.path(), "whole", &["--boundary", "2"]).success();
    for index in ["0", "1", "2"] {
        let mut command = lora_slim();
        command.current_dir(folder.path()).env("JOB_COMPLETION_INDEX", index);
        let line = ["batch", "in", "-o", "parts", "--boundary", "2", "--partition", "hash:JOB_COMPLETION_INDEX/3"];
        command.args(line).assert().success();
    }
    let (mut parts, mut whole) = (files(&folder.path().join("parts")), files(&folder.path().join("whole")));
    let lines: Vec<String> = (1..=3)
        .flat_map(|part| {
            let file = parts.remove(Path::new(&format!("results.{part}-of-3.jsonl"))).unwrap();
            String::from_utf8(file).unwrap().lines().map(String::from).collect::<Vec<_>>()
        })
        .collect();
    let mut sorted = lines.clone();
    sorted.sort();
    let together = whole.remove(Path::new("results.jsonl")).unwrap();
    assert_eq!(sorted, String::from_utf8(together).unwrap().lines().collect::<Vec<_>>());
    assert!(parts == whole, "adapters, summary and index are the same");

    // Another division of the same work finds it done.
    let line = ["batch", "in", "-o", "parts", "--boundary", "2", "--partition", "hash:1/2"];
    let text = stdout(lora_slim().current_dir(folder.path()).args(line).assert().success());
    let counts: Vec<&str> = text.split_whitespace().take(3).collect();
    assert_eq!(counts[0], counts[2], "{text}");
    lora_slim().current_dir(folder.path()).args(line).args(["--partition", "hash:3/2"]).assert().code(2);
}

#[test]
fn a_manifest_gives_each_job_its_own_flags() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 2);
    let (base, samples) = (fixture(BASE), fixture(SAMPLES));
    let lines = [
        json!({"adapter": "in/team0/a0", "output": "cut/two", "options": {"boundary": 2}}),
        json!({"adapter": "in/team0/a0", "output": "cut/four", "options": {"boundary": 4, "dtype": "bf16"}}),
        json!({"adapter": "in/team1/a1", "base": base, "samples": samples, "options": {"max-layers": 3, "choose": "best"}}),
        json!({"adapter": "in/team1/a1", "output": "wrong", "options": {"boundary": 2, "colour": "red"}}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.path().join("jobs.jsonl"), text).unwrap();
    let line = ["batch", "--manifest", "jobs.jsonl", "-o", "out"];
    lora_slim().current_dir(folder.path()).args(line).assert().code(2);
    let kept = records(&folder.path().join("out/results.jsonl"));
    assert_eq!(names(&kept), ["a1", "cut/four", "cut/two", "wrong"]);
    let layers = |place: usize| kept[place]["kept_layers"].as_u64();
    assert!(layers(0).unwrap() <= 3 && kept[0]["loss"].is_number(), "{}", kept[0]);
    assert_eq!((layers(1), layers(2), layers(3)), (Some(4), Some(2), None));
    let bytes = |place: usize| kept[place]["bytes_after"].as_u64().unwrap();
    assert_eq!(bytes(1), bytes(2), "four layers of half the size");
    assert!(kept[3]["error"].as_str().unwrap().contains("--colour"), "{}", kept[3]);
    lora_slim().current_dir(folder.path()).args(line).arg("in").assert().code(2);
    fs::write(folder.path().join("jobs.jsonl"), "{\"adapter\": \"a\"}\n{").unwrap();
    let assert = lora_slim().current_dir(folder.path()).args(line).assert().code(3);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("jobs.jsonl:2:"));
}

#[test]
fn jobs_keep_out_of_each_others_places() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 2);
    let run = |outputs: &[&str], output: &str| {
        let line = |name: &&str| format!("{}\n", json!({"adapter": "in/team0/a0", "output": name}));
        fs::write(folder.path().join("jobs.jsonl"), outputs.iter().map(line).collect::<String>()).unwrap();
        let line = ["batch", "--manifest", "jobs.jsonl", "-o", output, "--boundary", "2"];
        let assert = lora_slim().current_dir(folder.path()).args(line).assert();
        String::from_utf8_lossy(&assert.code(2).get_output().stderr).into_owned()
    };
    for outputs in
        [&["a", "a-b", "a/b"][..], &["a", "a.html"], &["summary.csv"], &["results.x.jsonl"], &["index.html/a"]]
    {
        let said = run(outputs, "out");
        assert!(said.contains("has no place") || outputs[0].contains('/'), "{outputs:?}: {said}");
        assert!(!folder.path().join("out").exists() || outputs[0].contains('/'));
    }
    for output in ["in/team0/a0", "in/team0/a0/out", "in"] {
        assert!(run(&["b"], output).contains("overlap"), "{output}");
    }
    assert_eq!(contents(&folder.path().join("in/team0/a0")).len(), contents(&fixture(ADAPTER)).len());
}

#[test]
fn a_jobs_own_flags_win() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 1);
    let samples = fixture("pico/text/prompt_completion.jsonl");
    let options = json!({"boundary": 3, "chat": false});
    let line = json!({"adapter": "in/team0/a0", "samples": samples, "base": fixture(BASE), "options": options});
    fs::write(folder.path().join("jobs.jsonl"), line.to_string()).unwrap();
    let line = ["batch", "--manifest", "jobs.jsonl", "-o", "out", "--chat", "--choose", "best", "--max-layers", "1"];
    lora_slim().current_dir(folder.path()).args(line).assert().success();
    let report = read_json(&folder.path().join("out/a0/slim_report.json"));
    assert_eq!((&report["samples"]["chat"], &report["chosen"]["boundary"]), (&json!(false), &json!(3)));
}

/// PEFT saves the adapter `default` in the folder itself and the others below. Checkpoints lie there, too.
#[test]
fn several_adapters_of_peft_are_jobs_and_checkpoints_are_not() {
    let folder = TempDir::new().unwrap();
    let adapters = ["multi", "multi/sql", "multi/chat", "run", "loose/checkpoint-1", "loose/checkpoint-2"];
    let checkpoints = ["multi/checkpoint-5/sql", "run/checkpoint-10", "run/epoch_3", "run/best", "multi/sql/step-7"];
    for name in adapters.iter().chain(&checkpoints) {
        copy_folder(&fixture(ADAPTER), &folder.path().join("in").join(name));
    }
    fs::write(folder.path().join("in/run/best/trainer_state.json"), "{}").unwrap();
    let assert = batch(folder.path(), "out", &["--boundary", "2"]).success();
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains("5 adapters inside of others left out"), "{stderr}");
    let kept = records(&folder.path().join("out/results.jsonl"));
    let expected = ["loose/checkpoint-1", "loose/checkpoint-2", "multi/chat", "multi/default", "multi/sql", "run"];
    assert_eq!(names(&kept), expected);
    for name in expected {
        let out = folder.path().join("out").join(name);
        assert_eq!(read_json(&out.join("adapter_config.json"))["layers_to_transform"], json!([0, 1]), "{name}");
    }
    // A folder of the name that the adapter around it would get.
    copy_folder(&fixture(ADAPTER), &folder.path().join("in/multi/default"));
    let assert = batch(folder.path(), "again", &["--boundary", "2"]).code(2);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains("`multi/default`") && stderr.contains("another adapter"), "{stderr}");
}

/// What is not searched is in the results, whoever looks at them; an adapter that may be missing is in the exit code.
#[cfg(unix)]
#[test]
fn places_that_are_left_out_are_on_record() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join("in").join(name);
    copy_folder(&fixture(ADAPTER), &place("a"));
    copy_folder(&fixture(ADAPTER), &folder.path().join("elsewhere"));
    symlink("../elsewhere", place("out-of-here")).unwrap();
    symlink("nowhere", place("gone")).unwrap();
    let run = |more: &[&str]| batch(folder.path(), "out", &[&["--boundary", "2", "-q", "--json"], more].concat());
    let printed = stdout(run(&[]).success());
    let kept = records(&folder.path().join("out/results.jsonl"));
    assert_eq!(names(&kept), ["a", "gone", "out-of-here"]);
    assert!(["gone", "out-of-here"].iter().all(|name| printed.contains(&format!("\"name\":\"{name}\""))), "{printed}");
    for (record, reason) in kept[1..].iter().zip(["cannot read `in/gone`", "`in/out-of-here` is not followed"]) {
        assert_eq!((&record["status"], &record["exit_code"]), (&json!("left-out"), &json!(0)));
        assert!(record["error"].as_str().unwrap().contains(reason), "{record}");
    }
    let (table, page) = ("out/summary.csv", "out/index.html");
    for file in [table, page] {
        assert!(fs::read_to_string(folder.path().join(file)).unwrap().contains("left-out"), "{file}");
    }
    assert!(fs::read_to_string(folder.path().join(page)).unwrap().contains("1 of 1 adapter done"));

    // An adapter whose name no record can hold.
    let nameless = place("").join(std::ffi::OsStr::from_bytes(b"b\xff"));
    copy_folder(&fixture(ADAPTER), &nameless);
    run(&["--dry-run"]).code(3);
    run(&[]).code(3);
    let kept = records(&folder.path().join("out/results.jsonl"));
    assert_eq!(names(&kept), ["a", "b\u{fffd}", "gone", "out-of-here"]);
    assert_eq!(kept[1]["exit_code"], json!(3));

    // What is no longer left out is no longer on record.
    fs::remove_dir_all(nameless).unwrap();
    fs::remove_file(place("gone")).unwrap();
    run(&[]).success();
    assert_eq!(names(&records(&folder.path().join("out/results.jsonl"))), ["a", "out-of-here"]);
}

/// Reports are shown by `cat`: their JSON has escapes for characters that a terminal or a reader would obey.
#[test]
fn files_of_json_hold_nothing_raw() {
    let (folder, name) = (TempDir::new().unwrap(), "a\u{202e}\u{200b}é\u{7f}");
    let place = folder.path().join("in").join(name);
    copy_folder(&fixture(ADAPTER), &place);
    let mut config = read_json(&place.join("adapter_config.json"));
    config["revision"] = json!(name);
    fs::write(place.join("adapter_config.json"), config.to_string()).unwrap();
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    let out = folder.path().join("out");
    let files = [
        out.join("results.jsonl"),
        out.join(name).join("slim_report.json"),
        out.join(name).join("adapter_config.json"),
    ];
    for (file, field) in files.iter().zip([&["name"][..], &["adapter", "path"], &["revision"]]) {
        let text = fs::read_to_string(file).unwrap();
        let is_shown = |character| character == '\n' || lora_slim::printable::is_printable(character);
        assert!(text.chars().all(is_shown) && text.contains("\\u202e") && text.contains('é'), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let told = field.iter().fold(&value, |value, field| &value[field]);
        assert!(told.as_str().unwrap().contains(name), "{field:?}: {told}");
    }
}

#[test]
fn any_name_is_told_and_linked_to() {
    let folder = TempDir::new().unwrap();
    let names = ["a b", "ü \"quoted\" <b>", "line\nbreak", "50%, a:b"];
    for name in names {
        copy_folder(&fixture(ADAPTER), &folder.path().join("in").join(name));
    }
    // Checkpoints in the folder of a result belong to it.
    copy_folder(&fixture(ADAPTER), &folder.path().join("in/a b/checkpoint-1"));
    let assert = batch(folder.path(), "out", &["--boundary", "2"]).success();
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("1 adapter inside of others left out"));
    assert_eq!(stdout(assert).lines().count(), names.len() + 1);
    let kept = records(&folder.path().join("out/results.jsonl"));
    let told: Vec<&str> = kept.iter().map(|record| record["name"].as_str().unwrap()).collect();
    let mut sorted = names;
    sorted.sort();
    assert_eq!(told, sorted);
    let page = fs::read_to_string(folder.path().join("out/index.html")).unwrap();
    assert!(page.contains("href=\"./line%0Abreak/slim_report.json\"") && !page.contains("<b>"), "{page}");
    let mut table = csv::Reader::from_path(folder.path().join("out/summary.csv")).unwrap();
    let rows: Vec<String> = table.records().map(|row| row.unwrap()[0].to_string()).collect();
    // A line break would make one row look like two.
    assert_eq!(rows, sorted.map(|name| name.replace('\n', "[U+000A]")));
}

#[test]
fn what_no_batch_wrote_is_not_replaced() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 2);
    copy_folder(&fixture(ADAPTER), &folder.path().join("out/team0/a0"));
    batch(folder.path(), "out", &["--boundary", "2"]).code(2);
    let kept = records(&folder.path().join("out/results.jsonl"));
    assert!(kept[0]["error"].as_str().unwrap().contains("already exists"), "{}", kept[0]);
    assert_eq!(kept[1]["status"], "done");
    batch(folder.path(), "out", &["--boundary", "2", "--force"]).success();
    batch(folder.path(), "in/out", &["--boundary", "2"]).code(2);
}
