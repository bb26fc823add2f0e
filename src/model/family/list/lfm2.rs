//! LFM2: short convolutions, and attention in some layers.

use super::super::names::*;
use super::*;

pub static FAMILIES: [Family; 1] = [Family {
    model_types: &["lfm2"],
    outer: &OUTER_LFM2,
    layer_names: &[LFM2, SHORT_CONVOLUTION, HEAD_LAYER_NORMS],
    biases: &[CONVOLUTION_BIAS],
    // The MLP has one activation.
    norm_eps: 1e-5,
    reads: &["intermediate_size num_key_value_heads layer_types full_attn_idxs block_ffn_dim_multiplier"],
    spellings: &[
        ("activation", &[]),
        ("intermediate_size", &["block_ff_dim", "intermediate_size"]),
        ("rms_norm_eps", &["norm_eps"]),
        ("tie_word_embeddings", &["tie_embedding", "tie_word_embeddings"]),
    ],
    numbers: &[
        ("vocab_size", 65_536.0),
        ("hidden_size", 2560.0),
        ("intermediate_size", 12_288.0),
        ("num_hidden_layers", 32.0),
        ("num_attention_heads", 32.0),
        ("num_key_value_heads", 8.0),
        ("max_position_embeddings", 128_000.0),
        ("rope_theta", 1_000_000.0),
        ("conv_L_cache", 3.0),
        ("block_multiple_of", 256.0),
        ("block_ffn_dim_multiplier", 1.0),
    ],
    flags: &[("tie_word_embeddings", true), ("conv_bias", false), ("block_auto_adjust_ff_dim", true)],
    harmless: PUBLISHED,
    ..PLAIN
}];

/// Keys of published configurations.
const PUBLISHED: &[Harmless] = &[
    ("block_dim", COPY),
    ("block_mlp_init_scale", "only training uses it"),
    ("block_norm_eps", COPY),
    ("block_out_init_scale", "only training uses it"),
    ("block_use_swiglu", COPY),
    ("block_use_xavier_init", "only training uses it"),
    ("conv_dim", COPY),
    ("conv_dim_out", COPY),
    ("conv_use_xavier_init", "only training uses it"),
    ("num_heads", COPY),
    ("theta", COPY),
    ("use_pos_enc", COPY),
];
const COPY: &str = "nothing in transformers reads it";
