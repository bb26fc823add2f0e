//! What servers allocate for adapters: `plan`, and what reports and `check` say of it.
//!
//! The sizes are computed here from the base model's configuration alone. `scripts/interop/plan_vllm.py` compares those of the program
//! with what vLLM allocates.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Tensors, copy_folder, document, fixture, lora_slim, read_json, stdout, write_safetensors};

/// Qwen3 in miniature: 4 layers, LoRA of rank 4 on all seven types of modules.
const CASE: &str = "qwen3";

fn base(case: &str) -> PathBuf {
    fixture("pico").join(case).join("base")
}

fn adapter(case: &str) -> PathBuf {
    fixture("pico").join(case).join("adapter")
}

/// Runs `plan` with `--json`: the exit code, and what it says of the runtimes.
fn plan(adapters: &[&Path], base: &Path, more: &[&str]) -> (i32, Vec<Value>) {
    let mut command = lora_slim();
    command.arg("plan").args(adapters).arg("--base").arg(base).arg("--json").args(more);
    let output = command.assert().get_output().clone();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), result["runtimes"].as_array().cloned().unwrap_or_default())
}

/// A text without its line breaks.
fn flowing(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn vllm(adapters: &[&Path], case: &str) -> Value {
    let (code, runtimes) = plan(adapters, &base(case), &["--runtime", "vllm"]);
    assert_eq!(code, 0, "{runtimes:?}");
    runtimes[0].clone()
}

/// Cuts an adapter of a case into `folder`.
fn cut(case: &str, folder: &TempDir, name: &str, flags: &[&str]) -> PathBuf {
    let out = folder.path().join(name);
    lora_slim()
        .arg("cut")
        .arg(adapter(case))
        .args(flags)
        .arg("--base")
        .arg(base(case))
        .arg("-o")
        .arg(&out)
        .assert()
        .success();
    out
}

/// The values of one rank of the modules of a runtime: (inputs + outputs) of each part.
struct Sizes {
    qkv: u64,
    o: u64,
    gate_up: u64,
    down: u64,
    vocabulary: u64,
}

fn sizes(case: &str) -> Sizes {
    let config = read_json(&base(case).join("config.json"));
    let number = |key: &str| config[key].as_u64().unwrap();
    let (hidden, inner, heads) = (number("hidden_size"), number("intermediate_size"), number("num_attention_heads"));
    let head = config["head_dim"].as_u64().unwrap_or(hidden / heads);
    let (query, key) = (heads * head, number("num_key_value_heads") * head);
    Sizes {
        qkv: (hidden + query) + (hidden + key) + (hidden + key),
        o: query + hidden,
        gate_up: (hidden + inner) + (hidden + inner),
        down: inner + hidden,
        vocabulary: number("vocab_size") + hidden,
    }
}

fn layer(sizes: &Sizes) -> u64 {
    sizes.qkv + sizes.o + sizes.gate_up + sizes.down
}

fn names(plan: &Value) -> Vec<&str> {
    let flags = plan["flags"].as_str().unwrap();
    flags.split_once("--lora-target-modules ").unwrap().1.split(' ').collect()
}

#[test]
fn a_whole_adapter_saves_the_vocabulary_and_the_rank() {
    let (found, sizes) = (vllm(&[&adapter(CASE)], CASE), sizes(CASE));
    assert_eq!(
        found["flags"],
        "--enable-lora --max-lora-rank 8 --lora-target-modules down_proj gate_up_proj o_proj qkv_proj"
    );
    // 16 layers' modules, and the embedding and the head, which vLLM gives buffers for this family.
    assert_eq!((&found["buffers"], &found["unlimited_buffers"]), (&json!(16), &json!(18)));
    assert_eq!((&found["rank"], &found["unlimited_rank"]), (&json!(8), &json!(16)));
    assert_eq!(found["slot_bytes"], 4 * layer(&sizes) * 8 * 2);
    assert_eq!(found["unlimited_slot_bytes"], (4 * layer(&sizes) + 2 * sizes.vocabulary) * 16 * 2);
    let (_, wide) = plan(&[&adapter(CASE)], &base(CASE), &["--runtime", "vllm", "--dtype", "f32"]);
    assert_eq!(wide[0]["slot_bytes"], 4 * layer(&sizes) * 8 * 4);
}

#[test]
fn modules_of_a_cut_are_named_in_full() {
    let folder = TempDir::new().unwrap();
    let cut = cut(CASE, &folder, "cut", &["--boundary", "2"]);
    let found = vllm(&[&cut], CASE);
    let modules = ["mlp.down_proj", "mlp.gate_up_proj", "self_attn.o_proj", "self_attn.qkv_proj"];
    let expected = [0, 1].into_iter().flat_map(|layer| modules.map(|module| format!("model.layers.{layer}.{module}")));
    assert_eq!(names(&found), expected.collect::<Vec<_>>());
    assert_eq!(found["slot_bytes"], 2 * layer(&sizes(CASE)) * 8 * 2);
}

/// vLLM has one buffer for query, key and value, and makes room for all three.
#[test]
fn a_part_of_a_merged_module_takes_all_of_it() {
    let (found, sizes) = (vllm(&[&adapter("llama-linear")], "llama-linear"), sizes("llama-linear"));
    assert_eq!(names(&found), ["qkv_proj"]);
    assert_eq!(found["slot_bytes"], 4 * sizes.qkv * 8 * 2);
}

/// Phi-3 has query, key and value in one module with one pair of factors.
#[test]
fn modules_that_are_merged_in_the_base_model_have_one_pair() {
    let (found, sizes) = (vllm(&[&adapter("phi3")], "phi3"), sizes("phi3"));
    let hidden = read_json(&base("phi3").join("config.json"))["hidden_size"].as_u64().unwrap();
    let fused = (sizes.qkv - 2 * hidden) + sizes.o + (sizes.gate_up - hidden) + sizes.down;
    assert_eq!(found["slot_bytes"], 4 * fused * 8 * 2);
}

#[test]
fn a_fleet_needs_what_any_of_its_adapters_has() {
    let folder = TempDir::new().unwrap();
    let low = cut(CASE, &folder, "low", &["--keep-layers", "0,1", "--rank", "1"]);
    let other = cut(CASE, &folder, "other", &["--keep-layers", "1,3"]);
    assert_eq!(vllm(&[&low], CASE)["rank"], 1);
    let found = vllm(&[&low, &other], CASE);
    let layers: BTreeSet<&str> = names(&found).iter().map(|name| name.split('.').nth(2).unwrap()).collect();
    assert_eq!(layers, BTreeSet::from(["0", "1", "3"]));
    assert_eq!(found["slot_bytes"], 3 * layer(&sizes(CASE)) * 8 * 2);
    let alone: Vec<&Value> = found["adapters"].as_array().unwrap().iter().map(|one| &one["slot_bytes"]).collect();
    assert_eq!(alone, [&json!(2 * layer(&sizes(CASE)) * 2), &json!(2 * layer(&sizes(CASE)) * 8 * 2)]);
    // A folder stands for the adapters in it.
    let whole = vllm(&[folder.path()], CASE);
    assert_eq!((&whole["flags"], whole["adapters"].as_array().unwrap().len()), (&found["flags"], 2));
}

/// vLLM looks at `r` and at all values of `rank_pattern`, whether a module has that rank or not.
#[test]
fn the_rank_is_that_of_the_configuration() {
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("copy");
    copy_folder(&adapter(CASE), &copy);
    let path = copy.join("adapter_config.json");
    let mut config = read_json(&path);
    config["rank_pattern"] = json!({"nowhere": 33});
    fs::write(&path, config.to_string()).unwrap();
    assert_eq!(vllm(&[&copy], CASE)["rank"], 64);
}

#[test]
fn given_flags_are_compared_with_adapters() {
    let folder = TempDir::new().unwrap();
    let cut = cut(CASE, &folder, "cut", &["--boundary", "2"]);
    let flags = vllm(&[&cut], CASE)["flags"].as_str().unwrap().to_string();
    let given = |adapter: &Path, flags: &str| plan(&[adapter], &base(CASE), &["--runtime", "vllm", "--given", flags]);
    let (code, found) = given(&cut, &flags);
    assert_eq!((code, &found[0]["adapters"][0]["fits"]), (0, &json!(true)));
    // The whole adapter has seven modules in each of two further layers.
    let (code, found) = given(&adapter(CASE), &flags);
    let left_out = found[0]["adapters"][0]["left_out"].as_array().unwrap();
    assert_eq!((code, left_out.len(), &left_out[0]), (5, 14, &json!("2.mlp.down_proj")));
    assert_eq!(found[0]["slot_bytes"], 2 * layer(&sizes(CASE)) * 8 * 2);
    // Names of types, and of what vLLM merges, and a rank that is too low.
    let types = "--max-lora-rank=1 --lora-target-modules q_proj gate_up_proj o_proj down_proj --max-loras 4";
    let (code, found) = given(&cut, types);
    let planned = &found[0]["adapters"][0];
    assert_eq!((code, &planned["rank_is_higher"], planned.get("left_out")), (5, &json!(true), None));
    for wrong in
        ["--max-lora-rank abc", "--max-lora-rank -8", "--max-lora-rank 4", "--max-lora-rank", "--max-lora-rank 0"]
    {
        let (code, found) = given(&adapter(CASE), wrong);
        assert_eq!(code, 5, "{wrong}");
        assert!(found[0]["problem"].as_str().unwrap().contains("it takes no `--max-lora-rank"), "{found:?}");
    }
    // As vLLM reads them: the last one counts, and underscores are dashes.
    assert_eq!(given(&adapter(CASE), "--max-lora-rank 8 --max_lora_rank=1").0, 5);
    assert_eq!(given(&adapter(CASE), "--max-lora-rank 1 --max-lora-rank 8").0, 0);
    let (code, _) = given(&adapter(CASE), "--max-loras 4");
    assert_eq!(code, 0);
}

#[test]
fn sglang_allocates_types_of_modules_in_all_layers() {
    let folder = TempDir::new().unwrap();
    let cut = cut(CASE, &folder, "cut", &["--boundary", "2", "--rank", "3"]);
    let (code, found) = plan(&[&cut], &base(CASE), &["--runtime", "sglang"]);
    let (found, sizes) = (&found[0], sizes(CASE));
    assert_eq!(code, 0);
    assert_eq!(
        found["flags"],
        "--enable-lora --max-lora-rank 3 --lora-target-modules down_proj gate_up_proj o_proj qkv_proj"
    );
    assert_eq!(found["slot_bytes"], 4 * layer(&sizes) * 3 * 2);
    assert_eq!(found["unlimited_slot_bytes"], (4 * layer(&sizes) + 2 * sizes.vocabulary) * 3 * 2);
    // It compares what the configuration names.
    let given = ["--runtime", "sglang", "--given", "--lora-target-modules q_proj up_proj --max-lora-rank 3"];
    let (code, found) = plan(&[&cut], &base(CASE), &given);
    assert_eq!((code, &found[0]["adapters"][0]["left_out"]), (5, &json!(["down_proj", "o_proj"])));
}

#[test]
fn what_cannot_be_planned_is_named() {
    // A base model whose buffers nobody has looked up.
    let (code, found) = plan(&[&adapter("gpt2")], &base("gpt2"), &["--runtime", "vllm"]);
    assert!(code == 5 && found[0]["problem"].as_str().unwrap().contains("(gpt2) is not known"), "{found:?}");
    // An adapter that the runtime refuses is not in the plan; the others are.
    let kinds = fixture("kinds");
    let bf16 = kinds.join("bf16");
    let (code, found) = plan(&[&bf16, &kinds.join("dora")], &kinds.join("base"), &["--runtime", "vllm"]);
    let adapters = found[0]["adapters"].as_array().unwrap();
    assert_eq!((code, &adapters[0]["fits"], &adapters[1]["fits"]), (5, &json!(true), &json!(false)));
    assert!(adapters[1]["problem"].as_str().unwrap().contains("DoRA is not supported"), "{adapters:?}");
    let (_, alone) = plan(&[&bf16], &kinds.join("base"), &["--runtime", "vllm"]);
    assert_eq!(found[0]["flags"], alone[0]["flags"]);
    // A GGUF file does not tell which class runs it.
    let gguf = fixture("pico").join(CASE).join("gguf/base.gguf");
    lora_slim().arg("plan").arg(adapter(CASE)).arg("--base").arg(gguf).assert().code(3);
}

#[test]
fn other_runtimes_allocate_what_adapters_have() {
    let (code, found) = plan(&[&adapter(CASE)], &base(CASE), &["--runtime", "llama.cpp,ollama"]);
    let inspected = stdout(lora_slim().arg("inspect").arg(adapter(CASE)).arg("--json").assert());
    let inspected = document(&inspected);
    assert_eq!((code, &found[0]["memory"], &found[0]["tensor_bytes"]), (0, &json!("tensors"), &inspected["bytes"]));
    assert_eq!((&found[1]["memory"], found[1].get("slot_bytes")), (&json!("unknown"), None));
}

#[test]
fn the_plan_is_printed_with_what_follows_from_it() {
    let text = stdout(
        lora_slim().arg("plan").arg(adapter(CASE)).arg("--base").arg(base(CASE)).args(["--runtime", "vllm"]).assert(),
    );
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("vLLM 0.32.0: ")
            && lines[0].ends_with("buffers for 16 of 18 modules, rank 8 instead of 16"),
        "{text}"
    );
    assert!(lines[2].starts_with("--enable-lora --max-lora-rank 8 "), "{text}");
    assert!(text.contains("the server applies nothing of an adapter in other modules, without an error"), "{text}");
}

#[test]
fn reports_and_checks_have_the_bytes_of_a_slot() {
    let folder = TempDir::new().unwrap();
    let cut = cut(CASE, &folder, "cut", &["--boundary", "2"]);
    let (report, sizes) = (read_json(&cut.join("slim_report.json")), sizes(CASE));
    let slot = &report["serving"][0];
    assert_eq!((&slot["runtime"], &slot["flags"]), (&json!("vLLM"), &vllm(&[&cut], CASE)["flags"]));
    assert_eq!(slot["unlimited_bytes"], (4 * layer(&sizes) + 2 * sizes.vocabulary) * 16 * 2);
    assert_eq!(slot["whole_bytes"], 4 * layer(&sizes) * 8 * 2);
    assert_eq!(slot["bytes"], 2 * layer(&sizes) * 8 * 2);
    let check =
        |more: &[&str]| stdout(lora_slim().arg("check").arg(&cut).arg("--base").arg(base(CASE)).args(more).assert());
    let checked = document(check(&["--json"]));
    assert_eq!((&checked["serving"][0]["bytes"], checked["serving"][0].get("whole_bytes")), (&slot["bytes"], None));
    assert!(check(&["--runtime", "vllm"]).contains("buffers of "), "{}", check(&["--runtime", "vllm"]));
    // `slim` says the same of what it would write.
    let samples = fixture("pico/samples.tokens.jsonl");
    let mut slim = lora_slim();
    slim.arg("slim").arg(adapter(CASE)).arg("--base").arg(base(CASE)).arg("--samples").arg(samples);
    slim.args(["--boundary", "2", "--json"]).arg("-o").arg(folder.path().join("slim"));
    let slimmed = document(stdout(slim.assert()));
    assert_eq!(slimmed["serving"], report["serving"]);
}

/// An adapter on the head of a pico model, and on one module of its layers.
fn head_adapter(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("head");
    copy_folder(&adapter("qwen2"), &path);
    let config_path = path.join("adapter_config.json");
    let mut config = read_json(&config_path);
    config["target_modules"] = json!(["model.layers.0.self_attn.o_proj", "lm_head"]);
    for key in ["layers_to_transform", "rank_pattern", "alpha_pattern"] {
        config[key] = Value::Null;
    }
    fs::write(&config_path, config.to_string()).unwrap();
    let config = read_json(&base("qwen2").join("config.json"));
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let (hidden, vocabulary) = (number("hidden_size"), number("vocab_size"));
    let matrix = |shape: [usize; 2]| (shape.to_vec(), vec![0.01; shape[0] * shape[1]]);
    let mut tensors = Tensors::new();
    for (module, inputs, outputs) in
        [("lm_head", hidden, vocabulary), ("model.layers.0.self_attn.o_proj", hidden, hidden)]
    {
        tensors.insert(format!("base_model.model.{module}.lora_A.weight"), matrix([4, inputs]));
        tensors.insert(format!("base_model.model.{module}.lora_B.weight"), matrix([outputs, 4]));
    }
    write_safetensors(&path.join("adapter_model.safetensors"), &tensors);
    path
}

/// vLLM's class for Qwen2 has no buffers outside the layers, and that for GPT-2 none at all. SGLang has both.
#[test]
fn what_has_no_buffer_is_refused() {
    let folder = TempDir::new().unwrap();
    let head = head_adapter(&folder);
    let check = |adapter: &Path, case: &str| {
        let mut command = lora_slim();
        command.arg("check").arg(adapter).arg("--base").arg(base(case)).args(["--runtime", "vllm"]);
        flowing(&stdout(command.assert().code(5)))
    };
    assert!(check(&head, "qwen2").contains("takes LoRA in the layers only"), "{}", check(&head, "qwen2"));
    assert!(check(&adapter("gpt2"), "gpt2").contains("takes no LoRA"), "{}", check(&adapter("gpt2"), "gpt2"));
    let (code, found) = plan(&[&head], &base("qwen2"), &["--runtime", "vllm,sglang"]);
    assert_eq!((code, &found[0]["adapters"][0]["fits"]), (5, &json!(false)));
    let sizes = sizes("qwen2");
    assert_eq!(found[1]["slot_bytes"], (4 * sizes.o + sizes.vocabulary) * 4 * 2);
}

/// A server has one base model: adapters that name several are refused, not planned for the first.
#[test]
fn adapters_of_several_base_models_are_not_planned_together() {
    let folder = TempDir::new().unwrap();
    let named = |name: &str, case: &str, base_of: &str| {
        let path = folder.path().join(name);
        copy_folder(&adapter(case), &path);
        let mut config = read_json(&path.join("adapter_config.json"));
        config["base_model_name_or_path"] = json!(base(base_of));
        fs::write(path.join("adapter_config.json"), config.to_string()).unwrap();
        path
    };
    let (one, same, other) =
        (named("a", CASE, CASE), named("b", CASE, CASE), named("c", "llama-llama3-rope", "llama-llama3-rope"));
    lora_slim().arg("plan").args([&one, &same]).assert().success();
    let refused = lora_slim().arg("plan").args([&one, &other]).assert().failure().get_output().clone();
    let said = flowing(&String::from_utf8_lossy(&refused.stderr));
    assert!(said.contains("names another base model") && said.contains("plan them apart"), "{said}");
}
