//! More families without experts: Jais 2, GPT-Neo, XGLM, Persimmon, nanochat, VaultGemma.

use super::super::names::*;
use super::gemma::{GEMMA, HIDDEN_ACT, HIDDEN_ACTIVATION};
use super::gpt::LAYER_NORM;
use super::*;

const GPT_NEO: RoleNames = &[
    (Role::AttentionNorm, "ln_1", "attn_norm"),
    (Role::Query, "attn.attention.q_proj", "attn_q"),
    (Role::Key, "attn.attention.k_proj", "attn_k"),
    (Role::Value, "attn.attention.v_proj", "attn_v"),
    (Role::AttentionOut, "attn.attention.out_proj", "attn_output"),
    (Role::MlpNorm, "ln_2", "ffn_norm"),
    (Role::Up, "mlp.c_fc", "ffn_up"),
    (Role::Down, "mlp.c_proj", "ffn_down"),
];
const PERSIMMON: RoleNames = &[
    (Role::QueryKeyValue, "self_attn.query_key_value", "attn_qkv"),
    (Role::AttentionOut, "self_attn.dense", "attn_output"),
    (Role::Up, "mlp.dense_h_to_4h", "ffn_up"),
    (Role::Down, "mlp.dense_4h_to_h", "ffn_down"),
];
const OUT_BIAS: (Biased, &[Role]) = (Biased::Always, &[Role::AttentionOut, Role::Up, Role::Down]);

pub static FAMILIES: [Family; 6] = [
    Family {
        model_types: &["jais2"],
        layer_names: &[ATTENTION, PLAIN_MLP, PRE_NORMS],
        biases: &[ATTENTION_BIAS, MLP_BIAS, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::ReluSquared),
        numbers: &[("max_position_embeddings", 8192.0)],
        flags: &[("attention_bias", true), ("mlp_bias", true)],
        ..LAYER_NORM
    },
    Family {
        model_types: &["gpt_neo"],
        outer: &OUTER_GPT2,
        layer_names: &[GPT_NEO],
        biases: &[OUT_BIAS, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::GeluTanh),
        attention_scale: AttentionScale::One,
        positions: Positions::Learned,
        sliding: Sliding::ByAttentionTypes,
        intermediate_per_hidden: Some(4),
        reads: &["intermediate_size"],
        spellings: &[
            ("num_hidden_layers", &["num_layers", "num_hidden_layers"]),
            ("num_attention_heads", &["num_heads", "num_attention_heads"]),
            ("layer_norm_eps", &["layer_norm_epsilon"]),
            ("activation", &["activation_function"]),
            ("sliding_window", &["window_size"]),
        ],
        numbers: &[("max_position_embeddings", 2048.0), ("sliding_window", 256.0)],
        flags: TIED,
        harmless: &[("resid_dropout", "only training uses it"), ("embed_dropout", "only training uses it")],
        ..LAYER_NORM
    },
    Family {
        model_types: &["xglm"],
        outer: &OUTER_XGLM,
        layer_names: &[OPT],
        biases: &[DENSE_BIAS, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::Gelu),
        positions: Positions::Sines,
        first_position: 2,
        reads: &["intermediate_size"],
        spellings: &[
            ("hidden_size", &["d_model", "hidden_size"]),
            ("num_hidden_layers", &["num_layers", "num_hidden_layers"]),
            ("num_attention_heads", &["attention_heads", "num_attention_heads"]),
            ("intermediate_size", &["ffn_dim"]),
            ("activation", &["activation_function"]),
            ("embeddings_are_scaled", &["scale_embedding"]),
            ("layer_norm_eps", &[]),
        ],
        numbers: &[("max_position_embeddings", 2048.0), ("pad_token_id", 1.0)],
        flags: &[("tie_word_embeddings", true), ("embeddings_are_scaled", true)],
        harmless: &[
            ("layerdrop", "only training uses it"),
            ("init_std", "only training uses it"),
            ("activation_dropout", "only training uses it"),
        ],
        ..LAYER_NORM
    },
    Family {
        model_types: &["persimmon"],
        outer: &OUTER_PHI,
        layer_names: &[PERSIMMON, PRE_NORMS, HEAD_LAYER_NORMS],
        optional: &[Role::QueryNorm, Role::KeyNorm],
        biases: &[FUSED_BIAS, LAYER_NORM_BIAS, HEAD_NORM_BIAS],
        gating: Gating::By(Activation::ReluSquared),
        fused_order: FusedOrder::HeadByHead,
        reads: &["intermediate_size"],
        numbers: &[("partial_rotary_factor", 0.5), ("max_position_embeddings", 16_384.0)],
        flags: &[("qk_layernorm", true)],
        ..LAYER_NORM
    },
    // No norm has weights, there is one more behind the embeddings, and heads turn the other way.
    Family {
        model_types: &["nanochat"],
        outer: &OUTER_NANOCHAT,
        layer_names: &[ATTENTION, PHI_MLP, PRE_NORMS],
        biases: &[ATTENTION_BIAS],
        gating: Gating::By(Activation::ReluSquared),
        norms: Norms::RmsWithoutWeights,
        head_norms: HeadNorms::RotatedWithoutWeights,
        positions: Positions::RotaryBackwards,
        spellings: &[("use_qk_norm", &[])],
        numbers: &[("max_position_embeddings", 2048.0), ("final_logit_softcapping", 15.0)],
        flags: &[("use_qk_norm", true)],
        ..PLAIN
    },
    // Gemma 2 without the norms behind the blocks.
    Family {
        model_types: &["vaultgemma"],
        gguf_architectures: &[],
        layer_names: &[ATTENTION, GATED_MLP, OUTER_PRE_NORMS],
        gelu: GeluMeaning::ErrorFunction,
        sliding: Sliding::AllButEvery(2),
        reads: &[USUAL, "layer_types"],
        spellings: &[HIDDEN_ACTIVATION],
        harmless: HIDDEN_ACT,
        numbers: &[
            ("head_dim", 256.0),
            ("num_key_value_heads", 4.0),
            ("max_position_embeddings", 8192.0),
            ("query_pre_attn_scalar", 256.0),
            ("attn_logit_softcapping", 50.0),
            ("final_logit_softcapping", 30.0),
            ("sliding_window", 4096.0),
        ],
        ..GEMMA
    },
];
