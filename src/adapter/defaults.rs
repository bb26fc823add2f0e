//! The modules that PEFT 0.21.2 wraps where `target_modules` is null, by the `model_type` of the base model
//! (`TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING` and its relatives in `peft/utils/constants.py`).

use super::Method;

type ByModelType = (&'static str, &'static [&'static str]);

const QUERY_VALUE: &[&str] = &["q_proj", "v_proj"];
const FUSED: &[&str] = &["query_key_value"];

/// The decoders of LoRA's table. The other low-rank methods have the same.
const LORA: [ByModelType; 28] = [
    ("gpt2", &["c_attn"]),
    ("bloom", FUSED),
    ("opt", QUERY_VALUE),
    ("gptj", QUERY_VALUE),
    ("gpt_neox", FUSED),
    ("gpt_neo", QUERY_VALUE),
    ("llama", QUERY_VALUE),
    ("llama4", QUERY_VALUE),
    ("chatglm", FUSED),
    ("gpt_bigcode", &["c_attn"]),
    ("mpt", &["Wqkv"]),
    ("RefinedWebModel", FUSED),
    ("RefinedWeb", FUSED),
    ("falcon", FUSED),
    ("btlm", &["c_proj", "c_attn"]),
    ("codegen", &["qkv_proj"]),
    ("mistral", QUERY_VALUE),
    ("mixtral", QUERY_VALUE),
    ("stablelm", QUERY_VALUE),
    ("phi", &["q_proj", "v_proj", "fc1", "fc2"]),
    ("gemma", QUERY_VALUE),
    ("gemma2", QUERY_VALUE),
    ("gemma3_text", QUERY_VALUE),
    ("qwen2", QUERY_VALUE),
    ("qwen3", QUERY_VALUE),
    ("nemotron_h", &["q_proj", "k_proj", "v_proj", "o_proj"]),
    ("rwkv", &["key", "value", "receptance", "output"]),
    ("rwkv7", &["r_proj", "k_proj", "v_proj", "o_proj", "key", "value"]),
];

/// The other rows of LoRA's table: encoders, and a regular expression.
#[rustfmt::skip]
const OTHERS: [&str; 12] = [
    "t5", "mt5", "bart", "blip-2", "bert", "roberta", "xlm-roberta", "electra", "deberta-v2", "deberta", "layoutlm", "gemma4",
];

/// What PEFT takes for modules where the configuration names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultTargets {
    Modules(&'static [&'static str]),
    /// PEFT has modules for this type of model, in a table that is not here.
    InAnotherTable,
    /// PEFT has none and refuses to load the adapter.
    Missing,
}

impl DefaultTargets {
    pub fn of(method: Method, model_type: &str) -> Self {
        let has_this_table = !matches!(method, Method::AdaLora | Method::Ia3 | Method::FourierFt | Method::Vera);
        match LORA.iter().find(|(name, _)| *name == model_type) {
            _ if !has_this_table || OTHERS.contains(&model_type) => Self::InAnotherTable,
            Some((_, modules)) => Self::Modules(modules),
            None => Self::Missing,
        }
    }
}
