//! Base models that cannot be found, read or evaluated.

use std::fs;

use serde_json::json;

use super::{BAD_INPUT, Setup, scan_fails};
use crate::support::{copy_folder, fixture, lora_slim, write_adapter};

#[test]
fn the_base_of_another_model() {
    let setup = Setup::new();
    setup.edit_json("base/config.json", |config| config["hidden_size"] = json!(64));
    setup.slim_fails(&[], BAD_INPUT, &["base/model.safetensors", "shape"]);

    let setup = Setup::new();
    setup.edit_json("base/config.json", |config| config["num_hidden_layers"] = json!(3));
    setup.slim_fails(&[], BAD_INPUT, &["layer 3", "has 3 layers", "trained on"]);

    let setup = Setup::new();
    write_adapter(&setup.path("adapter"), &["model.layers.0.self_attn.q_proj"], json!({}));
    setup.slim_fails(&[], BAD_INPUT, &["q_proj", "maps 4 to 4", "32 to 32"]);
    write_adapter(&setup.path("adapter"), &["model.layers.0.self_attn.qkv"], json!({}));
    setup.slim_fails(&[], BAD_INPUT, &["self_attn.qkv", "does not exist"]);
}

#[test]
fn unsupported_models() {
    let setup = Setup::new();
    setup.edit_json("base/config.json", |config| config["model_type"] = json!("mamba"));
    setup.slim_fails(&[], BAD_INPUT, &["`mamba`", "docs/families.md", "lora-slim cut"]);

    let setup = Setup::new();
    setup.edit_json("base/config.json", |config| config["hidden_act"] = json!("xielu"));
    setup.slim_fails(&[], BAD_INPUT, &["`xielu`"]);

    for (key, value, words) in [
        ("is_encoder_decoder", json!(true), "an encoder beside the decoder (`is_encoder_decoder`)"),
        ("layer_types", json!(["linear_attention", "full_attention"]), "linear_attention"),
        ("is_causal", json!(false), "attention to later tokens (`is_causal`)"),
        ("use_bidirectional_attention", json!(true), "attention to later tokens (`use_bidirectional_attention`)"),
        ("per_layer_config", json!({"0": {"head_dim": 4}}), "a configuration for each layer (`per_layer_config`)"),
        (
            "rope_parameters",
            json!({"full_attention": {"rope_type": "default"}}),
            "rotary embeddings by the type of layer",
        ),
    ] {
        let setup = Setup::new();
        setup.edit_json("base/config.json", |config| config[key] = value);
        setup.slim_fails(&[], BAD_INPUT, &[words, "hint"]);
    }
}

/// A value that would silently be taken for an absent one changes losses.
#[test]
fn values_of_the_wrong_type_in_a_model_configuration() {
    for (key, value, words) in [
        ("rms_norm_eps", json!("1e-6"), "is not a positive number"),
        ("rope_theta", json!(-1), "is not a positive number"),
        ("rope_scaling", json!("yarn"), "is not an object"),
        ("rope_parameters", json!({"rope_type": 5}), "is not a name"),
        ("tie_word_embeddings", json!("true"), "is neither true nor false"),
        ("num_hidden_layers", json!(-3), "is not a positive integer"),
    ] {
        let setup = Setup::new();
        setup.edit_json("base/config.json", |config| config[key] = value);
        setup.slim_fails(&[], BAD_INPUT, &[words]);
    }
}

#[test]
fn weights_that_are_not_finite() {
    for more in [&["--search", "exhaustive"][..], &["--choose", "curve"]] {
        let setup = Setup::new();
        let weights = setup.path("base/model.safetensors");
        let mut bytes = fs::read(&weights).unwrap();
        let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..start]).unwrap();
        let first = header["model.layers.0.mlp.down_proj.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
        // NaN in f32 and in bf16.
        bytes[start + first..][..4].fill(0xff);
        fs::write(&weights, bytes).unwrap();
        setup.slim_fails(more, BAD_INPUT, &["sample 1 of `samples.jsonl`", "`base`", "not a finite number", "hint"]);
    }
}

#[test]
fn a_base_model_that_lacks_something() {
    for (case, tensor) in
        [("gpt2", "wpe.weight"), ("bloom", "word_embeddings_layernorm.weight"), ("phi", "lm_head.weight")]
    {
        let setup = Setup::new();
        copy_folder(&fixture("pico").join(case).join("base"), &setup.path("other"));
        let weights = setup.path("other/model.safetensors");
        let bytes = fs::read(&weights).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors();
        let kept: Vec<_> = tensors.into_iter().filter(|(name, _)| !name.ends_with(tensor)).collect();
        fs::write(&weights, safetensors::serialize(kept, None).unwrap()).unwrap();
        let adapter = fixture("pico").join(case).join("adapter");
        scan_fails(&adapter, &setup.path("other"), &["has no tensor", tensor]);
    }
}

#[test]
fn a_base_that_is_not_there() {
    let setup = Setup::new();
    setup.edit_json("adapter/adapter_config.json", |config| config["base_model_name_or_path"] = json!("org/model"));
    let run = |words: &[&str]| {
        let output = lora_slim()
            .current_dir(setup.folder.path())
            .args(["slim", "adapter", "--samples", "samples.jsonl", "-o", "out"])
            .assert()
            .code(BAD_INPUT);
        let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        words.iter().for_each(|word| assert!(stderr.contains(word), "{stderr}"));
    };
    run(&["`org/model`", "Hugging Face cache", "hf download org/model"]);
    setup.edit_json("adapter/adapter_config.json", |config| config["base_model_name_or_path"] = json!(null));
    run(&["does not name its base model", "--base"]);
}

#[test]
fn shards_stay_in_their_folder() {
    let setup = Setup::new();
    fs::remove_file(setup.path("base/model.safetensors")).unwrap();
    let index = json!({"weight_map": {"x": "../adapter/adapter_model.safetensors"}});
    fs::write(setup.path("base/model.safetensors.index.json"), index.to_string()).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["not a plain file name"]);
}

#[test]
fn broken_gguf() {
    let setup = Setup::new();
    let whole = fs::read(fixture("pico/llama-gguf/base/base.gguf")).unwrap();
    for (bytes, words) in [
        (whole[..whole.len() - 1000].to_vec(), "bytes of tensors"),
        (whole[..200].to_vec(), "not a valid GGUF"),
        (b"GGML".to_vec(), "not a valid GGUF"),
        (vec![], "not a valid GGUF"),
    ] {
        fs::write(setup.path("base/broken.gguf"), bytes).unwrap();
        let output = lora_slim()
            .current_dir(setup.folder.path())
            .args(["slim", "adapter", "--base", "base/broken.gguf", "--samples", "samples.jsonl", "-o", "out"])
            .assert()
            .code(BAD_INPUT);
        let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(stderr.contains(words) && stderr.contains("base/broken.gguf"), "{stderr}");
    }
}

#[test]
fn folders_in_the_place_of_files() {
    for name in ["base/model.safetensors", "adapter/adapter_model.safetensors"] {
        let setup = Setup::new();
        fs::remove_file(setup.path(name)).unwrap();
        fs::create_dir(setup.path(name)).unwrap();
        setup.slim_fails(&[], BAD_INPUT, &[&format!("`{name}` is a folder, and not a file")]);
    }
}
