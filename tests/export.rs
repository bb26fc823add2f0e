//! `--format gguf` and `--format mlx`: against llama.cpp's converter (`scripts/make_gguf_fixtures.py`), and by what the factors
//! come to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::tensors::TensorStore;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::golden::base_of_kind;
use crate::support::{
    Tensors, copy_folder, fixture, lora_slim, read_json, stdout, write_adapter, write_config, write_safetensors,
};

fn export(adapter: &Path, base: &Path, format: &str, out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = lora_slim();
    command.arg("cut").arg(adapter).args(["--format", format, "-o"]).arg(out).arg("--base").arg(base);
    command.args(more).assert()
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// The base model of a fixture, and its adapter.
fn case(name: &str) -> (PathBuf, PathBuf) {
    let adapter = fixture(name);
    let base = match name.strip_prefix("pico/") {
        Some(_) => adapter.parent().unwrap().join("base"),
        None => base_of_kind(&adapter),
    };
    (adapter, base)
}

/// What llama.cpp's converter gets wrong: it knows no scaling but alpha over the rank, and transposes the factors of GPT-2.
const CONVERTER_IS_WRONG: [&str; 4] =
    ["pico/gpt2/adapter", "pico/llama-linear/adapter", "pico/qwen2/adapter", "kinds/rank-alpha-patterns"];

/// What it writes though it computes something else then, what lora-slim does not, and names that only lora-slim reads.
const ONLY_CONVERTER: [&str; 5] =
    ["kinds/expert-modules", "kinds/lora-head-tied", "kinds/pissa", "kinds/router", "kinds/saved-norm-suffix"];
const ONLY_LORA_SLIM: [&str; 1] = ["kinds/default-infix"];

#[test]
fn every_adapter_is_what_llama_cpps_converter_writes() {
    let expected = read_json(&fixture("gguf.json"));
    let mut equal = 0;
    for (name, expected) in expected.as_object().unwrap() {
        let (adapter, base) = case(name);
        let work = TempDir::new().unwrap();
        let out = work.path().join("out");
        let assert = export(&adapter, &base, "gguf", &out, &["--dtype", "f32"]);
        let is_refused = expected.get("refused").is_some() && !ONLY_LORA_SLIM.contains(&name.as_str());
        if is_refused || ONLY_CONVERTER.contains(&name.as_str()) {
            let text = stderr(&assert.code(3));
            assert!(text.contains("hint:") && !out.exists(), "{name}: {text}");
            continue;
        }
        assert.success();
        if CONVERTER_IS_WRONG.contains(&name.as_str()) || ONLY_LORA_SLIM.contains(&name.as_str()) {
            continue;
        }
        let (store, metadata) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
        assert_eq!(metadata.string("general.architecture"), expected["architecture"].as_str(), "{name}");
        assert_eq!(metadata.float("adapter.lora.alpha"), expected["alpha"].as_f64(), "{name}");
        assert_eq!(metadata.string("general.type"), Some("adapter"));
        assert_eq!(metadata.string("adapter.type"), Some("lora"));
        let digest = |tensor: &str| -> String {
            let hash = Sha256::digest(store.bytes(tensor).unwrap());
            hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
        };
        let found: BTreeMap<String, Value> =
            store.iter().map(|(tensor, entry)| (tensor.into(), json!([entry.shape, digest(tensor)]))).collect();
        assert_eq!(json!(found), expected["tensors"], "{name}");
        equal += 1;
    }
    assert!(equal > 45, "{equal}");
}

/// What differs between modules is in the factors: with llama.cpp's own scaling, alpha over the rank of the tensor, each
/// module has the ΔW that PEFT gives it.
#[test]
fn the_scaling_of_each_module_is_in_its_factors() {
    for name in CONVERTER_IS_WRONG {
        let (path, base) = case(name);
        let work = TempDir::new().unwrap();
        let out = work.path().join("out");
        export(&path, &base, "gguf", &out, &[]).success();
        let (store, metadata) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
        let alpha = metadata.float("adapter.lora.alpha").unwrap();
        let adapter = Adapter::open(&path, None).unwrap();
        let mut seen = 0;
        for (tensor, entry) in store.iter().filter(|(tensor, _)| tensor.ends_with("lora_a")) {
            let rank = entry.shape[0];
            let found = norm(&store, tensor, &tensor.replace("lora_a", "lora_b"), rank) * alpha / rank as f64;
            // Rows change their order only, so a norm finds its module.
            let is_it = |module: &String| {
                let name = |part: &str| format!("base_model.model.{module}.{part}.weight");
                let scaling = adapter.config.scaling_of(module);
                let wanted = norm(&adapter.weights, &name("lora_A"), &name("lora_B"), rank) * scaling;
                adapter.config.rank_of(module) == rank && (found / wanted - 1.0).abs() < 1e-6
            };
            assert!(adapter.modules().keys().any(is_it), "{name}: {tensor}");
            seen += 1;
        }
        assert_eq!(seen, adapter.modules().len());
    }
}

/// ‖B·A‖, the plain way.
fn norm(store: &TensorStore, a: &str, b: &str, rank: usize) -> f64 {
    let load = |name: &str| store.load(name, &Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (a, b) = (load(a), load(b));
    let columns = a.len() / rank;
    let cell = |row: &[f32], column: usize| -> f64 {
        row.iter().enumerate().map(|(k, &value)| f64::from(value) * f64::from(a[k * columns + column])).sum()
    };
    b.chunks(rank).flat_map(|row| (0..columns).map(move |c| cell(row, c).powi(2))).sum::<f64>().sqrt()
}

#[test]
fn a_gguf_base_gives_the_same_file_as_its_folder() {
    let mut compared = 0;
    for folder in fs::read_dir(fixture("pico")).unwrap().map(|entry| entry.unwrap().path()) {
        let (gguf, base) = (folder.join("gguf/base.gguf"), folder.join("base"));
        if !gguf.exists() || folder.join("gguf/adapter").exists() {
            continue;
        }
        let work = TempDir::new().unwrap();
        let (one, other) = (work.path().join("one"), work.path().join("other"));
        if export(&folder.join("adapter"), &base, "gguf", &one, &[]).get_output().status.success() {
            export(&folder.join("adapter"), &gguf, "gguf", &other, &[]).success();
            let bytes = |out: &Path| fs::read(out.join("adapter.gguf")).unwrap();
            assert!(bytes(&one) == bytes(&other), "{}", folder.display());
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn types_are_those_of_the_adapter_or_as_wanted() {
    let (adapter, base) = case("kinds/bf16");
    let work = TempDir::new().unwrap();
    for (more, encoding) in [(&[][..], "bf16"), (&["--dtype", "f16"], "f16"), (&["--dtype", "f32"], "f32")] {
        let out = work.path().join(encoding);
        export(&adapter, &base, "gguf", &out, more).success();
        let (store, _) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
        let types: Vec<String> = store.iter().map(|(_, entry)| entry.encoding.to_string().to_lowercase()).collect();
        assert!(types.iter().all(|found| found == encoding), "{types:?}");
    }
}

#[test]
fn mlx_has_the_factors_transposed_and_all_layers_declared() {
    let (path, base) = case("kinds/all-linear");
    let work = TempDir::new().unwrap();
    let out = work.path().join("out");
    export(&path, &base, "mlx", &out, &["--boundary", "2"]).success();
    let config = read_json(&out.join("adapter_config.json"));
    assert_eq!(config["num_layers"], read_json(&base.join("config.json"))["num_hidden_layers"]);
    assert_eq!((&config["lora_parameters"]["rank"], &config["lora_parameters"]["scale"]), (&json!(2), &json!(4.0)));
    let bytes = fs::read(out.join("adapters.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let adapter = Adapter::open(&path, None).unwrap();
    assert_eq!(tensors.len(), adapter.tensors().filter(|t| adapter.layer_of(&t.key.module) < Some(2)).count());
    for (name, tensor) in tensors.tensors() {
        let peft = name.replace("lora_a", "lora_A").replace("lora_b", "lora_B");
        let original = adapter.load(&format!("base_model.model.{peft}.weight"), &Device::Cpu).unwrap();
        let expected: Vec<f32> = original.t().unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f32> =
            tensor.data().chunks(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect();
        assert_eq!((tensor.shape(), values), (original.t().unwrap().dims(), expected), "{name}");
    }
}

#[test]
fn ranks_that_differ_are_mlxs_only_when_portable() {
    let (adapter, base) = case("kinds/rank-alpha-patterns");
    let work = TempDir::new().unwrap();
    let out = work.path().join("out");
    let text = stderr(&export(&adapter, &base, "mlx", &out, &[]).code(3));
    assert!(text.contains("ranks that differ") && text.contains("--portable"), "{text}");
    export(&adapter, &base, "mlx", &out, &["--portable"]).success();
    let (adapter, base) = case("kinds/adalora");
    for format in ["gguf", "mlx"] {
        let out = work.path().join(format);
        export(&adapter, &base, format, &out, &[]).code(3);
        export(&adapter, &base, format, &out, &["--portable"]).success();
    }
}

#[test]
fn what_comes_out_says_what_it_is() {
    let (adapter, base) = case("kinds/all-linear");
    let work = TempDir::new().unwrap();
    for (format, file, loads) in
        [("gguf", "adapter.gguf", "loads in llama.cpp, Ollama"), ("mlx", "adapters.safetensors", "loads in MLX-LM")]
    {
        let out = work.path().join(format);
        let text = stdout(export(&adapter, &base, format, &out, &["--boundary", "all"]).success());
        assert!(text.contains(loads) && !text.contains("refused"), "{text}");
        assert!(out.join(file).exists());
        assert_eq!(read_json(&out.join("slim_report.json"))["output"]["format"], format);
        let before = fs::read(out.join(file)).unwrap();
        export(&adapter, &base, format, &out, &["--boundary", "all", "--force"]).success();
        assert!(fs::read(out.join(file)).unwrap() == before, "the same input gives the same bytes");
    }
}

#[test]
fn bases_and_outputs_that_will_not_do_are_refused_before_any_work() {
    let (adapter, base) = case("kinds/all-linear");
    let work = TempDir::new().unwrap();
    let refused = |base: &Path, out: &str, code: i32| {
        let out = work.path().join(out);
        let text = stderr(&export(&adapter, base, "gguf", &out, &[]).code(code));
        assert!(!out.exists() && text.contains("hint:"), "{text}");
        text
    };
    assert!(refused(&base, "x.gguf", 2).contains("will be a folder, with adapter.gguf in it"));
    assert!(refused(Path::new("no/such/base"), "out", 3).contains("no/such/base"));
    let other = work.path().join("base");
    copy_folder(&base, &other);
    let mut config = read_json(&other.join("config.json"));
    config["num_attention_heads"] = json!(7);
    fs::write(other.join("config.json"), config.to_string()).unwrap();
    assert!(refused(&other, "out", 3).contains("are not those of the heads"));
    config["architectures"] = json!(["NoSuchForCausalLM"]);
    fs::write(other.join("config.json"), config.to_string()).unwrap();
    assert!(refused(&other, "out", 3).contains("`NoSuchForCausalLM`"));
}

#[test]
fn slim_writes_other_forms_too() {
    let work = TempDir::new().unwrap();
    let text = stdout(crate::support::slim(work.path(), &["--boundary", "3", "--format", "gguf"]).success());
    assert!(text.contains("loads in llama.cpp"), "{text}");
    let (store, _) = TensorStore::open_gguf(&work.path().join("out/adapter.gguf")).unwrap();
    let report = read_json(&work.path().join("out/slim_report.json"));
    let bytes: u64 = store.iter().map(|(_, entry)| entry.bytes()).sum();
    assert_eq!(report["output"]["bytes_after"], bytes);
    assert!(store.iter().all(|(name, _)| ["blk.0.", "blk.1.", "blk.2."].iter().any(|layer| name.starts_with(layer))));
}

/// A copy of an adapter with other values in its configuration.
fn configured(name: &str, work: &Path, more: &[(&str, Value)]) -> PathBuf {
    let folder = work.join("adapter");
    copy_folder(&fixture(name), &folder);
    let mut config = read_json(&folder.join("adapter_config.json"));
    more.iter().for_each(|(key, value)| config[*key] = value.clone());
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    folder
}

/// llama.cpp takes an alpha of 0 for none, and a scaling of 1 (`llama_adapter_lora_weight::get_scale`).
#[test]
fn an_alpha_of_zero_stays_no_change() {
    let work = TempDir::new().unwrap();
    let adapter =
        configured("pico/mistral/adapter", work.path(), &[("lora_alpha", json!(0)), ("alpha_pattern", json!({}))]);
    let out = work.path().join("out");
    export(&adapter, &fixture("pico/mistral/base"), "gguf", &out, &[]).success();
    let (store, metadata) = TensorStore::open_gguf(&out.join("adapter.gguf")).unwrap();
    assert_eq!(metadata.float("adapter.lora.alpha"), Some(1.0));
    for (name, _) in store.iter().filter(|(name, _)| name.ends_with("lora_b")) {
        assert!(store.load_finite(name).unwrap().iter().all(|&value| value == 0.0), "{name}");
    }
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
    config.as_object_mut().unwrap().remove("num_key_value_heads").unwrap();
    fs::write(other.join("config.json"), config.to_string()).unwrap();
    let out = work.path().join("out");
    let text = stderr(&export(&adapter, &other, "gguf", &out, &[]).code(3));
    assert!(text.contains("k_proj") && text.contains("are not those of the heads"), "{text}");
    config["num_key_value_heads"] = heads;
    fs::write(other.join("config.json"), config.to_string()).unwrap();
    export(&adapter, &other, "gguf", &out, &[]).code(3);
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

#[test]
fn mlx_has_no_scale_of_zero() {
    let work = TempDir::new().unwrap();
    let more = [("lora_alpha", json!(0)), ("alpha_pattern", json!({"layers.0.self_attn.q_proj": 8}))];
    let adapter = configured("pico/mistral/adapter", work.path(), &more);
    let out = work.path().join("out");
    export(&adapter, &fixture("pico/mistral/base"), "mlx", &out, &[]).success();
    assert_eq!(read_json(&out.join("adapter_config.json"))["lora_parameters"]["scale"], 2.0);
    let bytes = fs::read(out.join("adapters.safetensors")).unwrap();
    for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let is_zero = tensor.data().iter().all(|&byte| byte & 0x7f == 0);
        assert_eq!(is_zero, name.ends_with("lora_b") && name != "model.layers.0.self_attn.q_proj.lora_b", "{name}");
    }
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
    assert!(stderr(&command.assert().code(3)).contains("are not those of the heads"));
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

#[test]
fn mlx_has_stacks_under_names_of_its_own() {
    for (case, theirs, ours) in [
        ("pico/gemma3-vl", "language_model.model.layers.", "model.language_model.layers."),
        ("pico/gpt-neox", "model.h.", "gpt_neox.layers."),
    ] {
        let (path, base) = (fixture(case).join("adapter"), fixture(case).join("base"));
        let work = TempDir::new().unwrap();
        let out = work.path().join("out");
        export(&path, &base, "mlx", &out, &[]).success();
        let bytes = fs::read(out.join("adapters.safetensors")).unwrap();
        let found: Vec<String> =
            SafeTensors::deserialize(&bytes).unwrap().names().iter().map(|name| name.to_string()).collect();
        let adapter = Adapter::open(&path, None).unwrap();
        let name = |module: &String| format!("{}.lora_a", module.replacen(ours, theirs, 1));
        assert_eq!(found.len(), 2 * adapter.modules().len());
        assert!(adapter.modules().keys().all(|module| found.contains(&name(module))), "{found:?}");
    }
}
