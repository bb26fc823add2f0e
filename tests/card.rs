//! The model card of what is written, and the notes in the header of its weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lora_slim::files::blake3;
use safetensors::tensor::SafeTensors;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{ADAPTER, copy_folder, fixture, lora_slim, read_json, write_adapter};

const README: &str = "---\nlicense: apache-2.0\ntags:\n- mine\n---\n\n# My adapter\n\nIt answers.\n";

/// A folder with a copy of the adapter of six layers and a README of its author.
fn described() -> TempDir {
    let folder = TempDir::new().unwrap();
    copy_folder(&fixture(ADAPTER), &folder.path().join("mine"));
    fs::write(folder.path().join("mine/README.md"), README).unwrap();
    folder
}

fn run(folder: &Path, words: &[&str]) {
    lora_slim().current_dir(folder).args(words).assert().success();
}

fn slim(folder: &Path, output: &str, more: &[&str]) {
    let (base, samples) = (fixture("pico/llama-llama3-rope/base"), fixture("pico/samples.tokens.jsonl"));
    let inputs = ["slim", "mine", "--base", base.to_str().unwrap(), "--samples", samples.to_str().unwrap()];
    run(folder, &[&inputs[..], &["--boundary", "3", "--quiet", "-o", output], more].concat());
}

/// The `__metadata__` of weights.
fn notes(weights: &Path) -> BTreeMap<String, String> {
    let bytes = fs::read(weights).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    header.metadata().clone().unwrap().into_iter().collect()
}

#[test]
fn a_card_has_the_figures_of_the_report() {
    let folder = described();
    slim(folder.path(), "out", &[]);
    let card = fs::read_to_string(folder.path().join("out/README.md")).unwrap();
    let tags = "tags:\n- mine\n- lora\n- lora-slim\n- base_model:adapter:pico/llama-llama3-rope\n";
    let base = "base_model: pico/llama-llama3-rope\nlibrary_name: peft\n";
    assert!(card.starts_with(&format!("---\nlicense: apache-2.0\n{tags}{base}---\n")), "{card}");
    assert!(card.contains("# My adapter\n\nIt answers.\n"), "{card}");
    let report = read_json(&folder.path().join("out/slim_report.json"));
    let loss = |point: &serde_json::Value| format!("{:.4}", point["loss"].as_f64().unwrap());
    let curve = report["curve"].as_array().unwrap();
    let losses = [&curve[0], curve.last().unwrap(), &report["chosen"]].map(loss).join(" | ");
    let source = blake3(&folder.path().join("mine/adapter_model.safetensors")).unwrap();
    let command = report["command"].as_str().unwrap();
    for part in [
        losses.as_str(),
        source.as_str(),
        report["samples"]["sha256"].as_str().unwrap(),
        &format!("```sh\n{command} -o OUT\n```"),
        "| layers | 0-5 | 0-2 |",
        "| tensors | 84 | 42 |",
        "Loads in PEFT",
        "https://arxiv.org/abs/2503.23360",
    ] {
        assert!(card.contains(part), "{part} in {card}");
    }
    let warnings = report["warnings"].as_array().unwrap();
    assert!(!warnings.is_empty());
    for warning in warnings {
        assert!(card.contains(&format!("(`{}`)", warning["code"].as_str().unwrap())), "{card}");
    }
    assert!(command.starts_with("lora-slim slim mine --base ") && command.ends_with(" --boundary 3"), "{command}");
    let notes = notes(&folder.path().join("out/adapter_model.safetensors"));
    assert_eq!(notes["format"], "pt");
    assert_eq!(notes["lora_slim.source_blake3"], source);
    assert_eq!(notes["lora_slim.kept_layers"], "0-2");
    assert_eq!(notes["lora_slim.loss"][..6], loss(&report["chosen"])[..6]);
    assert!(notes.values().all(|value| !value.contains("mine")), "no path: {notes:?}");
}

#[test]
fn the_command_of_a_card_gives_the_same_bytes() {
    let folder = described();
    slim(folder.path(), "out", &["--dtype", "bf16"]);
    let report = read_json(&folder.path().join("out/slim_report.json"));
    let words = shlex::split(report["command"].as_str().unwrap()).unwrap();
    let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    run(folder.path(), &[&words[..], &["-o", "again"]].concat());
    for file in ["README.md", "adapter_config.json", "adapter_model.safetensors", "slim_report.json"] {
        let [once, again] = ["out", "again"].map(|output| fs::read(folder.path().join(output).join(file)).unwrap());
        assert!(once == again, "{file}");
    }
}

#[test]
fn a_cut_has_a_card_too() {
    let folder = described();
    run(folder.path(), &["cut", "mine", "--boundary", "2", "-o", "out"]);
    let card = fs::read_to_string(folder.path().join("out/README.md")).unwrap();
    let source = blake3(&folder.path().join("mine/adapter_model.safetensors")).unwrap();
    assert!(card.contains("```sh\nlora-slim cut mine --boundary 2 -o OUT\n```") && card.contains(&source), "{card}");
    assert!(card.contains(" keeps a part of `mine`."), "{card}");
    assert_eq!(notes(&folder.path().join("out/adapter_model.safetensors"))["lora_slim.source_blake3"], source);
    run(folder.path(), &["verify", "mine", "out"]);
    // Made smaller again, it tells of the last source alone.
    run(folder.path(), &["cut", "out", "--boundary", "1", "-o", "smaller"]);
    let card = fs::read_to_string(folder.path().join("smaller/README.md")).unwrap();
    assert_eq!(card.matches("## Made smaller by lora-slim").count(), 1, "{card}");
    assert!(card.contains("a part of `out`") && card.contains("# My adapter"), "{card}");
}

/// Earlier versions recorded the SHA-256 of the source.
#[test]
fn an_output_of_an_earlier_version_is_verified_and_cut_again() {
    let folder = described();
    run(folder.path(), &["cut", "mine", "--boundary", "3", "-o", "out"]);
    let (report, weights) =
        (folder.path().join("out/slim_report.json"), folder.path().join("out/adapter_model.safetensors"));
    let mut earlier = read_json(&report);
    earlier["schema_version"] = json!(1);
    for file in earlier["adapter"]["files"].as_array_mut().unwrap() {
        let hash = file.as_object_mut().unwrap().remove("blake3").unwrap();
        file["sha256"] = hash;
    }
    fs::write(&report, serde_json::to_string_pretty(&earlier).unwrap()).unwrap();
    let mut bytes = fs::read(&weights).unwrap();
    let key = b"lora_slim.source_blake3";
    let place = bytes.windows(key.len()).position(|window| window == key).unwrap();
    bytes[place..][..key.len()].copy_from_slice(b"lora_slim.source_sha256");
    fs::write(&weights, bytes).unwrap();
    for words in [&["verify", "mine", "out"][..], &["check", "out"], &["inspect", "out"], &["compare", "out", "out"]] {
        run(folder.path(), words);
    }
    run(folder.path(), &["cut", "out", "--boundary", "2", "-o", "smaller"]);
    let notes = notes(&folder.path().join("smaller/adapter_model.safetensors"));
    assert_eq!(notes["lora_slim.source_blake3"], blake3(&weights).unwrap());
    assert!(!notes.contains_key("lora_slim.source_sha256"), "{notes:?}");
    run(folder.path(), &["cut", "mine", "--boundary", "3", "-o", "out", "--force"]);
}

#[test]
fn without_a_card_the_readme_stays() {
    let folder = described();
    run(folder.path(), &["cut", "mine", "--boundary", "2", "--no-card", "-o", "out"]);
    assert_eq!(fs::read_to_string(folder.path().join("out/README.md")).unwrap(), README);
    let notes = notes(&folder.path().join("out/adapter_model.safetensors"));
    assert_eq!(notes, BTreeMap::from([("format".to_string(), "pt".to_string())]));
    fs::remove_file(folder.path().join("mine/README.md")).unwrap();
    run(folder.path(), &["cut", "mine", "--boundary", "2", "--no-card", "-o", "none"]);
    assert!(!folder.path().join("none/README.md").exists());
    run(folder.path(), &["cut", "mine", "--boundary", "2", "-o", "new"]);
    let card = fs::read_to_string(folder.path().join("new/README.md")).unwrap();
    assert!(card.starts_with("---\nbase_model: pico/"), "{card}");
    assert!(card.contains("---\n\n<!-- lora-slim begins") && !card.contains("# My adapter"), "{card}");
}

#[test]
fn a_card_of_an_earlier_run_is_not_passed_on() {
    let folder = described();
    run(folder.path(), &["cut", "mine", "--boundary", "3", "-o", "carded"]);
    run(folder.path(), &["cut", "carded", "--boundary", "2", "--no-card", "-o", "out"]);
    run(folder.path(), &["fix", "carded", "-o", "fixed"]);
    for output in ["out", "fixed"] {
        let readme = fs::read_to_string(folder.path().join(output).join("README.md")).unwrap();
        assert!(readme.contains("# My adapter\n\nIt answers.\n") && !readme.contains("lora-slim begins"), "{readme}");
    }
}

#[test]
fn the_hub_shows_the_readme_of_this_very_name() {
    let folder = described();
    fs::write(folder.path().join("mine/readme.md"), "other").unwrap();
    run(folder.path(), &["cut", "mine", "--boundary", "2", "-o", "out"]);
    let read = |name: &str| fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    assert!(read("README.md").contains("lora-slim begins"));
    assert_eq!(read("readme.md"), "other");
}

#[test]
fn the_command_of_a_scorer_is_not_told() {
    let folder = described();
    let scorer = ["--scorer", "API_KEY=sk-secret; while read -r line; do echo 1; done", "--max-new-tokens", "2"];
    let samples = fixture("pico/text/prompt_completion.jsonl");
    let base = fixture("pico/llama-llama3-rope/base");
    let inputs = ["slim", "mine", "--base", base.to_str().unwrap(), "--samples", samples.to_str().unwrap()];
    run(folder.path(), &[&inputs[..], &["--boundary", "3", "--quiet", "-o", "out"], &scorer].concat());
    for entry in fs::read_dir(folder.path().join("out")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("sk-secret"));
    }
    let report = read_json(&folder.path().join("out/slim_report.json"));
    assert!(report["command"].as_str().unwrap().contains(" --scorer …"), "{}", report["command"]);
}

#[test]
fn what_loses_nothing_is_not_called_smaller() {
    let folder = described();
    run(folder.path(), &["cut", "mine", "--boundary", "all", "--dtype", "f32", "-o", "out"]);
    let card = fs::read_to_string(folder.path().join("out/README.md")).unwrap();
    assert!(card.contains("## Written by lora-slim") && card.contains("is made of `mine`"), "{card}");
}

#[test]
fn a_readme_that_is_no_text_stays() {
    let folder = described();
    fs::write(folder.path().join("mine/README.md"), b"\xff\xfe#\0").unwrap();
    let cut = ["cut", "mine", "--boundary", "2", "-o", "out"];
    let assert = lora_slim().current_dir(folder.path()).args(cut).assert().success();
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains("`README.md` of the adapter is not UTF-8 text"), "{stderr}");
    assert_eq!(fs::read(folder.path().join("out/README.md")).unwrap(), b"\xff\xfe#\0");
}

#[test]
fn the_base_model_is_named_as_on_the_hub() {
    let folder = TempDir::new().unwrap();
    let modules = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"];
    let cut = |name: &str| {
        let config = json!({"target_modules": ["q_proj"], "base_model_name_or_path": name});
        write_adapter(&folder.path().join("mine"), &modules, config);
        run(folder.path(), &["cut", "mine", "--boundary", "1", "--force", "-o", "out"]);
        fs::read_to_string(folder.path().join("out/README.md")).unwrap()
    };
    let card = cut("org/base");
    assert!(card.contains("base_model: org/base\n") && card.contains("- base_model:adapter:org/base\n"), "{card}");
    fs::create_dir_all(folder.path().join("models/base")).unwrap();
    for path in ["/models/base", "models/base", "../base", "org/base/model.gguf"] {
        let card = cut(path);
        assert!(!card.contains("base_model"), "{path}: {card}");
    }
}

#[test]
fn every_format_has_a_card() {
    let folder = described();
    let base = fixture("pico/llama-llama3-rope/base");
    for (format, library) in [("gguf", None), ("mlx", Some("library_name: mlx"))] {
        let cut =
            ["cut", "mine", "--boundary", "2", "--format", format, "--base", base.to_str().unwrap(), "-o", format];
        run(folder.path(), &cut);
        let card = fs::read_to_string(folder.path().join(format).join("README.md")).unwrap();
        assert_eq!(card.contains("library_name"), library.is_some(), "{card}");
        assert!(card.contains(library.unwrap_or("lora-slim")), "{card}");
    }
}
