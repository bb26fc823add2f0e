//! Adapters that cannot be read, evaluated or cut.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{BAD_INPUT, Setup, USAGE, safetensors_with, scan_fails};
use crate::support::{copy_folder, fixture, lora_slim, write_adapter, write_config, write_safetensors};

#[test]
fn not_an_adapter_folder() {
    let setup = Setup::new();
    fs::remove_file(setup.path("adapter/adapter_config.json")).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["`adapter`", "no adapter_config.json", "hint: "]);
    fs::remove_dir_all(setup.path("adapter")).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["`adapter`"]);
}

#[test]
fn broken_configurations() {
    let setup = Setup::new();
    let config = "adapter/adapter_config.json";
    for (text, words) in [
        ("{", &["not valid JSON"][..]),
        ("[]", &["should be an object"]),
        ("version https://git-lfs.github.com/spec/v1\n", &["Git LFS pointer", "git lfs pull"]),
        (r#"{"peft_type": "XLORA"}"#, &["mixture of several adapters", "LORA, ADALORA"]),
        (r#"{"peft_type": "PROMPT_TUNING"}"#, &["peft_type is PROMPT_TUNING"]),
        (r#"{"lora_parameters": {"rank": 8}}"#, &["MLX-LM"]),
        (r#"{"peft_type": "LORA", "r": 0, "lora_alpha": 8}"#, &["`r`", "positive integer"]),
        (r#"{"peft_type": "LORA", "r": 4, "lora_alpha": null}"#, &["`lora_alpha`"]),
        (r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": 3}"#, &["`target_modules`"]),
    ] {
        fs::write(setup.path(config), text).unwrap();
        setup.slim_fails(&[], BAD_INPUT, words);
    }
}

/// Encodings that Python's reader refuses, too.
#[test]
fn configurations_in_other_encodings() {
    let setup = Setup::new();
    let config = setup.path("adapter/adapter_config.json");
    let text = fs::read_to_string(&config).unwrap();
    let utf16 = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
        [mark, &text.encode_utf16().flat_map(bytes).collect::<Vec<_>>()].concat()
    };
    for (bytes, words) in [
        ([b"\xef\xbb\xbf", text.as_bytes()].concat(), "begins with a byte order mark (BOM)"),
        (utf16(b"\xff\xfe", u16::to_le_bytes), "is UTF-16 text"),
        (utf16(b"\xfe\xff", u16::to_be_bytes), "is UTF-16 text"),
        (utf16(b"", u16::to_le_bytes), "is UTF-16 text"),
        (text.replace("LORA", "L\u{e9}").chars().map(|character| character as u8).collect(), "is not UTF-8 text"),
    ] {
        fs::write(&config, bytes).unwrap();
        setup.slim_fails(&[], BAD_INPUT, &["adapter_config.json` ", words, "save it as UTF-8"]);
    }
    // Lines that end as on Windows are JSON.
    fs::write(&config, text.replace('\n', "\r\n")).unwrap();
    lora_slim().arg("inspect").arg(setup.path("adapter")).assert().success();
}

/// Values that would be read as something else than PEFT reads.
#[test]
fn patterns_that_cannot_be_read() {
    for (key, value) in [
        ("rank_pattern", json!({"q_proj": "4"})),
        ("rank_pattern", json!({"q_proj": 4.5})),
        ("rank_pattern", json!([1])),
        ("alpha_pattern", json!({"q_proj": "8"})),
        ("alpha_pattern", json!({"q_(proj": 8})),
        ("target_parameters", json!({"a": 1})),
    ] {
        let setup = Setup::new();
        setup.edit_json("adapter/adapter_config.json", |config| config[key] = value);
        setup.slim_fails(&[], BAD_INPUT, &[&format!("`{key}`"), "should be"]);
    }
}

/// Weights without an adapter in them: the message says what they are.
#[test]
fn weights_without_an_adapter() {
    let setup = Setup::new();
    let weights = setup.path("adapter/adapter_model.safetensors");
    let matrix = |name: &str| {
        safetensors_with(&format!(r#"{{"{name}":{{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}}}"#), 8)
    };
    for (bytes, words) in [
        (vec![], &["holds no LoRA tensors", "has 0 bytes", "gather"][..]),
        (safetensors_with("{}", 0), &["`adapter_model.safetensors` has no tensors", "gather"]),
        (matrix("model.embed_tokens.weight"), &["looks like a whole model", "merged into that model"]),
        (matrix("x.y"), &["has other tensors, such as `x.y`"]),
    ] {
        fs::write(&weights, bytes).unwrap();
        setup.slim_fails(&[], BAD_INPUT, words);
    }
    fs::remove_file(&weights).unwrap();
    fs::write(setup.path("adapter/model.safetensors"), matrix("model.layers.0.mlp.up_proj.weight")).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["`model.safetensors` looks like a whole model"]);
    fs::remove_file(setup.path("adapter/model.safetensors")).unwrap();
    fs::write(setup.path("adapter/model.safetensors.index.json"), "{}").unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["`model.safetensors.index.json` is of a whole model"]);
}

/// As DeepSpeed ZeRO-3 leaves them where nothing gathers the weights.
#[test]
fn tensors_without_values() {
    let setup = Setup::new();
    let pair = |layer: usize, a: &str, b: &str| {
        let name = format!("base_model.model.model.layers.{layer}.self_attn.q_proj.lora_");
        format!(r#""{name}A.weight":{{"dtype":"F32",{a}}},"{name}B.weight":{{"dtype":"F32",{b}}}"#)
    };
    let empty = r#""shape":[0],"data_offsets":[0,0]"#;
    let whole = (r#""shape":[4,2],"data_offsets":[0,32]"#, r#""shape":[2,4],"data_offsets":[32,64]"#);
    let header = format!("{{{},{}}}", pair(0, whole.0, whole.1), pair(1, empty, empty));
    fs::write(setup.path("adapter/adapter_model.safetensors"), safetensors_with(&header, 64)).unwrap();
    let words =
        ["2 tensors in 1 of 2 modules", "hold no values", "layers.1.self_attn.q_proj.lora_A", "shape [0]", "ZeRO-3"];
    setup.slim_fails(&[], BAD_INPUT, &words);
}

#[test]
fn adapters_below_a_folder_are_named() {
    let setup = Setup::new();
    copy_folder(&setup.path("adapter"), &setup.path("run/checkpoint-1"));
    copy_folder(&setup.path("adapter"), &setup.path("run/checkpoint-2"));
    fs::remove_dir_all(setup.path("adapter")).unwrap();
    fs::rename(setup.path("run"), setup.path("adapter")).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["below it are adapters: `checkpoint-1`, `checkpoint-2`", "name one of them"]);
}

/// Unsloth's adapters name a base model in 4 bits.
#[test]
fn the_full_precision_model_of_a_quantised_base_is_named() {
    let setup = Setup::new();
    let named = |config: &mut Value| config["base_model_name_or_path"] = json!("unsloth/tiny-bnb-4bit");
    setup.edit_json("adapter/adapter_config.json", named);
    let mut command = lora_slim();
    command.current_dir(setup.folder.path()).args(["scan", "adapter", "--samples", "samples.jsonl"]);
    let output = command.assert().code(BAD_INPUT);
    let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(stderr.contains("`hf download unsloth/tiny-bnb-4bit`"), "{stderr}");
    assert!(stderr.contains("`hf download unsloth/tiny`") && stderr.contains("quantised"), "{stderr}");
}

#[test]
fn a_pickle_that_runs_code_is_refused() {
    let setup = Setup::new();
    fs::remove_file(setup.path("adapter/adapter_model.safetensors")).unwrap();
    let weights = setup.path("adapter/adapter_model.bin");
    // What Python would take for `os.system("touch out")`.
    let run: &[u8] = b"cos\nsystem\n(S'touch out'\ntR.";
    fs::write(&weights, zip_archive("adapter_model/data.pkl", run)).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["adapter_model.bin", "without running code", "save_pretrained"]);
    fs::write(&weights, run).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["adapter_model.bin", "without running code"]);
}

/// A ZIP archive with one file, not compressed. Readers of archives go by the directory at its end.
pub fn zip_archive(name: &str, content: &[u8]) -> Vec<u8> {
    let crc = content.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    let sizes = [&(!crc).to_le_bytes()[..], &[(content.len() as u32).to_le_bytes(); 2].concat()].concat();
    let names = [(name.len() as u16).to_le_bytes(), [0, 0]].concat();
    let entry = [b"\x14\0\0\0\0\0\0\0\0\0", sizes.as_slice(), names.as_slice()].concat();
    let local = [b"PK\x03\x04", entry.as_slice(), name.as_bytes(), content].concat();
    let directory = [b"PK\x01\x02\x14\0", entry.as_slice(), &[0; 14], name.as_bytes()].concat();
    let place = [(directory.len() as u32).to_le_bytes(), (local.len() as u32).to_le_bytes()].concat();
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", place.as_slice(), &[0, 0]].concat();
    [local, directory, end].concat()
}

#[test]
fn hostile_safetensors() {
    let setup = Setup::new();
    let weights = setup.path("adapter/adapter_model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let pair = |a: &str, b: &str| {
        format!(
            r#"{{"m.layers.0.q.lora_A.weight":{{"dtype":"F32","shape":[1,2],"data_offsets":[{a}]}},"m.layers.0.q.lora_B.weight":{{"dtype":"F32","shape":[2,1],"data_offsets":[{b}]}}}}"#
        )
    };
    let mut huge_header = (1u64 << 60).to_le_bytes().to_vec();
    huge_header.extend(b"{}");
    for bytes in [
        vec![],
        b"short".to_vec(),
        huge_header,
        whole[..whole.len() / 2].to_vec(),
        whole[..100].to_vec(),
        safetensors_with("not json", 0),
        safetensors_with(&pair("0,8", "4,12"), 12),
        safetensors_with(&pair("0,8", "16,24"), 24),
        safetensors_with(&pair("0,8", "8,4000"), 16),
        safetensors_with(r#"{"x":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,0]}}"#, 0),
        safetensors_with("{}", 0),
    ] {
        fs::write(&weights, bytes).unwrap();
        setup.slim_fails(&[], BAD_INPUT, &["adapter"]);
    }
}

#[test]
fn half_a_pair_a_wrong_rank_and_nan() {
    let setup = Setup::new();
    let header = r#"{"m.layers.0.q_proj.lora_A.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
    fs::write(setup.path("adapter/adapter_model.safetensors"), safetensors_with(header, 8)).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["m.layers.0.q_proj", "lora_A without lora_B"]);

    let setup = Setup::new();
    setup.edit_json("adapter/adapter_config.json", |config| config["r"] = json!(16));
    setup.slim_fails(&[], BAD_INPUT, &["rank 4", "16 in adapter_config.json"]);

    let setup = Setup::new();
    let weights = setup.path("adapter/adapter_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    setup.slim_fails(&[], BAD_INPUT, &["NaN", "lora_"]);
}

#[test]
fn unsupported_adapters() {
    for (key, value, words) in [
        ("peft_type", json!("IA3"), "IA3"),
        ("layer_replication", json!([[0, 4], [2, 5]]), "replicated layers"),
        ("alora_invocation_tokens", json!([5]), "activated LoRA"),
        ("use_qalora", json!(true), "QALoRA"),
        ("enable_lora", json!([true, false, true]), "MergedLinear"),
    ] {
        let setup = Setup::new();
        setup.edit_json("adapter/adapter_config.json", |config| config[key] = value);
        setup.slim_fails(&[], BAD_INPUT, &[words, "lora-slim cut"]);
    }

    let setup = Setup::new();
    setup.edit_json("adapter/adapter_config.json", |config| config["init_lora_weights"] = json!("pissa_niter_4"));
    setup.slim_fails(
        &[],
        BAD_INPUT,
        &["pissa_niter_4", "changes the base weights", "path_initial_model_for_weight_conversion"],
    );
}

/// Factors whose sizes contradict each other, or the configuration.
#[test]
fn factors_that_do_not_fit() {
    for (kind, tensor, shape, words) in [
        ("loha", "layers.1.mlp.down_proj.hada_w1_a", vec![32, 3], "does not fit the other factors"),
        ("lokr-both", "layers.1.self_attn.q_proj.lokr_w2_a", vec![5], "does not fit the other factors"),
        ("adalora", "layers.0.self_attn.q_proj.lora_E", vec![1, 1], "does not fit the other factors"),
        ("saved-norm-suffix", "model.norm.weight", vec![64], "shape [64] instead of [32]"),
        ("lora-bias", "layers.1.self_attn.q_proj.lora_B.bias", vec![5], "shape [5] instead of"),
    ] {
        let setup = Setup::new();
        copy_folder(&fixture("kinds").join(kind), &setup.path("other"));
        let weights = setup.path("other/adapter_model.safetensors");
        let bytes = fs::read(&weights).unwrap();
        let mut tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors();
        let zeros = vec![0u8; 4 * shape.iter().product::<usize>()];
        let found = tensors.iter_mut().find(|(name, _)| name.ends_with(tensor));
        let (_, view) = found.unwrap_or_else(|| panic!("{kind} has no {tensor}"));
        *view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &zeros).unwrap();
        fs::write(&weights, safetensors::serialize(tensors, None).unwrap()).unwrap();
        scan_fails(&setup.path("other"), &fixture("kinds/base"), &[words]);
    }
}

#[test]
fn contents_that_contradict_the_adapter_configuration() {
    for (kind, key, value, words) in [
        ("dora", "use_dora", json!(false), "a magnitude without `use_dora`"),
        ("default-infix", "use_dora", json!(true), "no magnitude with `use_dora`"),
        ("trainable-tokens", "trainable_token_indices", json!([5, 99_999]), "trainable_token_indices"),
    ] {
        let setup = Setup::new();
        copy_folder(&fixture("kinds").join(kind), &setup.path("other"));
        setup.edit_json("other/adapter_config.json", |config| config[key] = value);
        scan_fails(&setup.path("other"), &fixture("kinds/base"), &[words]);
    }
}

#[test]
fn cut_refuses_what_peft_cannot_be_told() {
    let cases = [
        // `norm` ends the names of the layers' norms too.
        (
            json!({"target_modules": ["q"], "modules_to_save": ["norm"]}),
            &[
                "layers.0.q.lora_A.weight",
                "layers.0.q.lora_B.weight",
                "layers.1.q.lora_A.weight",
                "layers.1.q.lora_B.weight",
                "norm.weight",
                "layers.1.norm.weight",
            ][..],
            "the saved module `norm`",
        ),
        (
            json!({"peft_type": "VERA", "target_modules": ["q", "k"]}),
            &[
                "model.layers.0.q.vera_lambda_b",
                "model.layers.0.q.vera_lambda_d",
                "model.layers.1.k.vera_lambda_b",
                "model.layers.1.k.vera_lambda_d",
            ],
            "VeRA on modules",
        ),
    ];
    for (config, names, words) in cases {
        let setup = Setup::new();
        let tensor = |name: &&str| (format!("base_model.model.{name}"), (vec![2, 2], vec![0.5; 4]));
        fs::create_dir(setup.path("other")).unwrap();
        write_safetensors(&setup.path("other/adapter_model.safetensors"), &names.iter().map(tensor).collect());
        write_config(&setup.path("other"), config);
        let mut command = lora_slim();
        command.current_dir(setup.folder.path()).args(["cut", "other", "--boundary", "1", "-o", "out"]);
        let output = command.assert().code(BAD_INPUT);
        let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(stderr.contains(words) && !setup.path("out").exists(), "{stderr}");
    }
}

#[test]
fn cut_refuses_what_it_cannot_do_exactly() {
    let setup = Setup::new();
    let cut_fails = |config: Value, more: &[&str], code: i32, words: &str| {
        let modules = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"];
        write_adapter(&setup.path("other"), &modules, json!({}));
        write_config(&setup.path("other"), config);
        let output = lora_slim()
            .current_dir(setup.folder.path())
            .args(["cut", "other", "-o", "out"])
            .args(more)
            .assert()
            .code(code);
        let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(stderr.contains(words) && !setup.path("out").exists(), "{stderr}");
    };
    cut_fails(json!({"layer_replication": [[0, 1], [0, 1]]}), &["--boundary", "1"], BAD_INPUT, "layer_replication");
    cut_fails(json!({"enable_lora": [true, false, true]}), &["--boundary", "1"], BAD_INPUT, "enable_lora");
    cut_fails(json!({"peft_type": "VERA"}), &["--boundary", "0"], USAGE, "an empty adapter is never written");
    cut_fails(json!({}), &["--boundary", "0"], USAGE, "an empty adapter is never written");
    cut_fails(json!({}), &["--boundary", "3"], USAGE, "has 2 layers");
    cut_fails(json!({}), &["--keep-layers", "1-0"], USAGE, "neither a layer nor a range");
    cut_fails(json!({}), &["--boundary", "1", "--stack", "h"], USAGE, "no layer stack `h`");
    assert!(Path::new(&setup.path("other")).exists());
}
