//! `--dead-weight`: what changes nothing goes, by name, and the loss stays to the last digit. `scripts/check/dead_weight.py` compares
//! logits in PEFT.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Tensors, copy_folder, document, fixture, lora_slim, read_json, read_safetensors, stdout, write_safetensors,
};

const EMBEDDING: &str = "base_model.model.model.embed_tokens.weight";
const HEAD: &str = "base_model.model.lm_head.weight";
const WEIGHTS: &str = "adapter_model.safetensors";

/// An adapter made of one of `fixtures/kinds`, and its base model.
struct Case {
    folder: TempDir,
    base: PathBuf,
    tensors: Tensors,
    config: Value,
}

impl Case {
    fn new(kind: &str, base: &str) -> Self {
        let from = fixture("kinds").join(kind);
        let (tensors, config) = (read_safetensors(&from.join(WEIGHTS)), read_json(&from.join("adapter_config.json")));
        Self { folder: TempDir::new().unwrap(), base: fixture("kinds").join(base), tensors, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A weight of the base model under the name of one of an adapter.
    fn of_base(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let base = read_safetensors(&self.base.join("model.safetensors"));
        base[name.strip_prefix("base_model.model.").unwrap()].clone()
    }

    /// Gives the adapter a weight of the base model, with 1 added to the first number of some rows.
    fn add_table(&mut self, name: &str, changed: &[usize]) {
        let (shape, mut values) = self.of_base(&name.replace("lm_head", self.head_name()));
        changed.iter().for_each(|row| values[row * shape[1]] += 1.0);
        self.tensors.insert(name.into(), (shape, values));
    }

    /// A tied model has no head of its own.
    fn head_name(&self) -> &'static str {
        if self.base.ends_with("base-tied") { "model.embed_tokens" } else { "lm_head" }
    }

    /// Adds rows behind the last one.
    fn add_rows(&mut self, name: &str, count: usize) {
        let (shape, values) = self.tensors.get_mut(name).unwrap();
        values.extend((0..count * shape[1]).map(|place| place as f32 / 64.0));
        shape[0] += count;
    }

    /// Makes the second factor of a module zero.
    fn empty(&mut self, module: &str) {
        let name = format!("base_model.model.{module}.lora_B.weight");
        self.tensors.get_mut(&name).unwrap().1.fill(0.0);
    }

    fn write(&self) -> PathBuf {
        let path = self.path("adapter");
        fs::create_dir_all(&path).unwrap();
        write_safetensors(&path.join(WEIGHTS), &self.tensors);
        fs::write(path.join("adapter_config.json"), self.config.to_string()).unwrap();
        path
    }

    fn cut(&self, more: &[&str]) -> assert_cmd::assert::Assert {
        let mut command = lora_slim();
        command.arg("cut").arg(self.write()).args(["--dead-weight", "--force", "--base"]).arg(&self.base);
        command.arg("-o").arg(self.path("out")).args(more).assert()
    }

    /// Cuts, and checks what holds for every cut; returns its report.
    fn check(&self, more: &[&str]) -> Value {
        self.cut(more).success();
        let out = self.path("out");
        let report = read_json(&out.join("slim_report.json"));
        assert_eq!(self.loss(&self.path("adapter")).to_bits(), self.loss(&out).to_bits(), "{more:?}");
        let inspected = self.inspect(&self.path("adapter"));
        let saved =
            report["output"]["bytes_before"].as_u64().unwrap() - report["output"]["bytes_after"].as_u64().unwrap();
        assert_eq!(inspected["dead_weight"]["bytes"].as_u64(), Some(saved), "{inspected}");
        assert_eq!(self.inspect(&out)["dead_weight"]["bytes"], 0);
        self.verify(&out).success();
        report
    }

    fn inspect(&self, adapter: &Path) -> Value {
        let mut command = lora_slim();
        command.arg("inspect").arg(adapter).arg("--base").arg(&self.base).arg("--json");
        document(stdout(command.assert().success()))
    }

    fn verify(&self, out: &Path) -> assert_cmd::assert::Assert {
        let mut command = lora_slim();
        command.arg("verify").arg(self.path("adapter")).arg(out).arg("--base").arg(&self.base).assert()
    }

    fn loss(&self, adapter: &Path) -> f64 {
        let mut command = lora_slim();
        command.arg("scan").arg(adapter).arg("--base").arg(&self.base);
        command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args([
            "--precision",
            "f32",
            "--json",
            "--quiet",
        ]);
        let report = document(stdout(command.assert().success()));
        report["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap()
    }

    fn written(&self) -> (Vec<String>, Value) {
        let bytes = fs::read(self.path("out").join(WEIGHTS)).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<String> = tensors.names().into_iter().map(String::from).collect();
        names.sort();
        (names, read_json(&self.path("out").join("adapter_config.json")))
    }
}

/// What a report says of dead weight: the kind and the modules of each part.
fn parts(report: &Value) -> Vec<(String, Vec<String>)> {
    let parts = report["steps"][1]["dead_weight"]["parts"].as_array().unwrap();
    let texts = |list: &Value| list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().into()).collect();
    parts.iter().map(|part| (part["kind"].as_str().unwrap().into(), texts(&part["modules"]))).collect()
}

fn part(kind: &str, modules: &[&str]) -> (String, Vec<String>) {
    (kind.into(), modules.iter().map(|module| module.to_string()).collect())
}

#[test]
fn saved_modules_as_in_the_base_model_go() {
    let mut case = Case::new("saved-head", "base");
    case.config["modules_to_save"] = json!(["embed_tokens", "lm_head"]);
    case.add_table(EMBEDDING, &[]);
    case.add_table(HEAD, &[]);
    let report = case.check(&[]);
    assert_eq!(parts(&report), [part("equal-to-base", &["lm_head", "model.embed_tokens"])]);
    let (names, config) = case.written();
    assert!(names.iter().all(|name| name.contains("lora_")), "{names:?}");
    assert_eq!(config["modules_to_save"], Value::Null);
    assert_eq!(config["target_modules"], case.config["target_modules"]);
    let text = stdout(case.cut(&[]).success());
    assert!(text.contains("dead weight: 80.0 KiB of `lm_head`, `model.embed_tokens`, as in the base model"), "{text}");
}

/// Which modules `all-linear` means, only PEFT knows; that it means the same as before can be seen.
#[test]
fn what_only_peft_can_select_is_verified() {
    for changed in [&[][..], &[3]] {
        let mut case = Case::new("all-linear", "base");
        case.config["modules_to_save"] = json!(["embed_tokens"]);
        case.add_table(EMBEDDING, changed);
        case.check(&[]);
        // Without a module that it means, nothing is proven.
        let out = case.path("out");
        let mut left = read_safetensors(&out.join(WEIGHTS));
        left.retain(|name, _| !name.contains("layers.1.mlp.up_proj"));
        write_safetensors(&out.join(WEIGHTS), &left);
        case.verify(&out).code(5);
    }
}

#[test]
fn a_saved_module_that_was_trained_stays() {
    let mut case = Case::new("saved-head", "base");
    case.config["modules_to_save"] = json!(["embed_tokens", "lm_head"]);
    case.add_table(EMBEDDING, &[]);
    let report = case.check(&[]);
    assert_eq!(parts(&report), [part("equal-to-base", &["model.embed_tokens"])]);
    let (names, config) = case.written();
    assert!(names.iter().any(|name| name == HEAD));
    assert_eq!(config["modules_to_save"], json!(["lm_head"]));
}

#[test]
fn copies_beside_the_adapter_go() {
    let mut case = Case::new("copied-embeddings", "base");
    case.add_table(EMBEDDING, &[]);
    case.add_table(HEAD, &[]);
    assert_eq!(parts(&case.check(&[])), [part("equal-to-base", &["lm_head", "model.embed_tokens"])]);
    // One of them was trained.
    let mut case = Case::new("copied-embeddings", "base");
    case.add_table(HEAD, &[]);
    assert_eq!(parts(&case.check(&[])), [part("equal-to-base", &["lm_head"])]);
}

#[test]
fn of_a_few_changed_rows_the_rows_stay() {
    let mut case = Case::new("saved-head", "base");
    case.config["modules_to_save"] = json!(["embed_tokens", "lm_head"]);
    case.add_table(EMBEDDING, &[3, 197]);
    case.add_table(HEAD, &[5, 80, 311]);
    let report = case.check(&[]);
    assert_eq!(parts(&report), [part("most-rows-equal-to-base", &["lm_head", "model.embed_tokens"])]);
    assert_eq!(report["steps"][1]["dead_weight"]["parts"][0]["kept_rows"], 5);
    let (names, config) = case.written();
    assert_eq!(config["trainable_token_indices"], json!({"lm_head": [5, 80, 311], "model.embed_tokens": [3, 197]}));
    assert_eq!(config["modules_to_save"], Value::Null);
    assert!(names.contains(&"base_model.model.lm_head.token_adapter.trainable_tokens_delta".to_string()));
    let trained = &read_safetensors(&case.path("out").join(WEIGHTS))["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"];
    assert_eq!(trained.0, [2, 32]);
    assert_eq!(trained.1[32..], case.tensors[EMBEDDING].1[197 * 32..198 * 32]);
}

#[test]
fn of_added_tokens_the_rows_stay() {
    let mut case = Case::new("saved-head", "base");
    case.config["modules_to_save"] = json!(["embed_tokens", "lm_head"]);
    for name in [EMBEDDING, HEAD] {
        case.add_table(name, &[]);
        case.add_rows(name, 3);
    }
    case.check(&[]);
    assert_eq!(case.written().1["trainable_token_indices"]["lm_head"], json!([320, 321, 322]));
}

#[test]
fn fewer_rows_than_the_base_model_has_are_something_else() {
    let mut case = Case::new("saved-head", "base");
    case.add_table(HEAD, &[]);
    let (shape, values) = case.tensors.get_mut(HEAD).unwrap();
    shape[0] -= 2;
    values.truncate(shape[0] * shape[1]);
    case.cut(&[]).success();
    assert!(case.written().0.iter().any(|name| name == HEAD));
}

#[test]
fn a_table_of_which_most_was_trained_stays() {
    let mut case = Case::new("saved-head", "base");
    case.add_table(HEAD, &(0..200).collect::<Vec<_>>());
    assert_eq!(parts(&case.check(&[])), []);
}

#[test]
fn embedding_and_head_of_a_tied_model_are_one() {
    // Copies as PEFT stores them, both of the one weight.
    let mut case = Case::new("saved-embed-tied", "base-tied");
    case.config["modules_to_save"] = Value::Null;
    case.add_table(EMBEDDING, &[]);
    case.add_table(HEAD, &[]);
    assert_eq!(parts(&case.check(&[])), [part("equal-to-base", &["lm_head", "model.embed_tokens"])]);
    // Some rows of it.
    case.add_table(EMBEDDING, &[3, 197]);
    case.add_table(HEAD, &[3, 197]);
    let expected = [part("most-rows-equal-to-base", &["model.embed_tokens"]), part("copy-of-embedding", &["lm_head"])];
    assert_eq!(parts(&case.check(&[])), expected);
    assert_eq!(case.written().1["trainable_token_indices"], json!({"model.embed_tokens": [3, 197]}));
    // All of it.
    let all: Vec<usize> = (0..320).collect();
    case.add_table(EMBEDDING, &all);
    case.add_table(HEAD, &all);
    assert_eq!(parts(&case.check(&[])), [part("copy-of-embedding", &["lm_head"])]);
    // As saved modules, they are two.
    case.config["modules_to_save"] = json!(["embed_tokens", "lm_head"]);
    assert_eq!(parts(&case.check(&[])), []);
    case.add_table(HEAD, &[]);
    assert_eq!(parts(&case.check(&[])), [part("equal-to-base", &["lm_head"])]);
    // Rows of the embedding would be those of the head, too.
    let mut case = Case::new("saved-embed-tied", "base-tied");
    case.add_table(EMBEDDING, &[3]);
    assert_eq!(parts(&case.check(&[])), []);
    // As copies that differ, the last one that is loaded counts.
    case.config["modules_to_save"] = Value::Null;
    case.add_table(HEAD, &[]);
    case.cut(&[]).success();
    assert_eq!(case.written().0.len(), case.tensors.len());
}

#[test]
fn other_saved_weights_go_as_whole_modules() {
    let mut case = Case::new("saved-embed-and-norms", "base");
    let norms: Vec<String> = case.tensors.keys().filter(|name| name.contains("layernorm")).cloned().collect();
    for name in &norms {
        let table = case.of_base(name);
        case.tensors.insert(name.clone(), table);
    }
    let report = case.check(&[]);
    assert_eq!(parts(&report)[0].1.len(), norms.len());
    assert_eq!(case.written().1["modules_to_save"], json!(["model.embed_tokens", "model.norm"]));
}

#[test]
fn biases_as_in_the_base_model_go() {
    let mut case = Case::new("bias-all", "base");
    let biases: Vec<String> = case.tensors.keys().filter(|name| name.ends_with(".bias")).cloned().collect();
    for name in &biases {
        let table = case.of_base(&name.replace(".base_layer", ""));
        case.tensors.insert(name.clone(), table);
    }
    case.check(&[]);
    let (names, config) = case.written();
    assert!(names.iter().all(|name| name.contains("lora_")), "{names:?}");
    assert_eq!(config["bias"], "none");
}

#[test]
fn modules_that_change_nothing_go() {
    let mut case = Case::new("saved-head", "base");
    let modules =
        ["model.layers.0.self_attn.q_proj", "model.layers.2.self_attn.q_proj", "model.layers.2.self_attn.v_proj"];
    modules.iter().for_each(|module| case.empty(module));
    let report = case.check(&[]);
    assert_eq!(parts(&report), [part("zero-change", &modules)]);
    let (names, config) = case.written();
    assert!(modules.iter().all(|module| !names.iter().any(|name| name.contains(module))), "{names:?}");
    assert_eq!(config["target_modules"].as_array().unwrap().len(), 5, "{config}");
    // Where all do, one stays: without any there would be no adapter.
    let layers = 0..4;
    for layer in layers {
        ["q_proj", "v_proj"].iter().for_each(|name| case.empty(&format!("model.layers.{layer}.self_attn.{name}")));
    }
    case.check(&[]);
    assert_eq!(case.written().0.len(), 3);
}

#[test]
fn what_might_change_something_stays() {
    for (kind, base) in [("dora", "base"), ("lora-bias", "base"), ("target-parameters-one", "base-moe")] {
        let mut case = Case::new(kind, base);
        let seconds: Vec<String> =
            case.tensors.keys().filter(|name| name.ends_with("lora_B.weight")).cloned().collect();
        let zeroed = |name: &&String| {
            if kind == "target-parameters-one" { name.contains("experts") } else { name.contains("layers.0") }
        };
        seconds.iter().filter(zeroed).for_each(|name| case.tensors.get_mut(name).unwrap().1.fill(0.0));
        case.cut(&[]).success();
        assert_eq!(case.written().0.len(), case.tensors.len(), "{kind}");
    }
    // Loading it changes the base weights of every module that it names.
    let mut case = Case::new("saved-head", "base");
    case.config["init_lora_weights"] = json!("pissa");
    case.empty("model.layers.0.self_attn.q_proj");
    case.cut(&[]).success();
    assert_eq!(case.written().0.len(), case.tensors.len());
    // Zero times infinity is not zero.
    let mut case = Case::new("saved-head", "base");
    case.empty("model.layers.0.self_attn.q_proj");
    case.tensors.get_mut("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight").unwrap().1[0] =
        f32::INFINITY;
    case.cut(&[]).code(3);
}

#[test]
fn numbers_take_no_more_bits_than_they_need() {
    let mut case = Case::new("exclude", "base");
    for (_, values) in case.tensors.values_mut() {
        values.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits() & 0xffff_0000));
    }
    let report = case.check(&[]);
    let output = &report["output"];
    assert_eq!(output["bytes_after"].as_u64().unwrap() * 2, output["bytes_before"].as_u64().unwrap());
    assert_eq!(report["steps"][2]["exact_types"]["types"], json!(["bf16"]));
    // One number of 24 bits: all keep theirs.
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    case.tensors.get_mut(name).unwrap().1[0] = 1.0 + f32::EPSILON;
    assert_eq!(case.check(&[])["steps"][2]["exact_types"], Value::Null);
    // Eleven bits fit f16.
    let mut case = Case::new("exclude", "base");
    case.tensors
        .values_mut()
        .for_each(|(_, values)| values.iter_mut().for_each(|value| *value = (*value * 512.0).round() / 512.0));
    let report = case.check(&[]);
    assert_eq!(report["steps"][2]["exact_types"]["types"], json!(["f16"]));
}

#[test]
fn it_goes_together_with_other_steps() {
    let mut case = Case::new("copied-embeddings", "base");
    case.add_table(EMBEDDING, &[]);
    case.add_table(HEAD, &[]);
    case.empty("model.layers.1.self_attn.q_proj");
    let steps = |more: &[&str]| -> Vec<String> {
        case.cut(more).success();
        let report = read_json(&case.path("out").join("slim_report.json"));
        report["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap().into()).collect()
    };
    assert_eq!(steps(&["--rank", "1"]), ["layers", "dead-weight", "rank", "exact-types"]);
    assert_eq!(steps(&["--dtype", "bf16"]), ["layers", "dead-weight", "dtype"]);
    assert_eq!(steps(&["--portable", "--boundary", "3"]), ["layers", "dead-weight", "portable", "exact-types"]);
    assert!(
        !case.written().0.iter().any(|name| name.contains("layers.3") || name.contains("layers.1.self_attn.q_proj"))
    );
    // Zeros that a runtime wants are no dead weight.
    assert_eq!(steps(&["--pad-zeros"]), ["layers", "dead-weight", "pad-zeros", "exact-types"]);
    assert!(case.written().0.iter().any(|name| name.contains("layers.1.self_attn.q_proj")));
    // vLLM and llama.cpp take no saved weights.
    case.cut(&["--for", "vllm"]).success();
    case.cut(&["--format", "gguf"]).success();
    case.add_table(HEAD, &(0..200).collect::<Vec<_>>());
    case.cut(&["--for", "vllm"]).code(3);
    case.cut(&["--format", "gguf"]).code(3);
}

#[test]
fn without_a_base_model_whole_weights_stay_and_it_says_so() {
    let mut case = Case::new("copied-embeddings", "base");
    case.add_table(EMBEDDING, &[]);
    case.empty("model.layers.1.self_attn.q_proj");
    case.config["base_model_name_or_path"] = json!("somebody/not-here");
    let (path, out) = (case.write(), case.path("out"));
    let cut = lora_slim().arg("cut").arg(&path).args(["--dead-weight", "-o"]).arg(&out).assert().success();
    let text = stdout(cut);
    assert!(text.contains("not compared with the base model's") && text.contains("not-here"), "{text}");
    let (names, _) = case.written();
    assert!(
        names.iter().any(|name| name == EMBEDDING) && !names.iter().any(|name| name.contains("layers.1.self_attn.q"))
    );
    let text = stdout(lora_slim().arg("inspect").arg(&path).assert().success());
    assert!(text.contains("not compared with the base model's") && text.contains("--dead-weight"), "{text}");
    // With one, it says which weights are dead, and what takes them out.
    let text = stdout(lora_slim().arg("inspect").arg(&path).arg("--base").arg(&case.base).assert().success());
    assert!(
        text.contains("40.0 KiB of `model.embed_tokens`, as in the base model") && text.contains("--base"),
        "{text}"
    );
    // A base model that the user names has to be there.
    let named = lora_slim().arg("cut").arg(&path).args(["--dead-weight", "--base", "nowhere", "-o", "x"]).assert();
    named.code(3);
}

#[test]
fn verify_wants_proof() {
    let mut case = Case::new("saved-head", "base");
    case.add_table(HEAD, &[7]);
    case.empty("model.layers.1.self_attn.q_proj");
    case.check(&[]);
    let (adapter, out) = (case.path("adapter"), case.path("out"));
    let text = stdout(case.verify(&out).success());
    assert!(text.contains("dead weight: ") && text.contains("`lm_head`"), "{text}");
    // The original had another row, or a module that was not empty.
    let mut other = case.tensors.clone();
    other.get_mut(HEAD).unwrap().1[7 * 32 + 1] += 1.0;
    write_safetensors(&adapter.join(WEIGHTS), &other);
    let text = stdout(case.verify(&out).code(5));
    assert!(text.contains("lm_head"), "{text}");
    let mut other = case.tensors.clone();
    let name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight";
    other.get_mut(name).unwrap().1[0] = 1e-30;
    write_safetensors(&adapter.join(WEIGHTS), &other);
    let text = stdout(case.verify(&out).code(5));
    assert!(text.contains(name), "{text}");
    // Other tokens, in the configuration.
    write_safetensors(&adapter.join(WEIGHTS), &case.tensors);
    let moved = case.path("moved");
    copy_folder(&out, &moved);
    let mut config = read_json(&out.join("adapter_config.json"));
    config["trainable_token_indices"]["lm_head"] = json!([8]);
    fs::write(moved.join("adapter_config.json"), config.to_string()).unwrap();
    let text = stdout(case.verify(&moved).code(5));
    assert!(text.contains("trainable_token_indices"), "{text}");
    // Without a base model nothing shows that the head is the base model's.
    let mut config = case.config.clone();
    config["base_model_name_or_path"] = json!("somebody/not-here");
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let text = stdout(lora_slim().arg("verify").arg(&adapter).arg(&out).assert().code(5));
    assert!(text.contains("lm_head"), "{text}");
}

#[test]
fn slim_measures_the_same_loss() {
    let mut case = Case::new("saved-head", "base");
    case.add_table(HEAD, &[7]);
    let slim = |more: &[&str]| {
        let mut command = lora_slim();
        command.arg("slim").arg(case.write()).arg("--base").arg(&case.base).arg("--samples");
        command.arg(fixture("pico/samples.tokens.jsonl")).args([
            "--precision",
            "f32",
            "--dead-weight",
            "--force",
            "-o",
        ]);
        command.arg(case.path("out")).args(more).assert().success();
        read_json(&case.path("out").join("slim_report.json"))
    };
    let report = slim(&["--boundary", "4"]);
    assert_eq!(report["steps"][0]["losses"]["loss"], report["steps"][1]["losses"]["loss"]);
    assert_eq!(report["steps"][1]["dead_weight"]["parts"][0]["kind"], "most-rows-equal-to-base");
    assert!(report["warnings"].to_string().contains("trainable_token_indices"), "{}", report["warnings"]);
    let report = slim(&["--boundary", "3", "--rank", "1"]);
    let steps: Vec<&str> =
        report["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["layers", "dead-weight", "rank", "exact-types"]);
}
