//! No output replaces an input, lies in one or contains one, whatever it is called.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::bad_input::Setup;
use crate::support::kill::{contents, strays};
use crate::support::{copy_folder, fixture, lora_slim};

const USAGE: i32 = 2;

/// Makes a folder one that `--force` would replace.
fn disguise(setup: &Setup, folder: &str) {
    fs::create_dir_all(setup.path(folder)).unwrap();
    fs::write(setup.path(folder).join("adapter_config.json"), "{}").unwrap();
}

/// Runs a command that must refuse its output because of an input, and must leave everything as it was.
fn refused(setup: &Setup, args: &[&str]) {
    let before = contents(setup.folder.path());
    let assert = lora_slim().current_dir(setup.folder.path()).args(args).assert().code(USAGE);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("overlap") && said.contains("hint: inputs are never changed"), "{args:?}: {said}");
    assert!(contents(setup.folder.path()) == before, "{args:?}");
    assert_eq!(strays(setup.folder.path()), Vec::<String>::new(), "{args:?}");
}

#[test]
fn what_cut_and_fix_read_is_kept() {
    let setup = Setup::new();
    disguise(&setup, "base");
    let gguf = ["cut", "adapter", "--boundary", "2", "--format", "gguf"];
    for output in ["base", "base/sub", "base/new/deep", "adapter", "adapter/sub"] {
        refused(&setup, &[&gguf[..], &["--base", "base", "-o", output, "--force"]].concat());
        refused(&setup, &["cut", "adapter", "--boundary", "2", "--base", "base", "-o", output, "--force"]);
        refused(&setup, &["fix", "adapter", "--base", "base", "-o", output, "--force"]);
    }
    // One that only the adapter names.
    let base = setup.path("base").display().to_string();
    setup.edit_json("adapter/adapter_config.json", |config| config["base_model_name_or_path"] = json!(base));
    for output in ["base", "base/sub"] {
        refused(&setup, &[&gguf[..], &["-o", output, "--force"]].concat());
        refused(&setup, &["cut", "adapter", "--boundary", "2", "-o", output, "--force"]);
        refused(&setup, &["fix", "adapter", "-o", output, "--force"]);
    }
    // A folder around it.
    fs::create_dir(setup.path("all")).unwrap();
    fs::rename(setup.path("base"), setup.path("all/base")).unwrap();
    disguise(&setup, "all");
    refused(&setup, &[&gguf[..], &["--base", "all/base", "-o", "all", "--force"]].concat());
}

#[test]
fn what_slim_reads_is_kept() {
    let setup = Setup::new();
    copy_folder(&fixture("pico/tokenizer"), &setup.path("tk"));
    for folder in ["tk", "data", "mine"] {
        disguise(&setup, folder);
    }
    fs::copy(setup.path("samples.jsonl"), setup.path("data/val.jsonl")).unwrap();
    fs::copy(setup.path("samples.jsonl"), setup.path("mine/test.jsonl")).unwrap();
    fs::write(setup.path("mine/score.py"), "").unwrap();
    fs::write(setup.path("mine/chat.jinja"), "").unwrap();
    fs::write(setup.path("mine/lora-slim.toml"), "quiet = true").unwrap();
    let slim = ["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "--force", "-o"];
    let cases: [&[&str]; 10] = [
        &["base/sub"],
        &["tk", "--tokenizer", "tk"],
        &["tk/sub", "--tokenizer", "tk"],
        &["tk", "--tokenizer", "tk/tokenizer.json"],
        &["data", "--samples", "data/val.jsonl"],
        &["data/sub", "--samples", "data"],
        &["mine", "--test", "mine/test.jsonl"],
        &["mine", "--chat-template", "mine/chat.jinja"],
        &["mine", "--scorer", "python 'mine/score.py' --fast"],
        &["mine", "--config", "mine/lora-slim.toml"],
    ];
    for case in cases {
        let out = case[0];
        refused(&setup, &[&slim[..], case].concat());
        let page = format!("{out}/page.html");
        let scan = ["scan", "adapter", "--base", "base", "--samples", "samples.jsonl", "--report", &page];
        if ["base/sub", "tk/sub", "data/sub"].contains(&out) {
            refused(&setup, &[&scan[..], &case[1..]].concat());
        }
    }
    // A page has the mark of a page, wherever it lies.
    fs::write(setup.path("tk/page.html"), "<!doctype html><!-- lora-slim report -->").unwrap();
    let scan = ["scan", "adapter", "--base", "base", "--samples", "samples.jsonl", "--tokenizer", "tk"];
    refused(&setup, &[&scan[..], &["--report", "tk/page.html"]].concat());
}

/// The file of a GGUF model, and files that a folder only links to.
#[cfg(unix)]
#[test]
fn what_lies_elsewhere_is_kept_too() {
    use std::os::unix::fs::symlink;
    let setup = Setup::new();
    fs::create_dir(setup.path("blobs")).unwrap();
    fs::rename(setup.path("base/model.safetensors"), setup.path("blobs/weights")).unwrap();
    symlink("../blobs/weights", setup.path("base/model.safetensors")).unwrap();
    disguise(&setup, "blobs");
    // That the weights are read is known once they were.
    let args = ["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "--boundary", "2", "--force"];
    refused(&setup, &[&args[..], &["-o", "blobs"]].concat());
    // Other names of the same folder.
    symlink("base", setup.path("link")).unwrap();
    refused(&setup, &["cut", "adapter", "--boundary", "2", "--base", "base", "-o", "link/sub"]);
    refused(&setup, &["cut", "adapter", "--boundary", "2", "--base", "link", "-o", "base/sub"]);
    refused(&setup, &["cut", "adapter", "--boundary", "2", "--base", "base", "-o", "x/../base/../link/sub"]);
    // One file protects itself, and not what lies beside it.
    fs::create_dir(setup.path("models")).unwrap();
    fs::copy(fixture("pico/cohere/gguf/base.gguf"), setup.path("models/pico.gguf")).unwrap();
    disguise(&setup, "models");
    let adapter = fixture("pico/cohere/adapter").display().to_string();
    let cut = ["cut", &adapter, "--boundary", "1", "--base", "models/pico.gguf", "--force", "-o"];
    refused(&setup, &[&cut[..], &["models"]].concat());
    lora_slim().current_dir(setup.folder.path()).args(cut).arg("models/out").assert().success();
}

/// A name in the Hugging Face cache.
#[cfg(unix)]
#[test]
fn the_cache_is_kept() {
    let setup = Setup::new();
    let snapshot = "cache/models--org--pico/snapshots/main";
    fs::create_dir_all(setup.path(snapshot).parent().unwrap()).unwrap();
    fs::rename(setup.path("base"), setup.path(snapshot)).unwrap();
    disguise(&setup, "cache/models--org--pico");
    for output in [&format!("{snapshot}/sub"), snapshot, "cache/models--org--pico"] {
        let before = contents(setup.folder.path());
        let mut command = lora_slim();
        command.current_dir(setup.folder.path()).env("HF_HUB_CACHE", setup.path("cache"));
        command.args(["cut", "adapter", "--boundary", "2", "--base", "org/pico", "--force", "-o", output]);
        command.assert().code(USAGE);
        assert!(contents(setup.folder.path()) == before, "{output}");
    }
}

fn manifest(setup: &Setup, jobs: &[serde_json::Value]) {
    let lines: String = jobs.iter().map(|job| format!("{job}\n")).collect();
    fs::write(setup.path("jobs.jsonl"), lines).unwrap();
}

/// Runs a batch in which one output is refused because it is another job's input.
fn refused_in_batch(setup: &Setup, kept: &[&str]) {
    let all = || kept.iter().map(|path| contents(&setup.path(path))).collect::<Vec<_>>();
    let before = all();
    let line = ["batch", "--manifest", "jobs.jsonl", "-o", "out", "--boundary", "2", "--force"];
    let assert = lora_slim().current_dir(setup.folder.path()).args(line).assert().code(USAGE);
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(said.contains("overlap"), "{said}");
    assert!(all() == before);
}

#[cfg(unix)]
#[test]
fn no_job_writes_into_what_another_reads() {
    use std::os::unix::fs::symlink;
    let setup = Setup::new();
    copy_folder(&setup.path("adapter"), &setup.path("other"));
    fs::create_dir(setup.path("out")).unwrap();
    // By a link in the place of its output.
    symlink("../other", setup.path("out/a")).unwrap();
    manifest(&setup, &[json!({"adapter": "adapter", "output": "a"}), json!({"adapter": "other", "output": "b"})]);
    refused_in_batch(&setup, &["other", "adapter"]);
    // The samples, the base and the tokenizer of another job lie where an output is to be.
    fs::remove_file(setup.path("out/a")).unwrap();
    disguise(&setup, "out/a");
    fs::copy(setup.path("samples.jsonl"), setup.path("out/a/val.jsonl")).unwrap();
    copy_folder(&setup.path("base"), &setup.path("out/a/base"));
    fs::write(setup.path("out/a/chat.jinja"), "").unwrap();
    for of_other in [
        json!({"samples": "out/a/val.jsonl", "base": "base"}),
        json!({"options": {"base": "out/a/base", "boundary": 1}}),
        json!({"base": "out/a/base"}),
        json!({"samples": "samples.jsonl", "options": {"chat-template": "out/a/chat.jinja", "base": "base"}}),
        json!({"samples": "samples.jsonl", "base": "base", "options": {"test": "out/a/val.jsonl"}}),
    ] {
        let mut other = json!({"adapter": "other", "output": "b"});
        for (key, value) in of_other.as_object().unwrap() {
            other[key] = value.clone();
        }
        manifest(&setup, &[json!({"adapter": "adapter", "output": "a"}), other]);
        refused_in_batch(&setup, &["out/a", "adapter", "other"]);
    }
}

/// Inputs that have the names of the batch's own files.
#[test]
fn the_files_of_a_batch_are_no_inputs() {
    let setup = Setup::new();
    fs::create_dir(setup.path("out")).unwrap();
    let line = json!({"adapter": "adapter", "output": "a"}).to_string() + "\n";
    fs::write(setup.path("out/results.jsonl"), &line).unwrap();
    let batch = ["batch", "--boundary", "2", "-o", "out", "--manifest", "out/results.jsonl"];
    let assert = lora_slim().current_dir(setup.folder.path()).args(batch).assert().code(USAGE);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("overlap"), "{said}");
    assert_eq!(fs::read_to_string(setup.path("out/results.jsonl")).unwrap(), line);
    // A manifest that lies beside them is none of their business.
    fs::rename(setup.path("out/results.jsonl"), setup.path("out/jobs.jsonl")).unwrap();
    let batch = ["batch", "--boundary", "2", "-o", "out", "--manifest", "out/jobs.jsonl"];
    lora_slim().current_dir(setup.folder.path()).args(batch).assert().success();
    assert!(Path::new(&setup.path("out/a")).is_dir());
}
