//! Qwen 2 to 3, text and the text of VL; `mixtures.rs` has those with experts.

use super::super::names::*;
use super::*;

/// Biases on queries, keys and values.
const QWEN2: Family = Family {
    model_types: &["qwen2"],
    gguf_architectures: &["qwen2"],
    biases: &[QKV_BIAS],
    sliding: Sliding::FromMaxWindowLayers,
    reads: &[USUAL, "layer_types"],
    numbers: &[("max_position_embeddings", 32_768.0), ("sliding_window", 4096.0), ("max_window_layers", 28.0)],
    flags: WITHOUT_WINDOWS,
    ..PLAIN
};

/// Norms on queries and keys.
const QWEN3: Family = Family {
    model_types: &["qwen3"],
    gguf_architectures: &["qwen3"],
    layer_names: &[ATTENTION, GATED_MLP, PRE_NORMS, HEAD_NORMS],
    biases: &[ATTENTION_BIAS],
    numbers: &[
        ("head_dim", 128.0),
        ("max_position_embeddings", 32_768.0),
        ("sliding_window", 4096.0),
        ("max_window_layers", 28.0),
    ],
    ..QWEN2
};

/// Three of four layers have a gated delta net.
pub(super) const QWEN35: Family = Family {
    model_types: &["qwen3_5_text"],
    gguf_architectures: &[],
    layer_names: &[ATTENTION, DELTA_NET, GATED_MLP, PRE_NORMS, HEAD_NORMS],
    norms: Norms::RmsPlusOne,
    gated_attention: true,
    sliding: Sliding::Never,
    reads: &[USUAL, "layer_types"],
    numbers: &[
        ("head_dim", 256.0),
        ("num_key_value_heads", 4.0),
        ("max_position_embeddings", 32_768.0),
        ("partial_rotary_factor", 0.25),
        ("full_attention_interval", 4.0),
        ("linear_conv_kernel_dim", 4.0),
        ("linear_key_head_dim", 128.0),
        ("linear_value_head_dim", 128.0),
        ("linear_num_key_heads", 16.0),
        ("linear_num_value_heads", 32.0),
    ],
    flags: &[],
    harmless: QWEN35_HARMLESS,
    ..QWEN3
};

pub(super) const QWEN35_GGUF: GgufConventions =
    GgufConventions { values_take_turns: true, ..MLP_NORM_IS_POST_ATTENTION };

const QWEN35_HARMLESS: &[Harmless] = &[
    ("attn_output_gate", "all models of the family have it"),
    ("mamba_ssm_dtype", "an evaluation has its own arithmetic"),
    ("mtp_num_hidden_layers", "layers that predict several tokens are not run"),
    ("mtp_use_dedicated_embeddings", "layers that predict several tokens are not run"),
];

pub static FAMILIES: [Family; 5] = [
    QWEN2,
    Family {
        model_types: &["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"],
        gguf_architectures: &["qwen2vl"],
        norm_eps: 1e-5,
        reads: &["intermediate_size layer_types"],
        numbers: &[
            ("max_position_embeddings", 32_768.0),
            ("sliding_window", 4096.0),
            ("max_window_layers", 80.0),
            ("num_key_value_heads", 8.0),
            ("rope_theta", 1_000_000.0),
        ],
        ..QWEN2
    },
    QWEN3,
    Family { gguf_architectures: &["qwen35"], gguf: QWEN35_GGUF, ..QWEN35 },
    Family {
        model_types: &["qwen3_vl_text"],
        gguf_architectures: &["qwen3vl"],
        sliding: Sliding::Never,
        reads: &[USUAL],
        numbers: &[("head_dim", 128.0), ("rope_theta", 500_000.0), ("max_position_embeddings", 128_000.0)],
        flags: &[],
        ..QWEN3
    },
];
