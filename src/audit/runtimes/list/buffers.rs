//! How servers allocate buffers for adapters.

use crate::audit::runtimes::memory::{BufferGrain, BufferRules};
use crate::model::family::Outside;

/// Modules that servers merge to one matrix.
const MERGED: &[(&str, &[&str])] =
    &[("qkv_proj", &["q_proj", "k_proj", "v_proj"]), ("gate_up_proj", &["gate_proj", "up_proj"])];

pub static VLLM: BufferRules = BufferRules {
    grain: BufferGrain::Modules,
    decoders: &["cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral", "phi3", "qwen2",
        "qwen2_5_vl", "qwen2_5_vl_text", "qwen2_vl", "qwen2_vl_text", "qwen3", "qwen3_vl_text"],
    merged: MERGED,
    // `embedding_modules` of its model classes.
    vocabulary: &[
        (Outside::Embedding, &["cohere", "cohere2", "granite", "llama", "phi3", "qwen3", "qwen3_vl_text"]),
        (Outside::Head, &["granite", "llama", "phi3", "qwen3", "qwen3_vl_text"]),
    ],
    multimodal: ("language_model.model.layers",
        &["gemma3", "llava", "llava_next", "mistral3", "paligemma", "qwen2_5_vl", "qwen2_vl", "qwen3_vl"]),
    enable: "--enable-lora",
    modules: "--lora-target-modules",
    everything: None,
    rank: "--max-lora-rank",
    ranks: &[1, 8, 16, 32, 64, 128, 256, 320, 512],
    default_rank: Some(16),
    excess: "applies nothing of an adapter in other modules, without an error",
    source: "utils.py",
};

/// Those whose sizes it takes from the configuration alone (`get_default_hidden_dim`).
const SGLANG_DECODERS: &[&str] =
    &["cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral", "qwen2", "qwen3"];

pub static SGLANG: BufferRules = BufferRules {
    grain: BufferGrain::ModuleTypes,
    decoders: SGLANG_DECODERS,
    merged: MERGED,
    vocabulary: &[(Outside::Embedding, SGLANG_DECODERS), (Outside::Head, SGLANG_DECODERS)],
    multimodal: ("", &[]),
    enable: "--enable-lora",
    modules: "--lora-target-modules",
    everything: Some("all"),
    rank: "--max-lora-rank",
    ranks: &[],
    default_rank: None,
    excess: "refuses an adapter that has other types of modules, or a higher rank",
    source: "mem_pool.py",
};
