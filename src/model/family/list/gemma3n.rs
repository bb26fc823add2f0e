//! Gemma 3n.

use super::super::names::*;
use super::gemma::{GEMMA, HIDDEN_ACT, HIDDEN_ACTIVATION};
use super::*;

const LAUREL: RoleNames = &[
    (Role::LaurelDown, "laurel.linear_left", "laurel_l"),
    (Role::LaurelUp, "laurel.linear_right", "laurel_r"),
    (Role::LaurelNorm, "laurel.post_laurel_norm", "laurel_post_norm"),
];
const ALTUP: RoleNames = &[
    (Role::AltUpRouter, "altup.modality_router", "altup_router"),
    (Role::AltUpRouterNorm, "altup.router_norm", "altup_router_norm"),
    (Role::AltUpPrediction, "altup.prediction_coefs", "altup_predict_coef"),
    (Role::AltUpCorrection, "altup.correction_coefs", "altup_correct_coef"),
    (Role::AltUpScale, "altup.correct_output_scale", "altup_correct_scale"),
];

/// Several hidden states for each token, and what Gemma 4 has of it, too: inputs of each layer's own, and keys that are read again.
pub static FAMILIES: [Family; 1] = [Family {
    model_types: &["gemma3n_text"],
    gguf_architectures: &[],
    outer: &OUTER_GEMMA4,
    layer_names: &[ATTENTION, GATED_MLP, OUTER_PRE_NORMS, POST_NORMS, HEAD_NORMS, LAYER_INPUTS, LAUREL, ALTUP],
    gelu: GeluMeaning::ErrorFunction,
    norms: Norms::Rms,
    normed_values: true,
    attention_scale: AttentionScale::One,
    sliding: Sliding::AllButEvery(5),
    reads: &[USUAL, "layer_types activation_sparsity_pattern"],
    spellings: &[HIDDEN_ACTIVATION],
    harmless: &[HIDDEN_ACT[0], ("altup_coef_clip", "only training uses it")],
    numbers: &[
        ("hidden_size", 2048.0),
        ("intermediate_size", 16_384.0),
        ("num_hidden_layers", 35.0),
        ("num_attention_heads", 8.0),
        ("num_key_value_heads", 2.0),
        ("head_dim", 256.0),
        ("max_position_embeddings", 32_768.0),
        ("sliding_window", 512.0),
        ("final_logit_softcapping", 30.0),
        ("rope_theta", 1_000_000.0),
        ("rope_local_base_freq", 10_000.0),
        ("num_kv_shared_layers", 15.0),
        ("hidden_size_per_layer_input", 256.0),
        ("vocab_size_per_layer_input", 262_144.0),
        ("altup_num_inputs", 4.0),
        ("altup_active_idx", 0.0),
        ("laurel_rank", 64.0),
    ],
    flags: &[("tie_word_embeddings", true), ("altup_correct_scale", true)],
    ..GEMMA
}];
