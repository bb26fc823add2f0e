//! Adapters whose files say two things, or say them in words of a training: what counts is what PEFT 0.21.2 does, and it is said.

use std::fs;
use std::path::{Path, PathBuf};

use lora_slim::{Adapter, Base, Samples, Slim};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    ADAPTER, Tensors, copy_folder, document, fixture, lora_slim, read_json, stdout, write_adapter, write_safetensors,
};

const BASE: &str = "pico/llama-llama3-rope/base";
const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

/// A copy of an adapter that a test may change.
struct Copied {
    _folder: TempDir,
    path: PathBuf,
}

impl Copied {
    fn of(adapter: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("adapter");
        copy_folder(&fixture(adapter), &path);
        Self { _folder: folder, path }
    }

    fn set(self, key: &str, value: Value) -> Self {
        let mut config = read_json(&self.path.join(CONFIG));
        config[key] = value;
        fs::write(self.path.join(CONFIG), config.to_string()).unwrap();
        self
    }

    /// Names each f32 tensor anew, and adds others.
    fn rename(self, name: impl Fn(&str) -> String, more: impl Fn(&str) -> Option<String>) -> Self {
        let file = self.path.join(WEIGHTS);
        let bytes = fs::read(&file).unwrap();
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors = Tensors::new();
        for (old, view) in stored.tensors() {
            let values = view.data().chunks(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect();
            let tensor: (Vec<usize>, Vec<f32>) = (view.shape().to_vec(), values);
            tensors.extend(more(&old).map(|name| (name, tensor.clone())));
            tensors.insert(name(&old), tensor);
        }
        write_safetensors(&file, &tensors);
        self
    }

    fn remarks(&self) -> String {
        Adapter::open(&self.path, None).unwrap().remarks.join("\n")
    }

    fn out(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }
}

fn names(folder: &Path) -> Vec<String> {
    let bytes = fs::read(folder.join(WEIGHTS)).unwrap();
    let mut names: Vec<String> =
        SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(String::from).collect();
    names.sort();
    names
}

/// The text that a command prints and its exit code, with single spaces.
fn run(command: &str, adapter: &Path, flags: &[&str]) -> (String, i32) {
    let output = lora_slim().arg(command).arg(adapter).args(flags).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (text.split_whitespace().collect::<Vec<_>>().join(" "), output.status.code().unwrap())
}

fn base() -> String {
    fixture(BASE).to_str().unwrap().to_string()
}

fn scan(adapter: &Path, flags: &[&str]) -> Value {
    let samples = fixture("pico/samples.tokens.jsonl");
    let mut command = lora_slim();
    command.arg("scan").arg(adapter).args(["--json", "--base"]).arg(base()).arg("--samples").arg(samples);
    document(stdout(command.args(flags).assert().success()))
}

/// Wrappers in the configuration are taken away with those in the names of tensors, wherever PEFT compares names.
#[test]
fn wrappers_in_a_configuration_are_taken_away() {
    let plain = read_json(&fixture(ADAPTER).join(CONFIG));
    let modules: Vec<String> = Adapter::open(&fixture(ADAPTER), None).unwrap().modules().keys().cloned().collect();
    let wrapped: Vec<String> = modules.iter().map(|module| format!("_orig_mod.{module}")).collect();
    let whole = scan(&fixture(ADAPTER), &[])["curve"].clone();
    for (key, value, expected) in [
        ("target_modules", json!(wrapped), json!(modules)),
        ("target_modules", json!(r"_orig_mod\.model\.layers\.\d+\..*"), json!(r"model\.layers\.\d+\..*")),
        ("exclude_modules", json!(["_orig_mod.model.norm"]), json!(["model.norm"])),
    ] {
        let adapter = Copied::of(ADAPTER)
            .rename(|name| name.replacen("base_model.model.", "base_model.model._orig_mod.", 1), |_| None)
            .set(key, value.clone());
        assert!(adapter.remarks().contains(&format!("in `{key}`")), "{}", adapter.remarks());
        assert_eq!(scan(&adapter.path, &[])["curve"], whole, "{key}");
        for (command, flags) in [("cut", &["--boundary", "all"][..]), ("fix", &["--base", &base()])] {
            let out = adapter.out(command);
            let text = run(command, &adapter.path, &[flags, &["-o", out.to_str().unwrap()]].concat());
            assert_eq!(text.1, 0, "{command}: {}", text.0);
            assert_eq!(read_json(&out.join(CONFIG))[key], expected, "{command}");
            assert_eq!(names(&out), names(&fixture(ADAPTER)), "{command}");
            let checked = run("check", &out, &["--base", &base(), "--runtime", "peft"]);
            assert_eq!((checked.0.as_str(), checked.1), ("PEFT loads", 0), "{command} {key}");
            assert_eq!(run("verify", &adapter.path, &[out.to_str().unwrap()]).1, 0, "{command} {key}");
        }
    }
    assert_eq!(read_json(&fixture(ADAPTER).join(CONFIG)), plain);
}

/// PEFT loads none of these, and the adapter is what it is without them.
#[test]
fn states_of_an_optimizer_are_no_adapters() {
    let states: [&dyn Fn(&str) -> String; 5] = [
        &|name| name.replace(".weight", ".exp_avg"),
        &|name| format!("{name}.exp_avg_sq"),
        &|name| format!("optimizer.state.{name}.exp_avg"),
        &|name| format!("exp_avg.{name}"),
        &|name| name.replace(".weight", ".weight_grad"),
    ];
    for state in states {
        let adapter = Copied::of(ADAPTER).rename(|name| name.to_string(), |name| Some(state(name)));
        assert!(adapter.remarks().contains("state of an optimizer"), "{}", adapter.remarks());
        for command in ["cut", "fix"] {
            let out = adapter.out(command);
            let flags: &[&str] = if command == "cut" { &["--boundary", "all"] } else { &[] };
            let text = run(command, &adapter.path, &[flags, &["-o", out.to_str().unwrap()]].concat());
            assert!(text.1 == 0 && text.0.contains("state of an optimizer"), "{command}: {}", text.0);
            assert_eq!(names(&out), names(&fixture(ADAPTER)), "{command}");
        }
    }
}

#[test]
fn entries_of_a_configuration_without_effect_are_named() {
    for (key, value, words) in [
        ("rank_pattern", json!({"no_such": 2}), "no module that has tensors matches `no_such` in `rank_pattern`"),
        ("alpha_pattern", json!({"q_proj": 4, r"layers\.9\d\..*": 8}), r"matches `layers\.9\d\..*` in `alpha_pattern`"),
        ("target_parameters", json!(["mlp.experts.down_proj"]), "no tensors belong to `mlp.experts.down_proj`"),
        ("use_rslora", json!("false"), "a text in place of a flag for `use_rslora`"),
    ] {
        let adapter = Copied::of(ADAPTER).set(key, value);
        assert!(adapter.remarks().contains(words), "{key}: {}", adapter.remarks());
        assert!(run("check", &adapter.path, &["--runtime", "peft"]).0.contains(words), "{key}");
    }
    let used = Copied::of(ADAPTER).set("alpha_pattern", json!({r"layers\.1\..*": 8}));
    assert_eq!(used.remarks(), "");
}

/// PEFT warns of an `exclude_modules` that excludes nothing.
#[test]
fn exclusions_without_effect_are_named_where_the_base_model_is_known() {
    let base = fixture(BASE);
    let check = |names: Value| {
        let adapter = Copied::of(ADAPTER).set("exclude_modules", names);
        run("check", &adapter.path, &["--runtime", "peft", "--base", base.to_str().unwrap()]).0
    };
    let unused = "no module of the base model that has weights matches";
    for (names, is_unused) in [
        (json!(["visual", "norm"]), true),
        (json!(["model.norm", "layers.1.input_layernorm"]), false),
        (json!(r".*vision.*"), true),
        (json!(r"model\.norm"), false),
    ] {
        let text = check(names.clone());
        assert_eq!(text.contains(unused), is_unused, "{names}: {text}");
        assert!(!text.contains("`norm`"), "{text}");
    }
    let adapter = Copied::of(ADAPTER).set("exclude_modules", json!(["visual"]));
    assert!(scan(&adapter.path, &[])["remarks"].to_string().contains(unused));
}

/// Python takes the last of equal keys, refuses an infinite dropout and loads one that is NaN.
#[test]
fn a_configuration_is_read_as_python_reads_it() {
    let edited = |piece: &str| {
        let adapter = Copied::of(ADAPTER);
        let text = fs::read_to_string(adapter.path.join(CONFIG)).unwrap();
        let end = text.rfind('}').unwrap();
        fs::write(adapter.path.join(CONFIG), format!("{}, {piece}}}", text[..end].trim_end())).unwrap();
        adapter
    };
    let twice = edited(r#""lora_alpha": 32"#);
    assert_eq!(Adapter::open(&twice.path, None).unwrap().config.alpha, Some(32.0));
    assert!(twice.remarks().contains("repeats `lora_alpha`"), "{}", twice.remarks());
    let check = |adapter: &Copied| run("check", &adapter.path, &["--runtime", "peft,transformers"]);
    let infinite = check(&edited(r#""lora_dropout": Infinity"#));
    assert!(infinite.1 == 5 && infinite.0.contains("PEFT refuses `lora_dropout`"), "{}", infinite.0);
    let nan = edited(r#""lora_dropout": NaN"#);
    assert!(check(&nan).1 == 0, "{}", check(&nan).0);
    let out = nan.out("fixed");
    assert_eq!(run("fix", &nan.path, &["-o", out.to_str().unwrap()]).1, 0);
    let floats = Copied::of(ADAPTER).set("layers_to_transform", json!([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    assert!(Adapter::open(&floats.path, None).is_ok());
}

/// PEFT's own numbers where a configuration has none: a rank of 8, which the tensors contradict, and an alpha of 8.
#[test]
fn absent_numbers_of_a_configuration_are_the_defaults_of_peft() {
    let without = |key: &str| {
        let adapter = Copied::of(ADAPTER);
        let mut config = read_json(&adapter.path.join(CONFIG));
        config.as_object_mut().unwrap().shift_remove(key);
        fs::write(adapter.path.join(CONFIG), config.to_string()).unwrap();
        adapter
    };
    let adapter = without("lora_alpha");
    assert_eq!(adapter.remarks(), "adapter_config.json has no `lora_alpha`: it is 8, PEFT's default");
    assert_eq!(Adapter::open(&adapter.path, None).unwrap().config.alpha, Some(8.0));
    let out = adapter.out("cut");
    assert_eq!(run("cut", &adapter.path, &["--boundary", "all", "-o", out.to_str().unwrap()]).1, 0);
    assert_eq!(read_json(&out.join(CONFIG))["lora_alpha"], json!(8));
    let error = Adapter::open(&without("r").path, None).unwrap_err().to_string();
    assert!(error.contains("rank"), "{error}");
}

/// Losses are those of all tensors; PEFT leaves out those that the configuration does not name.
#[test]
fn losses_that_peft_does_not_compute_are_said_to_be_others() {
    let named = Adapter::open(&fixture(ADAPTER), None).unwrap();
    let last = named.modules().values().next().unwrap().last_segment().to_string();
    for (key, value) in [("exclude_modules", json!([last])), ("layers_to_transform", json!([0, 1]))] {
        let adapter = Copied::of(ADAPTER).set(key, value);
        let report = scan(&adapter.path, &[]);
        let remarks = report["remarks"].to_string();
        assert!(
            remarks.contains("PEFT computes something else") && remarks.contains("does not name module"),
            "{remarks}"
        );
        let out = adapter.out("fixed");
        let (text, code) = run("fix", &adapter.path, &["-o", out.to_str().unwrap()]);
        assert!(code == 3 && text.contains("it does not name module"), "{text}");
    }
    let none = Copied::of(ADAPTER).set("target_modules", json!("q_proj"));
    let (text, code) = run("check", &none.path, &["--base", &base(), "--runtime", "peft"]);
    assert!(code == 5 && text.contains("PEFT refuses"), "{text}");
    // A quiet run says it with the result.
    let dead = Copied::of(ADAPTER).set("lora_alpha", json!(0));
    let samples = fixture("pico/samples.tokens.jsonl");
    let flags = ["--base", &base(), "--samples", samples.to_str().unwrap(), "-q"];
    assert!(run("scan", &dead.path, &flags).0.contains("note: `lora_alpha` is 0"));
}

#[test]
fn modules_that_change_nothing_are_named_among_others() {
    let adapter = Copied::of(ADAPTER).set("alpha_pattern", json!({r"layers\.1\..*": 0}));
    assert!(adapter.remarks().contains("changes nothing in"), "{}", adapter.remarks());
}

/// The layers of a tower are not taken for those of the decoder, whatever their sizes.
#[test]
fn a_tower_is_not_evaluated_as_the_decoder() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("adapter");
    let tower = "model.vision_tower.encoder.layers.0.self_attn.q_proj";
    write_adapter(&path, &[tower], json!({"target_modules": [tower]}));
    let samples = fixture("pico/samples.tokens.jsonl");
    let base = fixture("pico/gemma3-vl/base");
    let flags = ["--base", base.to_str().unwrap(), "--samples", samples.to_str().unwrap()];
    let (text, code) = run("scan", &path, &flags);
    assert!(code == 3 && text.contains("through which text does not pass"), "{text}");
    let (text, _) = run("check", &path, &["--base", base.to_str().unwrap(), "--runtime", "peft"]);
    assert!(!text.contains("language_model"), "{text}");
}

#[test]
fn adapters_and_shards_beside_one_are_named() {
    let adapter = Copied::of(ADAPTER);
    copy_folder(&fixture(ADAPTER), &adapter.path.join("sql"));
    copy_folder(&fixture(ADAPTER), &adapter.path.join("checkpoint-10"));
    let remarks = adapter.remarks();
    assert!(
        remarks.contains("adapters of their own") && remarks.contains("`sql`") && !remarks.contains("checkpoint"),
        "{remarks}"
    );

    let sharded = Copied::of(ADAPTER);
    for name in ["model-00001-of-00001.safetensors", "model.safetensors.index.json"] {
        fs::write(sharded.path.join(name), b"").unwrap();
    }
    let shard = sharded.path.join("model-00001-of-00001.safetensors");
    fs::rename(sharded.path.join(WEIGHTS), &shard).unwrap();
    let map: serde_json::Map<String, Value> =
        names(&fixture(ADAPTER)).into_iter().map(|name| (name, json!("model-00001-of-00001.safetensors"))).collect();
    fs::write(sharded.path.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    assert_eq!(run("inspect", &sharded.path, &[]).1, 0);
    let out = sharded.out("cut");
    assert_eq!(run("cut", &sharded.path, &["--boundary", "all", "-o", out.to_str().unwrap()]).1, 0);
    assert_eq!(names(&out), names(&fixture(ADAPTER)));
}

#[test]
fn other_layouts_are_named_with_what_reads_them() {
    let (text, code) = run("check", &fixture("foreign").join(mlx_case()).join("files"), &["--runtime", "peft"]);
    assert!(code == 5 && text.contains("`lora-slim fix` writes it as PEFT saves adapters"), "{text}");
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("adapter.nemo"), b"").unwrap();
    for command in ["check", "inspect"] {
        let (text, code) = run(command, folder.path(), &[]);
        assert!(code == 3 && text.contains("archive of NeMo") && text.contains("tar -xf"), "{text}");
    }
    // Beside what was unpacked from it.
    let mlx = folder.path().join("unpacked");
    copy_folder(&fixture("foreign").join(mlx_case()).join("files"), &mlx);
    fs::write(mlx.join("adapter.nemo"), b"").unwrap();
    let out = folder.path().join("fixed");
    assert_eq!(run("fix", &mlx, &["-o", out.to_str().unwrap()]).1, 0);
    assert!(run("inspect", &mlx, &[]).0.contains("lora-slim fix"));
}

/// A case of `fixtures/foreign` with the files of MLX-LM.
fn mlx_case() -> String {
    let folders = fs::read_dir(fixture("foreign")).unwrap().map(|entry| entry.unwrap().path());
    let mut mlx = folders.filter(|folder| folder.join("files/adapters.safetensors").is_file());
    mlx.next().unwrap().file_name().unwrap().to_str().unwrap().into()
}

/// Of several stacks of layers, the base model that is open tells the decoder's, and not the one that the adapter names.
#[test]
fn a_shared_base_tells_the_decoder() {
    let adapter = Copied::of(ADAPTER)
        .rename(|name| name.to_string(), |name| Some(name.replacen(".model.layers.", ".other.layers.", 1)))
        .set("base_model_name_or_path", json!("no/such-model"));
    let base = Base::open(&base()).unwrap();
    let curve = |adapter: &Path| {
        let samples = Samples::file(fixture("pico/samples.tokens.jsonl"));
        let slim = Slim::new(adapter.display().to_string(), samples).exhaustive();
        serde_json::to_value(&slim.evaluate_on(&base).unwrap().report().curve).unwrap()
    };
    let loss = |curve: &Value| curve.as_array().unwrap().last().unwrap()["loss"].clone();
    assert_eq!(loss(&curve(&adapter.path)), loss(&curve(&fixture(ADAPTER))));
}
