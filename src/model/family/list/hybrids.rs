//! OLMo Hybrid, and MiniCPM 3 with its scaled latent attention.

use super::super::names::*;
use super::latent::{DEEPSEEK_V3, FIXED_INTERLEAVE, LATENT_KEYS};
use super::llama::OLMO2;
use super::*;

/// A gated delta net with matrices of their own for queries, keys and values. A norm in the middle of a layer is behind attention, or
/// before the MLP where the layer has a delta net; the second names are those of published files.
const OLMO_HYBRID: RoleNames = &[
    (Role::DeltaQuery, "linear_attn.q_proj", ""),
    (Role::DeltaKey, "linear_attn.k_proj", ""),
    (Role::DeltaValue, "linear_attn.v_proj", ""),
    (Role::DeltaGate, "linear_attn.g_proj", ""),
    (Role::DeltaWrite, "linear_attn.b_proj", ""),
    (Role::DeltaDecay, "linear_attn.a_proj", ""),
    (Role::Convolution, "linear_attn.conv1d", ""),
    (Role::DeltaBias, "linear_attn.dt_bias", ""),
    (Role::DeltaRate, "linear_attn.A_log", ""),
    (Role::DeltaNorm, "linear_attn.o_norm", ""),
    (Role::DeltaOut, "linear_attn.o_proj", ""),
    (Role::AttentionNorm, "input_layernorm", ""),
    (Role::AttentionNorm, "attention_layer_norm", ""),
    (Role::MiddleNorm, "post_attention_layernorm", ""),
    (Role::MiddleNorm, "feedforward_layer_norm", ""),
    (Role::MlpPostNorm, "post_feedforward_layernorm", ""),
];

pub static FAMILIES: [Family; 2] = [
    Family {
        model_types: &["olmo_hybrid"],
        gguf_architectures: &[],
        layer_names: &[ATTENTION, GATED_MLP, HEAD_NORMS, OLMO_HYBRID],
        norm_eps: 1e-6,
        delta_norm_eps: Some(1e-5),
        reads: &[
            USUAL,
            "layer_types linear_num_key_heads linear_num_value_heads linear_key_head_dim linear_value_head_dim",
        ],
        spellings: &[("full_attention_interval", &[])],
        numbers: &[
            ("max_position_embeddings", 65_536.0),
            ("full_attention_interval", 4.0),
            ("linear_conv_kernel_dim", 4.0),
        ],
        flags: &[("linear_allow_neg_eigval", true)],
        null_base_is_none: true,
        harmless: &[
            ("linear_a_log_min", "only training uses it"),
            ("linear_a_log_max", "only training uses it"),
            ("linear_dt_min", "only training uses it"),
            ("linear_dt_max", "only training uses it"),
            ("linear_dt_init_floor", "only training uses it"),
        ],
        ..OLMO2
    },
    // What enters and leaves its layers, and what these add, is scaled.
    Family {
        model_types: &["minicpm3"],
        layer_names: &[LATENT, GATED_MLP, PRE_NORMS],
        experts: None,
        biases: &[LATENT_BIAS, MLP_BIAS],
        norm_eps: 1e-5,
        reads: &[LATENT_KEYS],
        spellings: &[("embedding_multiplier", &["scale_emb"]), FIXED_INTERLEAVE],
        numbers: &[
            ("num_key_value_heads", 40.0),
            ("max_position_embeddings", 32_768.0),
            ("q_lora_rank", 768.0),
            ("kv_lora_rank", 256.0),
            ("qk_rope_head_dim", 32.0),
            ("qk_nope_head_dim", 64.0),
            ("embedding_multiplier", 12.0),
            ("scale_depth", 1.4),
            ("dim_model_base", 256.0),
        ],
        flags: &[("rope_interleave", false), ("tie_word_embeddings", true)],
        harmless: &[("qk_head_dim", "the sum of two other sizes")],
        ..DEEPSEEK_V3
    },
];
