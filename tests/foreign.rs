//! Adapters in the layouts of other trainers, which `lora-slim fix` writes as PEFT saves them. `scripts/fixtures/foreign.py` makes
//! the files and computes the losses as the trainers merge their adapters.

use std::fs;
use std::path::{Path, PathBuf};

use lora_slim::adapter::Adapter;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::golden::scan_with;
use crate::support::{copy_folder, document, fixture, lora_slim, read_json, stdout};

/// The folders of `fixtures/foreign`.
fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> =
        fs::read_dir(fixture("foreign")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 18, "{cases:?}");
    cases
}

fn case(name: &str) -> PathBuf {
    fixture("foreign").join(name)
}

/// The flags that `fix` and `verify` need for a case.
fn flags(case: &Path) -> Vec<String> {
    let flags = read_json(&case.join("case.json"))["flags"].clone();
    let mut words = Vec::new();
    for (flag, value) in flags.as_object().unwrap() {
        let value = match value {
            Value::String(base) => fixture(base).to_str().unwrap().to_string(),
            number => number.to_string(),
        };
        words.extend([flag.clone(), value]);
    }
    words
}

fn fix(case: &Path, out: &Path) -> assert_cmd::assert::Assert {
    lora_slim().arg("fix").arg(case.join("files")).arg("-o").arg(out).args(flags(case)).assert()
}

fn verify(original: &Path, fixed: &Path, flags: &[String]) -> assert_cmd::assert::Assert {
    lora_slim().arg("verify").arg(original).arg(fixed).args(flags).assert()
}

#[test]
fn each_layout_has_the_loss_that_its_trainer_computes() {
    for case in cases() {
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("out");
        let text = stdout(fix(&case, &out).success());
        assert!(text.contains("changes\n  ") && !text.contains("nothing"), "{text}");
        let expected = read_json(&case.join("case.json"));
        let base = fixture(expected["base"].as_str().unwrap());
        let report = scan_with(&out, &base, ["--precision", "f32"], "none");
        let loss = report["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap();
        let expected = expected["loss"].as_f64().unwrap();
        assert!((loss - expected).abs() < 2e-5, "{}: {loss} instead of {expected}", case.display());
        verify(&case.join("files"), &out, &flags(&case)).success();
        lora_slim().arg("check").arg(&out).args(["--runtime", "peft", "--base"]).arg(&base).assert().success();
    }
}

#[test]
fn the_same_files_give_the_same_bytes() {
    for case in cases() {
        let folder = TempDir::new().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        for out in [&one, &two] {
            fix(&case, out).success();
        }
        for name in ["adapter_model.safetensors", "adapter_config.json"] {
            assert_eq!(fs::read(one.join(name)).unwrap(), fs::read(two.join(name)).unwrap(), "{name}");
        }
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}

#[test]
fn settings_are_those_of_the_trainer() {
    let folder = TempDir::new().unwrap();
    let config = |name: &str| {
        let out = folder.path().join(name);
        fix(&case(name), &out).success();
        read_json(&out.join("adapter_config.json"))
    };
    let mlx = config("mlx-last-layers");
    assert_eq!((&mlx["r"], &mlx["lora_alpha"]), (&json!(2), &json!(6)), "alpha is the scale, 3, times the rank");
    assert_eq!(mlx["layers_to_transform"], json!([2, 3]));
    assert_eq!(mlx["target_modules"], json!(["k_proj", "q_proj", "v_proj"]));
    assert_eq!(config("mlx-dora")["use_dora"], json!(true));
    let kohya = config("kohya");
    assert_eq!(kohya["lora_alpha"], json!(1.5));
    assert_eq!(kohya["alpha_pattern"]["model.layers.0.self_attn.q_proj"], json!(4));
    assert_eq!(kohya["alpha_pattern"]["model.layers.0.self_attn.k_proj"], json!(2), "an alpha of 0 means the rank");
    let torchtune = config("torchtune");
    assert_eq!((&torchtune["r"], &torchtune["lora_alpha"]), (&json!(2), &json!(6)));
    let vision = config("text-on-vision");
    let names = vision["target_modules"].as_array().unwrap();
    assert!(names.iter().all(|name| name.as_str().unwrap().starts_with("model.language_model.layers.")), "{names:?}");
}

#[test]
fn json_says_what_changed() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let files = case("mlx").join("files");
    let output = lora_slim().arg("fix").arg(&files).arg("-o").arg(&out).arg("--json").assert().success();
    let report = document(&output.get_output().stdout);
    assert_eq!(report["layout"], "MLX-LM");
    assert_eq!((&report["tensors"], &report["modules"]), (&json!(56), &json!(28)));
    assert_eq!(report["changes"].as_array().unwrap().len(), 2);
    assert_eq!(report["remarks"], json!([]));
    let verification = lora_slim().arg("verify").arg(&files).arg(&out).arg("--json").assert().success();
    let verification = document(&verification.get_output().stdout);
    assert_eq!((&verification["verified"], &verification["layout"]), (&json!(true), &json!("MLX-LM")));
}

/// Every kind of PEFT adapter stays as it is.
#[test]
fn what_peft_saved_is_not_changed() {
    for folder in fs::read_dir(fixture("kinds")).unwrap().map(|entry| entry.unwrap().path()) {
        if !folder.join("adapter_config.json").exists() {
            continue;
        }
        let work = TempDir::new().unwrap();
        let out = work.path().join("out");
        lora_slim().arg("fix").arg(&folder).arg("-o").arg(&out).assert().success();
        assert_eq!(read_json(&out.join("adapter_config.json")), read_json(&folder.join("adapter_config.json")));
        verify(&folder, &out, &[]).success();
        let [before, after] = [&folder, &out].map(|path| Adapter::open(path, None).unwrap());
        assert_eq!(before.tensors().count(), after.tensors().count(), "{}", folder.display());
    }
}

#[test]
fn verify_finds_each_difference() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    for name in ["torchtune", "mlx", "peft-wrapped", "vision-on-text"] {
        let (files, flags) = (case(name).join("files"), flags(&case(name)));
        let _ = fs::remove_dir_all(&out);
        fix(&case(name), &out).success();

        let weights = out.join("adapter_model.safetensors");
        let whole = fs::read(&weights).unwrap();
        let mut broken = whole.clone();
        *broken.last_mut().unwrap() ^= 1;
        fs::write(&weights, &broken).unwrap();
        verify(&files, &out, &flags).code(5);
        fs::write(&weights, &whole).unwrap();

        let path = out.join("adapter_config.json");
        let config = read_json(&path);
        for (key, value) in
            [("lora_alpha", json!(7)), ("use_rslora", json!(true)), ("target_modules", json!(["q_proj"]))]
        {
            let mut broken = config.clone();
            broken[key] = value;
            fs::write(&path, broken.to_string()).unwrap();
            verify(&files, &out, &flags).code(5);
        }
        fs::write(&path, config.to_string()).unwrap();
        verify(&files, &out, &flags).success();
    }
}

/// Without the base model, `verify` takes the names that `fix` gave for its.
#[test]
fn verify_needs_no_base_for_names_alone() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    fix(&case("text-on-vision"), &out).success();
    verify(&case("text-on-vision").join("files"), &out, &[]).success();
}

#[test]
fn outputs_are_whole_and_nothing_is_replaced_unasked() {
    let folder = TempDir::new().unwrap();
    let (files, out) = (folder.path().join("files"), folder.path().join("out"));
    copy_folder(&case("mlx").join("files"), &files);
    let run = |out: &Path, more: &[&str]| lora_slim().arg("fix").arg(&files).arg("-o").arg(out).args(more).assert();
    run(&out, &[]).success();
    run(&out, &[]).code(2);
    run(&out, &["--force"]).success();
    run(&files, &["--force"]).code(2);
    run(&files.join("inside"), &[]).code(2);
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "mine").unwrap();
    run(&other, &["--force"]).code(2);
    assert!(other.join("notes.txt").exists());
}

#[test]
fn side_files_come_along_and_other_weights_are_named() {
    let folder = TempDir::new().unwrap();
    let (files, out) = (folder.path().join("files"), folder.path().join("out"));
    copy_folder(&case("mlx").join("files"), &files);
    fs::write(files.join("README.md"), "about").unwrap();
    fs::copy(files.join("adapters.safetensors"), files.join("0000100_adapters.safetensors")).unwrap();
    let assert = lora_slim().arg("fix").arg(&files).arg("-o").arg(&out).assert().success();
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains("nothing is read from `0000100_adapters.safetensors`"), "{stderr}");
    assert!(out.join("README.md").exists() && !out.join("0000100_adapters.safetensors").exists());
}

/// A file may be named instead of its folder.
#[test]
fn one_file_is_read_with_the_configuration_beside_it() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let file = case("torchtune").join("files/adapter_model.pt");
    let base = fixture("kinds/base");
    lora_slim().arg("fix").arg(&file).arg("-o").arg(&out).arg("--base").arg(&base).assert().success();
    assert_eq!(read_json(&out.join("adapter_config.json"))["lora_alpha"], json!(6));
    let flags = ["--base".to_string(), base.to_str().unwrap().to_string()];
    verify(&file, &out, &flags).success();
}
