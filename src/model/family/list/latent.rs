//! Families with latent attention: DeepSeek and its kin.

use super::super::names::*;
use super::mixtures::{EXPERTS, ROUTER};
use super::routed::{
    BIASED_ROUTER, GROUPED, NOT_RUN, ROUTED_EXPERTS, ROUTED_HARMLESS, SHARED_EXPERTS, SIGMOID_EXPERTS,
};
use super::*;

/// Keys of latent attention. Its sizes have names of their own, and `head_dim` may only repeat one of them.
pub(super) const LATENT_KEYS: &str = "intermediate_size num_key_value_heads head_dim q_lora_rank kv_lora_rank qk_rope_head_dim \
    qk_nope_head_dim v_head_dim rope_interleave";
/// A key that the family has a value for, and does not read.
pub(super) const FIXED_INTERLEAVE: KeySpelling = ("rope_interleave", &[]);

pub(super) const DEEPSEEK_V3: Family = Family {
    // Kimi K2 is one under another name.
    model_types: &["deepseek_v3", "kimi_k2"],
    gguf_architectures: &[],
    layer_names: &[LATENT, GATED_MLP, BIASED_ROUTER, SHARED_EXPERTS, PRE_NORMS],
    experts: Some(&SIGMOID_EXPERTS),
    biases: &[LATENT_BIAS],
    reads: &[LATENT_KEYS, GROUPED],
    spellings: &[ROUTED_EXPERTS],
    numbers: &[
        ("num_key_value_heads", 128.0),
        ("max_position_embeddings", 4096.0),
        ("q_lora_rank", 1536.0),
        ("kv_lora_rank", 512.0),
        ("qk_rope_head_dim", 64.0),
        ("qk_nope_head_dim", 128.0),
        ("v_head_dim", 128.0),
        ("num_experts_per_tok", 8.0),
        ("num_experts", 256.0),
        ("moe_intermediate_size", 2048.0),
        ("n_shared_experts", 1.0),
        ("routed_scaling_factor", 2.5),
        ("n_group", 8.0),
        ("topk_group", 4.0),
        ("first_k_dense_replace", 3.0),
    ],
    flags: &[("rope_interleave", true), ("norm_topk_prob", true)],
    harmless: LATENT_HARMLESS,
    ..PLAIN
};

const LATENT_HARMLESS: &[Harmless] = &[
    ROUTED_HARMLESS[0],
    ROUTED_HARMLESS[1],
    ROUTED_HARMLESS[2],
    ROUTED_HARMLESS[3],
    ROUTED_HARMLESS[4],
    ROUTED_HARMLESS[5],
    ROUTED_HARMLESS[6],
    ROUTED_HARMLESS[7],
    ("qk_head_dim", "the sum of two other sizes"),
];
const LITE_HARMLESS: &[Harmless] = &[
    ("num_nextn_predict_layers", NOT_RUN),
    ("qk_head_dim", "the sum of two other sizes"),
    ("topk_method", "nothing in transformers reads it"),
    ("first_k_dense_replace", "`mlp_layer_types` says it, or the first layer is dense"),
];

const LATENT_GGUF: GgufConventions =
    GgufConventions { splits: &[(Role::LatentUp, Split::KeysAndValues(["attn_k_b", "attn_v_b"]))], ..PLAIN_GGUF };

pub static FAMILIES: [Family; 4] = [
    // GLM 4.7 Flash is the same in such files.
    Family {
        gguf_architectures: &["deepseek2"],
        gguf: GgufConventions { mark: Some("exp_probs_b.bias"), ..LATENT_GGUF },
        ..DEEPSEEK_V3
    },
    Family {
        model_types: &["deepseek_v2"],
        gguf_architectures: &["deepseek2"],
        gguf: LATENT_GGUF,
        layer_names: &[LATENT, GATED_MLP, ROUTER, SHARED_EXPERTS, PRE_NORMS],
        experts: Some(&ExpertNames {
            weights: ExpertWeights::Configured { sum_to_one_in_gguf: false },
            grouping: Grouping::Configured,
            ..EXPERTS
        }),
        biases: &[LATENT_BIAS, ALL_MLP_BIAS],
        reads: &[
            LATENT_KEYS,
            "n_group topk_group topk_method routed_scaling_factor n_shared_experts num_experts_per_tok",
        ],
        spellings: &[("num_experts", &["n_routed_experts", "num_experts"]), FIXED_INTERLEAVE],
        numbers: &[
            ("max_position_embeddings", 2048.0),
            ("q_lora_rank", 1536.0),
            ("kv_lora_rank", 512.0),
            ("qk_rope_head_dim", 64.0),
            ("qk_nope_head_dim", 128.0),
            ("v_head_dim", 128.0),
            ("num_experts", 64.0),
            ("moe_intermediate_size", 1407.0),
            ("n_shared_experts", 2.0),
            ("routed_scaling_factor", 1.0),
            ("first_k_dense_replace", 0.0),
        ],
        flags: &[("rope_interleave", true)],
        ..DEEPSEEK_V3
    },
    Family {
        model_types: &["glm4_moe_lite"],
        norm_eps: 1e-5,
        reads: &[LATENT_KEYS, GROUPED, "mlp_layer_types"],
        spellings: &[ROUTED_EXPERTS, ("first_k_dense_replace", &[])],
        numbers: &[
            ("num_key_value_heads", 20.0),
            ("max_position_embeddings", 202_752.0),
            ("partial_rotary_factor", 1.0),
            ("q_lora_rank", 768.0),
            ("kv_lora_rank", 512.0),
            ("qk_rope_head_dim", 64.0),
            ("qk_nope_head_dim", 192.0),
            ("v_head_dim", 256.0),
            ("num_experts_per_tok", 4.0),
            ("num_experts", 64.0),
            ("moe_intermediate_size", 1536.0),
            ("n_shared_experts", 1.0),
            ("routed_scaling_factor", 1.8),
            ("n_group", 1.0),
            ("topk_group", 1.0),
            ("first_k_dense_replace", 1.0),
        ],
        harmless: LITE_HARMLESS,
        ..DEEPSEEK_V3
    },
    // Without experts.
    Family {
        model_types: &["youtu"],
        gguf_architectures: &["deepseek2"],
        gguf: LATENT_GGUF,
        layer_names: &[LATENT, GATED_MLP, PRE_NORMS],
        experts: None,
        reads: &[LATENT_KEYS],
        spellings: &[],
        numbers: &[
            ("num_key_value_heads", 16.0),
            ("max_position_embeddings", 131_072.0),
            ("q_lora_rank", 1536.0),
            ("kv_lora_rank", 512.0),
            ("qk_rope_head_dim", 64.0),
            ("qk_nope_head_dim", 128.0),
            ("v_head_dim", 128.0),
        ],
        flags: &[("rope_interleave", true), ("tie_word_embeddings", true)],
        harmless: &[
            ("qk_head_dim", "the sum of two other sizes"),
            ("embedding_initializer_range", "only training uses it"),
        ],
        ..DEEPSEEK_V3
    },
];
