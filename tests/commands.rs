//! The commands, as a user runs them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::ValueEnum;
use lora_slim::adapter::Adapter;
use lora_slim::audit::verify::{self, AllowedDifferences};
use lora_slim::cli::DocumentKind;
use lora_slim::rewrite::Cut;
use lora_slim::rewrite::dead_weight::BaseWeights;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    ADAPTER, copy_folder, document, fixture, lora_slim, read_json, slim, stdout, write_adapter, write_config,
};

fn verify(original: &Path, slimmed: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    lora_slim().arg("verify").arg(original).arg(slimmed).args(more).assert()
}

#[test]
fn slim_writes_an_adapter_that_verifies() {
    let folder = TempDir::new().unwrap();
    let text = stdout(slim(folder.path(), &["--boundary", "3"]).success());
    assert!(text.contains("boundary 3") && text.contains("◀ chosen") && text.contains("layers 0-2"), "{text}");
    let out = folder.path().join("out");
    let text = stdout(verify(&fixture(ADAPTER), &out, &[]).success());
    assert!(text.contains("42 of 84 tensors") && text.contains("layers 0-2"), "{text}");

    let config = read_json(&out.join("adapter_config.json"));
    assert_eq!(config["layers_to_transform"], json!([0, 1, 2]));
    let original = read_json(&fixture(ADAPTER).join("adapter_config.json"));
    assert_eq!(config["target_modules"], original["target_modules"]);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&config), keys(&original), "the order of keys is kept");

    let report = read_json(&out.join("slim_report.json"));
    assert_eq!(report["schema_version"], 2);
    assert_eq!(report["chosen"]["boundary"], 3);
    assert_eq!(report["output"]["kept_layers"], json!([0, 1, 2]));
    assert_eq!(report["curve"].as_array().unwrap().len(), 7);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for folder in [&one, &two] {
        slim(folder.path(), &["--boundary", "2"]).success();
    }
    for name in ["adapter_model.safetensors", "adapter_config.json", "slim_report.json"] {
        let read = |folder: &TempDir| fs::read(folder.path().join("out").join(name)).unwrap();
        assert_eq!(read(&one), read(&two), "{name}");
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let text = stdout(slim(folder.path(), &["--boundary", "3", "--dry-run"]).success());
    assert!(text.contains("boundary 3"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let mut without_place = lora_slim();
    without_place.args(["slim", "--boundary", "3", "--dry-run", "--base"]).arg(fixture("pico/llama-llama3-rope/base"));
    without_place.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).arg(fixture(ADAPTER));
    assert_eq!(stdout(without_place.assert().success()), text);
}

#[test]
fn everything_kept_is_the_adapter_unchanged() {
    let folder = TempDir::new().unwrap();
    let text = stdout(slim(folder.path(), &["--boundary", "6"]).success());
    assert!(text.contains("nothing is dropped"), "{text}");
    for name in ["adapter_model.safetensors", "adapter_config.json"] {
        let original = fs::read(fixture(ADAPTER).join(name)).unwrap();
        let written = fs::read(folder.path().join("out").join(name)).unwrap();
        if name == "adapter_config.json" {
            assert_eq!(original, written);
        } else {
            assert_eq!(written.len() % 8, original.len() % 8);
        }
    }
    verify(&fixture(ADAPTER), &folder.path().join("out"), &[]).success();
}

#[cfg(unix)]
#[test]
fn the_umask_decides_the_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    slim(folder.path(), &["--boundary", "3"]).success();
    let plain = folder.path().join("plain");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("file"), "").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&folder.path().join("out")), mode(&plain));
    assert_eq!(mode(&folder.path().join("out/adapter_model.safetensors")), mode(&plain.join("file")));
}

#[test]
fn sidecars_travel_and_training_state_does_not() {
    let folder = TempDir::new().unwrap();
    let adapter = folder.path().join("adapter");
    copy_folder(&fixture(ADAPTER), &adapter);
    for name in ["README.md", "chat_template.jinja", "optimizer.pt", "trainer_state.json", "slim_report.json"] {
        fs::write(adapter.join(name), name).unwrap();
    }
    fs::create_dir(adapter.join("checkpoint-1")).unwrap();
    let unknown = ["adapter_model.safetensors.bak", "latest", "merged.tar.gz", "state.distcp", "train.log"];
    for name in unknown {
        fs::write(adapter.join(name), name).unwrap();
    }
    let out = folder.path().join("out");
    let assert = lora_slim().arg("cut").arg(&adapter).args(["--boundary", "1", "-o"]).arg(&out).assert().success();
    // What nobody would expect to be left is named, once.
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert_eq!(
        stderr.matches("`adapter_model.safetensors.bak`, `latest`, `merged.tar.gz` and 2 more").count(),
        1,
        "{stderr}"
    );
    let names: BTreeSet<String> =
        fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let expected =
        ["README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "slim_report.json"];
    assert!(names.iter().eq(expected.iter()), "{names:?}");
    assert_ne!(fs::read(out.join("slim_report.json")).unwrap(), b"slim_report.json");
}

#[test]
fn cut_works_for_any_family() {
    let cases: [(&[&str], Value, Value); 6] = [
        // A suffix list keeps its list.
        (
            &["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn", "transformer.h.2.attn.c_attn"],
            json!({"target_modules": ["c_attn"]}),
            json!({"target_modules": ["c_attn"], "layers_to_transform": [0, 1]}),
        ),
        // Whole names are filtered.
        (
            &["model.layers.0.q_proj", "model.layers.2.q_proj"],
            json!({"target_modules": ["model.layers.0.q_proj", "model.layers.2.q_proj"]}),
            json!({"target_modules": ["model.layers.0.q_proj"], "layers_to_transform": null}),
        ),
        // A pattern becomes whole names: only the base model knows what else a suffix would catch.
        (
            &["model.layers.0.q_proj", "model.layers.2.q_proj"],
            json!({"target_modules": r"model\.layers\.\d+\.q_proj", "layers_to_transform": null}),
            json!({"target_modules": ["model.layers.0.q_proj"], "layers_to_transform": null}),
        ),
        // `all-linear` becomes the suffixes that the tensors have.
        (
            &[
                "model.layers.0.q_proj",
                "model.layers.1.up_proj",
                "model.layers.0.up_proj",
                "model.layers.1.q_proj",
                "model.layers.2.q_proj",
                "model.layers.2.up_proj",
            ],
            json!({"target_modules": "all-linear"}),
            json!({"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [0, 1]}),
        ),
        // Layers of a bare model do not match PEFT's pattern, so they are named in full.
        (
            &["layers.0.q_proj", "layers.3.q_proj"],
            json!({"target_modules": ["q_proj"]}),
            json!({"target_modules": ["layers.0.q_proj"], "layers_to_transform": null}),
        ),
        // Modules outside the layers stay, and are named in full because a filter by layer would hide them. A vision
        // tower is no decoder; its layers stay too.
        (
            &[
                "language_model.layers.0.q_proj",
                "language_model.layers.2.q_proj",
                "vision_tower.layers.3.q_proj",
                "lm_head",
            ],
            json!({"target_modules": ["q_proj", "lm_head"]}),
            json!({"target_modules": ["language_model.layers.0.q_proj", "lm_head", "vision_tower.layers.3.q_proj"],
                   "layers_to_transform": null}),
        ),
    ];
    for (modules, config, expected) in cases {
        let folder = TempDir::new().unwrap();
        let (adapter, out) = (folder.path().join("adapter"), folder.path().join("out"));
        write_adapter(&adapter, modules, config);
        lora_slim().arg("cut").arg(&adapter).args(["--boundary", "2", "-o"]).arg(&out).assert().success();
        verify(&adapter, &out, &[]).success();
        let written = read_json(&out.join("adapter_config.json"));
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(written.get(key).unwrap_or(&Value::Null), value, "{key} for {modules:?}");
        }
    }
}

#[test]
fn patterns_of_dropped_layers_are_pruned() {
    let folder = TempDir::new().unwrap();
    let (adapter, out) = (folder.path().join("adapter"), folder.path().join("out"));
    let modules = ["model.layers.0.q_proj", "model.layers.2.q_proj"];
    let patterns = json!({"layers.2.q_proj": 8, "q_proj": 4});
    write_adapter(&adapter, &modules, json!({"target_modules": ["q_proj"], "alpha_pattern": patterns}));
    lora_slim().arg("cut").arg(&adapter).args(["--boundary", "1", "-o"]).arg(&out).assert().success();
    assert_eq!(read_json(&out.join("adapter_config.json"))["alpha_pattern"], json!({"q_proj": 4}));
    verify(&adapter, &out, &[]).success();
}

#[test]
fn verify_finds_what_a_cut_would_not_do() {
    let folder = TempDir::new().unwrap();
    let (adapter, out) = (folder.path().join("adapter"), folder.path().join("out"));
    let modules = ["model.layers.0.q_proj", "model.layers.1.q_proj", "model.layers.2.q_proj"];
    let config = |more: Value| {
        let mut config = json!({"target_modules": ["q_proj"], "layers_to_transform": [0, 1]});
        more.as_object().unwrap().iter().for_each(|(key, value)| config[key] = value.clone());
        config
    };
    write_adapter(&adapter, &modules, json!({"target_modules": ["q_proj"]}));
    let finds = |words: &str| {
        let text = stdout(verify(&adapter, &out, &[]).code(5));
        assert!(text.contains(words), "`{words}` is not in: {text}");
    };

    write_adapter(&out, &modules[..2], config(json!({})));
    verify(&adapter, &out, &[]).success();
    write_config(&out, config(json!({"layers_to_transform": null})));
    finds("names module `model.layers.2.q_proj`, which has no tensors");
    write_config(&out, config(json!({"layers_to_transform": [0]})));
    finds("does not name module `model.layers.1.q_proj`");
    write_config(&out, config(json!({"lora_alpha": 5})));
    finds("`lora_alpha`");
    write_config(&out, config(json!({"alpha_pattern": {"q_proj": 1}})));
    finds("scaling of model.layers.0.q_proj");
    write_config(&out, config(json!({"target_modules": "all-linear"})));
    finds("only PEFT can resolve");

    write_config(&out, config(json!({})));
    let weights = out.join("adapter_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, &bytes).unwrap();
    finds("differs in its bytes");

    write_adapter(&out, &["model.layers.0.q_proj", "model.layers.1.q_proj", "model.layers.0.x"], config(json!({})));
    finds("is not in the original");

    // Layers 0 and 2 are no boundary, but a cut with `--keep-layers` makes them.
    let (adapter, some) = (fixture(ADAPTER), folder.path().join("some"));
    lora_slim().arg("cut").arg(&adapter).args(["--keep-layers", "0,2-3", "-o"]).arg(&some).assert().success();
    let text = stdout(verify(&adapter, &some, &[]).code(5));
    assert!(text.contains("layer 3 is kept, but lower layers are dropped from 1 on"), "{text}");
    verify(&adapter, &some, &["--any-layers"]).success();
}

#[test]
fn inspect_tells_what_is_there() {
    let text = stdout(lora_slim().arg("inspect").arg(fixture(ADAPTER)).assert().success());
    for words in ["rank 4, alpha 8", "q_proj ×6", "0-5 (6 of `model.layers`)", "‖ΔW‖", "█"] {
        assert!(text.contains(words), "`{words}` is not in: {text}");
    }
    let assert = lora_slim().arg("inspect").arg(fixture(ADAPTER)).arg("--json").assert().success();
    let json = document(&assert.get_output().stdout);
    assert_eq!(json["layers"].as_array().unwrap().len(), 6);
    assert!(json["layers"][0]["norm"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_cache_of_the_hub_is_found() {
    let folder = TempDir::new().unwrap();
    let snapshot = folder.path().join("hub/models--pico--base/snapshots/abc");
    copy_folder(&fixture("pico/llama-llama3-rope/base"), &snapshot);
    fs::create_dir_all(folder.path().join("hub/models--pico--base/refs")).unwrap();
    fs::write(folder.path().join("hub/models--pico--base/refs/main"), "abc").unwrap();
    let adapter = folder.path().join("adapter");
    copy_folder(&fixture(ADAPTER), &adapter);
    let scan = |revision: Value| {
        let mut config = read_json(&fixture(ADAPTER).join("adapter_config.json"));
        config["base_model_name_or_path"] = json!("pico/base");
        config["revision"] = revision;
        fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
        let mut command = lora_slim();
        command.env_remove("HF_HUB_CACHE").env("HF_HOME", folder.path());
        command.arg("scan").arg(&adapter).arg("--samples").arg(fixture("pico/samples.tokens.jsonl"));
        command.args(["--boundary", "2"]).assert()
    };
    scan(json!(null)).success();
    scan(json!("abc")).success();
    let assert = scan(json!("v2")).code(3);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("but not its revision `v2`"));
    scan(json!("../../../hub")).code(3);
}

#[test]
fn help_completions_and_man_page_come_from_one_definition() {
    for command in ["slim", "scan", "cut", "fix", "inspect", "verify", "completions"] {
        let text = stdout(lora_slim().args([command, "--help"]).assert().success());
        assert!(text.contains("Example:"), "{command}: {text}");
    }
    assert!(stdout(lora_slim().args(["completions", "bash"]).assert().success()).contains("--keep-layers"));
    let man = stdout(lora_slim().arg("man").assert().success());
    assert!(man.contains(".TH") && man.contains("keep\\-layers"));
}

#[test]
fn a_cut_keeps_patterns_of_parameters_and_saved_containers() {
    let folder = TempDir::new().unwrap();
    let cut = |name: &str, edit: &dyn Fn(&mut Value)| {
        let (adapter, out) = (folder.path().join(name), folder.path().join(format!("{name}-cut")));
        copy_folder(&fixture("kinds").join(name), &adapter);
        let mut config = read_json(&adapter.join("adapter_config.json"));
        edit(&mut config);
        fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
        let mut command = lora_slim();
        command.arg("cut").arg(&adapter).args(["--boundary", "1", "-o"]).arg(&out).assert().success();
        lora_slim().arg("verify").arg(&adapter).arg(&out).assert().success();
        read_json(&out.join("adapter_config.json"))
    };
    let patterned = cut("target-parameters-both", &|config| config["alpha_pattern"] = json!({"experts.down_proj": 30}));
    assert_eq!(patterned["alpha_pattern"], json!({"experts.down_proj": 30}));
    let routed = cut("router", &|config| {
        config["target_modules"] = json!(["q_proj", "v_proj", "gate"]);
        config["target_parameters"] = json!(null);
    });
    assert_eq!(routed["target_parameters"], json!(["model.layers.0.mlp.gate.weight"]));
    assert_eq!(routed["target_modules"], json!(["q_proj", "v_proj"]));
    let saved = cut("saved-embed-and-norms", &|_| ());
    let names = saved["modules_to_save"].as_array().unwrap();
    assert!(names.contains(&json!("model.layers.0.input_layernorm")) && !saved.to_string().contains("layers.1"));
}

#[test]
fn the_layers_of_a_vision_tower_are_kept_and_not_counted() {
    let folder = TempDir::new().unwrap();
    let original = fixture("pico/gemma3-vl/adapter");
    copy_folder(&original, &folder.path().join("adapter"));
    let path = folder.path().join("adapter/adapter_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let mut tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors();
    let zeros = [0u8; 64];
    for layer in [0, 7] {
        for (part, shape) in [("A", [4, 4]), ("B", [4, 4])] {
            let name = format!(
                "base_model.model.model.vision_tower.vision_model.encoder.layers.{layer}.self_attn.q_proj.lora_{part}.weight"
            );
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &zeros).unwrap();
            tensors.push((name, view));
        }
    }
    fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let scan = |adapter: &Path| {
        let mut command = lora_slim();
        command.arg("scan").arg(adapter).arg("--base").arg(fixture("pico/gemma3-vl/base"));
        command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--boundary", "1", "--json"]);
        let output = command.assert().success().get_output().clone();
        let report = document(&output.stdout);
        let losses: Vec<Value> =
            report["curve"].as_array().unwrap().iter().map(|point| point["loss"].clone()).collect();
        (losses, String::from_utf8(output.stderr).unwrap())
    };
    let (losses, warnings) = scan(&folder.path().join("adapter"));
    assert_eq!(losses, scan(&original).0);
    assert!(warnings.contains("text does not pass through"), "{warnings}");

    let out = folder.path().join("out");
    let mut command = lora_slim();
    command.arg("cut").arg(folder.path().join("adapter")).args(["--boundary", "1", "-o"]).arg(&out).assert().success();
    let cut = Adapter::open(&out, None).unwrap();
    assert_eq!(cut.layers(), BTreeSet::from([0]));
    let of_tower = |name: &str| name.contains("vision_tower.vision_model.encoder.layers.7.");
    assert_eq!(cut.weights.iter().filter(|(name, _)| of_tower(name)).count(), 2);
}

#[test]
fn the_documented_schemas_are_those_in_use() {
    let files = fs::read_dir(fixture("../docs/schemas")).unwrap().map(|entry| entry.unwrap().file_name());
    let documented: BTreeSet<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    let kinds = DocumentKind::value_variants().iter().map(|kind| kind.to_possible_value().unwrap());
    let kinds: BTreeSet<String> = kinds.map(|kind| format!("{}.schema.json", kind.get_name())).collect();
    assert_eq!(documented, kinds);
    for file in kinds {
        let kind = file.split('.').next().unwrap();
        let printed = stdout(lora_slim().args(["schema", kind]).assert().success());
        let documented = fs::read_to_string(fixture("../docs/schemas").join(&file)).unwrap();
        assert!(printed == documented, "write it anew: lora-slim schema {kind} > docs/schemas/{file}");
    }
    let default = stdout(lora_slim().arg("schema").assert().success());
    assert_eq!(default, fs::read_to_string(fixture("../docs/schemas/report.schema.json")).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever layers are kept, what is written reads back as exactly those, and verifies.
    #[test]
    fn what_is_cut_reads_back(
        layers in proptest::collection::btree_set(0usize..12, 1..8),
        keep in proptest::collection::btree_set(0usize..12, 1..8),
        skip in 0usize..3,
    ) {
        let folder = TempDir::new().unwrap();
        let names: Vec<String> = layers.iter().flat_map(|layer| {
            let modules = ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"];
            // Uneven layers: one of the modules is missing here and there.
            modules.into_iter().enumerate().filter(move |(i, _)| layer % 3 != skip || i % 2 == 0)
                .map(move |(_, module)| format!("model.layers.{layer}.{module}"))
        }).collect();
        let modules: Vec<&str> = names.iter().map(String::as_str).collect();
        let (path, out) = (folder.path().join("adapter"), folder.path().join("out"));
        write_adapter(&path, &modules, json!({"target_modules": ["q_proj", "v_proj", "up_proj"]}));
        let adapter = Adapter::open(&path, None).unwrap();
        let expected: BTreeSet<usize> = layers.intersection(&keep).copied().collect();
        match Cut::new(&adapter, &keep) {
            Err(_) => prop_assert!(expected.is_empty()),
            Ok(cut) => {
                let staging = lora_slim::files::Staging::beside(&out).unwrap();
                cut.write(&staging).unwrap();
                staging.publish().unwrap();
                let read = Adapter::open(&out, None).unwrap();
                prop_assert_eq!(read.layers(), expected);
                let allowed = AllowedDifferences { any_layers: true, ..Default::default() };
                let proof = verify::compare(&adapter, &read, allowed, BaseWeights::Unknown("")).unwrap();
                prop_assert!(proof.differences.is_empty(), "{:?}", proof);
            }
        }
    }
}

/// Every count agrees with its noun, and every wrong boundary is a mistake of the command line.
#[test]
fn messages_are_plain_english() {
    let folder = TempDir::new().unwrap();
    let said = |args: &[&str], code: i32| {
        let assert =
            lora_slim().current_dir(folder.path()).arg(args[0]).arg(fixture(ADAPTER)).args(&args[1..]).assert();
        let output = assert.code(code).get_output().clone();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    for boundary in ["0", "99", "none", "-1"] {
        said(&["cut", &format!("--boundary={boundary}"), "-o", "out"], 2);
        slim(folder.path(), &[&format!("--boundary={boundary}")]).code(2);
    }
    let text = said(&["slim", "--boundary", "all", "--samples", "s.jsonl", "-o", "out"], 2);
    assert!(text.contains("`all` is not a number of layers such as 14 (only `cut` takes `all`)"), "{text}");
    let text = said(&["batch", "--boundary", "2", "-o", "batch"], 0);
    assert!(text.contains("1 adapter, 0 of them unchanged"), "{text}");
    let text = said(&["batch", "--boundary", "2", "-o", "batch", "--dry-run"], 0);
    assert!(text.contains("1 adapter: 1 unchanged"), "{text}");
    let text = said(&["batch", "--boundary", "99", "-o", "batch"], 2);
    assert!(text.contains("1 of 1 adapter did not succeed"), "{text}");
}
