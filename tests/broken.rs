//! Adapters that were broken in one place: `check` and `verify` say exactly what is wrong.

use std::fs;
use std::path::Path;

use assert_cmd::assert::Assert;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    ADAPTER, Tensors, copy_folder, fixture, lora_slim, read_json, stdout, write_adapter, write_config,
    write_safetensors,
};

fn check(adapter: &Path, more: &[&str]) -> Assert {
    lora_slim().arg("check").arg(adapter).args(more).assert()
}

/// A mutation of the pico adapter: what it does to tensors and configuration.
type Mutation = fn(&mut Tensors, &mut Value);

/// An exit code, and words of what is said.
type Answer = (i32, &'static str);

fn read_tensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| data.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    tensors.iter().map(|(name, view)| (name.into(), (view.shape().to_vec(), values(view.data())))).collect()
}

fn mutated(folder: &Path, mutate: Mutation) {
    mutated_of(ADAPTER, folder, mutate);
}

fn mutated_of(adapter: &str, folder: &Path, mutate: Mutation) {
    copy_folder(&fixture(adapter), folder);
    let (weights, config) = (folder.join("adapter_model.safetensors"), folder.join("adapter_config.json"));
    let (mut tensors, mut raw) = (read_tensors(&weights), read_json(&config));
    mutate(&mut tensors, &mut raw);
    write_safetensors(&weights, &tensors);
    fs::write(&config, raw.to_string()).unwrap();
}

const A: &str = "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight";
const B: &str = "base_model.model.model.layers.2.self_attn.q_proj.lora_B.weight";

/// Takes the last row or column of a matrix away.
fn narrow(tensors: &mut Tensors, name: &str, dim: usize) {
    let (shape, values) = tensors.get_mut(name).unwrap();
    let columns = shape[1];
    shape[dim] -= 1;
    let kept =
        values.iter().enumerate().filter(|(at, _)| dim == 0 || at % columns < columns - 1).map(|(_, value)| *value);
    *values = kept.take(shape.iter().product()).collect();
}

#[test]
fn a_broken_adapter_is_told_what_is_wrong() {
    // What `check` says with which exit code, and what `verify` does; "" where it cannot be known without the original.
    let cases: [(&str, Mutation, Answer, Answer); 25] = [
        (
            "lora_A dropped",
            |tensors, _| drop(tensors.remove(A)),
            (3, "module `model.layers.2.self_attn.q_proj`"),
            (3, "lora_B without lora_A"),
        ),
        (
            "lora_B dropped",
            |tensors, _| drop(tensors.remove(B)),
            (3, "lora_A without lora_B"),
            (3, "module `model.layers.2.self_attn.q_proj`"),
        ),
        (
            "module dropped",
            |tensors, _| tensors.retain(|name, _| name != A && name != B),
            (5, "names module `model.layers.2.self_attn.q_proj`, which has no tensors"),
            (5, "lora_A.weight` is missing, but layer 2 is kept"),
        ),
        (
            "layer dropped",
            |tensors, _| tensors.retain(|name, _| !name.contains("layers.3.")),
            (5, "names module `model.layers.3.mlp.down_proj`, which has no tensors (6 more"),
            (5, "lower layers are dropped from 3 on"),
        ),
        ("rank of lora_A", |tensors, _| narrow(tensors, A, 0), (3, "has rank 3 in its tensors but 4"), (3, "q_proj")),
        ("rank of lora_B", |tensors, _| narrow(tensors, B, 1), (3, "has rank 3 in its tensors but 4"), (3, "q_proj")),
        (
            "inputs",
            |tensors, _| narrow(tensors, A, 1),
            (0, "`model.layers.2.self_attn.q_proj` maps 31 to 32 values, others of its type map 32 to 32"),
            (5, "layers.2.self_attn.q_proj.lora_A.weight` differs in its shape"),
        ),
        (
            "outputs",
            |tensors, _| narrow(tensors, B, 0),
            (0, "`model.layers.2.self_attn.q_proj` maps 32 to 31 values"),
            (5, "layers.2.self_attn.q_proj.lora_B.weight` differs in its shape"),
        ),
        (
            "a value",
            |tensors, _| tensors.get_mut(A).unwrap().1[5] += 1.0,
            (0, ""),
            (5, "q_proj.lora_A.weight` differs in its bytes"),
        ),
        (
            "NaN",
            |tensors, _| tensors.get_mut(A).unwrap().1[5] = f32::NAN,
            (5, "layers.2.self_attn.q_proj.lora_A.weight` holds NaN"),
            (5, "q_proj.lora_A.weight` differs in its bytes"),
        ),
        (
            "r",
            |_, config| config["r"] = json!(8),
            (3, "but 8 in adapter_config.json"),
            (3, "but 8 in adapter_config.json"),
        ),
        (
            "lora_alpha",
            |_, config| config["lora_alpha"] = json!(5),
            (0, ""),
            (5, "`lora_alpha` in adapter_config.json differs"),
        ),
        (
            "use_rslora",
            |_, config| config["use_rslora"] = json!(true),
            (0, ""),
            (5, "`use_rslora` in adapter_config.json differs"),
        ),
        (
            "alpha_pattern",
            |_, config| config["alpha_pattern"] = json!({"layers.2.self_attn.q_proj": 5}),
            (0, ""),
            (5, "rank or scaling of model.layers.2.self_attn.q_proj"),
        ),
        (
            "rank_pattern",
            |_, config| config["rank_pattern"] = json!({"layers.2.self_attn.q_proj": 5}),
            (3, "`model.layers.2.self_attn.q_proj`"),
            (3, "but 5 in adapter_config.json"),
        ),
        (
            "target_modules without q_proj",
            |_, config| {
                config["target_modules"] = json!(["k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
            },
            (5, "does not name module `model.layers.0.self_attn.q_proj`, which has tensors (5 more"),
            (5, "does not name module `model.layers.0.self_attn.q_proj`"),
        ),
        (
            "target_modules with another",
            |_, config| config["target_modules"].as_array_mut().unwrap().push(json!("lm_head")),
            (0, "`target_modules` names `lm_head`, which no tensor belongs to"),
            (5, "`target_modules` names `lm_head`, which no tensor belongs to"),
        ),
        (
            "too few layers_to_transform",
            |_, config| config["layers_to_transform"] = json!([0, 1, 2, 3, 4]),
            (5, "does not name module `model.layers.5.mlp.down_proj`"),
            (5, "does not name module `model.layers.5.mlp.down_proj`"),
        ),
        (
            "too many layers_to_transform",
            |_, config| config["layers_to_transform"] = json!([0, 1, 2, 3, 4, 5, 9]),
            (5, "names module `model.layers.9.mlp.down_proj`, which has no tensors"),
            (5, "names module `model.layers.9.mlp.down_proj`, which has no tensors"),
        ),
        (
            "use_dora",
            |_, config| config["use_dora"] = json!(true),
            (5, "`model.layers.0.mlp.down_proj` has no magnitude"),
            (5, "`use_dora`"),
        ),
        (
            "another method",
            |_, config| config["peft_type"] = json!("IA3"),
            (5, "model.layers.0.mlp.down_proj.lora_A.weight` is none of IA3"),
            (5, "`peft_type` in adapter_config.json differs"),
        ),
        (
            "no method",
            |_, config| config["peft_type"] = json!("MAGIC"),
            (3, "its peft_type is MAGIC"),
            (3, "its peft_type is MAGIC"),
        ),
        (
            "modules_to_save",
            |_, config| config["modules_to_save"] = json!(["lm_head"]),
            (5, "`modules_to_save` names `lm_head`, which no tensor belongs to"),
            (5, "`modules_to_save` names `lm_head`, which no tensor belongs to"),
        ),
        ("bias", |_, config| config["bias"] = json!("all"), (0, ""), (5, "`bias` in adapter_config.json differs")),
        (
            "target_modules of no list",
            |_, config| config["target_modules"] = json!(7),
            (3, "`target_modules`"),
            (3, "`target_modules`"),
        ),
    ];
    for (name, mutate, (check_code, checked), (verify_code, verified)) in cases {
        let folder = TempDir::new().unwrap();
        mutated(folder.path(), mutate);
        let said = |assert: Assert, code: i32, words: &str| {
            let assert = assert.code(code);
            let output = assert.get_output();
            let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
            // Lines are broken where they are full.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(words), "{name}: {text}");
        };
        said(check(folder.path(), &[]), check_code, checked);
        said(lora_slim().arg("verify").arg(fixture(ADAPTER)).arg(folder.path()).assert(), verify_code, verified);
    }
}

/// What `verify` says, which is not that all is well.
fn differences(original: &Path, changed: &Path, more: &[&str]) -> String {
    stdout(lora_slim().arg("verify").arg(original).arg(changed).args(more).assert().code(5))
}

/// A pair of zeros is nothing only where it is all that its module has.
#[test]
fn what_stands_beside_zeros_is_compared() {
    fn zero_and_grow(tensors: &mut Tensors) {
        for (name, (_, values)) in tensors.iter_mut().filter(|(name, _)| name.contains(".layers.3.")) {
            match () {
                () if name.ends_with("lora_B.weight") => values.fill(0.0),
                () if name.ends_with("lora_A.weight") => {}
                () => values.iter_mut().for_each(|value| *value = *value * 100.0 + 1.0),
            }
        }
    }
    for (kind, beside) in [
        ("kinds/dora", "down_proj.lora_magnitude_vector"),
        ("kinds/lora-bias", "q_proj.lora_B.bias"),
        ("kinds/bias-lora-only", "q_proj.base_layer.bias"),
    ] {
        let folder = TempDir::new().unwrap();
        mutated_of(kind, folder.path(), |tensors, _| zero_and_grow(tensors));
        for more in [&[][..], &["--tolerance", "0.9"], &["--any-layers"]] {
            let text = differences(&fixture(kind), folder.path(), more);
            assert!(text.contains(beside), "{kind}: {text}");
        }
    }
    let folder = TempDir::new().unwrap();
    mutated(folder.path(), |tensors, _| {
        for (name, (_, values)) in tensors.iter_mut().filter(|(name, _)| name.contains(".layers.5.")) {
            values.fill(if name.ends_with("lora_B.weight") { 0.0 } else { f32::NAN });
        }
    });
    assert!(differences(&fixture(ADAPTER), folder.path(), &[]).contains("layers.5."), "zeros times NaN are no zeros");
}

#[test]
fn what_is_not_a_number_is_not_within_a_tolerance() {
    let folder = TempDir::new().unwrap();
    mutated(folder.path(), |_, config| config["lora_alpha"] = json!(1e300));
    let text = differences(&fixture(ADAPTER), folder.path(), &["--tolerance", "0.9"]);
    assert!(text.contains("the ΔW of `model.layers.0.mlp.down_proj` differs"), "{text}");
}

#[test]
fn two_tensors_for_one_factor_are_refused() {
    let folder = TempDir::new().unwrap();
    mutated(folder.path(), |tensors, _| {
        let values = tensors[A].1.iter().map(|value| value + 1.0).collect();
        tensors.insert(A.replace("lora_A", "lora_A.default"), (tensors[A].0.clone(), values));
    });
    let verify = lora_slim().arg("verify").arg(fixture(ADAPTER)).arg(folder.path()).assert();
    for assert in [check(folder.path(), &[]), verify] {
        let text = String::from_utf8_lossy(&assert.code(3).get_output().stderr).into_owned();
        assert!(text.contains("lora_A.default.weight`") && text.contains("the same factor"), "{text}");
    }
}

/// PEFT lists every name that the head of a classifier can have.
#[test]
fn one_of_several_names_of_a_head_is_enough() {
    let folder = TempDir::new().unwrap();
    mutated(folder.path(), |tensors, config| {
        config["modules_to_save"] = json!(["classifier", "score"]);
        tensors.insert("base_model.model.score.weight".into(), (vec![2, 32], vec![0.5; 64]));
    });
    let text = stdout(check(folder.path(), &[]).success());
    assert!(text.contains("`modules_to_save` names `classifier`") && !text.contains("wrong"), "{text}");
}

/// What the original's configuration names in vain hides nothing that another one names.
#[test]
fn a_new_name_without_tensors_is_told_beside_old_ones() {
    let folder = TempDir::new().unwrap();
    let (original, changed) = (folder.path().join("original"), folder.path().join("changed"));
    mutated(&original, |tensors, _| tensors.retain(|name, _| name != A && name != B));
    mutated(&changed, |tensors, config| {
        tensors.retain(|name, _| name != A && name != B);
        config["layers_to_transform"] = json!([0, 1, 2, 3, 4, 5, 9]);
    });
    let text = differences(&original, &changed, &[]);
    assert!(text.contains("names module `model.layers.9.mlp.down_proj`, which has no tensors (6 more"), "{text}");
    mutated(&changed, |tensors, config| {
        tensors.retain(|name, _| name != A && name != B);
        config["layers_to_transform"] = json!([0, 1, 2, 3, 4, 5]);
    });
    lora_slim().arg("verify").arg(&original).arg(&changed).assert().success();
}

#[test]
fn a_far_layer_is_looked_at_without_those_between() {
    let folder = TempDir::new().unwrap();
    mutated(folder.path(), |_, config| {
        config["target_modules"] = json!(r".*\.layers\.(\d+)\..*_proj");
        config["layers_to_transform"] = json!([0, 1, 2, 3, 4, 5, 99_999]);
    });
    let text = stdout(check(folder.path(), &[]).code(5)).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("names module `model.layers.99999.mlp.down_proj`, which has no tensors (6 more"), "{text}");
}

/// The base model that an adapter names tells what it can; only one that the user names has to be right.
#[test]
fn a_broken_base_fails_only_where_it_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let (adapter, base) = (folder.path().join("adapter"), folder.path().join("base"));
    copy_folder(&fixture(ADAPTER), &adapter);
    fs::create_dir(&base).unwrap();
    fs::write(base.join("config.json"), "{").unwrap();
    let mut config = read_json(&adapter.join("adapter_config.json"));
    config["base_model_name_or_path"] = json!(base);
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    check(&adapter, &[]).success();
    check(&adapter, &["--base", base.to_str().unwrap()]).code(3);
}

#[test]
fn a_base_model_tells_layers_and_shapes() {
    let base = fixture("pico/llama-llama3-rope/base");
    let with = |base: &Path| check(&fixture(ADAPTER), &["--base", base.to_str().unwrap()]);
    let text = stdout(with(&base).success());
    assert!(!text.contains("lack"), "{text}");
    let text = stdout(with(&fixture("kinds/base")).code(5));
    assert!(text.contains("wrong  the adapter reaches layer 4, but the base model"), "{text}");
    let folder = TempDir::new().unwrap();
    mutated(folder.path(), |tensors, config| {
        tensors.retain(|name, _| !name.contains("layers.5."));
        config["layers_to_transform"] = json!([0, 1, 2, 3, 4]);
    });
    let more = ["--base", base.to_str().unwrap(), "--runtime", "lorax"];
    let text = stdout(check(folder.path(), &more).code(5));
    assert!(text.contains("layer 5 lack") && text.contains("`--pad-zeros`") && !text.contains("wrong"), "{text}");
    mutated(&folder.path().join("narrow"), |tensors, _| {
        let names: Vec<String> = tensors.keys().filter(|name| name.contains("q_proj.lora_A")).cloned().collect();
        names.iter().for_each(|name| narrow(tensors, name, 1));
    });
    let text = stdout(check(&folder.path().join("narrow"), &more).code(5));
    assert!(text.contains("`model.layers.0.self_attn.q_proj` maps 31 to 32 values, but in the base model"), "{text}");
}

/// Numbers that would have loops run for ever, and factors without two sides.
#[test]
fn impossible_numbers_and_shapes_are_refused() {
    let folder = TempDir::new().unwrap();
    let run = |adapter: &Path, arguments: &[&str]| {
        let assert = lora_slim().args(arguments).arg(adapter).assert().code(3);
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    let far = folder.path().join("far");
    write_adapter(&far, &["model.layers.99999999999.q_proj"], json!({"target_modules": ["q_proj"]}));
    assert!(run(&far, &["check"]).contains("layer 99999999999"));
    let listed = folder.path().join("listed");
    let layers = json!({"target_modules": ["q_proj"], "layers_to_transform": [u64::MAX]});
    write_adapter(&listed, &["model.layers.0.q_proj"], layers);
    assert!(run(&listed, &["check"]).contains("layers_to_transform"));
    let flat = folder.path().join("flat");
    fs::create_dir(&flat).unwrap();
    let name = |part: &str| format!("base_model.model.model.layers.0.q_proj.{part}");
    let tensors = Tensors::from([(name("lora_A"), (vec![], vec![1.0])), (name("lora_B"), (vec![3, 0], vec![]))]);
    write_safetensors(&flat.join("adapter_model.safetensors"), &tensors);
    write_config(&flat, json!({"peft_type": "ADALORA", "init_r": 2, "target_modules": ["q_proj"]}));
    let out = folder.path().join("out");
    let text = run(&flat, &["cut", "--portable", "-o", out.to_str().unwrap()]);
    assert!(text.contains("q_proj") && !out.exists(), "{text}");
}
