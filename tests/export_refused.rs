//! What `--format gguf` and `--format mlx` refuse, and how they say it.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::json;
use tempfile::TempDir;

use crate::export::{case, export, stderr};
use crate::support::{
    Tensors, copy_folder, fixture, lora_slim, read_json, write_adapter, write_config, write_safetensors,
};

#[test]
fn bases_and_outputs_that_will_not_do_are_refused_before_any_work() {
    let (adapter, base) = case("kinds/all-linear");
    let work = TempDir::new().unwrap();
    let refused = |base: &Path, out: &str, code: i32| {
        let out = work.path().join(out);
        let text = stderr(&export(&adapter, base, "gguf", &out, &[]).code(code));
        assert!(!out.exists(), "{text}");
        text
    };
    assert!(refused(&base, "x.gguf", 2).contains("will be a folder with adapter.gguf in it"));
    let missing = refused(Path::new("no/such/base"), "out", 3);
    assert!(missing.contains("no/such/base") && missing.contains("hint:"), "{missing}");
    let other = work.path().join("base");
    copy_folder(&base, &other);
    let mut config = read_json(&other.join("config.json"));
    let heads = config["num_attention_heads"].take();
    config["num_attention_heads"] = json!(7);
    fs::write(other.join("config.json"), config.to_string()).unwrap();
    assert!(refused(&other, "out", 3).contains("is not a multiple of the number of key-value heads"));
    config["num_attention_heads"] = heads;
    config["architectures"] = json!(["NoSuchForCausalLM"]);
    fs::write(other.join("config.json"), config.to_string()).unwrap();
    assert!(refused(&other, "out", 3).contains("`NoSuchForCausalLM`"));
}

#[test]
fn an_adapter_with_more_layers_than_the_base_is_refused() {
    let work = TempDir::new().unwrap();
    let out = work.path().join("out");
    for format in ["gguf", "mlx"] {
        let assert =
            export(&fixture("pico/llama-llama3-rope/adapter"), &fixture("pico/mistral/base"), format, &out, &[]);
        let text = stderr(&assert.code(3));
        assert!(text.contains("reaches layer 5") && text.contains("has 4 layers") && !out.exists(), "{text}");
    }
}

/// Heads of another number divide the rows too, but the rows would come out in a wrong order.
#[test]
fn a_number_of_heads_that_is_not_the_models_is_refused() {
    let (adapter, base) = (fixture("pico/mistral/adapter"), fixture("pico/mistral/base"));
    let work = TempDir::new().unwrap();
    let other = work.path().join("base");
    copy_folder(&base, &other);
    let mut config = read_json(&other.join("config.json"));
    let heads = config["num_attention_heads"].clone();
    // Null is as many as heads; without the key, the family's default counts.
    config["num_key_value_heads"] = json!(null);
    fs::write(other.join("config.json"), config.to_string()).unwrap();
    let out = work.path().join("out");
    let text = stderr(&export(&adapter, &other, "gguf", &out, &[]).code(3));
    assert!(text.contains("k_proj") && text.contains("has shape [32, 32] instead of [64, 32]"), "{text}");
    config["num_key_value_heads"] = heads;
    fs::write(other.join("config.json"), config.to_string()).unwrap();
    export(&adapter, &other, "gguf", &out, &[]).code(3);
}

/// A module of a tower may end as one outside of all layers does.
#[test]
fn towers_are_refused_by_name() {
    for tower in ["vision_tower.embed_tokens", "model.vision_tower.layers.0.embed_tokens"] {
        let work = TempDir::new().unwrap();
        let adapter = work.path().join("adapter");
        write_adapter(&adapter, &["model.layers.0.self_attn.o_proj", tower], json!({}));
        let out = work.path().join("out");
        let assert = export(&adapter, &fixture("pico/mistral/base"), "gguf", &out, &["--stack", "model.layers"]);
        let text = stderr(&assert.code(3));
        assert!(text.contains(tower) && !out.exists(), "{text}");
    }
}

/// An adapter with LoRA on the attention of a layer, the embedding and the head, or without one of the last two.
fn with_vocabulary(folder: &Path, has_embedding: bool, has_head: bool) {
    let mut tensors = Tensors::new();
    let mut add = |name: &str, shape: [usize; 2]| {
        let values = (0..shape[0] * shape[1]).map(|i| i as f32 * 0.01 + 0.01).collect();
        tensors.insert(format!("base_model.model.{name}"), (shape.to_vec(), values));
    };
    add("model.layers.0.self_attn.o_proj.lora_A.weight", [2, 32]);
    add("model.layers.0.self_attn.o_proj.lora_B.weight", [32, 2]);
    if has_embedding {
        add("model.embed_tokens.lora_embedding_A", [2, 320]);
        add("model.embed_tokens.lora_embedding_B", [32, 2]);
    }
    if has_head {
        add("lm_head.lora_A.weight", [2, 32]);
        add("lm_head.lora_B.weight", [320, 2]);
    }
    fs::create_dir_all(folder).unwrap();
    write_safetensors(&folder.join("adapter_model.safetensors"), &tensors);
    write_config(folder, json!({"target_modules": ["o_proj", "embed_tokens", "lm_head"]}));
}

/// Where embedding and head are one tensor, llama.cpp aborts or has no such tensor, and MLX-LM changes both; transformers leaves
/// `tie_word_embeddings` out of a configuration where it is what the class has anyway.
#[test]
fn a_vocabulary_that_may_be_tied_is_refused() {
    let work = TempDir::new().unwrap();
    let (unsaid, out) = (work.path().join("unsaid"), work.path().join("out"));
    copy_folder(&fixture("pico/llama-llama3-rope/base"), &unsaid);
    let mut config = read_json(&unsaid.join("config.json"));
    config.as_object_mut().unwrap().remove("tie_word_embeddings").unwrap();
    fs::write(unsaid.join("config.json"), config.to_string()).unwrap();
    for (place, (has_embedding, has_head)) in [(true, false), (false, true)].into_iter().enumerate() {
        let adapter = work.path().join(place.to_string());
        with_vocabulary(&adapter, has_embedding, has_head);
        for format in ["gguf", "mlx"] {
            let tied = stderr(&export(&adapter, &fixture("pico/llama-llama3-rope/base"), format, &out, &[]).code(3));
            assert!(tied.contains("one tensor for embedding and head") && !out.exists(), "{tied}");
            let text = stderr(&export(&adapter, &unsaid, format, &out, &[]).code(3));
            assert!(text.contains("`tie_word_embeddings`") && !out.exists(), "{text}");
            export(&adapter, &fixture("pico/mistral/base"), format, &out, &["--force"]).success();
            fs::remove_dir_all(&out).unwrap();
        }
    }
    for kind in ["kinds/lora-embed-tied", "kinds/lora-head-tied"] {
        let (adapter, base) = case(kind);
        export(&adapter, &base, "mlx", &out, &[]).code(3);
    }
}

/// MLX-LM takes it apart when it loads DeepSeek's models.
#[test]
fn what_mlx_splits_is_refused() {
    let work = TempDir::new().unwrap();
    let (adapter, out) = (work.path().join("adapter"), work.path().join("out"));
    write_adapter(&adapter, &["model.layers.0.self_attn.kv_b_proj", "model.layers.0.self_attn.o_proj"], json!({}));
    let text = stderr(&export(&adapter, &fixture("pico/mistral/base"), "mlx", &out, &[]).code(3));
    assert!(text.contains("kv_b_proj") && !out.exists(), "{text}");
}

/// Other forms are made of a temporary folder, which is gone when the user reads of it.
#[test]
fn errors_name_the_adapter() {
    let work = TempDir::new().unwrap();
    let (adapter, out) = (work.path().join("adapter"), work.path().join("out"));
    for (values, more) in
        [([f32::NAN; 8], &[][..]), ([f32::NAN; 8], &["--dtype", "bf16"]), ([1e38; 8], &["--portable"])]
    {
        write_adapter(
            &adapter,
            &["model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.o_proj"],
            json!({
                "target_modules": ["o_proj"], "alpha_pattern": {"layers.1.self_attn.o_proj": 4e4},
            }),
        );
        let path = adapter.join("adapter_model.safetensors");
        let mut tensors = Tensors::new();
        let bytes = fs::read(&path).unwrap();
        for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            tensors.insert(name, (tensor.shape().to_vec(), values.to_vec()));
        }
        write_safetensors(&path, &tensors);
        let text = stderr(&export(&adapter, &fixture("pico/mistral/base"), "gguf", &out, more).code(3));
        assert!(text.contains(adapter.to_str().unwrap()) && !out.exists(), "{text}");
    }
}

/// Other heads than the model's are found before a long run, of which nothing would be left.
#[test]
fn heads_are_looked_at_before_any_work() {
    let work = TempDir::new().unwrap();
    let base = work.path().join("base");
    copy_folder(&fixture("pico/llama-llama3-rope/base"), &base);
    let mut config = read_json(&base.join("config.json"));
    config["num_attention_heads"] = json!(7);
    fs::write(base.join("config.json"), config.to_string()).unwrap();
    let samples = work.path().join("empty.jsonl");
    fs::write(&samples, "").unwrap();
    let mut command = lora_slim();
    command.arg("slim").arg(fixture("pico/llama-llama3-rope/adapter")).arg("--base").arg(&base);
    command.arg("--samples").arg(&samples).args(["--format", "gguf", "-o"]).arg(work.path().join("out"));
    assert!(stderr(&command.assert().code(3)).contains("do not match the attention heads"));
}
