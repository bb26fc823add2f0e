//! Names on the Hugging Face Hub, fetched from a server on the loopback: what is asked of it, and what is in the cache afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lora_slim::{Samples, Slim};
use serde_json::{Value, json};

use crate::support::hub::{Access, COMMIT, Hub, TOKEN, Trouble};
use crate::support::{ADAPTER, fixture, read_json};

const BASE: &str = "pico/llama-llama3-rope/base";
const SCAN: [&str; 5] = ["scan", "user/adapter", "--samples", "samples.jsonl", "--boundary=2"];

/// A hub with an adapter, its base model, and more beside them than is needed.
pub fn hub() -> Hub {
    let hub = Hub::new();
    fs::copy(fixture("pico/samples.tokens.jsonl"), hub.folder.path().join("samples.jsonl")).unwrap();
    hub.add("user/adapter", &fixture(ADAPTER));
    set_base(&hub, json!("org/model"));
    for file in ["adapter_model.bin", "optimizer.pt", "checkpoint-1/adapter_model.safetensors", "README.md"] {
        hub.add_file("user/adapter", file, b"text");
    }
    hub.add("org/model", &fixture(BASE));
    for file in ["pytorch_model.bin", "original/consolidated.00.pth", "README.md", "consolidated.safetensors"] {
        hub.add_file("org/model", file, b"not needed");
    }
    hub
}

/// Lets the adapter name this base model.
pub fn set_base(hub: &Hub, name: Value) {
    let mut config = read_json(&fixture(ADAPTER).join("adapter_config.json"));
    config["base_model_name_or_path"] = name;
    hub.add_file("user/adapter", "adapter_config.json", config.to_string().as_bytes());
}

/// The error output of a command that ends with this code.
pub fn run(hub: &Hub, code: i32, words: &[&str]) -> String {
    let assert = hub.lora_slim().args(words).assert().code(code);
    let output = assert.get_output();
    let all = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(!all.concat().contains(TOKEN) && !all.concat().contains("panicked"), "{all:?}");
    all[1].clone()
}

fn fetched(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("fetching ")).collect()
}

/// The files below a folder, with the targets of links.
fn tree(folder: &Path) -> BTreeMap<String, Option<String>> {
    let entries = walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| !entry.file_type().is_dir());
    let target = |path: &Path| fs::read_link(path).ok().map(|target| target.display().to_string());
    entries
        .map(|entry| (entry.path().strip_prefix(folder).unwrap().display().to_string(), target(entry.path())))
        .collect()
}

#[test]
fn an_adapter_and_its_base_are_fetched_once() {
    let hub = hub();
    let slim = ["slim", "user/adapter", "--samples", "samples.jsonl", "--boundary=2", "-o"];
    let stderr = run(&hub, 0, &[&slim[..], &["out"]].concat());
    let expected =
        [("user/adapter", ""), ("org/model", "")].map(|(name, _)| format!("fetching `{name}` from {}", hub.address()));
    assert_eq!(fetched(&stderr), expected);
    let asked: Vec<String> = hub.requests().into_iter().map(|request| request.path).collect();
    for needed in ["adapter_model.safetensors", "README.md", "tokenizer.json", "config.json", "model/resolve"] {
        assert!(asked.iter().any(|path| path.contains(needed)), "{needed}: {asked:#?}");
    }
    for other in [".bin", ".pt", "checkpoint", "original", "consolidated", "model/resolve/{COMMIT}/README.md"] {
        let other = other.replace("{COMMIT}", COMMIT);
        assert!(!asked.iter().any(|path| path.contains(&other)), "{other}: {asked:#?}");
    }
    let stderr = run(&hub, 0, &[&slim[..], &["again"]].concat());
    assert!(fetched(&stderr).is_empty() && hub.requests().is_empty(), "{stderr}");
    // The same as from a local folder.
    let local = fixture(BASE).display().to_string();
    run(&hub, 0, &[&slim[..], &["local", "--base", &local]].concat());
    let bytes = |name: &str| fs::read(hub.folder.path().join(name).join("adapter_model.safetensors")).unwrap();
    assert!(bytes("out") == bytes("local"));
    assert!(hub.folder.path().join("out/README.md").is_file());
}

#[cfg(unix)]
#[test]
fn the_cache_is_as_the_hubs_own_client_leaves_it() {
    let hub = hub();
    hub.add_file("org/model", "additional_chat_templates/tools.jinja", b"{{ messages }}");
    run(&hub, 0, &SCAN);
    let repository = hub.cache().join("models--org--model");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    let tree = tree(&repository);
    let target = |name: &str| tree[&format!("snapshots/{COMMIT}/{name}")].clone().unwrap();
    let weights = target("model.safetensors");
    assert!(weights.starts_with("../../blobs/") && weights.len() == "../../blobs/".len() + 64, "{weights}");
    assert_eq!(target("config.json").len(), "../../blobs/".len() + 40);
    assert!(target("additional_chat_templates/tools.jinja").starts_with("../../../blobs/"));
    let names: Vec<&str> = tree.keys().filter_map(|name| name.strip_prefix("blobs/")).collect();
    assert!(names.iter().all(|name| [40, 64].contains(&name.len())), "{names:?}");
    let locks = tree_of_locks(&hub);
    assert!(locks.iter().any(|name| name.starts_with("models--org--model/") && name.ends_with(".lock")), "{locks:?}");
}

#[cfg(unix)]
fn tree_of_locks(hub: &Hub) -> Vec<String> {
    tree(&hub.cache().join(".locks")).into_keys().collect()
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let hub = hub();
    hub.restrict("user/adapter", Access::Private);
    hub.restrict("org/model", Access::Gated);
    let home = hub.folder.path().join("home");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("token"), format!("{TOKEN}\n")).unwrap();
    run(&hub, 0, &SCAN);
    let (large, own): (Vec<_>, Vec<_>) = hub.requests().into_iter().partition(|request| request.is_large);
    assert!(large.len() >= 2 && large.iter().all(|request| request.token.is_none()), "{large:#?}");
    let expected = format!("Bearer {TOKEN}");
    assert!(own.iter().all(|request| request.token.as_deref() == Some(&expected)), "{own:#?}");
    // Not below the cache either.
    let report = hub.lora_slim().args(SCAN).arg("--json").output().unwrap();
    assert!(!String::from_utf8_lossy(&report.stdout).contains(TOKEN));
    // An environment that says so sends none.
    fs::remove_dir_all(hub.cache()).unwrap();
    hub.lora_slim().args(SCAN).env("HF_TOKEN", TOKEN).env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1").assert().code(3);
    hub.lora_slim().args(SCAN).env("HF_TOKEN", TOKEN).assert().success();
}

#[test]
fn offline_means_no_connection() {
    let hub = hub();
    let offline = |command: &mut assert_cmd::Command| {
        let assert = command.args(SCAN).assert().code(3);
        let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(stderr.contains("hf download user/adapter") && stderr.contains("--offline"), "{stderr}");
        assert!(hub.requests().is_empty());
    };
    offline(hub.lora_slim().arg("--offline"));
    for (name, value) in [("HF_HUB_OFFLINE", "1"), ("HF_HUB_OFFLINE", "True"), ("TRANSFORMERS_OFFLINE", "yes")] {
        offline(hub.lora_slim().env(name, value));
    }
    // What is there is enough.
    run(&hub, 0, &SCAN);
    hub.requests();
    run(&hub, 0, &[&["--offline"], &SCAN[..]].concat());
    assert!(hub.requests().is_empty());
}

#[test]
fn a_quiet_run_says_nothing() {
    let hub = hub();
    let stderr = run(&hub, 0, &[&["-q"], &SCAN[..]].concat());
    assert!(fetched(&stderr).is_empty(), "{stderr}");
}

#[test]
fn revisions_are_branches_tags_and_commits() {
    let hub = hub();
    for (name, reference) in [("v1", Some("v1")), ("refs/pr/1", Some("refs/pr/1")), (COMMIT, None)] {
        let adapter = format!("user/adapter@{name}");
        run(&hub, 0, &["inspect", &adapter]);
        assert!(!hub.requests().is_empty(), "{name}");
        run(&hub, 0, &["inspect", &adapter]);
        assert!(hub.requests().is_empty(), "{name}");
        let refs = hub.cache().join("models--user--adapter/refs");
        assert!(reference.is_none_or(|name| fs::read_to_string(refs.join(name)).unwrap() == COMMIT));
        fs::remove_dir_all(hub.cache()).unwrap();
    }
    // The revision of the base model that the adapter names.
    set_base(&hub, json!("org/model@v1"));
    run(&hub, 0, &SCAN);
    assert!(hub.cache().join("models--org--model/refs/v1").is_file());
}

#[test]
fn a_cut_connection_is_taken_up_again() {
    let hub = hub();
    let file = "model.safetensors";
    hub.trouble(file, Trouble::Cut { after: 5000, times: 3 });
    run(&hub, 0, &SCAN);
    let starts = |hub: &Hub| -> Vec<usize> {
        hub.requests()
            .iter()
            .filter(|request| request.is_large && request.path.ends_with("/model.safetensors"))
            .map(|request| request.start)
            .collect()
    };
    assert_eq!(starts(&hub), [0, 5000, 10_000, 15_000]);
    // What has arrived is kept for the next run, whatever ended the first.
    fs::remove_dir_all(hub.cache()).unwrap();
    hub.trouble(file, Trouble::Cut { after: 0, times: 100 });
    hub.trouble("config.json", Trouble::Cut { after: 7, times: 1 });
    let stderr = run(&hub, 4, &SCAN);
    assert!(stderr.contains("did not arrive") && stderr.contains("what has arrived is kept"), "{stderr}");
    assert!(!hub.cache().join("models--org--model/refs").exists());
    hub.trouble(file, Trouble::Cut { after: 3000, times: 1 });
    starts(&hub);
    run(&hub, 0, &SCAN);
    assert_eq!(starts(&hub), [0, 3000]);
}

#[test]
fn what_an_earlier_run_left_is_continued() {
    let hub = hub();
    run(&hub, 0, &["inspect", "user/adapter"]);
    let repository = hub.cache().join("models--user--adapter");
    let link = repository.join("snapshots").join(COMMIT).join("adapter_model.safetensors");
    let blob = link.canonicalize().unwrap();
    let content = fs::read(&blob).unwrap();
    let partial = blob.with_extension("incomplete");
    let leave = |bytes: &[u8]| {
        fs::remove_file(&link).unwrap();
        fs::remove_file(&blob).unwrap();
        fs::write(&partial, bytes).unwrap();
        hub.requests();
        run(&hub, 0, &["inspect", "user/adapter"]);
        assert!(fs::read(&blob).unwrap() == content && !partial.exists());
        let requests = hub.requests();
        requests.iter().filter(|request| request.is_large).map(|request| request.start).collect::<Vec<_>>()
    };
    assert_eq!(leave(&content[..1000]), [1000]);
    assert_eq!(leave(&content), [0usize; 0]);
    assert_eq!(leave(&[&content[..], b"more"].concat()), [0]);
    hub.trouble("adapter_model.safetensors", Trouble::NoRanges);
    assert_eq!(leave(&content[..1000]), [1000]);
}

#[test]
fn a_server_that_fails_for_a_moment_is_asked_again() {
    let hub = hub();
    for (file, status) in [("", 503), ("tokenizer.json", 500), ("model.safetensors", 429)] {
        hub.trouble(file, Trouble::Status { status, times: 2 });
    }
    run(&hub, 0, &SCAN);
}

#[test]
fn a_renamed_repository_is_found() {
    let hub = hub();
    hub.rename("old/name", "org/model");
    set_base(&hub, json!("old/name"));
    run(&hub, 0, &SCAN);
    assert!(hub.cache().join("models--old--name/refs/main").is_file());
}

#[test]
fn one_file_of_a_repository_of_gguf_files() {
    let hub = hub();
    let folder = fixture("gguf-split");
    hub.add("org/gguf", &folder);
    hub.add_file("org/gguf", "config.json", b"{}");
    // Another model, but a model.
    run(&hub, 5, &["check", "user/adapter", "--base", "org/gguf"]);
    hub.add_file("org/gguf", "other.gguf", b"GGUF");
    fs::remove_dir_all(hub.cache()).unwrap();
    let stderr = run(&hub, 3, &["check", "user/adapter", "--base", "org/gguf"]);
    assert!(stderr.contains("several GGUF models") && stderr.contains("`org/gguf/other.gguf`"), "{stderr}");
    let named = ["check", "user/adapter", "--base", "org/gguf/pico-00001-of-00002.gguf"];
    run(&hub, 5, &named);
    hub.requests();
    run(&hub, 5, &named);
    assert!(hub.requests().is_empty());
}

/// Snapshots with the files that another program needed.
#[test]
fn what_is_missing_of_a_snapshot_is_fetched() {
    let hub = hub();
    run(&hub, 0, &["cut", "user/adapter", "--boundary=2", "--format=mlx", "-o", "out"]);
    let asked = hub.requests();
    let of_base: Vec<_> = asked.iter().filter(|request| request.path.contains("/org/model/resolve")).collect();
    assert!(
        !of_base.is_empty() && of_base.iter().all(|request| request.path.ends_with("/config.json")),
        "{of_base:#?}"
    );
    run(&hub, 0, &SCAN);
    let asked = hub.requests();
    assert!(asked.iter().any(|request| request.path.ends_with("/model.safetensors")), "{asked:#?}");
    assert!(
        !asked.iter().any(|request| request.method == "GET" && request.path.ends_with("/config.json")),
        "{asked:#?}"
    );
}

#[test]
fn every_command_takes_names() {
    let hub = hub();
    let forget = || fs::remove_dir_all(hub.cache()).unwrap();
    for (words, code) in [
        (&["inspect", "user/adapter"][..], 0),
        (&["check", "user/adapter"], 0),
        (&["check", "user/adapter", "--base", "org/model"], 0),
        (&["cut", "user/adapter", "--boundary=2", "-o", "cut"], 0),
        (&["verify", "user/adapter", "cut"], 0),
        (&["fix", "user/adapter", "--base", "org/model", "-o", "fixed"], 0),
        (&["scan", "user/adapter", "--base", "org/model", "--samples=samples.jsonl", "--boundary=2"], 0),
    ] {
        run(&hub, code, words);
        assert!(!hub.requests().is_empty(), "{words:?}");
        forget();
    }
}

#[test]
fn a_batch_fetches_what_its_jobs_name() {
    let hub = hub();
    let jobs = ["user/adapter", "user/missing"].map(|name| json!({"adapter": name}).to_string() + "\n");
    fs::write(hub.folder.path().join("jobs.jsonl"), jobs.concat()).unwrap();
    let batch = ["batch", "--manifest=jobs.jsonl", "--samples=samples.jsonl", "--boundary=2", "-o", "out"];
    run(&hub, 3, &batch);
    assert!(hub.folder.path().join("out/adapter/adapter_model.safetensors").is_file());
    let results = fs::read_to_string(hub.folder.path().join("out/results.jsonl")).unwrap();
    assert!(results.contains("neither a local path nor a repository"), "{results}");
    // A failure of the network is no last word on a job.
    hub.add("user/missing", &fixture(ADAPTER));
    hub.trouble("adapter_model.safetensors", Trouble::Cut { after: 0, times: 100 });
    run(&hub, 4, &batch);
    hub.no_trouble();
    set_base(&hub, json!("org/model"));
    let mut config = read_json(&fixture(ADAPTER).join("adapter_config.json"));
    config["base_model_name_or_path"] = json!("org/model");
    hub.add_file("user/missing", "adapter_config.json", config.to_string().as_bytes());
    run(&hub, 0, &batch);
}

#[test]
fn runs_at_the_same_time_fetch_a_file_once() {
    let hub = hub();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| run(&hub, 0, &["inspect", "user/adapter"]));
        }
    });
    let large = hub.requests().iter().filter(|request| request.is_large).count();
    assert_eq!(large, 1);
}

/// Ctrl-C keeps what has arrived.
#[cfg(unix)]
#[test]
fn an_interrupted_fetch_is_continued() {
    let hub = hub();
    hub.trouble("adapter_model.safetensors", Trouble::Silence { after: 3000 });
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("lora-slim"));
    command.envs(hub.environment()).current_dir(hub.folder.path()).args(["inspect", "user/adapter"]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let blobs = hub.cache().join("models--user--adapter/blobs");
    let partial = || -> u64 {
        let files = fs::read_dir(&blobs).into_iter().flatten().flatten();
        let mut partial = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "incomplete"));
        partial.next().map_or(0, |file| file.metadata().unwrap().len())
    };
    while partial() < 3000 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // SAFETY: sends a signal to the child, which has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(partial(), 3000);
    hub.no_trouble();
    hub.requests();
    run(&hub, 0, &["inspect", "user/adapter"]);
    assert!(hub.requests().iter().any(|request| request.start == 3000));
}

#[test]
fn the_library_fetches_only_when_asked() {
    let hub = hub();
    let run = |fetch: &str| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "hub::in_a_process_of_its_own", "--ignored"]).current_dir(hub.folder.path());
        assert!(child.envs(hub.environment()).env("FETCH", fetch).output().unwrap().status.success());
        hub.requests().len()
    };
    assert_eq!(run(""), 0);
    assert!(run("1") > 0);
    assert_eq!(run("1"), 0);
}

/// The environment, which belongs to the process, names the hub.
#[test]
#[ignore = "the test above runs it"]
fn in_a_process_of_its_own() {
    let fetch = std::env::var("FETCH").is_ok_and(|value| !value.is_empty());
    let slim = Slim::new("user/adapter", Samples::file("samples.jsonl")).fetch(fetch).boundary(2);
    assert_eq!(slim.evaluate().is_ok(), fetch);
}
