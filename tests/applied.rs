//! What PEFT and transformers make of adapters of every kind, and of damaged ones, is what `check` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lora_slim::adapter::Adapter;
use lora_slim::audit::examine::{Examination, KnownBase, examine};
use lora_slim::audit::runtimes::Runtime;
use lora_slim::hub::BasePath;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{copy_folder, fixture, lora_slim, read_json, stdout};

/// One tensor: its type, its shape and its bytes.
type Raw = (Dtype, Vec<usize>, Vec<u8>);

/// Makes the adapter of a case of `fixtures/applied.json`, as `scripts/fixtures/applied.py` does.
fn edited(case: &Value, folder: &Path) {
    copy_folder(&fixture(case["adapter"].as_str().unwrap()), folder);
    let config = folder.join("adapter_config.json");
    let mut raw = read_json(&config);
    for (key, value) in case["config"].as_object().into_iter().flatten() {
        raw[key] = value.clone();
    }
    fs::write(&config, raw.to_string()).unwrap();
    let file = folder.join("adapter_model.safetensors");
    let Ok(bytes) = fs::read(&file) else { return };
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: BTreeMap<String, Raw> = BTreeMap::new();
    for (name, view) in stored.iter() {
        if list(&case["drop"]).iter().any(|piece| name.contains(piece.as_str().unwrap())) {
            continue;
        }
        let (name, tensor) = edited_tensor(case, name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
        tensors.insert(name, tensor);
    }
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn edited_tensor(case: &Value, name: &str, (dtype, mut shape, mut data): Raw) -> (String, Raw) {
    for (piece, value) in case["fill"].as_object().into_iter().flatten() {
        if name.contains(piece.as_str()) {
            // JSON has no infinity, so that the fixture has a string for it.
            let value = value.as_f64().unwrap_or(f64::INFINITY) as f32;
            data = data.chunks(4).flat_map(|_| value.to_le_bytes()).collect();
        }
    }
    if let Some(longer) = case["longer"].get(name) {
        let (dim, more) = (longer[0].as_u64().unwrap() as usize, longer[1].as_u64().unwrap() as usize);
        let inner: usize = shape[dim + 1..].iter().product::<usize>() * data.len() / shape.iter().product::<usize>();
        let rows = data.chunks(shape[dim] * inner);
        data = rows.flat_map(|row| [row, &vec![0; more * inner]].concat()).collect();
        shape[dim] += more;
    }
    let rename = |name: String, pair: &Value| name.replace(pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    (list(&case["rename"]).iter().fold(name.into(), rename), (dtype, shape, data))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn examined(case: &Value) -> lora_slim::Result<Examination> {
    let folder = TempDir::new().unwrap();
    edited(case, folder.path());
    let adapter = Adapter::open(folder.path(), None)?;
    let base = KnownBase::open(&BasePath::Folder(fixture(case["base"].as_str().unwrap()))).unwrap();
    examine(&adapter, &base, &["peft", "transformers"].map(|name| Runtime::by_name(name).unwrap()))
}

fn cases() -> Vec<Value> {
    list(&read_json(&fixture("applied.json"))["cases"]).to_vec()
}

#[test]
fn verdicts_are_what_peft_and_transformers_do() {
    let mut wrong = Vec::new();
    let cases = cases();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let found = examined(case);
        for (place, runtime) in ["peft", "transformers"].into_iter().enumerate() {
            let expected = case[runtime]["outcome"].as_str().unwrap();
            let said = match &found {
                Ok(found) => found.runtimes[place].verdict.to_string(),
                // What lora-slim refuses is no more than what the runtime refuses or drops.
                Err(_) if expected != "loads" => expected.into(),
                Err(error) => error.to_string(),
            };
            if said != expected {
                wrong.push(format!("{name} in {runtime}: {said}, where {expected} was found"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), 2 * cases.len(), wrong.join("\n"));
}

/// The number of modules that a reason gives is the number that PEFT applied.
#[test]
fn modules_that_peft_applies_are_counted() {
    let mut counted = 0;
    for case in cases() {
        let Ok(found) = examined(&case) else { continue };
        let (applied, all) = (&case["peft"]["applied"], &case["peft"]["modules"]);
        if case["peft"]["outcome"] == "refuses" {
            continue;
        }
        for reason in &found.runtimes[0].reasons {
            let said = match applied.as_u64() {
                Some(0) => "applies nothing".to_string(),
                _ => format!("applies {applied} of {all} modules"),
            };
            if let Some(at) = reason.what.find(": applies ") {
                assert_eq!(&reason.what[at + 2..], said, "{}", case["name"]);
                counted += 1;
            }
        }
    }
    assert!(counted >= 24, "{counted}");
}

/// A flaw that is certain is named in the row of every runtime that it does not hinder from loading.
#[test]
fn no_flaw_stands_beside_a_bare_loads() {
    let every = lora_slim::audit::runtimes::RUNTIMES;
    for case in cases() {
        let folder = TempDir::new().unwrap();
        edited(&case, folder.path());
        let Ok(adapter) = Adapter::open(folder.path(), None) else { continue };
        let base = KnownBase::open(&BasePath::Folder(fixture(case["base"].as_str().unwrap()))).unwrap();
        let found = examine(&adapter, &base, &every).unwrap();
        if found.flaws.iter().all(|flaw| flaw.may_be_meant()) {
            continue;
        }
        for verdict in found.runtimes {
            assert!(!verdict.reasons.is_empty(), "{} in {}", case["name"], verdict.name);
        }
    }
}

/// The names of an adapter that PEFT applies nothing of are a flaw without a base model, too, and a cut mends them.
#[test]
fn names_that_peft_does_not_read_are_mended_by_a_cut() {
    for name in ["orig-mod-outside", "checkpoint-of-layers", "adapter-name-my.sql-v1.2", "prefix-twice"] {
        let case = cases().into_iter().find(|case| case["name"] == name).unwrap();
        let work = TempDir::new().unwrap();
        let (adapter, cut) = (work.path().join("adapter"), work.path().join("cut"));
        edited(&case, &adapter);
        let text = stdout(lora_slim().arg("check").arg(&adapter).args(["--runtime", "peft"]).assert().code(5));
        assert!(text.contains("differs") && text.contains("applies nothing"), "{name}: {text}");
        let inspected = stdout(lora_slim().arg("inspect").arg(&adapter).assert().success());
        assert!(inspected.contains("applies nothing"), "{name}: {inspected}");
        let base = fixture(case["base"].as_str().unwrap());
        lora_slim().arg("cut").arg(&adapter).args(["--boundary", "all", "-o"]).arg(&cut).assert().success();
        lora_slim().arg("check").arg(&cut).args(["--runtime", "peft"]).arg("--base").arg(base).assert().success();
    }
}

/// vLLM renames the layers of a text model for some multimodal models only; SGLang looks at their numbers.
#[test]
fn servers_take_other_names_of_layers_by_the_base() {
    let rename = json!([["model.language_model.layers.", "model.layers."]]);
    let config =
        json!({"target_modules": ["q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]});
    for (family, vllm) in [("qwen3-vl", "differs"), ("gemma3-vl", "differs"), ("qwen2-vl", "loads")] {
        let folder = TempDir::new().unwrap();
        let case = json!({"adapter": format!("pico/{family}/adapter"), "rename": rename, "config": config});
        edited(&case, folder.path());
        let adapter = Adapter::open(folder.path(), None).unwrap();
        let base = KnownBase::open(&BasePath::Folder(fixture("pico").join(family).join("base"))).unwrap();
        let runtimes = ["vllm", "sglang", "peft"].map(|name| Runtime::by_name(name).unwrap());
        let found = examine(&adapter, &base, &runtimes).unwrap();
        let verdicts: Vec<String> = found.runtimes.iter().map(|found| found.verdict.to_string()).collect();
        assert_eq!(verdicts, [vllm, "loads", "differs"], "{family}");
    }
}
