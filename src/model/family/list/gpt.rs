//! Families with LayerNorm, most of them older and with an MLP without a gate.

use super::super::names::*;
use super::*;

pub(super) const LAYER_NORM: Family =
    Family { norms: Norms::Layer, norm_eps: 1e-5, outer_biases: OUTER_NORMS, ..PLAIN };

pub static FAMILIES: [Family; 6] = [
    Family {
        model_types: &["gpt2"],
        gguf_architectures: &["gpt2"],
        outer: &OUTER_GPT2,
        layer_names: &[GPT2],
        biases: &[FUSED_BIAS, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::GeluTanh),
        positions: Positions::Learned,
        linear_layout: LinearLayout::InputsByOutputs,
        intermediate_per_hidden: Some(4),
        reads: &["n_inner scale_attn_weights"],
        spellings: &[
            ("hidden_size", &["n_embd", "hidden_size"]),
            ("num_hidden_layers", &["n_layer", "num_hidden_layers"]),
            ("num_attention_heads", &["n_head", "num_attention_heads"]),
            ("max_position_embeddings", &["n_positions", "max_position_embeddings"]),
            ("layer_norm_eps", &["layer_norm_epsilon"]),
            ("activation", &["activation_function"]),
        ],
        numbers: &[("max_position_embeddings", 1024.0)],
        flags: TIED,
        ..LAYER_NORM
    },
    Family {
        model_types: &["gpt_neox"],
        gguf_architectures: &["gptneox"],
        outer: &OUTER_GPT_NEOX,
        layer_names: &[GPT_NEOX, PRE_NORMS],
        biases: &[FUSED_ATTENTION_BIAS, PLAIN_MLP_BIAS, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::Gelu),
        residual: Residual::Parallel,
        fused_order: FusedOrder::HeadByHead,
        reads: &["intermediate_size use_parallel_residual"],
        spellings: &[("rope_theta", &["rotary_emb_base"]), ("partial_rotary_factor", &["rotary_pct"])],
        numbers: &[("partial_rotary_factor", 0.25), ("max_position_embeddings", 2048.0)],
        flags: &[("attention_bias", true)],
        ..LAYER_NORM
    },
    Family {
        model_types: &["bloom"],
        gguf_architectures: &["bloom"],
        outer: &OUTER_BLOOM,
        layer_names: &[BLOOM, PRE_NORMS],
        biases: &[FUSED_BIAS, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::GeluTanh),
        positions: Positions::Alibi,
        fused_order: FusedOrder::HeadByHead,
        intermediate_per_hidden: Some(4),
        reads: &[],
        spellings: &[
            ("hidden_size", &["hidden_size", "n_embed"]),
            ("num_hidden_layers", &["n_layer", "num_hidden_layers"]),
            ("num_attention_heads", &["n_head", "num_attention_heads"]),
            ("max_position_embeddings", &["seq_length"]),
            ("layer_norm_eps", &["layer_norm_epsilon"]),
            ("activation", &[]),
        ],
        numbers: &[("max_position_embeddings", 2048.0)],
        flags: TIED,
        ..LAYER_NORM
    },
    Family {
        model_types: &["phi"],
        gguf_architectures: &["phi2"],
        outer: &OUTER_PHI,
        layer_names: &[ATTENTION_DENSE, PHI_MLP, SHARED_NORM, HEAD_LAYER_NORMS],
        optional: &[Role::QueryNorm, Role::KeyNorm],
        biases: &[DENSE_BIAS, LAYER_NORM_BIAS, HEAD_NORM_BIAS],
        outer_biases: OUTER_NORM_AND_HEAD,
        gating: Gating::By(Activation::GeluTanh),
        residual: Residual::Parallel,
        reads: &[USUAL, "qk_layernorm"],
        numbers: &[("partial_rotary_factor", 0.5), ("max_position_embeddings", 2048.0)],
        ..LAYER_NORM
    },
    Family {
        model_types: &["starcoder2"],
        gguf_architectures: &["starcoder2"],
        layer_names: &[ATTENTION, STARCODER_MLP, PRE_NORMS],
        biases: &[STARCODER_BIAS, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::GeluTanh),
        sliding: Sliding::Always,
        reads: &[USUAL, "sliding_window"],
        spellings: &[("layer_norm_eps", &["norm_epsilon"])],
        harmless: &[("activation_function", "`hidden_act` counts")],
        numbers: &[("num_key_value_heads", 2.0), ("max_position_embeddings", 4096.0)],
        flags: &[("tie_word_embeddings", true), ("use_bias", true)],
        ..LAYER_NORM
    },
    // The parallel form has no second norm.
    Family {
        model_types: &["stablelm"],
        gguf_architectures: &["stablelm"],
        layer_names: &[ATTENTION, GATED_MLP, PRE_NORMS, HEAD_LAYER_NORMS],
        optional: &[Role::MlpNorm, Role::QueryNorm, Role::KeyNorm],
        biases: &[STABLELM_QKV_BIAS, LAYER_NORM_BIAS],
        reads: &["intermediate_size num_key_value_heads qk_layernorm use_parallel_residual"],
        numbers: &[("partial_rotary_factor", 0.25), ("max_position_embeddings", 4096.0)],
        ..LAYER_NORM
    },
];
