//! `push`, with a program that stands for `hf`: what is passed to it, what is refused before, and what its failures become.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{ADAPTER, Tensors, copy_folder, fixture, lora_slim, read_safetensors, stdout, write_safetensors};

const TOKEN: &str = "hf_SecretSecretSecret";

/// A folder with an adapter, and a program `hf` that does what `script` says.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(script: &str) -> Self {
        let folder = TempDir::new().unwrap();
        copy_folder(&fixture(ADAPTER), &folder.path().join("out"));
        let tools = folder.path().join("tools");
        fs::create_dir(&tools).unwrap();
        fs::write(tools.join("hf"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(tools.join("hf"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn push(&self, words: &[&str]) -> Command {
        let mut command = lora_slim();
        command.arg("push").args(words).current_dir(self.folder.path());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.folder.path().join("tools").display()));
        command.env("HF_TOKEN", TOKEN).env("HF_HUB_OFFLINE", "");
        command
    }

    /// The error output of a push that ends with this code.
    fn refused(&self, code: i32, words: &[&str]) -> String {
        let assert = self.push(words).assert().code(code);
        let output = assert.get_output();
        let all = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(!all.concat().contains(TOKEN) && !all.concat().contains("panicked"), "{all:?}");
        assert_eq!(all[1].lines().filter(|line| line.starts_with("error: ")).count(), 1, "{}", all[1]);
        all[1].clone()
    }
}

fn says(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "`{word}` is not in: {text}"));
}

#[test]
fn the_tool_uploads_the_folder() {
    let place = Place::new("echo \"$@\"; ls; cat adapter_config.json; echo https://hub/user/name");
    let text = stdout(place.push(&["out", "user/name", "--private"]).assert().success());
    says(
        &text,
        &["upload user/name . . --repo-type model --private\n", "adapter_config.json", "peft_type", "https://hub"],
    );
    let text = stdout(place.push(&["out", "user/name"]).assert().success());
    assert!(!text.contains("--private"), "{text}");
    assert_eq!(stdout(place.push(&["out", "user/name", "--quiet"]).assert().success()), "");
}

#[test]
fn a_dry_run_names_the_files_and_starts_nothing() {
    let place = Place::new("touch ../started");
    let text = stdout(place.push(&["out", "user/name", "--private", "--dry-run", "--offline"]).assert().success());
    says(
        &text,
        &["would upload to user/name, private", "adapter_config.json", "adapter_model.safetensors", "2 files, "],
    );
    assert!(!place.folder.path().join("started").exists());
    let mut without_tool = place.push(&["out", "user/name", "--dry-run"]);
    without_tool.env("PATH", "/nowhere").assert().success();
}

#[test]
fn what_slim_writes_can_be_pushed_in_every_format() {
    let place = Place::new("ls");
    for format in ["peft", "gguf", "mlx"] {
        let mut cut = lora_slim();
        cut.args(["cut", "out", "--boundary", "3", "--format", format, "-o", format, "--base"]);
        cut.arg(fixture("pico/llama-llama3-rope/base")).current_dir(place.folder.path()).assert().success();
        let text = stdout(place.push(&[format, "user/name"]).assert().success());
        says(&text, &["slim_report.json"]);
    }
}

#[test]
fn what_is_no_adapter_is_refused() {
    let place = Place::new("touch ../started");
    let path = place.folder.path();
    fs::create_dir(path.join("empty")).unwrap();
    fs::create_dir(path.join("foreign")).unwrap();
    fs::write(path.join("foreign/adapters.safetensors"), "").unwrap();
    copy_folder(&place.out(), &path.join("broken"));
    fs::write(path.join("broken/adapter_model.safetensors"), "cut off").unwrap();
    for (folder, words) in [
        ("missing", ["`missing`", "does not exist"]),
        ("empty", ["`empty`", "adapter_config.json"]),
        ("foreign", ["adapters.safetensors", "lora-slim did not write"]),
        ("broken", ["broken/adapter_model.safetensors", ""]),
        ("tools/hf", ["tools/hf", ""]),
        (".", ["`.`", "below it are adapters"]),
    ] {
        for more in [&["--dry-run"][..], &[]] {
            says(&place.refused(3, &[&[folder, "user/name"], more].concat()), &words);
        }
    }
    assert!(!path.join("started").exists());
}

#[test]
fn what_nobody_needs_who_uses_the_adapter_is_refused() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 18] = [
        ("`.cache/x`", |path| fs::create_dir_all(path.join(".cache/x")).unwrap()),
        ("`.cache/token`", |path| {
            fs::create_dir_all(path.join(".cache/huggingface")).unwrap();
            fs::write(path.join(".cache/token"), "").unwrap();
        }),
        ("`.cache/huggingface`", |path| {
            fs::create_dir(path.join(".cache")).unwrap();
            symlink("/etc", path.join(".cache/huggingface")).unwrap();
        }),
        ("`.git`", |path| fs::write(path.join(".git"), "gitdir: /elsewhere").unwrap()),
        ("`.ssh/`", |path| fs::create_dir(path.join(".ssh")).unwrap()),
        ("`adapter_model-secret.safetensors`", |path| {
            fs::write(path.join("adapter_model-secret.safetensors"), "").unwrap();
        }),
        ("`adapter_model.safetensors.bak`", |path| {
            fs::write(path.join("adapter_model.safetensors.bak"), "").unwrap();
        }),
        ("`adapters.npz`", |path| fs::write(path.join("adapters.npz"), "").unwrap()),
        ("`model-secret.safetensors`", |path| fs::write(path.join("model-secret.safetensors"), "").unwrap()),
        ("`model.safetensors`", |path| fs::write(path.join("model.safetensors"), "").unwrap()),
        ("`training_args.bin`", |path| fs::write(path.join("training_args.bin"), "").unwrap()),
        ("`optimizer.pt`", |path| fs::write(path.join("optimizer.pt"), "").unwrap()),
        ("`checkpoint-5/`", |path| fs::create_dir(path.join("checkpoint-5")).unwrap()),
        ("`.env`", |path| fs::write(path.join(".env"), "SECRET=1").unwrap()),
        ("`val.jsonl`", |path| fs::write(path.join("val.jsonl"), "{}").unwrap()),
        ("`id_rsa`", |path| fs::write(path.join("id_rsa"), "").unwrap()),
        ("`README.md (a link)`", |path| symlink("/etc/passwd", path.join("README.md")).unwrap()),
        ("`tokenizer.json (a link)`", |path| symlink("nowhere", path.join("tokenizer.json")).unwrap()),
    ];
    for (shown, make) in cases {
        let place = Place::new("touch ../started");
        make(&place.out());
        let words = ["`out` holds what is no part of an adapter", shown, "lora-slim cut FOLDER --boundary all"];
        says(&place.refused(3, &["out", "user/name", "--dry-run"]), &words);
        says(&place.refused(3, &["out", "user/name"]), &words);
        assert!(!place.folder.path().join("started").exists());
    }
    let place = Place::new("true");
    fs::create_dir_all(place.out().join(".git")).unwrap();
    fs::write(place.out().join("README.md"), "card").unwrap();
    let text = stdout(place.push(&["out", "user/name", "--dry-run"]).assert().success());
    assert!(text.contains("README.md") && !text.contains(".git"), "{text}");
}

#[test]
fn only_the_listed_files_go_up() {
    let place = Place::new("find . -mindepth 1");
    let out = place.out();
    for folder in [".git/objects", ".cache/huggingface/upload"] {
        fs::create_dir_all(out.join(folder)).unwrap();
        fs::write(out.join(folder).join("secret"), "").unwrap();
    }
    fs::write(out.join("chat [1].jinja"), "").unwrap();
    let text = stdout(place.push(&["out", "user/name"]).assert().success());
    let mut found: Vec<&str> = text.lines().collect();
    found.sort();
    assert_eq!(found, ["./adapter_config.json", "./adapter_model.safetensors", "./chat [1].jinja"]);
    let text = stdout(place.push(&["out", "user/name", "--dry-run"]).assert().success());
    assert!(
        found.iter().all(|name| text.contains(&format!("  {}\n", &name[2..]))) && text.contains("3 files"),
        "{text}"
    );
}

#[test]
fn the_shards_that_an_index_lists_belong_to_the_adapter() {
    let place = Place::new("ls");
    let weights = place.out().join("adapter_model.safetensors");
    let (mut shards, mut map) = (vec![Tensors::new(), Tensors::new()], serde_json::Map::new());
    let name_of = |place: usize| format!("adapter_model-0000{}-of-00002.safetensors", place + 1);
    for (count, (name, tensor)) in read_safetensors(&weights).into_iter().enumerate() {
        map.insert(name.clone(), name_of(count % 2).into());
        shards[count % 2].insert(name, tensor);
    }
    fs::remove_file(weights).unwrap();
    shards.iter().enumerate().for_each(|(number, shard)| write_safetensors(&place.out().join(name_of(number)), shard));
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    fs::write(place.out().join("adapter_model.safetensors.index.json"), index).unwrap();
    let text = stdout(place.push(&["out", "user/name"]).assert().success());
    says(
        &text,
        &["adapter_model-00001-of-00002.safetensors", "-00002-of-00002", "adapter_model.safetensors.index.json"],
    );
    fs::copy(place.out().join(name_of(0)), place.out().join("adapter_model-00003-of-00003.safetensors")).unwrap();
    says(&place.refused(3, &["out", "user/name"]), &["`adapter_model-00003-of-00003.safetensors`"]);
}

#[test]
fn other_weights_beside_a_converted_adapter_are_refused() {
    let place = Place::new("ls");
    let path = place.folder.path();
    for (format, others) in [
        ("gguf", &["model.safetensors", "adapter-secret.gguf", "adapter_config.json"][..]),
        ("mlx", &["model.safetensors", "0000100_adapters.safetensors"]),
    ] {
        let mut cut = lora_slim();
        cut.args(["cut", "out", "--boundary", "3", "--format", format, "-o", format, "--base"]);
        cut.arg(fixture("pico/llama-llama3-rope/base")).current_dir(path).assert().success();
        for other in others {
            fs::write(path.join(format).join(other), "").unwrap();
            says(&place.refused(3, &[format, "user/name"]), &[&format!("what is no part of an adapter: `{other}`")]);
            fs::remove_file(path.join(format).join(other)).unwrap();
        }
    }
}

#[test]
fn of_the_outputs_of_a_batch_each_is_pushed_by_itself() {
    let place = Place::new("true");
    fs::create_dir(place.folder.path().join("batch")).unwrap();
    copy_folder(&place.out(), &place.folder.path().join("batch/one"));
    let stderr = place.refused(3, &["batch", "user/name"]);
    says(&stderr, &["below it are adapters: `one`", "`lora-slim push batch/one user/one`"]);
    assert!(!stderr.contains("lora-slim batch"), "{stderr}");
}

#[test]
fn names_that_are_no_repository_are_refused() {
    let place = Place::new("touch ../started");
    for name in ["name", "user/name@main", "user/name/x.gguf", "https://hub/user/name", "user/../name", "user/a b", ""]
    {
        says(&place.refused(2, &["out", name]), &["is not the name of a repository", "`user/name`"]);
    }
    says(&place.refused(2, &["out", "user/name", "--offline"]), &["`user/name`", "--offline"]);
    assert!(!place.folder.path().join("started").exists());
}

#[test]
fn failures_of_the_tool_are_told_without_its_token() {
    let trace = "echo Traceback >&2; echo 'HfHubHTTPError: 403 Forbidden' >&2; echo \"no right to write: $HF_TOKEN\" >&2; echo 'Hint: set HF_DEBUG' >&2; exit 3";
    let stderr = Place::new(trace).refused(4, &["out", "user/name"]);
    says(
        &stderr,
        &[
            "`hf` did not upload `user/name` (exit status: 3): HfHubHTTPError: 403 Forbidden no right to write: [token]\n",
        ],
    );
    says(&stderr, &["hf auth login"]);
    says(&Place::new("echo only here; exit 1").refused(4, &["out", "user/name"]), &["(exit status: 1): only here"]);
    says(&Place::new("exit 1").refused(4, &["out", "user/name"]), &["it does not say why"]);
    says(&Place::new("kill -9 $$").refused(4, &["out", "user/name"]), &["signal: 9"]);
    let escapes = "printf 'Error: \\033[31mred\\033[0m\\n' >&2; exit 1";
    assert!(!Place::new(escapes).refused(4, &["out", "user/name"]).contains('\u{1b}'));
    let long = "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1";
    assert!(Place::new(long).refused(4, &["out", "user/name"]).len() < 1500);
    let place = Place::new("true");
    fs::remove_file(place.folder.path().join("tools/hf")).unwrap();
    let stderr = place.push(&["out", "user/name"]).env("PATH", "/nowhere").assert().code(2);
    let stderr = String::from_utf8_lossy(&stderr.get_output().stderr).into_owned();
    says(&stderr, &["`hf` is not on this machine", "pip install"]);
    assert!(!stderr.contains("uploading"), "{stderr}");
    let place = Place::new("true");
    fs::set_permissions(place.folder.path().join("tools/hf"), fs::Permissions::from_mode(0o644)).unwrap();
    place.push(&["out", "user/name"]).env("PATH", place.folder.path().join("tools")).assert().code(4);
}
