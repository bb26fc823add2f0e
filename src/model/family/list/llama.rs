//! Llama and its near kin.

use super::super::names::*;
use super::*;

pub static FAMILIES: [Family; 8] = [
    // Llama 1 to 3.x, SmolLM2 and others under the same type.
    Family {
        model_types: &["llama"],
        gguf_architectures: &["llama"],
        biases: &[ATTENTION_BIAS, MLP_BIAS],
        // The sizes of Llama 1, which multimodal models with a decoder of that size leave out.
        numbers: &[
            ("hidden_size", 4096.0),
            ("intermediate_size", 11_008.0),
            ("num_hidden_layers", 32.0),
            ("num_attention_heads", 32.0),
            ("max_position_embeddings", 2048.0),
        ],
        gguf: PERMUTED_GGUF,
        ..PLAIN
    },
    MISTRAL,
    // A `mistral` with `layer_types` is one of these, too.
    Family { model_types: &["ministral"], reads: &[USUAL, "layer_types"], ..MISTRAL },
    // Llama 3.2 with images: some layers attend to those only.
    Family {
        model_types: &["mllama_text_model"],
        norm_eps: 1e-5,
        reads: &["intermediate_size cross_attention_layers"],
        numbers: &[("rope_theta", 500_000.0), ("num_key_value_heads", 8.0), ("max_position_embeddings", 131_072.0)],
        ..PLAIN
    },
    Family {
        model_types: &["smollm3"],
        gguf_architectures: &["smollm3"],
        biases: &[ATTENTION_BIAS, MLP_BIAS],
        sliding: Sliding::WithoutRotary,
        rotary_layers: RotaryLayers::AllButEvery(4),
        reads: &[USUAL, "sliding_window layer_types no_rope_layers no_rope_layer_interval"],
        numbers: &[("rope_theta", 2_000_000.0), ("max_position_embeddings", 32_768.0)],
        flags: &[("use_sliding_window", false), ("tie_word_embeddings", true)],
        harmless: WITHOUT_WINDOW_LAYERS,
        gguf: PERMUTED_GGUF,
        ..PLAIN
    },
    // Four multipliers, which the configuration gives.
    Family {
        model_types: &["granite"],
        gguf_architectures: &["granite"],
        biases: &[ATTENTION_BIAS, MLP_BIAS],
        numbers: GRANITE_NUMBERS,
        gguf: GRANITE_GGUF,
        ..PLAIN
    },
    Family {
        model_types: &["olmo2"],
        gguf_architectures: &["olmo2"],
        biases: &[ATTENTION_BIAS],
        layer_names: &[ATTENTION, GATED_MLP, POST_NORMS, HEAD_NORMS],
        head_norms: HeadNorms::AllHeadsTogether,
        norm_eps: 1e-5,
        numbers: &[("max_position_embeddings", 2048.0)],
        ..PLAIN
    },
    Family {
        model_types: &["phi3"],
        gguf_architectures: &["phi3"],
        layer_names: &[ATTENTION_FUSED, FUSED_MLP, PRE_NORMS],
        norm_eps: 1e-5,
        sliding: Sliding::Always,
        reads: &[USUAL, "sliding_window"],
        numbers: &[
            ("max_position_embeddings", 4096.0),
            ("original_max_position_embeddings", 4096.0),
            ("partial_rotary_factor", 1.0),
        ],
        ..PLAIN
    },
];

const MISTRAL: Family = Family {
    model_types: &["mistral"],
    sliding: Sliding::Always,
    numbers: &[
        ("hidden_size", 4096.0),
        ("intermediate_size", 14_336.0),
        ("num_hidden_layers", 32.0),
        ("num_attention_heads", 32.0),
        ("num_key_value_heads", 8.0),
        ("max_position_embeddings", 131_072.0),
        ("sliding_window", 4096.0),
    ],
    ..PLAIN
};

pub(super) const GRANITE_NUMBERS: &[(&str, f64)] = &[
    ("attention_multiplier", 1.0),
    ("embedding_multiplier", 1.0),
    ("residual_multiplier", 1.0),
    ("logits_scaling", 1.0),
    ("max_position_embeddings", 2048.0),
];
pub(super) const GRANITE_GGUF: GgufConventions = GgufConventions { logit_scale: LogitScale::Divides, ..PERMUTED_GGUF };
