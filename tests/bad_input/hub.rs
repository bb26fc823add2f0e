//! Names that the Hugging Face Hub does not give, and hubs that answer wrongly.

use std::fs;

use serde_json::json;

use super::BAD_INPUT;
use crate::hub::{hub, run, set_base};
use crate::support::fixture;
use crate::support::hub::{Access, COMMIT, TOKEN, Trouble};

const IO: i32 = 4;
const INSPECT: [&str; 2] = ["inspect", "user/adapter"];

fn says(stderr: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(stderr.contains(word), "`{word}` is not in: {stderr}"));
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{stderr}");
}

#[test]
fn a_name_that_is_neither_a_path_nor_a_repository() {
    let hub = hub();
    let stderr = run(&hub, BAD_INPUT, &["inspect", "adapters/mine"]);
    says(
        &stderr,
        &["`adapters/mine` is neither a local path nor a repository at http://127", "check the path", "HF_TOKEN"],
    );
    // What can only be a path is not asked for.
    hub.requests();
    for path in [
        "mine",
        "./adapters/mine",
        "/adapters/mine",
        "a/b/c",
        "../a",
        "a/..",
        "a b/c",
        "http://host/a",
        "a--b/c",
        "~/a",
    ] {
        says(&run(&hub, BAD_INPUT, &["inspect", path]), &["neither a local path nor in the Hugging Face cache"]);
        assert!(hub.requests().is_empty(), "{path}");
    }
}

/// A quantised base model that cannot be had has a sibling that can stand in for it.
#[test]
fn a_quantised_model_that_is_not_there_has_a_sibling() {
    let hub = hub();
    let samples = fixture("pico/samples.tokens.jsonl").display().to_string();
    let scan = ["scan", "user/adapter", "--base", "org/model-bnb-4bit", "--samples", &samples];
    let stderr = run(&hub, BAD_INPUT, &scan);
    says(&stderr, &["check the path", "`--base org/model`, the model in full precision"]);
}

#[test]
fn repositories_that_are_not_for_everybody() {
    let hub = hub();
    let with_token = |token: &str, words: &[&str]| {
        let assert = hub.lora_slim().args(INSPECT).env("HF_TOKEN", token).assert().code(BAD_INPUT);
        let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(token.len() < 5 || !stderr.contains(token), "{stderr}");
        says(&stderr, words);
    };
    hub.restrict("user/adapter", Access::Gated);
    says(&run(&hub, BAD_INPUT, &INSPECT), &["granted by its owner", "ask for access at http", "HF_TOKEN"]);
    hub.restrict("user/adapter", Access::Private);
    says(&run(&hub, BAD_INPUT, &INSPECT), &["neither a local path nor a repository", "needs a token"]);
    with_token("hf_AnotherSecret", &["does not accept the token", "hf auth login"]);
    hub.restrict("user/adapter", Access::Everybody);
    hub.trouble("", Trouble::Status { status: 403, times: 1 });
    with_token(TOKEN, &["granted by its owner", "with the account of the token"]);
    let assert = hub.lora_slim().args(INSPECT).env("HF_TOKEN", "hf_two words").assert().code(2);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    says(&stderr, &["`HF_TOKEN` holds what cannot be a token"]);
    assert!(!stderr.contains("two words"));
}

#[test]
fn revisions_and_files_that_are_not_there() {
    let hub = hub();
    says(&run(&hub, BAD_INPUT, &["inspect", "user/adapter@v9"]), &["has no revision `v9`", "user/adapter@main"]);
    let check = |base: &str| run(&hub, BAD_INPUT, &["check", "user/adapter", "--base", base]);
    says(&check("org/model/x.gguf"), &["has no file `x.gguf`"]);
    says(&run(&hub, BAD_INPUT, &["inspect", "org/model"]), &["is no adapter: it has no adapter_config.json", "--base"]);
    hub.add_files(
        "org/pickles",
        [("config.json", "{}"), ("pytorch_model.bin", "x")].map(|(name, text)| (name.into(), text.into())).into(),
    );
    says(&check("org/pickles"), &["no safetensors and no GGUF file", "local folder"]);
    hub.add_files("org/empty", Default::default());
    says(&check("org/empty"), &["no config.json and no GGUF file"]);
}

#[test]
fn hubs_that_cannot_be_reached() {
    let hub = hub();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let with = |endpoint: &str, code: i32, words: &[&str]| {
        let assert = hub.lora_slim().args(INSPECT).env("HF_ENDPOINT", endpoint).assert().code(code);
        says(&String::from_utf8_lossy(&assert.get_output().stderr), words);
    };
    with(
        &format!("http://127.0.0.1:{port}"),
        IO,
        &["`user/adapter` is not on this machine", "refuses the connection", "local path"],
    );
    with("huggingface.co", 2, &["`HF_ENDPOINT` is not the address of a hub"]);
    with("http://me:password@127.0.0.1", 2, &["`HF_ENDPOINT`"]);
    hub.trouble("", Trouble::Status { status: 500, times: 100 });
    says(&run(&hub, IO, &INSPECT), &["has a problem of its own (status 500)", "again later"]);
}

#[test]
fn files_that_arrive_wrong() {
    let hub = hub();
    let file = "adapter_model.safetensors";
    let fails = |trouble: Trouble, code: i32, words: &[&str]| {
        hub.trouble(file, trouble);
        says(&run(&hub, code, &INSPECT), words);
        hub.no_trouble();
        let snapshots = hub.cache().join("models--user--adapter/snapshots");
        assert!(!snapshots.exists(), "{words:?}");
        fs::remove_dir_all(hub.cache()).unwrap();
    };
    fails(Trouble::Damage, IO, &["arrived damaged", "SHA-256"]);
    fails(Trouble::Header("X-Linked-Size", "10".into()), IO, &["arrived damaged", "length"]);
    fails(Trouble::Header("X-Linked-Size", (1u64 << 60).to_string()), IO, &["more in `", "free", "HF_HUB_CACHE"]);
    fails(Trouble::Cut { after: 0, times: 100 }, IO, &["did not arrive", "the connection was cut"]);
    fails(Trouble::Status { status: 404, times: 100 }, IO, &["did not arrive", "status 404"]);
}

/// What a hub says is no more to be trusted than a file.
#[test]
fn hubs_that_attack() {
    let hub = hub();
    let file = "adapter_model.safetensors";
    let refused = |words: &[&str]| {
        says(&run(&hub, BAD_INPUT, &INSPECT), words);
        hub.no_trouble();
        let names: Vec<_> = fs::read_dir(hub.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| ["samples.jsonl", "cache", "home"].iter().any(|own| name == own)), "{names:?}");
    };
    for etag in ["\"../../../../evil\"", "\"/etc/evil\"", "\"\"", "\"..\"", "\"a/b\""] {
        hub.trouble(file, Trouble::Header("X-Linked-Etag", etag.into()));
        refused(&["without a usable ETag"]);
    }
    for location in ["file:///etc/passwd", "ftp://host/x", "x", "http://me:pw@127.0.0.1/x"] {
        hub.trouble("adapter_config.json", Trouble::Header("Location", location.into()));
        run(&hub, 0, &INSPECT);
        fs::remove_dir_all(hub.cache()).unwrap();
        hub.no_trouble();
        hub.trouble(file, Trouble::Header("Location", location.into()));
        refused(&["what a hub does not say"]);
    }
    for commit in ["../../../evil", "", "0123", &COMMIT.to_uppercase()] {
        hub.set_commit("user/adapter", commit);
        refused(&["its commit is no hash"]);
    }
    hub.set_commit("user/adapter", COMMIT);
    for name in ["../../../evil", "/etc/evil", "a/../../evil", "a\\..\\evil"] {
        hub.add_files("user/evil", [(name.to_string(), b"x".to_vec())].into());
        says(&run(&hub, BAD_INPUT, &["inspect", "user/evil"]), &["leads out of its folder"]);
    }
    assert!(!hub.folder.path().join("evil").exists());
}

/// The name of the base model comes from a file.
#[test]
fn names_in_adapters_are_not_trusted() {
    let hub = hub();
    run(&hub, 0, &INSPECT);
    for name in [
        "../../no-such",
        "/no/such/model",
        "https://host/model",
        "org/model/../..",
        "file:///x",
        "org/model@../../x",
        "org/mo\ndel",
        "-x/y",
    ] {
        fs::remove_dir_all(hub.cache()).unwrap();
        set_base(&hub, json!(name));
        run(&hub, 0, &INSPECT);
        hub.requests();
        let stderr = run(&hub, BAD_INPUT, &["scan", "user/adapter", "--samples", "samples.jsonl"]);
        says(&stderr, &["neither a local path nor in the Hugging Face cache"]);
        assert!(hub.requests().is_empty(), "{name}");
    }
}
