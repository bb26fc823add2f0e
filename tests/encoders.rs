//! Adapters of models with an encoder and a decoder (`scripts/fixtures/encoder_decoder.py`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::layouts::{error_of, json_of};
use crate::support::{fixture, lora_slim, read_json};

const TWO_SIDED: [(&str, &str, &str); 3] = [
    ("t5", "decoder.block", "encoder.block"),
    ("bart", "model.decoder.layers", "model.encoder.layers"),
    ("whisper", "model.decoder.layers", "model.encoder.layers"),
];

fn two_sided(case: &str) -> PathBuf {
    fixture("encoder-decoder").join(case).join("adapter")
}

/// Of any type, which `read_safetensors` does not read.
fn names_of(adapter: &Path) -> BTreeSet<String> {
    let bytes = fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(String::from).collect()
}

#[test]
fn both_stacks_of_encoders_and_decoders_are_shown() {
    for (case, decoder, encoder) in TWO_SIDED {
        for (options, first, second) in
            [(&["inspect"][..], decoder, encoder), (&["inspect", "--stack", "encoder"], encoder, decoder)]
        {
            let shown = json_of(options, &two_sided(case));
            let other = &shown["other_stacks"][0];
            assert_eq!((&shown["stack"], &other["stack"]), (&json!(first), &json!(second)), "{case}");
            let layers = |shown: &Value| shown["layers"].as_array().unwrap().len();
            let encoder_layers = if case == "t5" { 4 } else { 3 };
            assert_eq!(layers(&shown) + layers(other), 3 + encoder_layers, "{case}");
            let bytes: u64 =
                shown["layers"].as_array().unwrap().iter().map(|layer| layer["bytes"].as_u64().unwrap()).sum();
            let outside = if case == "t5" { 224 } else { 0 };
            assert_eq!(bytes + other["bytes"].as_u64().unwrap() + outside, shown["bytes"].as_u64().unwrap(), "{case}");
        }
    }
    // The attention to the encoder is the decoder's.
    let shown = json_of(&["inspect", "--stack", "encoder"], &two_sided("bart"));
    assert_eq!(shown["other_stacks"][0]["modules"], json!({"fc1": 3, "q_proj": 6, "v_proj": 6}));
}

#[test]
fn either_stack_is_cut_and_the_other_is_kept() {
    for (case, decoder, encoder) in TWO_SIDED {
        for (side, stack) in [("decoder", decoder), ("encoder", encoder)] {
            let folder = TempDir::new().unwrap();
            let (adapter, out) = (two_sided(case), folder.path().join("out"));
            let mut cut = lora_slim();
            cut.arg("cut").arg(&adapter).args(["--boundary", "1", "--stack", side, "-o"]).arg(&out);
            let printed = String::from_utf8(cut.assert().success().get_output().stdout.clone()).unwrap();
            assert!(printed.contains(&format!("layers 0 of `{stack}` and all of")), "{printed}");
            let upper = (1..4).map(|layer| format!(".{stack}.{layer}.")).collect::<Vec<_>>();
            let mut expected = names_of(&adapter);
            expected.retain(|name| !upper.iter().any(|layer| name.contains(layer.as_str())));
            assert_eq!(names_of(&out), expected, "{case} {side}");
            let mut verify = lora_slim();
            verify.arg("verify").args([&adapter, &out]).args(["--stack", side]).assert().success();
            let mut other = lora_slim();
            other
                .arg("verify")
                .args([&adapter, &out])
                .args(["--stack", if side == "encoder" { "decoder" } else { "encoder" }]);
            let said = String::from_utf8(other.assert().failure().get_output().stdout.clone()).unwrap();
            assert!(said.contains("belongs to no layer of `"), "{said}");
            let card = fs::read_to_string(out.join("README.md")).unwrap();
            assert!(
                card.contains(&format!("| layers of `{stack}` |")) || card.contains(&format!("| layers of {stack} |"))
            );
            let config = read_json(&out.join("adapter_config.json"));
            assert_eq!(config["layers_to_transform"], Value::Null, "layers of both stacks would be meant");
        }
    }
}

#[test]
fn the_decoder_is_cut_if_nothing_is_said() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let report = json_of(&["cut", "--boundary", "2", "-o", out.to_str().unwrap()], &two_sided("t5"));
    assert_eq!(report["output"]["stacks"], json!({"cut": "decoder.block", "whole": "encoder.block"}));
    let loads: Vec<&str> =
        report["runtimes"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(loads, ["PEFT", "transformers"], "of others it is not known");
    let error = error_of(lora_slim().arg("inspect").arg(two_sided("t5")).args(["--stack", "middle"]));
    assert!(error.contains("`decoder.block`, `encoder.block`"), "{error}");
}

#[test]
fn encoders_and_decoders_are_not_evaluated() {
    let whole_adapter = fixture("pico/qwen3/adapter");
    for (adapter, problem) in
        [(&two_sided("t5"), "a model with an encoder and a decoder"), (&whole_adapter, "model type `t5`")]
    {
        let mut scan = lora_slim();
        scan.arg("scan").arg(adapter).arg("--base").arg(fixture("encoder-decoder/t5/base"));
        let error = error_of(scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")));
        assert!(error.contains(problem) && error.contains("`lora-slim cut --stack decoder --boundary N`"), "{error}");
    }
}

/// The layers of the two stacks differ in number: those of one say nothing of the other.
#[test]
fn check_says_what_the_base_is() {
    let base = fixture("encoder-decoder/t5/base");
    for side in ["decoder", "encoder"] {
        let checked = json_of(&["check", "--stack", side, "--base", base.to_str().unwrap()], &two_sided("t5"));
        assert_eq!(checked["flaws"], json!([]), "{side}");
        let note = checked["notes"][0].as_str().unwrap();
        assert!(note.contains("an encoder and a decoder (t5)") && note.contains("`--stack"), "{note}");
    }
    let mut check = lora_slim();
    check.arg("check").arg(two_sided("bart")).args(["--runtime", "peft,vllm"]).assert().code(5);
    let mut cut = lora_slim();
    cut.arg("cut").arg(two_sided("bart")).args(["--boundary", "1", "--for", "vllm", "--dry-run"]);
    assert!(error_of(&mut cut).contains("not known to load"));
}

/// The two stacks have modules of the same names in layers of the same numbers.
#[test]
fn an_adapter_of_two_stacks_is_mended() {
    let folder = TempDir::new().unwrap();
    let (bare, out) = (folder.path().join("bare"), folder.path().join("out"));
    fs::create_dir(&bare).unwrap();
    let weights = "adapter_model.safetensors";
    fs::copy(two_sided("t5").join(weights), bare.join(weights)).unwrap();
    lora_slim().arg("fix").arg(&bare).args(["--alpha", "4", "--quiet", "-o"]).arg(&out).assert().success();
    assert_eq!(names_of(&out), names_of(&bare));
    assert_eq!(read_json(&out.join("adapter_config.json"))["task_type"], "SEQ_2_SEQ_LM");
}
