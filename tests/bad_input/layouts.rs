//! Adapters of other trainers: commands name the layout, and `fix` refuses what is not certain.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{BAD_INPUT, USAGE};
use crate::support::{Tensors, copy_folder, fixture, lora_slim, read_json, write_safetensors};

fn files(case: &str) -> PathBuf {
    fixture("foreign").join(case).join("files")
}

/// `fix` must fail with `code`, say all of `words` and write nothing.
fn fix_fails(adapter: &Path, more: &[&str], code: i32, words: &[&str]) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let assert = lora_slim().arg("fix").arg(adapter).arg("-o").arg(&out).args(more).assert().code(code);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    for word in words {
        assert!(stderr.contains(word), "`{word}` is not in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn with_config(case: &str, change: impl Fn(&mut Value)) -> TempDir {
    let folder = TempDir::new().unwrap();
    copy_folder(&files(case), folder.path());
    let path = folder.path().join("adapter_config.json");
    let mut config = read_json(&path);
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
    folder
}

fn with_tensors(shapes: &[(&str, &[usize])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let tensor = |&(name, shape): &(&str, &[usize])| {
        (name.to_string(), (shape.to_vec(), vec![0.5; shape.iter().product::<usize>()]))
    };
    let tensors: Tensors = shapes.iter().map(tensor).collect();
    write_safetensors(&folder.path().join("lora.safetensors"), &tensors);
    folder
}

#[test]
fn other_commands_name_the_layout_and_what_reads_it() {
    for (case, words) in [
        ("mlx", "an adapter in the layout of MLX-LM"),
        ("torchtune", "an adapter in the layout of torchtune"),
        ("torchtune-dora", "an adapter in the layout of torchtune"),
        ("nemo-fused", "an adapter in the layout of NeMo"),
        ("kohya", "an adapter in the layout of sd-scripts (kohya)"),
        ("peft-no-type", "a PEFT adapter whose adapter_config.json has no `peft_type`"),
        ("peft-no-config", "a PEFT adapter with no adapter_config.json"),
    ] {
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("out");
        let adapter = files(case);
        let commands: [&[&str]; 2] = [&["inspect"], &["cut", "--boundary", "1", "-o", out.to_str().unwrap()]];
        for command in commands {
            let assert = lora_slim().args(command).arg(&adapter).assert().code(BAD_INPUT);
            let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert!(stderr.contains(words) && stderr.contains("hint: `lora-slim fix "), "{stderr}");
        }
    }
}

#[test]
fn what_the_files_do_not_say_has_to_be_given() {
    let base = fixture("kinds/base");
    let base = ["--base", base.to_str().unwrap()];
    fix_fails(&files("torchtune"), &[], USAGE, &["torchtune", "queries and keys", "`--base`"]);
    fix_fails(&files("nemo-fused"), &["--alpha", "6"], USAGE, &["NeMo", "`--base`"]);
    fix_fails(&files("nemo-fused"), &base, USAGE, &["alpha", "`--alpha`"]);
    fix_fails(&files("peft-no-config"), &[], USAGE, &["alpha", "`--alpha`"]);
    for case in ["mlx", "kohya", "peft-no-type"] {
        fix_fails(&files(case), &["--alpha", "6"], USAGE, &["says itself which alpha", "leave out `--alpha`"]);
    }
    fix_fails(&files("mlx"), &["--alpha", "nan"], USAGE, &["`nan` is not a positive number"]);
}

#[test]
fn models_that_do_not_fit_are_refused() {
    let qwen = fixture("pico/qwen3/base");
    let gemma = fixture("pico/gemma3/base");
    fix_fails(&files("torchtune"), &["--base", gemma.to_str().unwrap()], BAD_INPUT, &["order of rows", "gemma3"]);
    // Heads of another size.
    fix_fails(&files("nemo-fused"), &["--alpha", "6", "--base", qwen.to_str().unwrap()], BAD_INPUT, &["rows"]);
    let folder = with_tensors(&[
        ("model.layers.0.self_attn.other.lora_down.weight", &[2, 32]),
        ("model.layers.0.self_attn.other.lora_up.weight", &[32, 2]),
    ]);
    let base = fixture("kinds/base");
    fix_fails(folder.path(), &["--base", base.to_str().unwrap()], BAD_INPUT, &["no module", "self_attn.other"]);
    fix_fails(folder.path(), &[], USAGE, &["`--base`"]);
}

#[test]
fn what_can_mean_two_things_is_refused() {
    let alpha = with_config("mlx", |config| config["lora_parameters"]["alpha"] = json!(16));
    fix_fails(alpha.path(), &[], BAD_INPUT, &["`alpha` and `scale`"]);
    let full = with_config("mlx", |config| config["fine_tune_type"] = json!("full"));
    fix_fails(full.path(), &[], BAD_INPUT, &["trained in full"]);
    let no_scale = with_config("mlx", |config| config["lora_parameters"]["scale"] = json!(null));
    fix_fails(no_scale.path(), &[], BAD_INPUT, &["`scale`", "a number"]);
    let unknown = with_config("torchtune", |config| config["use_rslora"] = json!(true));
    let base = fixture("kinds/base");
    fix_fails(unknown.path(), &["--base", base.to_str().unwrap()], BAD_INPUT, &["`use_rslora`"]);
    let other_method = with_config("peft-no-type", |config| config["peft_type"] = json!("XLORA"));
    fix_fails(other_method.path(), &[], BAD_INPUT, &["known"]);
    let a_and_b = |module: &str| [format!("{module}.lora_down.weight"), format!("{module}.lora_up.weight")];
    for (module, words) in [
        ("lora_unet_down_blocks_0_attentions_0_proj_in", "no decoders"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", "no decoders"),
        ("lora_model_layers_0_self_attn_q_proj", "underscores for dots"),
    ] {
        let [a, b] = a_and_b(module);
        let folder = with_tensors(&[(&a, &[2, 4]), (&b, &[4, 2])]);
        fix_fails(folder.path(), &[], BAD_INPUT, &[words]);
    }
}

#[test]
fn tensors_of_no_layout_are_named() {
    let [a, b] = ["lora_down", "lora_up"].map(|part| format!("model.layers.0.self_attn.q_proj.{part}.weight"));
    for more in ["model.layers.0.self_attn.q_proj.lora_mid.weight", "model.layers.0.self_attn.q_proj.dora_scale"] {
        let folder = with_tensors(&[(&a, &[2, 4]), (&b, &[4, 2]), (more, &[2, 2])]);
        fix_fails(folder.path(), &[], BAD_INPUT, &[more]);
    }
    let folder = with_tensors(&[("model.layers.0.mlp.weight", &[2, 4])]);
    fix_fails(folder.path(), &[], BAD_INPUT, &["no adapter in a layout that is known", "MLX-LM, torchtune, NeMo"]);
    let folder = TempDir::new().unwrap();
    fix_fails(folder.path(), &[], BAD_INPUT, &["no adapter in a layout that is known"]);
    let experts = ["a", "b"].map(|part| format!("model.layers.0.mlp.switch_mlp.up_proj.lora_{part}"));
    let folder = with_tensors(&[(&experts[0], &[4, 2]), (&experts[1], &[2, 4])]);
    fix_fails(folder.path(), &["--alpha", "4"], BAD_INPUT, &["switch_mlp"]);
}

#[test]
fn a_setting_that_is_not_read_is_named() {
    let folder = with_config("mlx", |config| config["lora_parameters"]["rank_by_layer"] = json!([2, 4]));
    let out = folder.path().join("../out-of-a-setting");
    let assert = lora_slim().arg("fix").arg(folder.path()).arg("-o").arg(&out).assert().success();
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains("`rank_by_layer` in adapter_config.json is not read"), "{stderr}");
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn files_have_to_be_complete_and_one() {
    let folder = TempDir::new().unwrap();
    copy_folder(&files("peft-shards"), folder.path());
    fs::remove_file(folder.path().join("adapter_model-00001-of-00002.safetensors")).unwrap();
    fix_fails(folder.path(), &[], BAD_INPUT, &["lacks some shards", "adapter_model-00002-of-00002"]);
    let folder = TempDir::new().unwrap();
    copy_folder(&files("torchtune-dora"), folder.path());
    fs::copy(folder.path().join("adapter_0.pt"), folder.path().join("adapter_1.pt")).unwrap();
    fix_fails(
        folder.path(),
        &["--alpha", "6"],
        BAD_INPUT,
        &["`adapter_0.pt`, `adapter_1.pt`", "name one of the files"],
    );
}

/// A matrix that cannot be divided or transposed as the layout says.
#[test]
fn factors_of_another_shape_are_refused() {
    let [a, b] = ["a", "b"].map(|part| format!("model.layers.0.self_attn.q_proj.lora_{part}"));
    let folder = with_tensors(&[(&a, &[4, 2, 1]), (&b, &[2, 4])]);
    fix_fails(folder.path(), &["--alpha", "4"], BAD_INPUT, &["lora_a", "shape of a factor"]);
    let folder = with_tensors(&[(&a, &[4, 2]), (&b, &[3, 4])]);
    fix_fails(folder.path(), &["--alpha", "4"], BAD_INPUT, &["rank"]);
}

/// Numbers of a type that no other command reads.
#[test]
fn tensors_of_another_type_are_refused() {
    let folder = TempDir::new().unwrap();
    copy_folder(&files("peft-no-type"), folder.path());
    let weights = folder.path().join("adapter_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let integers = String::from_utf8(bytes[8..header].to_vec()).unwrap().replace("\"F32\"", "\"I32\"");
    bytes[8..header].copy_from_slice(integers.as_bytes());
    fs::write(&weights, bytes).unwrap();
    fix_fails(folder.path(), &[], BAD_INPUT, &["unsupported type I32"]);
}
