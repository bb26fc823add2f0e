//! Families whose rotary embedding rotates neighbouring values: Cohere and GLM.

use super::super::names::*;
use super::*;

pub(super) const COHERE: Family = Family {
    model_types: &["cohere"],
    gguf_architectures: &["command-r"],
    layer_names: &[ATTENTION, GATED_MLP, SHARED_NORM, HEAD_NORMS],
    optional: &[Role::QueryNorm, Role::KeyNorm],
    biases: &[ATTENTION_BIAS],
    norms: Norms::Layer,
    norm_eps: 1e-5,
    residual: Residual::Parallel,
    positions: Positions::RotaryNeighbours,
    reads: &[USUAL, "use_qk_norm"],
    numbers: &[("logit_scale", 0.0625), ("rope_theta", 500_000.0), ("max_position_embeddings", 8192.0)],
    flags: TIED,
    ..PLAIN
};

const GLM4: Family = Family {
    model_types: &["glm4"],
    gguf_architectures: &["glm4"],
    layer_names: &[ATTENTION, FUSED_MLP, PRE_NORMS, GLM_POST_NORMS],
    biases: &[ATTENTION_INPUT_BIAS],
    norm_eps: 1.5625e-7,
    positions: Positions::RotaryNeighbours,
    numbers: &[
        ("head_dim", 128.0),
        ("num_key_value_heads", 2.0),
        ("partial_rotary_factor", 0.5),
        ("max_position_embeddings", 131_072.0),
    ],
    flags: &[("attention_bias", true)],
    ..PLAIN
};

pub static FAMILIES: [Family; 4] = [
    COHERE,
    Family {
        model_types: &["cohere2"],
        gguf_architectures: &["cohere2"],
        layer_names: &[ATTENTION, GATED_MLP, SHARED_NORM],
        sliding: Sliding::AllButEvery(4),
        rotary_layers: RotaryLayers::InWindows,
        reads: &[USUAL, "layer_types sliding_window_pattern"],
        spellings: &[SLIDING_WINDOW_PATTERN],
        harmless: &[("rotary_pct", "whole heads are rotated")],
        numbers: &[("logit_scale", 0.0625), ("max_position_embeddings", 8192.0), ("sliding_window", 4096.0)],
        ..COHERE
    },
    Family {
        model_types: &["glm"],
        gguf_architectures: &["chatglm"],
        layer_names: &[ATTENTION, FUSED_MLP, PRE_NORMS],
        ..GLM4
    },
    GLM4,
];
