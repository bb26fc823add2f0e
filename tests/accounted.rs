//! What the files of an adapter hold is used, known to be harmless, or named; an adapter that changes nothing is called so.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use lora_slim::Adapter;
use lora_slim::tensors::TensorStore;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bad_input::Setup;
use crate::golden::base_of_kind;
use crate::support::{copy_folder, fixture, lora_slim, read_json, stdout, write_adapter};

const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

/// The kinds of adapters whose files hold something that is not used.
const WITH_REMARKS: [&str; 2] = ["base-copies", "stray-tensors"];

/// The folders of all kinds of adapters.
fn kinds() -> Vec<PathBuf> {
    let folders = fs::read_dir(fixture("kinds")).unwrap().map(|entry| entry.unwrap().path());
    let mut kinds: Vec<PathBuf> = folders.filter(|path| path.join(CONFIG).is_file()).collect();
    kinds.sort();
    assert!(kinds.len() > 50);
    kinds
}

fn remarks(folder: &Path) -> Vec<String> {
    Adapter::open(folder, None).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).remarks
}

fn edit_config(folder: &Path, edit: impl FnOnce(&mut Value)) {
    let mut config = read_json(&folder.join(CONFIG));
    edit(&mut config);
    fs::write(folder.join(CONFIG), config.to_string()).unwrap();
}

/// A tensor: its name, type, shape and bytes.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

fn edit_weights(folder: &Path, edit: impl FnOnce(&mut Vec<Stored>)) {
    let path = folder.join(WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |(name, view): (String, TensorView)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec());
    let mut stored: Vec<Stored> = tensors.tensors().into_iter().map(stored).collect();
    edit(&mut stored);
    let views = stored
        .iter()
        .map(|(name, dtype, shape, data)| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

fn ones(name: &str, count: usize) -> Stored {
    (name.into(), Dtype::F32, vec![count], 1f32.to_le_bytes().repeat(count))
}

#[test]
fn adapters_of_every_kind_hold_nothing_unused() {
    for folder in kinds() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert_eq!(remarks(&folder).is_empty(), !WITH_REMARKS.contains(&name), "{name}: {:?}", remarks(&folder));
    }
}

/// Notes of PEFT and of an earlier run are written anew; those of a trainer are lost.
#[test]
fn the_notes_of_a_trainer_are_named() {
    let work = TempDir::new().unwrap();
    let adapter = work.path().join("adapter");
    copy_folder(&fixture("pico/mistral/adapter"), &adapter);
    let bytes = fs::read(adapter.join(WEIGHTS)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let with_notes = |notes: &[&str]| {
        let notes = notes.iter().map(|key| (key.to_string(), "1".to_string())).collect();
        fs::write(adapter.join(WEIGHTS), serialize(tensors.tensors(), Some(notes)).unwrap()).unwrap();
    };
    with_notes(&["format", "lora_slim.version"]);
    assert_eq!(remarks(&adapter), Vec::<String>::new());
    with_notes(&["format", "ss_epoch", "author"]);
    let named = remarks(&adapter).concat();
    assert!(named.contains("`author`, `ss_epoch`") && named.contains("not kept"), "{named}");
    let mut cut = lora_slim();
    cut.arg("cut").arg(&adapter).args(["--boundary", "2", "-o"]).arg(work.path().join("out"));
    let warned = String::from_utf8_lossy(&cut.assert().success().get_output().stderr).into_owned();
    assert!(warned.contains("ss_epoch"), "{warned}");
}

#[test]
fn an_unknown_key_in_any_configuration_is_named() {
    for folder in kinds() {
        let work = TempDir::new().unwrap();
        let path = work.path().join("adapter");
        copy_folder(&folder, &path);
        for value in [json!(true), json!(6), json!(0.5), json!("x"), json!([1]), json!({"a": 1})] {
            edit_config(&path, |config| config["use_mora"] = value.clone());
            let found = remarks(&path);
            assert!(found.iter().any(|remark| remark.contains("`use_mora`")), "{}: {found:?}", folder.display());
        }
        for off in [json!(false), json!(null), json!(""), json!([]), json!({})] {
            edit_config(&path, |config| config["use_mora"] = off.clone());
            assert!(!remarks(&path).iter().any(|remark| remark.contains("use_mora")), "{off}");
        }
    }
}

#[test]
fn an_unknown_tensor_in_any_adapter_is_named_and_not_written() {
    let has_none = |folder: &PathBuf| !WITH_REMARKS.iter().any(|kind| folder.ends_with(kind));
    for folder in kinds().into_iter().filter(|folder| folder.join(WEIGHTS).is_file() && has_none(folder)) {
        let work = TempDir::new().unwrap();
        let path = work.path().join("adapter");
        copy_folder(&folder, &path);
        let adapter = Adapter::open(&folder, None).unwrap();
        let module = adapter.modules().values().find(|module| module.layer == Some(1)).unwrap();
        let strays = [
            format!("base_model.model.{}.exp_avg", module.name),
            format!("base_model.model.{}.lora_C.weight", module.name),
            "optimizer.state.0.exp_avg_sq".into(),
        ];
        edit_weights(&path, |tensors| tensors.extend(strays.iter().map(|name| ones(name, 3))));
        let found = remarks(&path).join("\n");
        // Adapters of a model without a head have names without the prefix of most.
        let named = strays.iter().filter(|name| found.contains(&format!("`{name}`")));
        assert_eq!(named.count(), strays.len(), "{}: {found}", folder.display());
        let out = work.path().join("out");
        lora_slim().arg("cut").arg(&path).args(["--boundary", "all", "-o"]).arg(&out).assert().success();
        lora_slim().arg("verify").arg(&path).arg(&out).assert().success();
        let bytes = fs::read(out.join(WEIGHTS)).unwrap();
        let written = SafeTensors::deserialize(&bytes).unwrap();
        assert!(strays.iter().all(|name| written.tensor(name).is_err()), "{}", folder.display());
    }
}

/// What PEFT 0.21.2 raised an error at, and what it did not.
#[test]
fn what_peft_refuses_of_a_configuration_is_said() {
    let work = TempDir::new().unwrap();
    let path = work.path().join("adapter");
    let check = |key: &str, value: Value| {
        copy_folder(&fixture("kinds/bf16"), &path);
        edit_config(&path, |config| config[key] = value);
        let mut command = lora_slim();
        command.arg("check").arg(&path).args(["--runtime", "peft", "--base"]).arg(fixture("kinds/base"));
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    for (key, value, words) in [
        ("modules_to_save", json!("lm_head"), "KeyError"),
        ("target_parameters", json!("q_proj.weight"), "TypeError"),
        ("task_type", json!("TaskType.CAUSAL_LM"), "`task_type` is none"),
        ("bias", json!(null), "`bias` is neither"),
        ("bias", json!("x"), "`bias` is neither"),
        ("rank_pattern", json!(null), "is null and not an object"),
        ("layers_pattern", json!("layers"), "without `layers_to_transform`"),
        ("lora_dropout", json!(null), "`lora_dropout`"),
        ("init_lora_weights", json!("foo"), "`init_lora_weights`"),
        ("trainable_token_indices", json!([1, 2]), "no tensor holds the rows"),
        ("target_modules", json!([]), "`target_modules` is empty"),
        ("megatron_config", json!({"a": 1}), "Megatron"),
    ] {
        let text = check(key, value.clone()).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.starts_with("wrong ") && text.contains(words), "{key} {value}: {text}");
    }
    for (key, value) in [
        ("modules_to_save", json!("")),
        ("task_type", json!("SEQ_CLS")),
        ("bias", json!("lora_only")),
        ("init_lora_weights", json!(null)),
        ("init_lora_weights", json!("gaussian")),
        ("use_rslora", json!(0)),
        ("fan_in_fan_out", json!(true)),
        ("runtime_config", json!({"ephemeral_gpu_offload": true})),
        ("velora_config", json!({"num_groups": 4})),
    ] {
        let text = check(key, value.clone());
        assert!(!text.contains("wrong ") && !text.contains("unusual "), "{key} {value}: {text}");
    }
}

/// PEFT wraps `q_proj` and `v_proj` of a Llama where `target_modules` is null.
#[test]
fn default_modules_are_those_of_the_model_type() {
    let check = |folder: &Path, base: &str| {
        let mut command = lora_slim();
        command.arg("check").arg(folder).args(["--runtime", "peft", "--base"]).arg(fixture(base));
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(check(&fixture("kinds/null-targets"), "kinds/base"), "PEFT loads");
    let work = TempDir::new().unwrap();
    let path = work.path().join("adapter");
    copy_folder(&fixture("kinds/all-linear"), &path);
    edit_config(&path, |config| config["target_modules"] = json!(null));
    let text = check(&path, "kinds/base");
    assert!(text.contains("does not name module") && text.contains("19 more"), "{text}");
    // Its table has no olmo2.
    let text = check(&fixture("kinds/null-targets"), "pico/olmo2/base");
    assert!(text.contains("no modules for the model type `olmo2`"), "{text}");
}

#[test]
fn a_number_that_is_none_is_read_as_python_does() {
    let work = TempDir::new().unwrap();
    let path = work.path().join("adapter");
    copy_folder(&fixture("kinds/bf16"), &path);
    let text = fs::read_to_string(path.join(CONFIG)).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from));
        fs::write(path.join(CONFIG), text.replace(from, to)).unwrap();
    };
    with("\"lora_dropout\": 0.0", "\"lora_dropout\": NaN");
    assert!(remarks(&path)[0].contains("`lora_dropout`"));
    // The key is left to PEFT's default.
    let out = work.path().join("out");
    lora_slim().arg("cut").arg(&path).args(["--boundary", "2", "-o"]).arg(&out).assert().success();
    assert_eq!(read_json(&out.join(CONFIG)).get("lora_dropout"), None);
    with("\"lora_alpha\": 8", "\"lora_alpha\": Infinity");
    lora_slim().arg("inspect").arg(&path).assert().code(3);
}

/// Where commands say that an adapter changes nothing: `inspect`, `check`, `scan`, `slim`.
fn is_called_dead(path: &Path, base: &Path, words: &str) {
    let samples = fixture("pico/samples.tokens.jsonl");
    let out = path.with_file_name("out");
    for (command, code) in [("inspect", 0), ("check", 5), ("scan", 0), ("slim", 5)] {
        let mut run = lora_slim();
        run.arg(command).arg(path);
        match command {
            "inspect" => &mut run,
            "check" => run.arg("--base").arg(base),
            "scan" => run.arg("--base").arg(base).arg("--samples").arg(&samples),
            _ => run.arg("--base").arg(base).arg("--samples").arg(&samples).arg("-o").arg(&out),
        };
        let output = run.output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "{command}: {text}");
        assert!(text.contains(words) && text.contains("changes nothing"), "{command}: {text}");
    }
    assert!(!out.exists());
}

#[test]
fn adapters_that_change_nothing_are_called_so() {
    let work = TempDir::new().unwrap();
    let path = work.path().join("adapter");
    let of_kind = |kind: &str, edit: &dyn Fn(&Path), words: &str| {
        copy_folder(&fixture("kinds").join(kind), &path);
        edit(&path);
        is_called_dead(&path, &base_of_kind(&path), words);
        fs::remove_dir_all(&path).unwrap();
    };
    let set =
        |key: &'static str, value: Value| move |path: &Path| edit_config(path, |config| config[key] = value.clone());
    of_kind("bf16", &set("lora_alpha", json!(0)), "`lora_alpha` is 0");
    of_kind("bf16", &set("alpha_pattern", json!({".*": 0})), "`alpha_pattern` gives every module an alpha of 0");
    of_kind("lokr", &set("alpha", json!(0)), "`alpha` is 0");
    let zeros = |part: &'static str, zero: &'static [u8]| {
        move |path: &Path| {
            edit_weights(path, |tensors| {
                for (.., bytes) in tensors.iter_mut().filter(|(name, ..)| name.contains(part)) {
                    *bytes = zero.repeat(bytes.len() / zero.len());
                }
            });
        }
    };
    of_kind("bf16", &zeros("lora_B", &[0, 0]), "all zeros");
    of_kind("f16", &zeros("lora_B", &[0, 0x80]), "all zeros");
    of_kind("fp8-e4m3", &zeros("lora_A", &[0x80]), "all zeros");
    of_kind("adalora", &zeros("lora_E", &[0; 4]), "all zeros");
    of_kind("loha", &zeros("hada_w2_a", &[0; 4]), "all zeros");

    // The smallest value above zero is none, and DoRA's magnitudes act without the pair.
    for (kind, zero) in [("f16", &[1u8, 0][..]), ("dora", &[0u8; 4])] {
        copy_folder(&fixture("kinds").join(kind), &path);
        zeros("lora_B", zero)(&path);
        assert!(Adapter::open(&path, None).unwrap().no_effect.is_none(), "{kind} {zero:?}");
        fs::remove_dir_all(&path).unwrap();
    }

    let tower = "model.vision_tower.encoder.layers.0.self_attn.q_proj";
    write_adapter(&path, &[tower], json!({"target_modules": ["q_proj"]}));
    let text = stdout(lora_slim().arg("inspect").arg(&path).assert().success());
    assert!(text.contains("text does not pass"), "{text}");
}

/// An adapter with more, or fewer, tokens than the base model loads in PEFT only after the model is resized.
#[test]
fn other_vocabularies_are_named() {
    let work = TempDir::new().unwrap();
    let path = work.path().join("adapter");
    let check = |kind: &str, edit: &dyn Fn(&Path), words: &str| {
        copy_folder(&fixture("kinds").join(kind), &path);
        edit(&path);
        let mut command = lora_slim();
        command.arg("check").arg(&path).arg("--base").arg(base_of_kind(&path));
        let text = stdout(command.assert().code(5));
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.starts_with("wrong ") && text.contains(words), "{kind}: {text}");
        fs::remove_dir_all(&path).unwrap();
    };
    let tokens = read_json(&fixture("kinds/base/config.json"))["vocab_size"].as_u64().unwrap() as usize;
    let resized = |part: &'static str, dimension: usize, tokens: usize| {
        move |path: &Path| {
            edit_weights(path, |tensors| {
                for (_, _, shape, bytes) in tensors.iter_mut().filter(|(name, ..)| name.ends_with(part)) {
                    shape[dimension] = tokens;
                    bytes.resize(4 * shape.iter().product::<usize>(), 0);
                }
            });
        }
    };
    for other in [tokens + 4, tokens - 4] {
        let words = format!("has {other} tokens, and the base model {tokens}");
        check("saved-head", &resized("lm_head.weight", 0, other), &words);
        check("lora-lm-head", &resized("lm_head.lora_B.weight", 0, other), &words);
        check("lora-embed", &resized("lora_embedding_A", 1, other), &words);
        check("copied-embeddings", &resized("embed_tokens.weight", 0, other), &words);
    }
    let beyond = |path: &Path| {
        edit_config(path, |config| {
            let last = config["trainable_token_indices"].as_array_mut().unwrap().last_mut().unwrap();
            *last = json!(tokens + 3);
        });
    };
    let words = format!("has token {}, and the base model {tokens} tokens", tokens + 3);
    check("trainable-tokens", &beyond, &words);
}

#[test]
fn shards_without_an_index_are_read() {
    let work = TempDir::new().unwrap();
    let path = work.path().join("adapter");
    copy_folder(&fixture("kinds/bf16"), &path);
    let whole = path.join(WEIGHTS);
    let shard = |number: usize| path.join(format!("adapter_model-0000{number}-of-00002.safetensors"));
    for number in [1, 2] {
        fs::copy(fixture("kinds/bf16").join(WEIGHTS), &whole).unwrap();
        edit_weights(&path, |tensors| tensors.retain(|(name, ..)| name.contains("layers.0.") == (number == 1)));
        fs::rename(&whole, shard(number)).unwrap();
    }
    assert!(remarks(&path)[0].contains("2 shards without an index"), "{:?}", remarks(&path));
    let cut = |from: &Path, to: &str| {
        let out = work.path().join(to);
        lora_slim().arg("cut").arg(from).args(["--boundary", "2", "-o"]).arg(&out).assert().success();
        lora_slim().arg("verify").arg(from).arg(&out).assert().success();
        let bytes = fs::read(out.join(WEIGHTS)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<(String, Vec<u8>)> =
            tensors.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
        tensors.sort();
        tensors
    };
    assert_eq!(cut(&path, "of-shards"), cut(&fixture("kinds/bf16"), "of-one"));
    fs::remove_file(shard(2)).unwrap();
    let output = lora_slim().arg("inspect").arg(&path).assert().code(3);
    let text = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(text.contains("1 shard of an adapter of 2") && text.contains("hint: "), "{text}");
    // The former format of PEFT beside the current one.
    copy_folder(&fixture("kinds/bf16"), &path);
    fs::remove_file(shard(1)).unwrap();
    fs::copy(fixture("kinds/bin/adapter_model.bin"), path.join("adapter_model.bin")).unwrap();
    assert!(remarks(&path)[0].contains("not from `adapter_model.bin`"), "{:?}", remarks(&path));
}

/// All values of the 8-bit types, as PyTorch has them.
#[test]
fn eight_bit_floats_are_those_of_pytorch() {
    let expected = read_json(&fixture("fp8.json"));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("all.safetensors");
    let bytes: Vec<u8> = (0..=255).collect();
    for (name, dtype) in [("F8_E4M3", Dtype::F8_E4M3), ("F8_E5M2", Dtype::F8_E5M2)] {
        fs::write(&path, serialize([("x", TensorView::new(dtype, vec![256], &bytes).unwrap())], None).unwrap())
            .unwrap();
        let store = TensorStore::open_safetensors(&path).unwrap();
        let values = store.load("x", &Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
        for (byte, value) in values.into_iter().enumerate() {
            match expected[name][byte].as_u64() {
                Some(bits) => assert_eq!(u64::from(value.to_bits()), bits, "{name} {byte}"),
                None => assert!(value.is_nan(), "{name} {byte}: {value}"),
            }
        }
    }
}

/// Steps write what they compute from 8-bit floats in a type that can hold it.
#[test]
fn steps_take_eight_bit_floats() {
    let folder = TempDir::new().unwrap();
    for (step, value) in [("--dtype", "bf16"), ("--rank", "1"), ("--format", "mlx"), ("--format", "gguf")] {
        let out = folder.path().join(value);
        let mut command = lora_slim();
        command.arg("cut").arg(fixture("kinds/fp8-e5m2")).args(["--boundary", "2", step, value, "-o"]).arg(&out);
        command.arg("--base").arg(fixture("kinds/base")).assert().success();
    }
}

/// transformers passes them to the template without a word.
#[test]
fn what_a_chat_template_does_not_read_is_named() {
    let setup = Setup::new();
    let said = |turn: Value, beside: Value| {
        let mut record = json!({"messages": [turn, {"role": "assistant", "content": "b"}]});
        record.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
        fs::write(setup.path("samples.jsonl"), record.to_string()).unwrap();
        let output = setup.slim(&["--dry-run"]).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let plain = || json!({"role": "user", "content": "a"});
    let template = "does not read";
    assert!(!said(plain(), json!({})).contains(template));
    for (turn, beside, name) in [
        (json!({"role": "user", "content": "a", "mood": "sad"}), json!({}), "mood"),
        (plain(), json!({"tools": [{"type": "function", "function": {"name": "f"}}]}), "tools"),
        (plain(), json!({"chat_template_kwargs": {"enable_thinking": false}}), "enable_thinking"),
    ] {
        let text = said(turn, beside);
        assert!(text.contains(&format!("the chat template does not read `{name}`")), "{text}");
    }
    assert!(!said(plain(), json!({"tools": []})).contains(template));
    let reading = "{{ tools }}{{ enable_thinking }}{% for m in messages %}{{ m | tojson }}{% endfor %}";
    setup.edit_json("base/tokenizer_config.json", |config| config["chat_template"] = json!(reading));
    let text = said(json!({"role": "user", "content": "a", "mood": "sad"}), json!({"tools": [{"a": 1}]}));
    assert!(!text.contains(template), "{text}");
}
