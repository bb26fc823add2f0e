//! The losses of every boundary against transformers + PEFT (`scripts/fixtures/pico.py` for the families of models,
//! `scripts/fixtures/kinds.py` for the kinds of adapters).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lora_slim::kernel::Unit;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{copy_folder, document, fixture, lora_slim, read_json};

/// Nats, summed over a sample. transformers' own attention variants differ by up to 6e-5; the longest rope case, whose
/// angles are rounded in another order, by 3.5e-4; LoHa, whose random products are large, by 8.3e-4.
const TOLERANCE: f64 = 1e-3;

/// One test for each case, which is called as its folder.
macro_rules! cases {
    ($check:ident: $($case:ident)*) => {
        $(#[test] fn $case() { $check(&stringify!($case).replace('_', "-")); })*
        const NAMES: &[&str] = &[$(stringify!($case)),*];
    };
}

/// Models of every family, each with plain LoRA.
mod families {
    use super::*;

    fn check(case: &str) {
        let folder = fixture("pico").join(case);
        check_curve(&folder.join("adapter"), &folder.join("base"), &folder.join("expected.json"));
    }

    cases! { check:
        gptj codegen gpt_bigcode gpt_bigcode_heads mpt mpt_clipped falcon falcon_new falcon_one_norm falcon_sequential opt opt_without_biases
        paddleocr_vl phi4_multimodal phimoe phimoe_longrope llama4 llama4_plain granite_swa
        apertus nemotron nemotron_biases olmo olmo_clipped olmoe olmoe_clipped
        lfm2_moe lfm2_moe_plain nemotron_h nemotron_h_biases nemotron_h_experts nemotron_h_latent nemotron_h_moe granite4 granite4_dense granitemoeshared bamba bamba_biases falcon_h1 falcon_h1_norm falcon_h1_norm_first
        arcee aya_vision cwm exaone4 exaone4_full olmo3 bloom cohere cohere_qknorm cohere2 ernie45 gemma gemma2 gemma3 gemma3_vl glm glm4 gpt_neox gpt_neox_sequential
        gpt_oss gpt_oss_mxfp4 gpt2 granite granitemoe helium hunyuan_dense internlm3 iquestcoder llama_dynamic llama_gguf llama_linear
        llama_llama3_rope llama_odd_heads llama_yarn llava llava_next ministral ministral3 mistral mixtral mllama olmo2 paligemma phi phi_qknorm
        phi3 phi3_longrope qwen2 qwen2_moe qwen2_vl qwen25_vl qwen3 qwen3_next qwen35 qwen35_moe qwen3_moe qwen3_vl seed_oss smollm3 stablelm stablelm_parallel
        starcoder2 lfm2 lfm2_bias cohere2_moe cohere2_moe_sum minicpm3 minicpm3_plain olmo_hybrid olmo_hybrid_unrotated afmoe flex_olmo gpt_neo granitemoe_swa jais2 nanochat persimmon persimmon_without_norms vaultgemma xglm xglm_unscaled
        gemma3n gemma3n_unscaled gemma4 gemma4_keys gemma4_moe gemma4_unified gemma4_vl
        deepseek_v2 deepseek_v2_lite deepseek_v3 deepseek_v3_plain dots1 ernie45_moe exaone_moe glm4_moe glm4_moe_air glm4_moe_lite
        hunyuan_moe mellum minimax_m2 qwen3_vl_moe solar_open youtu
    }

    #[test]
    fn no_case_is_forgotten() {
        assert_eq!(names_of(NAMES), folders_with_expectations("pico"));
    }
}

/// The same models as GGUF files (`scripts/fixtures/pico_gguf.py`). Where such a file cannot say all that the case has, it comes
/// with an adapter or losses of its own.
mod gguf {
    use super::*;

    fn check(case: &str) {
        let folder = fixture("pico").join(case);
        let own_or_common = |name: &str| {
            let own = folder.join("gguf").join(name);
            if own.exists() { own } else { folder.join(name) }
        };
        let base = folder.join("gguf/base.gguf");
        check_curve(&own_or_common("adapter"), &base, &own_or_common("expected.json"));
    }

    cases! { check:
        bloom cohere cohere_qknorm cohere2 gemma gemma2 gemma3 glm glm4 gpt_neox gpt_neox_sequential gpt_oss gpt2 granite granitemoe llama_linear llama_odd_heads llama_yarn mistral mixtral olmo2 phi phi3 phi3_longrope qwen2 qwen2_moe qwen3 qwen2_vl qwen25_vl qwen3_vl qwen3_moe smollm3 stablelm stablelm_parallel starcoder2
    }

    #[test]
    fn no_case_is_forgotten() {
        let folders = fs::read_dir(fixture("pico")).unwrap().map(|entry| entry.unwrap().path());
        let with_gguf = folders.filter(|folder| folder.join("gguf").exists());
        let names = with_gguf.map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned());
        assert_eq!(names_of(NAMES), names.collect());
    }
}

/// The same models as quantisers store them, against the weights that their own code reads (`scripts/fixtures/quantised.py`).
mod quantised {
    use super::*;

    fn check(case: &str) {
        let folder = fixture("quantised").join(case);
        let pico = read_json(&folder.join("expected.json"))["pico"].as_str().unwrap().to_string();
        check_curve(&fixture("pico").join(pico).join("adapter"), &folder.join("base"), &folder.join("expected.json"));
    }

    cases! { check:
        fp8_channel_moe int4_group_moe nf4_double_moe awq_gemma3 awq_llama fp4_double_gemma3 fp4_double_llama fp4_gemma3 fp4_llama fp8_blocks_gemma3 fp8_blocks_llama fp8_channel_gemma3 fp8_channel_llama fp8_tensor_gemma3 fp8_tensor_llama gptq_3_gemma3 gptq_3_llama gptq_8_gemma3 gptq_8_llama gptq_gemma3 gptq_llama gptq_order_gemma3 gptq_order_llama gptq_v2_gemma3 gptq_v2_llama int4_group_gemma3 int4_group_llama int4_zero_gemma3 int4_zero_llama int8_channel_gemma3 int8_channel_llama int8_gemma3 int8_llama int8_packed_gemma3 int8_packed_llama torchao_fp8_gemma3 torchao_fp8_llama torchao_int8_gemma3 torchao_int8_llama mlx_4_gemma3 mlx_4_llama mlx_8_gemma3 mlx_8_llama mxfp4_gemma3 mxfp4_llama nf4_double_gemma3 nf4_double_llama nf4_gemma3 nf4_llama nvfp4_gemma3 nvfp4_llama
    }

    #[test]
    fn no_case_is_forgotten() {
        assert_eq!(names_of(NAMES), folders_with_expectations("quantised"));
    }
}

/// The authors of LLaVA have model types of their own, whose text models are Llama and Mistral.
#[test]
fn types_of_the_authors_of_llava_are_their_text_models() {
    for (case, model_type) in [("llama-linear", "llava_llama"), ("mistral", "llava_mistral")] {
        let (folder, work) = (fixture("pico").join(case), TempDir::new().unwrap());
        copy_folder(&folder.join("base"), work.path());
        let mut config = read_json(&folder.join("base/config.json"));
        config["model_type"] = json!(model_type);
        config["mm_projector_type"] = json!("mlp2x_gelu");
        fs::write(work.path().join("config.json"), config.to_string()).unwrap();
        check_curve(&folder.join("adapter"), work.path(), &folder.join("expected.json"));
    }
}

/// transformers ignores keys of `config.json` that the family does not have.
#[test]
fn keys_of_other_families_change_nothing() {
    for (case, key, value) in [
        ("gpt-neox", "num_key_value_heads", json!(1)),
        ("gpt2", "num_key_value_heads", json!(1)),
        ("bloom", "intermediate_size", json!(7)),
        ("stablelm", "head_dim", json!(2)),
        ("llama-linear", "use_parallel_residual", json!(true)),
        ("llama-linear", "cross_attention_layers", json!([1])),
        ("llama-linear", "no_rope_layers", json!([0, 0, 0, 0, 0, 0])),
        ("gemma", "final_logit_softcapping", json!(1.0)),
        ("qwen2", "rope_local_base_freq", json!(3.0)),
        ("mistral", "use_sliding_window", json!(false)),
    ] {
        let (folder, work) = (fixture("pico").join(case), TempDir::new().unwrap());
        copy_folder(&folder.join("base"), work.path());
        let mut config = read_json(&folder.join("base/config.json"));
        config[key] = value;
        fs::write(work.path().join("config.json"), config.to_string()).unwrap();
        check_curve(&folder.join("adapter"), work.path(), &folder.join("expected.json"));
    }
}

/// Every kind of adapter on a few models.
mod kinds {
    use super::*;

    fn check(case: &str) {
        let folder = fixture("kinds").join(case);
        check_curve(&folder, &base_of_kind(&folder), &folder.join("expected.json"));
    }

    cases! { check:
        adalora all_linear bare base_copies bf16 bias_all bias_all_gpt2 bias_lora_only bin copied_embeddings default_infix dora dora_bias dora_embed dora_gpt2 dora_lm_head exclude expert_modules f16 fp8_e4m3 fp8_e5m2 layers_pattern loha lokr lokr_both lokr_decomposed lokr_factor lora_bias lora_embed lora_embed_tied lora_head_tied lora_lm_head null_targets rank_alpha_patterns regex router saved_embed_and_norms saved_embed_tied saved_head saved_norm_suffix stray_tensors target_parameters_both target_parameters_down target_parameters_one trainable_tokens trainable_tokens_head trainable_tokens_tied
    }

    #[test]
    fn no_case_is_forgotten() {
        assert_eq!(names_of(NAMES), folders_with_expectations("kinds"));
    }
}

/// A cut of any kind verifies, and where the kind can be evaluated, the cut adapter's own loss is the point of the
/// original's curve at which it was cut.
#[test]
fn every_kind_is_cut_to_what_its_curve_says() {
    for folder in fs::read_dir(fixture("kinds")).unwrap().map(|entry| entry.unwrap().path()) {
        if !folder.join("adapter_config.json").exists() {
            continue;
        }
        let work = TempDir::new().unwrap();
        let cut = work.path().join("cut");
        lora_slim().arg("cut").arg(&folder).args(["--boundary", "2", "-o"]).arg(&cut).assert().success();
        lora_slim().arg("verify").arg(&folder).arg(&cut).assert().success();
        if !folder.join("expected.json").exists() {
            continue;
        }
        let report = scan(&cut, &base_of_kind(&folder));
        let whole = report["curve"].as_array().unwrap().last().unwrap()["loss"].as_f64().unwrap();
        let expected = read_json(&folder.join("expected.json"))["curve"][2]["loss"].as_f64().unwrap();
        assert!((whole - expected).abs() < 2e-5, "{}: {whole} instead of {expected}", folder.display());
    }
}

pub fn names_of(cases: &[&str]) -> BTreeSet<String> {
    cases.iter().map(|case| case.replace('_', "-")).collect()
}

pub fn base_of_kind(folder: &Path) -> PathBuf {
    let config = read_json(&folder.join("adapter_config.json"));
    let base = Path::new(config["base_model_name_or_path"].as_str().unwrap());
    fixture("kinds").join(base.file_name().unwrap())
}

pub fn folders_with_expectations(group: &str) -> BTreeSet<String> {
    let folders = fs::read_dir(fixture(group)).unwrap().map(|entry| entry.unwrap().path());
    let with_expectations = folders.filter(|folder| folder.join("expected.json").exists());
    with_expectations.map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// The losses in nearly f32, by whatever bf16 units this processor has, on models whose random weights enlarge errors
/// more than trained ones do.
#[test]
fn bf16_units_come_near() {
    for unit in Unit::available() {
        for case in ["llama-dynamic", "gemma2", "gpt2", "gpt-oss", "phi3-longrope", "llama-gguf"] {
            let folder = fixture("pico").join(case);
            let precision = ["--precision", "bf16x2"];
            let name = format!("{unit:?}").to_lowercase();
            let report = scan_with(&folder.join("adapter"), &folder.join("base"), precision, &name);
            let difference = largest_difference(&report, &folder.join("expected.json"));
            assert!(difference < 1e-4, "{unit:?}, {case}: off by {difference} nats per token");
        }
    }
}

/// By how many nats per token the worst boundary of a curve is off.
pub fn largest_difference(report: &Value, expected: &Path) -> f64 {
    let expected = read_json(expected);
    let difference = |point: &Value| {
        let wanted = &expected["curve"][point["boundary"].as_u64().unwrap() as usize];
        (point["loss"].as_f64().unwrap() - wanted["loss"].as_f64().unwrap()).abs()
    };
    report["curve"].as_array().unwrap().iter().map(difference).fold(0.0, f64::max)
}

fn scan(adapter: &Path, base: &Path) -> Value {
    scan_with(adapter, base, ["--precision", "f32"], "none")
}

pub fn scan_with(adapter: &Path, base: &Path, options: [&str; 2], unit: &str) -> Value {
    let output = lora_slim()
        .env("LORA_SLIM_UNIT", unit)
        .arg("scan")
        .arg(adapter)
        .arg("--base")
        .arg(base)
        .arg("--samples")
        .arg(fixture("pico/samples.tokens.jsonl"))
        .args(["--json", "--boundary", "1", "--quiet"])
        .args(options)
        .assert()
        .success();
    document(&output.get_output().stdout)
}

pub fn check_curve(adapter: &Path, base: &Path, expected: &Path) {
    let report = scan(adapter, base);
    let expected = read_json(expected);
    let curve = report["curve"].as_array().unwrap();
    assert!(curve.len() >= 3);
    for point in curve {
        let boundary = point["boundary"].as_u64().unwrap() as usize;
        let wanted = &expected["curve"][boundary];
        assert_eq!(wanted["boundary"], point["boundary"]);
        let loss = (point["loss"].as_f64().unwrap() - wanted["loss"].as_f64().unwrap()).abs();
        assert!(loss < 2e-5, "boundary {boundary} is off by {loss} nats per token");
        let pairs = point["per_sample"].as_array().unwrap().iter().zip(wanted["per_sample"].as_array().unwrap());
        for (sample, (got, wanted)) in pairs.enumerate() {
            let difference = (got.as_f64().unwrap() - wanted.as_f64().unwrap()).abs();
            assert!(
                difference < TOLERANCE + 5e-6 * wanted.as_f64().unwrap(),
                "boundary {boundary}, sample {sample} is off by {difference} nats"
            );
        }
    }
}
