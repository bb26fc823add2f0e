//! What base models hold beside what their family reads: keys, tensors, biases, parts of split files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::model::Model;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::golden::{largest_difference, scan_with};
use crate::support::{copy_folder, fixture, lora_slim, read_json};

/// Nats per token, between f32 in transformers and here.
const SAME: f64 = 5e-5;

fn open(base: &BasePath) -> Result<Model, lora_slim::Error> {
    Model::open(base, &Device::Cpu, Arithmetic::F32).map(|(model, _)| model)
}

fn folder(path: &Path) -> BasePath {
    BasePath::Folder(path.into())
}

/// The folders of pico models with a `config.json`.
fn pico() -> impl Iterator<Item = PathBuf> {
    let folders = fs::read_dir(fixture("pico")).unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|folder| folder.join("base/config.json").exists())
}

/// The decoder's configuration in a `config.json`.
fn decoder(config: &mut Value) -> &mut Map<String, Value> {
    let key = if config["text_config"].is_object() { "text_config" } else { "" };
    if key.is_empty() { config.as_object_mut().unwrap() } else { config[key].as_object_mut().unwrap() }
}

/// A pico base that a test may change.
fn copy_of(case: &Path) -> TempDir {
    let work = TempDir::new().unwrap();
    copy_folder(&case.join("base"), work.path());
    work
}

fn write_config(base: &Path, change: impl FnOnce(&mut Value)) {
    let path = base.join("config.json");
    let mut config = read_json(&path);
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

/// Adds a tensor to the first file of weights.
fn add_tensor(base: &Path, name: &str, dtype: Dtype, shape: &[usize]) {
    let files = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().path());
    let shards: BTreeSet<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect();
    let path = shards.first().unwrap();
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data: Vec<u8> = (0..shape.iter().product::<usize>()).flat_map(|_| 1f32.to_le_bytes()).collect();
    let own = |(name, view): (String, TensorView)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec());
    let mut tensors: Vec<_> = file.tensors().into_iter().map(own).collect();
    tensors.push((name.into(), dtype, shape.into(), data));
    let views =
        tensors.iter().map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// Multimodal models whose heads leave out what their text family does to logits, and the key that they leave out.
const PLAIN_HEADS: [(&str, &str); 2] = [("llava-next", "logits_scaling"), ("aya-vision", "logit_scale")];

#[test]
fn fixtures_hold_nothing_that_is_not_used() {
    for case in pico() {
        let remarks = open(&folder(&case.join("base"))).unwrap().remarks;
        match PLAIN_HEADS.iter().find(|(name, _)| case.ends_with(name)) {
            Some((_, key)) => assert!(remarks.len() == 1 && remarks[0].ends_with(&format!("`{key}`")), "{remarks:?}"),
            None => assert_eq!(remarks, Vec::<String>::new(), "{}", case.display()),
        }
        let gguf = case.join("gguf/base.gguf");
        if gguf.exists() {
            assert_eq!(open(&BasePath::Gguf(gguf)).unwrap().remarks, Vec::<String>::new(), "{}", case.display());
        }
    }
}

#[test]
fn every_unknown_key_is_named() {
    for case in pico() {
        let base = copy_of(&case);
        write_config(base.path(), |config| {
            config["outer_mystery"] = json!(3);
            decoder(config).insert("inner_mystery".into(), json!("on"));
            for key in ["rope_parameters", "rope_scaling"] {
                if let Some(Value::Object(rope)) = decoder(config).get_mut(key) {
                    match rope.values_mut().find_map(Value::as_object_mut) {
                        Some(nested) => nested.insert("rope_mystery".into(), json!(0.5)),
                        None => rope.insert("rope_mystery".into(), json!(0.5)),
                    };
                }
            }
        });
        let remarks = open(&folder(base.path())).unwrap().remarks.join("\n");
        let config = fs::read_to_string(base.path().join("config.json")).unwrap();
        for key in ["outer_mystery", "inner_mystery", "rope_mystery"].into_iter().filter(|key| config.contains(key)) {
            assert!(remarks.contains(&format!("`{key}`")), "{}: {key} in {remarks}", case.display());
        }
    }
}

#[test]
fn every_unknown_tensor_is_named() {
    for case in pico() {
        let base = copy_of(&case);
        let names = ["mystery.weight", "model.layers.0.mystery.weight", "model.layers.0.self_attn.mystery"];
        names.iter().for_each(|name| add_tensor(base.path(), name, Dtype::F32, &[2]));
        let remarks = open(&folder(base.path())).unwrap().remarks.join("\n");
        for name in names {
            assert!(remarks.contains(&format!("`{name}`")), "{}: {name} in {remarks}", case.display());
        }
    }
}

/// As in transformers, a bias counts only if the configuration or the family has it.
#[test]
fn biases_of_no_module_change_nothing() {
    for (case, name) in [
        ("llama-dynamic", "model.layers.1.self_attn.q_proj.bias"),
        ("llama-dynamic", "model.layers.0.mlp.up_proj.bias"),
        ("llama-dynamic", "model.norm.bias"),
        ("llama-dynamic", "lm_head.bias"),
        ("mistral", "model.layers.2.self_attn.o_proj.bias"),
        ("qwen2", "model.layers.0.self_attn.o_proj.bias"),
        ("cohere", "model.layers.0.input_layernorm.bias"),
        ("stablelm-parallel", "model.layers.0.self_attn.k_proj.bias"),
    ] {
        let case = fixture("pico").join(case);
        let base = copy_of(&case);
        let size = name_size(base.path(), &name.replace(".bias", ".weight"));
        add_tensor(base.path(), name, Dtype::F32, &[size]);
        let remarks = open(&folder(base.path())).unwrap().remarks.join("\n");
        assert!(remarks.contains(&format!("`{name}`")), "{name} in {remarks}");
        assert!(difference(&case, base.path()) < SAME, "{name}");
    }
}

/// The first dimension of a tensor.
fn name_size(base: &Path, name: &str) -> usize {
    let files = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().path());
    let weights = files.filter(|path| path.extension().is_some_and(|end| end == "safetensors"));
    let size = |path: PathBuf| {
        let bytes = fs::read(path).unwrap();
        SafeTensors::deserialize(&bytes).unwrap().tensor(name).ok().map(|view| view.shape()[0])
    };
    weights.filter_map(size).next().unwrap_or(32)
}

/// By how much the losses of a pico adapter on a base differ from those of transformers on the case's own.
fn difference(case: &Path, base: &Path) -> f64 {
    let report = scan_with(&case.join("adapter"), base, ["--precision", "f32"], "none");
    largest_difference(&report, &case.join("expected.json"))
}

/// What each key of each configuration changes, and which edits are refused (`scripts/check/config_keys.py`).
#[test]
fn every_key_changes_what_it_changes_in_transformers() {
    let expected = read_json(&fixture("config_keys.json"));
    let work = TempDir::new().unwrap();
    let samples = work.path().join("samples.tokens.jsonl");
    let all = fs::read_to_string(fixture("pico/samples.tokens.jsonl")).unwrap();
    let numbers = expected["samples"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize);
    let chosen: Vec<&str> = numbers.map(|number| all.lines().nth(number).unwrap()).collect();
    fs::write(&samples, chosen.join("\n")).unwrap();
    let mut wrong = Vec::new();
    for edit in expected["edits"].as_array().unwrap() {
        let case = fixture("pico").join(edit["case"].as_str().unwrap());
        let base = copy_of(&case);
        write_config(base.path(), |config| {
            edit["changes"].as_array().unwrap().iter().for_each(|change| apply(config, change));
        });
        let mut scan = lora_slim();
        scan.arg("scan").arg(case.join("adapter")).arg("--base").arg(base.path()).arg("--samples").arg(&samples);
        let output = scan.args(["--json", "--quiet", "--boundary", "1", "--precision", "f32"]).output().unwrap();
        let report = serde_json::from_slice::<Value>(&output.stdout).ok();
        let loss = report.map(|report| report["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap());
        // An edit without a loss must be refused.
        let is_right = match (loss, edit["loss"].as_f64()) {
            (Some(loss), Some(expected)) => (loss - expected).abs() <= 2.0 * SAME,
            (loss, expected) => loss.is_none() && expected.is_none(),
        };
        if !is_right {
            wrong.push(format!("{edit}: {loss:?} {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sets the value at a path, or deletes it if the change has none.
fn apply(config: &mut Value, change: &Value) {
    let path: Vec<&str> = change["path"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    let (key, holders) = path.split_last().unwrap();
    let holder = holders.iter().fold(config, |value, key| &mut value[*key]).as_object_mut().unwrap();
    match change.get("value") {
        Some(value) => holder.insert((*key).into(), value.clone()),
        None => holder.remove(*key),
    };
}

#[test]
fn a_vocabulary_of_another_size_is_named() {
    let base = copy_of(&fixture("pico/qwen2"));
    write_config(base.path(), |config| config["vocab_size"] = json!(300));
    let remarks = open(&folder(base.path())).unwrap().remarks;
    assert!(
        matches!(remarks.as_slice(), [one] if one.contains("`vocab_size`") && one.contains("is 300")),
        "{remarks:?}"
    );
}

/// transformers gives such a model a head of random numbers, and fails at the null.
#[test]
fn what_a_configuration_lacks_is_named_or_refused() {
    let base = copy_of(&fixture("pico/llama-odd-heads"));
    write_config(base.path(), |config| drop(config.as_object_mut().unwrap().remove("tie_word_embeddings")));
    let remarks = open(&folder(base.path())).unwrap().remarks;
    assert!(matches!(remarks.as_slice(), [one] if one.contains("the embedding is used")), "{remarks:?}");

    write_config(base.path(), |config| config["rms_norm_eps"] = Value::Null);
    let error = open(&folder(base.path())).unwrap_err().to_string();
    assert!(error.contains("`rms_norm_eps`") && error.contains("is null"), "{error}");
}

/// Merged models keep the `quantization_config` of the base that they were trained on.
#[test]
fn plain_weights_are_read_whatever_the_configuration_says() {
    let case = fixture("pico/qwen2");
    let base = copy_of(&case);
    write_config(base.path(), |config| config["quantization_config"] = json!({"quant_method": "bitsandbytes"}));
    let remarks = open(&folder(base.path())).unwrap().remarks;
    assert!(matches!(remarks.as_slice(), [one] if one.contains("they are plain numbers")), "{remarks:?}");
    assert!(difference(&case, base.path()) < SAME);

    add_tensor(base.path(), "model.layers.0.self_attn.q_proj.qweight", Dtype::I32, &[4, 4]);
    let error = open(&folder(base.path())).unwrap_err().to_string();
    assert!(error.contains("has no tensor `model.layers.0.self_attn.q_proj.scales`"), "{error}");
}

/// Codes whose meaning nobody tells are named, never read as numbers.
#[test]
fn codes_that_nobody_explains_are_refused() {
    let refused = |case: &str, edit: &dyn Fn(&Path)| {
        let base = copy_of(&fixture("quantised").join(case));
        edit(base.path());
        let error = open(&folder(base.path())).unwrap_err();
        assert_eq!(error.kind(), lora_slim::Kind::BadInput);
        error.to_string()
    };
    let without_config = |base: &Path| {
        write_config(base, |config| {
            config.as_object_mut().unwrap().remove("quantization_config");
        });
    };
    for (case, how) in
        [("nf4-llama", "NF4"), ("gptq-llama", "GPTQ, 4 bits"), ("fp8-blocks-llama", "FP8"), ("awq-llama", "AWQ")]
    {
        let error = refused(case, &without_config);
        assert!(error.contains("has no `quantization_config`") && error.contains(how), "{error}");
    }
    let without =
        |part: &'static str| move |base: &Path| leave_out(&base.join("model.safetensors"), |name| name.ends_with(part));
    let error = refused("fp8-blocks-llama", &without(".weight_scale_inv"));
    assert!(error.contains("holds codes (F8_E4M3) without the tensors that say what they stand for"), "{error}");
    assert!(refused("int8-llama", &without(".SCB")).contains("holds codes (I8) without"));
    assert!(refused("nf4-llama", &without("bitsandbytes__nf4")).contains("holds codes (U8) without"));
    assert!(refused("nf4-double-llama", &without(".nested_absmax")).contains("has no tensor"));
    assert!(refused("gptq-llama", &without(".qzeros")).contains("has no tensor"));
    assert!(refused("mlx-4-llama", &without(".biases")).contains("only MLX's mode `affine` is read"));
    let error = refused("nf4-llama", &|base: &Path| {
        write_config(base, |config| config["quantization_config"]["quant_method"] = json!("hqq"));
        without("bitsandbytes__nf4")(base);
    });
    assert!(error.contains("quantised (hqq)"), "{error}");
}

/// The same names of tensors have other meanings in other versions.
#[test]
fn versions_that_are_not_read_are_refused() {
    for (case, key, value) in [
        ("gptq-llama", "checkpoint_format", json!("gptq_p")),
        ("gptq-llama", "quant_method", json!("auto-round")),
        ("awq-llama", "version", json!("gemv")),
        ("int4-group-llama", "transform_config", json!({"config_groups": {"R1": {}}})),
    ] {
        let base = copy_of(&fixture("quantised").join(case));
        write_config(base.path(), |config| config["quantization_config"][key] = value);
        let error = open(&folder(base.path())).expect_err(key);
        assert_eq!(error.kind(), lora_slim::Kind::BadInput, "{error}");
    }
}

/// What the parts of a weight claim is compared with each other before anything is made of it.
#[test]
fn parts_that_contradict_each_other_are_refused() {
    let refused = |case: &str, name: &str, dtype: Dtype, shape: &[usize]| {
        let base = copy_of(&fixture("quantised").join(case));
        leave_out(&base.path().join("model.safetensors"), |other| other == name);
        add_raw_tensor(base.path(), name, dtype, shape);
        let error = open(&folder(base.path())).expect_err(name);
        assert_eq!(error.kind(), lora_slim::Kind::BadInput, "{error}");
    };
    let module = |part: &str| format!("model.layers.0.self_attn.q_proj.{part}");
    refused("mlx-4-llama", &module("scales"), Dtype::BF16, &[16, 1]);
    refused("mlx-4-llama", &module("biases"), Dtype::BF16, &[32, 2]);
    refused("int4-group-llama", &module("weight_scale"), Dtype::BF16, &[16, 2]);
    refused("nvfp4-llama", &module("weight_scale"), Dtype::F8_E4M3, &[16, 2]);
    refused("int8-channel-llama", &module("weight_scale"), Dtype::BF16, &[16, 1]);
    refused("int8-channel-llama", &module("weight_zero_point"), Dtype::I8, &[32, 2]);
    refused("gptq-llama", &module("g_idx"), Dtype::I32, &[31]);
    refused("gptq-llama", &module("scales"), Dtype::F16, &[0, 32]);
    refused("awq-llama", &module("qzeros"), Dtype::I32, &[1, 4]);
    refused("nf4-llama", &module("weight.absmax"), Dtype::F32, &[15]);
}

/// A matrix without numbers has as many rows as it likes.
#[test]
fn huge_matrices_without_numbers_take_no_memory() {
    let base = copy_of(&fixture("quantised/gptq-llama"));
    for (part, dtype, shape) in
        [("qweight", Dtype::I32, [1 << 57, 0]), ("scales", Dtype::F16, [1, 0]), ("qzeros", Dtype::I32, [1, 0])]
    {
        add_raw_tensor(base.path(), &format!("evil.{part}"), dtype, &shape);
    }
    assert_eq!(open(&folder(base.path())).unwrap_err().kind(), lora_slim::Kind::BadInput);
}

/// Adds a tensor of zeros.
fn add_raw_tensor(base: &Path, name: &str, dtype: Dtype, shape: &[usize]) {
    let path = base.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let data = vec![0; shape.iter().product::<usize>() * dtype.bitsize() / 8];
    tensors.push((name.into(), TensorView::new(dtype, shape.into(), &data).unwrap()));
    fs::write(&path, serialize(tensors, None).unwrap()).unwrap();
}

fn leave_out(path: &Path, is_unwanted: impl Fn(&str) -> bool) {
    let bytes = fs::read(path).unwrap();
    let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    tensors.retain(|(name, _)| !is_unwanted(name));
    fs::write(path, serialize(tensors, None).unwrap()).unwrap();
}

#[test]
fn a_report_says_how_the_base_is_quantised() {
    let folder = fixture("quantised/nf4-double-llama");
    let report =
        scan_with(&fixture("pico/llama-llama3-rope/adapter"), &folder.join("base"), ["--precision", "f32"], "none");
    assert_eq!(report["base"]["quantisation"], "NF4, double quantised (42 of 56 tensors)");
}

/// A decoder that transformers saves under the name of its vision tower's layers.
#[test]
fn layers_may_lie_in_an_encoder() {
    let case = fixture("pico/llava");
    let base = copy_of(&case);
    let path = base.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let renamed = |name: &str| name.replace("language_model.model.layers.", "language_model.model.encoder.layers.");
    let views: Vec<(String, TensorView)> =
        file.tensors().into_iter().map(|(name, view)| (renamed(&name), view)).collect();
    fs::write(&path, serialize(views, None).unwrap()).unwrap();
    assert!(difference(&case, base.path()) < SAME);
}

/// The parts of a split GGUF file are one model, from any part or from their folder.
#[test]
fn split_gguf_files_are_one_model() {
    let (case, parts) = (fixture("pico/cohere"), fixture("gguf-split"));
    for base in [parts.clone(), parts.join("pico-00001-of-00002.gguf"), parts.join("pico-00002-of-00002.gguf")] {
        assert!(difference(&case, &base) < SAME, "{}", base.display());
    }
    let work = TempDir::new().unwrap();
    fs::copy(parts.join("pico-00001-of-00002.gguf"), work.path().join("pico-00001-of-00002.gguf")).unwrap();
    let error = open(&BasePath::Gguf(work.path().join("pico-00001-of-00002.gguf"))).unwrap_err().to_string();
    assert!(error.contains("pico-00002-of-00002.gguf"), "{error}");
}

#[test]
fn unsupported_ggml_types_are_named() {
    let mut bytes = fs::read(fixture("pico/llama-yarn/gguf/base.gguf")).unwrap();
    let name = b"blk.0.ffn_up.weight";
    let place = bytes.windows(name.len()).position(|window| window == name).unwrap();
    // The number of dimensions, two of them, the type.
    let kind = place + name.len() + 4 + 16;
    bytes[kind..kind + 4].copy_from_slice(&25u32.to_le_bytes());
    let work = TempDir::new().unwrap();
    let path = work.path().join("base.gguf");
    fs::write(&path, bytes).unwrap();
    let error = open(&BasePath::Gguf(path)).unwrap_err().to_string();
    assert!(error.contains("`blk.0.ffn_up.weight`") && error.contains("I16"), "{error}");
}

/// Norms of Gemma have 1 added in GGUF files, but not in adapters.
#[test]
fn saved_norms_are_those_of_hugging_face_on_any_base() {
    let case = fixture("pico/gemma");
    let work = TempDir::new().unwrap();
    copy_folder(&case.join("adapter"), work.path());
    let path = work.path().join("adapter_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let norm: Vec<u8> = (0..32).flat_map(|place| (0.1 * place as f32 - 1.0).to_le_bytes()).collect();
    let mut tensors: Vec<(String, TensorView)> = file.tensors().into_iter().collect();
    for name in ["model.norm", "model.layers.1.input_layernorm"] {
        let view = TensorView::new(Dtype::F32, vec![32], &norm).unwrap();
        tensors.push((format!("base_model.model.{name}.weight"), view));
    }
    fs::write(&path, serialize(tensors, None).unwrap()).unwrap();
    let config_path = work.path().join("adapter_config.json");
    let mut config = read_json(&config_path);
    config["modules_to_save"] = json!(["norm", "input_layernorm"]);
    fs::write(&config_path, config.to_string()).unwrap();
    let losses = |base: &str| -> Vec<f64> {
        let report = scan_with(work.path(), &case.join(base), ["--precision", "f32"], "none");
        report["curve"].as_array().unwrap().iter().map(|point| point["loss"].as_f64().unwrap()).collect()
    };
    let (gguf, hugging_face) = (losses("gguf/base.gguf"), losses("base"));
    for (gguf, hugging_face) in gguf.iter().zip(&hugging_face) {
        assert!((gguf - hugging_face).abs() < SAME, "{gguf} instead of {hugging_face}");
    }
    assert_ne!(hugging_face[0], read_json(&case.join("expected.json"))["curve"][0]["loss"].as_f64().unwrap());
}

/// transformers fails on these, too.
#[test]
fn windows_without_a_size_are_refused() {
    let sliding = json!(["sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention"]);
    for (case, changes) in [
        ("qwen2", json!([{"path": ["layer_types"], "value": sliding}])),
        ("gemma2", json!([{"path": ["sliding_window"], "value": null}])),
    ] {
        let base = copy_of(&fixture("pico").join(case));
        write_config(base.path(), |config| {
            changes.as_array().unwrap().iter().for_each(|change| apply(config, change));
        });
        let error = open(&folder(base.path())).unwrap_err().to_string();
        assert!(error.contains("`sliding_window`") && error.contains("some layers have a window"), "{case}: {error}");
    }
}

/// A base model in PyTorch's own files is told apart from a folder without weights, with what helps.
#[test]
fn weights_in_pytorch_files_are_named() {
    for (file, words) in [("pytorch_model.bin", "`save_pretrained`"), ("other.bin", "neither model.safetensors")] {
        let base = copy_of(&fixture("pico/qwen2"));
        fs::rename(base.path().join("model.safetensors"), base.path().join(file)).unwrap();
        let found = Model::open(&BasePath::Folder(base.path().into()), &Device::Cpu, Arithmetic::F32);
        let said = found.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(words), "{file}: {said}");
    }
}
