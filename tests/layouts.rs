//! Adapters that do not have a pair for each linear module of the layers from the first: of experts, of the last layers alone.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Tensors, document, fixture, lora_slim, read_json, read_safetensors, write_config, write_safetensors,
};

pub fn json_of(arguments: &[&str], adapter: &Path) -> Value {
    let mut command = lora_slim();
    command.arg(arguments[0]).arg(adapter).args(&arguments[1..]).arg("--json");
    document(&command.assert().success().get_output().stdout)
}

pub fn error_of(command: &mut assert_cmd::Command) -> String {
    String::from_utf8_lossy(&command.assert().failure().get_output().stderr).into_owned()
}

/// LoRA on the experts of a pico model as transformers 4 had them: a module for each matrix of each expert.
fn write_single_experts(case: &str, folder: &Path, targets: &[&str], more: Value) {
    let base = fixture("pico").join(case).join("base");
    let mut tensors = Tensors::new();
    for file in fs::read_dir(&base).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|ending| ending != "safetensors") {
            continue;
        }
        for (name, (shape, _)) in read_safetensors(&file) {
            let module = name.strip_suffix(".weight").unwrap_or(&name);
            let is_target = targets.iter().any(|target| module.ends_with(&format!(".{target}")));
            if let (true, [outputs, inputs]) = (is_target && module.contains(".layers."), shape.as_slice()) {
                let values = |count: usize| (0..count).map(|at| (at % 7) as f32 * 0.01 + 0.01).collect();
                let name = |part| format!("base_model.model.{module}.{part}.weight");
                tensors.insert(name("lora_A"), (vec![2, *inputs], values(2 * inputs)));
                tensors.insert(name("lora_B"), (vec![*outputs, 2], values(2 * outputs)));
            }
        }
    }
    fs::create_dir_all(folder).unwrap();
    write_safetensors(&folder.join("adapter_model.safetensors"), &tensors);
    let mut config = json!({"target_modules": targets});
    more.as_object().unwrap().iter().for_each(|(key, value)| config[key] = value.clone());
    write_config(folder, config);
}

fn remarks_of(case: &str, adapter: &Path) -> String {
    let mut scan = lora_slim();
    scan.arg("scan").arg(adapter).arg("--base").arg(fixture("pico").join(case).join("base"));
    scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--json", "--quiet"]);
    let report = document(&scan.assert().success().get_output().stdout);
    report["remarks"].as_array().into_iter().flatten().map(|remark| remark.as_str().unwrap()).collect()
}

/// How many modules PEFT 0.21.2 loads with transformers 5.24 was counted in the model: a pair of the experts' parameter for all
/// experts of a layer, and those that are named.
#[test]
fn modules_that_peft_does_not_convert_are_counted() {
    let gated = ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let numbered = ["q_proj", "o_proj", "w1", "w2", "w3"];
    for (case, targets, applied, all) in [
        ("dots1", &gated[..], 80, 92),
        ("qwen3-moe", &gated, 56, 62),
        ("hunyuan-moe", &gated, 104, 116),
        ("qwen2-moe", &gated, 20, 56),
        ("qwen35-moe", &gated, 14, 62),
        ("lfm2-moe", &["q_proj", "w1", "w2", "w3"], 4, 58),
        ("nemotron-h-moe", &["q_proj", "up_proj", "down_proj"], 5, 37),
        ("olmoe", &gated, 104, 104),
        ("mixtral", &numbered, 56, 56),
    ] {
        let folder = TempDir::new().unwrap();
        write_single_experts(case, folder.path(), targets, json!({}));
        let base = fixture("pico").join(case).join("base");
        let mut check = lora_slim();
        check.arg("check").arg(folder.path()).arg("--base").arg(base).args(["--runtime", "peft", "--json"]);
        let checked = document(&check.output().unwrap().stdout);
        let verdict = &checked["runtimes"][0];
        let remarks = remarks_of(case, folder.path());
        if applied == all {
            assert_eq!((&verdict["verdict"], remarks.as_str()), (&json!("loads"), ""), "{case}");
            continue;
        }
        let what = verdict["reasons"][0]["what"].as_str().unwrap();
        assert!(what.ends_with(&format!("applies {applied} of {all} modules")), "{case}: {what}");
        assert!(remarks.starts_with(&format!("PEFT drops {} of {all} modules", all - applied)), "{case}: {remarks}");
    }
}

#[test]
fn what_peft_converts_otherwise_is_said() {
    let targets = ["q_proj", "w1", "w2", "w3"];
    for (targets, more, said) in [
        (&targets[..], json!({"use_rslora": true}), "√2 times"),
        (&targets, json!({"alpha_pattern": {"w1": 9}}), "ignores `alpha_pattern`"),
        (&["q_proj", "w1", "w2"], json!({}), "PEFT refuses this adapter: `target_modules` has one of gate and up"),
        (&targets, json!({"lora_dropout": 0.05}), "PEFT refuses this adapter: `lora_dropout`"),
        (
            &["q_proj", "w1", "w2"],
            json!({"target_modules": r".*\.(q_proj|w1|w2)"}),
            "`target_modules` has one of gate and up",
        ),
        (&targets, json!({"lora_dropout": 0.0}), ""),
    ] {
        let folder = TempDir::new().unwrap();
        write_single_experts("mixtral", folder.path(), targets, more);
        let remarks = remarks_of("mixtral", folder.path());
        assert!(remarks.contains(said) && remarks.is_empty() == said.is_empty(), "{said}: {remarks}");
    }
}

/// A copy of an adapter with the tensors of some layers alone, as `layers_to_transform` leaves it.
fn write_layers(adapter: &Path, layers: &[usize], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let weights = "adapter_model.safetensors";
    let mut tensors = read_safetensors(&adapter.join(weights));
    tensors.retain(|name, _| layers.iter().any(|layer| name.contains(&format!(".layers.{layer}."))));
    write_safetensors(&folder.join(weights), &tensors);
    let mut config = read_json(&adapter.join("adapter_config.json"));
    config["layers_to_transform"] = json!(layers);
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}

#[test]
fn a_boundary_of_the_upper_layers_is_explained() {
    let folder = TempDir::new().unwrap();
    let (adapter, base) = (fixture("pico/llama-llama3-rope/adapter"), fixture("pico/llama-llama3-rope/base"));
    let said = "layers 3-5 alone: a boundary keeps the lower of these and drops at most 2";
    write_layers(&adapter, &[3, 4, 5], folder.path());
    let limits = json_of(&["inspect"], folder.path())["limits"].to_string();
    assert!(limits.contains(said), "{limits}");
    let samples = fixture("pico/samples.tokens.jsonl");
    let run = |flags: &[&str]| {
        let mut slim = lora_slim();
        slim.arg("slim").arg(folder.path()).arg("--base").arg(&base).arg("--samples").arg(&samples);
        document(&slim.args(["--dry-run", "--json", "--quiet", "--search"]).args(flags).output().unwrap().stdout)
    };
    let report = run(&["exhaustive"]);
    let warning = |report: &Value| {
        let warnings = report["warnings"].as_array().unwrap().iter();
        warnings
            .filter(|one| one["code"] == "only-upper-layers")
            .map(|one| one["sentence"].to_string())
            .collect::<String>()
    };
    assert!(warning(&report).contains(said), "{report}");
    // The boundaries below the window are all the base model.
    let boundaries = report["curve"].as_array().unwrap().iter().map(|point| point["boundary"].as_u64().unwrap());
    assert_eq!(boundaries.collect::<Vec<_>>(), [0, 4, 5, 6]);
    assert_eq!(warning(&run(&["window"])), "");
    for (layers, is_said) in [(&[0, 1, 2, 3, 4][..], false), (&[1, 3, 5], false), (&[4], true)] {
        write_layers(&adapter, layers, folder.path());
        let limits = json_of(&["inspect"], folder.path())["limits"].to_string();
        assert_eq!(limits.contains("alone"), is_said, "{layers:?}: {limits}");
    }
}

#[test]
fn the_last_layers_of_mlx_are_named() {
    let files = fixture("foreign/mlx-last-layers/files");
    let error = error_of(lora_slim().arg("inspect").arg(&files));
    assert!(
        error.contains("layout of MLX-LM, with LoRA in layers 2-3 alone") && error.contains("lora-slim fix"),
        "{error}"
    );
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    lora_slim().arg("fix").arg(&files).args(["--quiet", "-o"]).arg(&out).assert().success();
    let limits = json_of(&["inspect"], &out)["limits"].to_string();
    assert!(limits.contains("layers 2-3 alone: a boundary keeps the lower of these and drops at most 1"), "{limits}");
}

/// A cut names the parameters of the experts, and PEFT converts the tensors of this type, so that it loads what was trained.
#[test]
fn a_cut_of_experts_that_are_not_converted_is_loaded() {
    let folder = TempDir::new().unwrap();
    let (adapter, out) = (folder.path().join("adapter"), folder.path().join("out"));
    write_single_experts("qwen2-moe", &adapter, &["q_proj", "gate_proj", "up_proj", "down_proj"], json!({}));
    lora_slim().arg("cut").arg(&adapter).args(["--boundary", "2", "--quiet", "-o"]).arg(&out).assert().success();
    let base = fixture("pico/qwen2-moe/base");
    let verdict = |adapter: &Path| {
        let mut check = lora_slim();
        check.arg("check").arg(adapter).arg("--base").arg(&base).args(["--runtime", "peft", "--json"]);
        document(&check.output().unwrap().stdout)["runtimes"][0]["verdict"].clone()
    };
    assert_eq!((verdict(&adapter), verdict(&out)), (json!("differs"), json!("loads")));
}

/// LoRA beside the experts of such a model is named by its weights in a cut: by their modules, PEFT would take it for the experts'.
#[test]
fn a_cut_has_what_lies_beside_single_experts() {
    let folder = TempDir::new().unwrap();
    let (adapter, out) = (folder.path().join("adapter"), folder.path().join("out"));
    let targets = ["q_proj", "gate_proj", "up_proj", "down_proj"];
    write_single_experts("dots1", &adapter, &targets, json!({}));
    lora_slim().arg("cut").arg(&adapter).args(["--boundary", "2", "--quiet", "-o"]).arg(&out).assert().success();
    let config = read_json(&out.join("adapter_config.json"));
    assert_eq!(config["target_modules"], json!(["q_proj"]));
    let named: Vec<&str> =
        config["target_parameters"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in ["0.mlp.gate_proj.weight", "1.mlp.shared_experts.up_proj.weight", "1.mlp.experts.down_proj"] {
        assert!(named.contains(&format!("model.layers.{name}").as_str()), "{name}: {named:?}");
    }
    lora_slim().arg("verify").args([&adapter, &out]).assert().success();
    let losses = |adapter: &Path| {
        let mut scan = lora_slim();
        scan.arg("scan").arg(adapter).arg("--base").arg(fixture("pico/dots1/base"));
        scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--json", "--quiet"]);
        let report = document(&scan.assert().success().get_output().stdout);
        let loss = |at: usize| report["curve"][at]["loss"].as_f64().unwrap();
        (0..3).map(loss).collect::<Vec<_>>()
    };
    assert_eq!(losses(&adapter), losses(&out));
    assert_eq!(remarks_of("dots1", &out), "");
    // Cut again, it stays so.
    let again = folder.path().join("again");
    lora_slim().arg("cut").arg(&out).args(["--boundary", "1", "--quiet", "-o"]).arg(&again).assert().success();
    let config = read_json(&again.join("adapter_config.json"));
    assert!(config["target_parameters"].as_array().unwrap().contains(&json!("model.layers.0.mlp.gate_proj.weight")));
    assert_eq!(remarks_of("dots1", &again), "");
}

/// PEFT refuses dropout beside LoRA on parameters, which a cut makes of single experts.
#[test]
fn a_cut_of_single_experts_has_no_dropout() {
    let folder = TempDir::new().unwrap();
    let (adapter, out) = (folder.path().join("adapter"), folder.path().join("out"));
    let targets = ["q_proj", "w1", "w2", "w3"];
    write_single_experts("mixtral", &adapter, &targets, json!({"lora_dropout": 0.05}));
    lora_slim().arg("cut").arg(&adapter).args(["--boundary", "2", "--quiet", "-o"]).arg(&out).assert().success();
    assert_eq!(read_json(&out.join("adapter_config.json"))["lora_dropout"], 0.0);
    lora_slim().arg("verify").args([&adapter, &out]).assert().success();
    assert_eq!(remarks_of("mixtral", &out), "");
    // The pair of parameters that the configuration names itself.
    let named = folder.path().join("named");
    let config = json!({"target_modules": [], "target_parameters": ["experts.down_proj"], "lora_dropout": 0.1});
    write_pairs(&named, &[("model.layers.1.mlp.experts", &[8, 12], &[32, 8])], config);
    assert!(remarks_of("mixtral", &named).contains("beside `target_parameters`"));
}

/// A pair for each name, of these shapes.
fn write_pairs(folder: &Path, pairs: &[(&str, &[usize], &[usize])], config: Value) {
    let mut tensors = Tensors::new();
    for (module, a, b) in pairs {
        for (part, shape) in [("lora_A", a), ("lora_B", b)] {
            let count: usize = shape.iter().product();
            let values = (0..count).map(|at| (at % 7) as f32 * 0.01 + 0.01).collect();
            tensors.insert(format!("base_model.model.{module}.{part}.weight"), (shape.to_vec(), values));
        }
    }
    fs::create_dir_all(folder).unwrap();
    write_safetensors(&folder.join("adapter_model.safetensors"), &tensors);
    write_config(folder, config);
}

fn refusal(case: &str, adapter: &Path) -> String {
    let mut scan = lora_slim();
    scan.arg("scan").arg(adapter).arg("--base").arg(fixture("pico").join(case).join("base"));
    scan.arg("--samples").arg(fixture("pico/samples.tokens.jsonl"));
    let assert = scan.assert().code(3);
    String::from_utf8_lossy(&assert.get_output().stderr).lines().next().unwrap().to_string()
}

#[test]
fn layouts_that_are_not_evaluated_are_named() {
    let experts = "model.layers.1.mlp.experts";
    let (both, gate, misspelled) = (
        format!("{experts}.gate_up_proj"),
        format!("{experts}.gate_proj"),
        format!("{experts}.0.gate_proj").replace("experts", "expert"),
    );
    let delta = |name: &str| format!("model.layers.0.linear_attn.{name}");
    let of =
        |modules: &[&str], parameters: &[&str]| json!({"target_modules": modules, "target_parameters": parameters});
    for (case, module, a, b, config, said) in [
        (
            "qwen3-moe",
            both.as_str(),
            &[1, 2, 32][..],
            &[8, 20, 2][..],
            of(&["experts"], &[]),
            "a factor that they share",
        ),
        (
            "qwen3-moe",
            &both,
            &[8, 2, 32],
            &[8, 20, 2],
            of(&["experts"], &[]),
            "three dimensions for all experts, which",
        ),
        ("qwen3-moe", experts, &[2, 32], &[20, 16], of(&[], &["experts.gate_up_proj"]), "instead of [16, 32]"),
        ("qwen3-moe", experts, &[16, 20], &[32, 16], of(&[], &["experts.gate_up_proj"]), "maps 20 to 32"),
        ("qwen3-moe", &gate, &[2, 32], &[10, 2], of(&["gate_proj"], &[]), "one pair for all experts of a layer"),
        ("dots1", &misspelled, &[2, 32], &[10, 2], of(&["gate_proj"], &[]), "does not exist"),
        ("qwen35", &delta("conv1d"), &[2, 1, 4], &[56, 2, 1], of(&["conv1d"], &[]), "the convolution"),
        ("qwen35", &delta("conv1d"), &[112, 1], &[4, 112], of(&[], &["conv1d.weight"]), "has rank 112"),
        (
            "qwen35",
            "model.layers.0.linear_attn",
            &[2, 4],
            &[1, 2],
            of(&[], &["linear_attn.A_log"]),
            "LoRA on the parameter",
        ),
        ("qwen35", &delta("in_proj_ba"), &[2, 32], &[8, 2], of(&["in_proj_ba"], &[]), "in_proj_ba` does not exist"),
        (
            "qwen3-next",
            &delta("in_proj_qkv"),
            &[2, 32],
            &[56, 2],
            of(&["in_proj_qkv"], &[]),
            "in_proj_qkv` does not exist",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        write_pairs(folder.path(), &[(module, a, b)], config);
        let error = refusal(case, folder.path());
        assert!(error.contains(said), "{module}: {error}");
    }
    // A weight that is saved whole in their place.
    let folder = TempDir::new().unwrap();
    write_pairs(folder.path(), &[("model.layers.3.self_attn.k_proj", &[2, 32], &[32, 2])], json!({"bias": "all"}));
    let path = folder.path().join("adapter_model.safetensors");
    let mut tensors = read_safetensors(&path);
    tensors.insert(format!("base_model.model.{}", delta("A_log")), (vec![4], vec![0.5; 4]));
    write_safetensors(&path, &tensors);
    let error = refusal("qwen35", folder.path());
    assert!(error.contains("no linear map") && error.contains("linear_attn.A_log`, which"), "{error}");
}
