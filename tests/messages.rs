//! What the program answers to what strangers type: names of other programs' flags, addresses, files in place of folders.

use std::fs;

use lora_slim::error::{ChoiceError, Error};
use tempfile::TempDir;

use crate::support::{ADAPTER, copy_folder, fixture, lora_slim};

const USAGE: i32 = 2;
const BAD_INPUT: i32 = 3;

/// What a command that fails prints to standard error.
fn complaint(words: &[&str], code: i32) -> String {
    let output = lora_slim().args(words).assert().code(code).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

fn says(words: &[&str], code: i32, expected: &[&str], never: &[&str]) {
    let said = complaint(words, code);
    expected.iter().for_each(|part| assert!(said.contains(part), "{words:?} has no `{part}`:\n{said}"));
    never.iter().for_each(|part| assert!(!said.contains(part), "{words:?} has `{part}`:\n{said}"));
}

#[test]
fn a_guessed_flag_is_answered_with_the_right_one() {
    for (command, guess, flag) in [
        ("slim", "--dataset", "--samples"),
        ("slim", "--data", "--samples"),
        ("scan", "--validation_file", "--samples"),
        ("slim", "--model", "--base"),
        ("slim", "--model_name_or_path", "--base"),
        ("inspect", "--base-model", "--base"),
        ("cut", "--layers", "--keep-layers"),
        ("slim", "--layers", "--boundary"),
        ("slim", "--output-dir", "--output"),
        ("cut", "--out", "--output"),
        ("cut", "--lora-rank", "--rank"),
        ("cut", "--Outtype", "--dtype"),
        ("slim", "--overwrite", "--force"),
        ("slim", "--num_samples", "--max-samples"),
        ("slim", "--gpu", "--device"),
        ("check", "--engine", "--runtime"),
        ("slim", "-samples", "--samples"),
        ("slim", "--max_samples", "--max-samples"),
        ("slim", "--keep-layers", "`--keep-layers` is a flag of `cut` and `batch`"),
        ("cut", "--samples", "is a flag of `slim`, `scan` and `batch`"),
        ("slim", "--adapter", "the adapter has no flag"),
        ("slim", "--lora=my-adapter", "the adapter has no flag"),
        ("slim", "--revision", "ORG/NAME@REVISION"),
        ("slim", "--batch-size", "--memory"),
        ("slim", "--help-all", "lora-slim help COMMAND"),
        ("scan", "--html", "--report"),
        ("compare", "--html", "--page"),
        ("compare", "--report", "--page"),
        ("push", "--revision", "`hf upload user/name FOLDER . --revision NAME`"),
        ("push", "--public", "unless `--private` is given"),
    ] {
        says(&[command, "my-adapter", guess], USAGE, &["tip: ", flag], &["-- --", "similar"]);
    }
    // An unknown flag is never a value.
    for flag in ["--zzzzz", "--priv"] {
        says(&["push", "out", "user/name", flag], USAGE, &["unexpected argument"], &["-- --", "as a value"]);
    }
    // What nobody means is left to clap.
    says(&["slim", "my-adapter", "--smaples", "x"], USAGE, &["a similar argument exists: '--samples'"], &[]);
}

#[test]
fn a_boundary_is_advised_in_place_of_what_it_conflicts_with() {
    let errors = [
        ChoiceError::AdapterDoesNotHelp { rule: "whole" },
        ChoiceError::WorseThanBase { base: 1.0, whole: 2.0 },
        ChoiceError::OnlyAPartHelps { boundary: 3 },
    ];
    for error in errors.map(Error::from) {
        let hint = error.hint().unwrap();
        assert!(hint.contains("in place of `--choose` or `--minimize`"), "{hint}");
        assert!(!hint.contains("  "), "{hint}");
    }
}

#[test]
fn a_value_of_another_flag_is_answered_with_it() {
    let with = |flag: &'static str, value: &'static str| ["slim", "a", "--samples", "b", "-o", "c", flag, value];
    says(&with("--choose", "f1"), USAGE, &["possible values: smallest", "`--by f1` or `--metric f1`"], &[]);
    says(&with("--format", "bf16"), USAGE, &["`--dtype bf16`"], &[]);
    says(&with("--choose", "smalest"), USAGE, &["smallest"], &["another flag"]);
}

#[test]
fn a_command_that_does_not_exist_is_answered() {
    says(&["prune", "my-adapter"], USAGE, &["`lora-slim slim`"], &[]);
    says(&["evaluate", "my-adapter"], USAGE, &["`lora-slim scan`"], &[]);
    says(&["upload", "out", "user/name"], USAGE, &["`lora-slim push`"], &[]);
    says(&["publish", "out", "user/name"], USAGE, &["`lora-slim push`"], &[]);
    says(&["merge", "my-adapter"], USAGE, &["PEFT's `merge_and_unload`"], &[]);
    says(&["quantize", "my-adapter"], USAGE, &["`lora-slim cut ADAPTER --boundary all --dtype bf16 -o OUT`"], &[]);
    says(&["./my-adapter", "--samples", "x"], USAGE, &["name a command first: `lora-slim slim ./my-adapter`"], &[]);
    let samples = fixture("pico/samples.tokens.jsonl").display().to_string();
    says(&["slim", "my-adapter", &samples], USAGE, &["`--samples ", "samples.tokens.jsonl`"], &[]);
}

#[test]
fn a_missing_adapter_or_base_model_is_told_apart() {
    let samples = fixture("pico/samples.tokens.jsonl").display().to_string();
    let adapter = fixture(ADAPTER).display().to_string();
    for (name, hint) in [
        ("my-adapter", "check the path"),
        ("org/mine", "`hf download org/mine`"),
        ("org/mine@v1", "`hf download org/mine --revision v1`"),
        ("hf://org/mine", "on the hub, `org/mine`"),
        ("https://huggingface.co/org/mine", "on the hub, `org/mine`"),
        ("https://huggingface.co/org/mine/tree/v1", "on the hub, `org/mine@v1`"),
        ("s3://bucket/mine", "addresses are not read"),
    ] {
        let hint = &["hint: ", hint][..];
        says(
            &["slim", name, "--samples", &samples, "-o", "never"],
            BAD_INPUT,
            hint,
            &["--base", "hf download hf", "hf download http"],
        );
        says(&["inspect", name], BAD_INPUT, hint, &["--base"]);
        says(&["cut", name, "--boundary", "1", "-o", "never"], BAD_INPUT, hint, &["--base"]);
        let base = ["scan", &adapter, "--base", name, "--samples", &samples];
        says(&base, BAD_INPUT, hint, &["save_pretrained", "hf download hf", "hf download http"]);
    }
    says(&["verify", "hf://org/mine", &adapter], BAD_INPUT, &["on the hub, `org/mine`"], &[]);
    says(&["inspect", "org/mine/q4.gguf@v1"], BAD_INPUT, &["`hf download org/mine q4.gguf --revision v1`"], &[]);
}

#[test]
fn a_file_in_place_of_a_folder_is_answered_with_the_folder() {
    let samples = fixture("pico/samples.tokens.jsonl").display().to_string();
    let adapter = fixture(ADAPTER).display().to_string();
    let base = fixture("pico/llama-llama3-rope/base").display().to_string();
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        let file = format!("{adapter}/{file}");
        says(&["inspect", &file], BAD_INPUT, &["is a file, and an adapter is a folder", &format!("`{adapter}`")], &[]);
    }
    says(&["inspect", &samples], BAD_INPUT, &["is a file", "save_pretrained"], &[]);
    for file in ["model.safetensors", "config.json"] {
        let words = ["scan", &adapter, "--samples", &samples, "--base", &format!("{base}/{file}")];
        says(&words, BAD_INPUT, &["one file of the model", &format!("`{base}`")], &["GGUF"]);
    }
    says(&["scan", &adapter, "--samples", &samples, "--base", &adapter], BAD_INPUT, &["it is an adapter"], &[]);
}

#[test]
fn samples_that_are_not_there_are_answered() {
    let adapter = fixture(ADAPTER).display().to_string();
    let scan = |samples: &'static str| ["scan".to_string(), adapter.clone(), "--samples".into(), samples.into()];
    for samples in ["org/data", "hf://datasets/org/data", "https://huggingface.co/datasets/org/data"] {
        let words = scan(samples);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        says(&words, BAD_INPUT, &[&format!("`{samples}` do not exist"), "--repo-type dataset"], &["os error"]);
    }
    let words = scan("no/such.jsonl");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    says(&words, BAD_INPUT, &["`no/such.jsonl` do not exist"], &["hint"]);
}

#[test]
fn a_range_that_counts_down_is_turned() {
    let words = ["cut", "a", "--keep-layers", "14-3", "-o", "b"];
    says(&words, USAGE, &["did you mean 3-14?"], &[]);
}

#[test]
fn a_file_that_is_cut_off_says_so() {
    let folder = TempDir::new().unwrap();
    copy_folder(&fixture(ADAPTER), folder.path());
    let weights = folder.path().join("adapter_model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let path = folder.path().display().to_string();
    for length in [0, 4, 8, 100, 3000] {
        fs::write(&weights, &whole[..length]).unwrap();
        says(&["inspect", &path], BAD_INPUT, &["adapter_model.safetensors`"], &["header length", "too small"]);
        if length > 0 {
            says(&["inspect", &path], BAD_INPUT, &["is cut off", "download or copy it again"], &[]);
        }
    }
    fs::write(&weights, "<!DOCTYPE html><html>Not found</html>").unwrap();
    says(&["inspect", &path], BAD_INPUT, &["begins with the text `<!DOCTYP`", "again"], &[]);
    // Lengths that no header has, of other bytes.
    fs::write(&weights, [0xff; 64]).unwrap();
    says(&["inspect", &path], BAD_INPUT, &["not a valid safetensors file"], &[]);
}
