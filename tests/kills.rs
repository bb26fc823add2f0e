//! Runs that are killed at any moment lose nothing: the output is absent, as it was, or whole, inputs stay as they are, and the
//! next run finishes and leaves no stray file. `LORA_SLIM_KILLS=200` kills more often than the tests do by themselves.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::kill::{Case, kills, random};
use crate::support::{Tensors, copy_folder, fixture, lora_slim, write_config, write_safetensors};

/// An adapter of a few megabytes, so that a copy takes a while.
fn write_large_adapter(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let mut tensors = Tensors::new();
    for layer in 0..4 {
        let values = |offset: usize| (0..2 << 18).map(|place| ((place + offset) % 251) as f32).collect::<Vec<_>>();
        let name = |part: &str| format!("base_model.model.model.layers.{layer}.mlp.up_proj.{part}.weight");
        tensors.insert(name("lora_A"), (vec![2, 1 << 18], values(layer)));
        tensors.insert(name("lora_B"), (vec![1 << 18, 2], values(layer + 9)));
    }
    write_safetensors(&folder.join("adapter_model.safetensors"), &tensors);
    write_config(folder, json!({"target_modules": ["up_proj"]}));
}

fn case(name: &'static str, large: bool, args: &[&str]) -> Case {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    if large {
        write_large_adapter(&path("adapter"));
    } else {
        copy_folder(&fixture("pico/llama-llama3-rope/adapter"), &path("adapter"));
    }
    copy_folder(&fixture("pico/llama-llama3-rope/base"), &path("base"));
    fs::create_dir(path("samples")).unwrap();
    fs::copy(fixture("pico/samples.tokens.jsonl"), path("samples/tokens.jsonl")).unwrap();
    let force = args.contains(&"--force");
    // What is to be replaced: the same adapter, cut elsewhere.
    let before = move |folder: &Path| {
        if force {
            let mut cut = lora_slim();
            cut.current_dir(folder).args(["cut", "adapter", "--boundary", "1", "-o", "out"]).assert().success();
        }
    };
    let args = args.iter().map(|arg| arg.to_string()).collect();
    let inputs = vec!["adapter", "base", "samples"];
    Case { name, folder, args, inputs, output: "out", before: Box::new(before) }
}

#[test]
fn a_killed_run_loses_nothing() {
    let cut = ["cut", "adapter", "--boundary", "2", "-o", "out"];
    let slim =
        ["slim", "adapter", "--base", "base", "--samples", "samples/tokens.jsonl", "--boundary", "2", "-o", "out"];
    let with = |args: &[&'static str], more: &[&'static str]| [args, more].concat();
    let cases = [
        case("cut", true, &cut),
        case("cut --force", true, &with(&cut, &["--force"])),
        case("cut --rank", false, &with(&cut, &["--rank", "2"])),
        case("cut --format gguf", false, &with(&cut, &["--format", "gguf", "--base", "base"])),
        case("slim", false, &slim),
        case("slim --force", false, &with(&slim, &["--force"])),
        case("slim --format gguf", false, &with(&slim, &["--format", "gguf", "--force"])),
    ];
    let mut random = random();
    let each = kills().div_ceil(cases.len());
    for case in &cases {
        case.kill_often(each, &mut random);
    }
    println!("{} runs killed", each * cases.len());
}
