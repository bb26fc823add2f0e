//! What modules are called in transformers, and which of an adapter's PEFT applies, as both say (`scripts/fixtures/names.py`).

use std::fs;
use std::path::Path;

use lora_slim::adapter::Adapter;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::model::{Applied, BaseNames, Model, family};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::golden::{folders_with_expectations, largest_difference, scan_with};
use crate::support::{document, fixture, lora_slim, read_json, write_adapter, write_config};

const WEIGHTS: &str = "adapter_model.safetensors";

/// Writes an adapter of the fixtures with other names of its tensors.
fn write_renamed(adapter: &str, rename: impl Fn(&str) -> String, to: &Path) {
    let from = fixture(adapter);
    let bytes = fs::read(from.join(WEIGHTS)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed = tensors.iter().map(|(name, tensor)| (rename(name), tensor));
    fs::write(to.join(WEIGHTS), serialize(renamed, None).unwrap()).unwrap();
    fs::copy(from.join("adapter_config.json"), to.join("adapter_config.json")).unwrap();
}

fn open_base(base: &str) -> Model {
    let path = BasePath::Folder(fixture(base));
    Model::open(&path, &candle_core::Device::Cpu, Arithmetic::F32).unwrap().0
}

/// An adapter of the fixtures under other names, and what a base model makes of it.
fn applied(adapter: &str, base: &str, rename: impl Fn(&str) -> String) -> (Adapter, Applied) {
    let folder = TempDir::new().unwrap();
    write_renamed(adapter, rename, folder.path());
    let adapter = Adapter::open(folder.path(), None).unwrap();
    let applied = open_base(base).applied(&adapter);
    (adapter, applied)
}

fn renamed(name: &str, renaming: &Value) -> String {
    renaming
        .as_array()
        .unwrap()
        .iter()
        .fold(name.to_string(), |name, pair| name.replacen(pair[0].as_str().unwrap(), pair[1].as_str().unwrap(), 1))
}

#[test]
fn classes_have_the_names_of_transformers() {
    let expected = read_json(&fixture("names.json"));
    for (model_type, names) in expected["classes"].as_object().unwrap() {
        let decoder = names["decoder"].as_str().unwrap();
        let config = match family::by_model_type(model_type) {
            Some(_) => json!({"model_type": model_type}),
            None if decoder.contains('.') => {
                json!({"model_type": model_type, "text_config": {"model_type": "llama"}})
            }
            None => continue, // another name of a family's models (`gpt-sw3`)
        };
        let ours = BaseNames::of_config(config.as_object().unwrap(), "of an unknown class");
        assert_eq!(ours.class().decoder, decoder, "{model_type}");
        if let Some(head) = names["head"].as_str() {
            assert_eq!(ours.class().head.as_deref(), Some(head), "{model_type}");
        }
        assert_eq!(ours.needs_no_prefix, names["without_prefix"].as_bool().unwrap(), "{model_type}");
        for other in ["", "model", "language_model.model", "model.language_model.model", "model.text_model"] {
            let layer = |decoder: &str| format!("{decoder}.layers.0").trim_start_matches('.').to_string();
            let is_found = *ours.current(&layer(other)) == *layer(decoder);
            let others = names["others"].as_array().unwrap();
            assert_eq!(is_found, other == decoder || others.iter().any(|one| one == other), "{model_type}: {other}");
        }
    }
}

#[test]
fn peft_applies_as_many_modules() {
    let expected = read_json(&fixture("names.json"));
    let mut wrong = Vec::new();
    for case in expected["applied"].as_array().unwrap() {
        let text = |key: &str| case[key].as_str().unwrap();
        let (_, applied) = applied(text("adapter"), text("base"), |name| renamed(name, &case["renaming"]));
        if applied.modules.len() as u64 != case["applied"].as_u64().unwrap() {
            wrong.push(format!("{} {}: {} of {}", text("adapter"), case, applied.modules.len(), applied.count()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The losses are those of the adapter as it was trained, whatever is left in its names, and a remark tells that PEFT would drop it.
#[test]
fn wrapped_names_are_evaluated_and_named() {
    let (base, expected) = (fixture("pico/llava/base"), fixture("pico/llava/expected.json"));
    let head = "base_model.model.";
    for (renaming, remark) in [
        (json!([[head, format!("_orig_mod.{head}")]]), "`_orig_mod` of torch.compile"),
        (json!([["layers.0.", "layers.0._fsdp_wrapped_module."]]), "14 of its 56 tensors"),
        (json!([[".lora_A.", ".lora_A.my.sql-v1.2."], [".lora_B.", ".lora_B.my.sql-v1.2."]]), "`my.sql-v1.2`"),
        (json!([["model.language_model.", "model."]]), "PEFT drops 28 of 28 modules"),
    ] {
        let folder = TempDir::new().unwrap();
        write_renamed("pico/llava/adapter", |name| renamed(name, &renaming), folder.path());
        let report = scan_with(folder.path(), &base, ["--precision", "f32"], "none");
        assert!(largest_difference(&report, &expected) < 2e-5, "{renaming}");
        let remarks = report["remarks"].to_string();
        assert!(remarks.contains(remark), "{remark}: {remarks}");
    }
}

/// A cut has PEFT's names, so that it loads whatever the original had, and is still the original's.
#[test]
fn what_is_written_has_pefts_names() {
    let head = "base_model.model.";
    for renaming in [
        json!([[head, format!("module._orig_mod.{head}")]]),
        json!([[".mlp.", "._checkpoint_wrapped_module.mlp."]]),
        json!([[head, ""]]),
        json!([[".lora_A.", ".lora_A.reference."], [".lora_B.", ".lora_B.reference."]]),
    ] {
        for boundary in ["2", "all"] {
            let folder = TempDir::new().unwrap();
            let (original, out) = (folder.path().join("original"), folder.path().join("out"));
            fs::create_dir(&original).unwrap();
            write_renamed("pico/llava/adapter", |name| renamed(name, &renaming), &original);
            let cut = ["--boundary", boundary, "--quiet", "-o"];
            lora_slim().arg("cut").arg(&original).args(cut).arg(&out).assert().success();
            let kept = Adapter::open(&out, None).unwrap();
            assert!(kept.remarks.is_empty() && kept.modules().keys().all(|module| kept.is_clean(module)));
            let plain = Adapter::open(&fixture("pico/llava/adapter"), None).unwrap();
            assert!(kept.tensors().all(|tensor| plain.weights.get(tensor.name).is_some()), "{renaming}");
            let applied = open_base("pico/llava/base").applied(&kept);
            assert_eq!(applied.modules.len(), if boundary == "all" { 28 } else { 14 });
            lora_slim().arg("verify").args([&original, &out]).arg("--quiet").assert().success();
        }
    }
}

/// PEFT drops the pair of a head under another name, and applies the rest: so do the losses.
#[test]
fn a_head_under_another_name_is_left_out_of_the_losses() {
    let adapter = "kinds/lora-lm-head";
    let without = TempDir::new().unwrap();
    write_renamed(adapter, |name| name.to_string(), without.path());
    let bytes = fs::read(fixture(adapter).join(WEIGHTS)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let rest = tensors.iter().filter(|(name, _)| !name.contains("lm_head"));
    fs::write(without.path().join(WEIGHTS), serialize(rest, None).unwrap()).unwrap();
    let losses = |folder: &Path| scan_with(folder, &fixture("kinds/base"), ["--precision", "f32"], "none");
    let expected = losses(without.path());
    for other in ["model.lm_head.", "model.unembed_tokens.", "embed_out."] {
        let folder = TempDir::new().unwrap();
        write_renamed(adapter, |name| name.replace("lm_head.", other), folder.path());
        let report = losses(folder.path());
        for (point, wanted) in report["curve"].as_array().unwrap().iter().zip(expected["curve"].as_array().unwrap()) {
            assert_eq!(point["loss"], wanted["loss"], "{other}");
        }
        let remarks = report["remarks"].to_string();
        assert!(remarks.contains("the base model calls `lm_head`: the losses leave these out, too"), "{remarks}");
    }
}

/// Adapters of a multimodal model that also reach parts that text does not go through.
fn with_more_modules(modules: &[&str], to: &Path) {
    let from = fixture("pico/llava/adapter");
    let bytes = fs::read(from.join(WEIGHTS)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let ones = [0, 0, 128, 63].repeat(8);
    let more = modules.iter().flat_map(|module| {
        let view = |shape: &[usize]| TensorView::new(Dtype::F32, shape.to_vec(), &ones).unwrap();
        let name = |part: &str| format!("base_model.model.{module}.lora_{part}.weight");
        let rank =
            tensors.tensor(tensors.names().iter().find(|name| name.contains("lora_A")).unwrap()).unwrap().shape()[0];
        [(name("A"), view(&[rank, 8 / rank])), (name("B"), view(&[8 / rank, rank]))]
    });
    let all = tensors.iter().map(|(name, tensor)| (name.to_string(), tensor)).chain(more);
    fs::write(to.join(WEIGHTS), serialize(all, None).unwrap()).unwrap();
    fs::copy(from.join("adapter_config.json"), to.join("adapter_config.json")).unwrap();
}

#[test]
fn projectors_are_kept_and_passed_by() {
    let folder = TempDir::new().unwrap();
    let (adapter, out) = (folder.path().join("adapter"), folder.path().join("out"));
    fs::create_dir(&adapter).unwrap();
    let projectors = ["model.multi_modal_projector.linear_1", "model.connector.modality_projection.gate_proj"];
    with_more_modules(&projectors, &adapter);
    let report = scan_with(&adapter, &fixture("pico/llava/base"), ["--precision", "f32"], "none");
    assert!(largest_difference(&report, &fixture("pico/llava/expected.json")) < 2e-5);
    lora_slim().arg("cut").arg(&adapter).args(["--boundary", "1", "--quiet", "-o"]).arg(&out).assert().success();
    let kept = Adapter::open(&out, None).unwrap();
    assert!(projectors.iter().all(|projector| kept.modules().contains_key(*projector)));
    let applied = open_base("pico/llava/base").applied(&kept);
    let dropped: Vec<&str> = applied.dropped.iter().map(|dropped| dropped.module.as_str()).collect();
    assert_eq!(dropped, [projectors[1]], "llava has no connector");
}

/// Where several stacks may be the decoder, the base model tells, and `--stack` where it does not.
#[test]
fn the_base_model_tells_the_decoder() {
    let folder = TempDir::new().unwrap();
    let (adapter, base) = (folder.path().join("adapter"), folder.path().join("base"));
    let modules = ["model.text_model.layers.0.q", "model.text_model.layers.1.q", "model.blender.layers.0.q"];
    write_adapter(&adapter, &modules, json!({"target_modules": ["q"]}));
    let inspect = |options: &[&str]| lora_slim().arg("inspect").arg(&adapter).args(options).assert();
    let error = inspect(&[]).failure().get_output().stderr.clone();
    let error = String::from_utf8(error).unwrap();
    assert!(
        error.contains("`model.blender.layers`, `model.text_model.layers`") && error.contains("--stack"),
        "{error}"
    );
    inspect(&["--stack", "model.text_model.layers"]).success();
    fs::create_dir(&base).unwrap();
    let config = json!({"model_type": "idefics2", "text_config": {"model_type": "mistral"}});
    fs::write(base.join("config.json"), config.to_string()).unwrap();
    write_config(&adapter, json!({"target_modules": ["q"], "base_model_name_or_path": base}));
    let shown = inspect(&["--json"]).success().get_output().stdout.clone();
    let shown = document(&shown);
    assert_eq!(shown["stack"], "model.text_model.layers");
    let out = folder.path().join("out");
    lora_slim().arg("cut").arg(&adapter).args(["--boundary", "1", "--quiet", "-o"]).arg(&out).assert().success();
    lora_slim().arg("verify").args([&adapter, &out]).arg("--quiet").assert().success();
}

#[test]
fn two_adapters_in_one_file_are_refused() {
    let folder = TempDir::new().unwrap();
    // Modules of their own: no tensor is there twice.
    let name = |name: &str| if name.contains("q_proj") { "default" } else { "reference" };
    let rename = |key: &str| key.replace(".weight", &format!(".{}.weight", name(key)));
    write_renamed("pico/llava/adapter", rename, folder.path());
    let error = Adapter::open(folder.path(), None).unwrap_err().to_string();
    assert!(error.contains("several adapters: `default`, `reference`"), "{error}");
}

/// No adapter of the fixtures has a module that PEFT would drop.
#[test]
fn fixtures_are_applied_whole() {
    for folder in folders_with_expectations("pico") {
        let case = fixture("pico").join(&folder);
        let (hf, gguf) = (case.join("base"), case.join("gguf"));
        // Where a GGUF file is another model than the folder, it has an adapter of its own.
        let own = Some(gguf.join("adapter")).filter(|adapter| adapter.exists()).unwrap_or(case.join("adapter"));
        let on_gguf = (own, BasePath::Gguf(gguf.join("base.gguf")), gguf.join("base.gguf"));
        let on_folder = (case.join("adapter"), BasePath::Folder(hf.clone()), hf.join("config.json"));
        for (adapter, base, _) in [on_folder, on_gguf].into_iter().filter(|(_, _, file)| file.exists()) {
            let adapter = Adapter::open(&adapter, None).unwrap();
            assert_eq!(adapter.remarks, [""; 0], "{folder}");
            let model = Model::open(&base, &candle_core::Device::Cpu, Arithmetic::F32).unwrap().0;
            assert_eq!(model.applied(&adapter).dropped, [], "{folder}");
        }
    }
    for kind in folders_with_expectations("kinds") {
        let adapter = Adapter::open(&fixture("kinds").join(&kind), None).unwrap();
        let base = adapter.config.text("base_model_name_or_path").unwrap();
        assert_eq!(open_base(base).applied(&adapter).dropped, [], "{kind}");
    }
}
