//! Llama and its near kin.

use super::super::names::*;
use super::*;

pub static FAMILIES: [Family; 19] = [
    // Llama 1 to 3.x, SmolLM2 and others under the same type.
    Family {
        // The second one is that of the authors of LLaVA, whose text model is this one.
        model_types: &["llama", "llava_llama"],
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
    // Its queries grow with the position beyond the context of pre-training.
    Family {
        model_types: &["ministral3"],
        reads: &[USUAL, "sliding_window"],
        norm_eps: 1e-5,
        numbers: &[("head_dim", 128.0), ("num_key_value_heads", 8.0), ("max_position_embeddings", 262_144.0)],
        base_without_parameters: Some(1_000_000.0),
        rope_scaling: &RopeScaling::Yarn {
            factor: 16.0,
            original_context: 16_384.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            attention_factor: None,
            mscale: Some((1.0, 1.0)),
        },
        query_growth: Some(QueryGrowth { per_fold: 0.1, context: 16_384.0, first: 0 }),
        ..MISTRAL
    },
    Family {
        model_types: &["internlm3"],
        biases: &[ATTENTION_BIAS, MLP_BIAS],
        norm_eps: 1e-5,
        spellings: &[("attention_bias", &["attention_bias", "qkv_bias"]), ("mlp_bias", &["mlp_bias", "bias"])],
        numbers: &[("head_dim", 128.0), ("num_key_value_heads", 2.0), ("max_position_embeddings", 32_768.0)],
        ..PLAIN
    },
    Family {
        model_types: &["iquestcoder"],
        biases: &[ATTENTION_BIAS, MLP_BIAS],
        norm_eps: 1e-5,
        numbers: &[("head_dim", 128.0), ("num_key_value_heads", 8.0), ("max_position_embeddings", 131_072.0)],
        // Whatever they say: transformers refuses a model that uses them.
        harmless: &[("clip_qkv", "no model uses it"), ("use_sliding_window", "no model uses it")],
        ..PLAIN
    },
    Family {
        model_types: &["seed_oss"],
        gguf_architectures: &["seed_oss"],
        gguf: MLP_NORM_IS_POST_ATTENTION,
        biases: &[ATTENTION_INPUT_BIAS, ATTENTION_OUT_BIAS, MLP_BIAS],
        numbers: &[("head_dim", 128.0), ("num_key_value_heads", 8.0), ("max_position_embeddings", 524_288.0)],
        flags: &[("attention_bias", true)],
        ..PLAIN
    },
    // An MLP without a gate.
    Family {
        model_types: &["arcee"],
        gguf_architectures: &["arcee"],
        gguf: PERMUTED_GGUF,
        layer_names: &[ATTENTION, PLAIN_MLP, PRE_NORMS],
        biases: &[ATTENTION_BIAS, MLP_BIAS],
        gating: Gating::By(Activation::ReluSquared),
        norm_eps: 1e-5,
        numbers: &[("max_position_embeddings", 4096.0)],
        ..PLAIN
    },
    Family {
        model_types: &["helium"],
        biases: &[ATTENTION_INPUT_BIAS, MLP_BIAS],
        norm_eps: 1e-8,
        positions: Positions::RotaryNeighbours,
        numbers: &[
            ("head_dim", 128.0),
            ("num_key_value_heads", 20.0),
            ("max_position_embeddings", 4096.0),
            ("rope_theta", 100_000.0),
        ],
        ..PLAIN
    },
    Family {
        model_types: &["ernie4_5"],
        gguf_architectures: &["ernie4_5"],
        biases: &[ALL_BIAS],
        norm_eps: 1e-5,
        positions: Positions::RotaryNeighbours,
        numbers: &[
            ("head_dim", 128.0),
            ("num_key_value_heads", 2.0),
            ("max_position_embeddings", 131_072.0),
            ("rope_theta", 500_000.0),
        ],
        flags: TIED,
        ..PLAIN
    },
    Family {
        model_types: &["hunyuan_v1_dense"],
        layer_names: &[ATTENTION, GATED_MLP, PRE_NORMS, HUNYUAN_HEAD_NORMS],
        biases: &[ATTENTION_BIAS],
        head_norms: HeadNorms::EachRotatedHead,
        norm_eps: 1e-5,
        numbers: &[("max_position_embeddings", 2048.0)],
        has_rope_alpha: true,
        harmless: &[("eod_token_id", "the samples say where documents end")],
        ..PLAIN
    },
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
    OLMO2,
    // A scaled rotary embedding in the full layers alone.
    Family {
        model_types: &["olmo3"],
        gguf_architectures: &[],
        sliding: Sliding::AllButEvery(4),
        reads: &[USUAL, "layer_types"],
        numbers: &[("max_position_embeddings", 2048.0), ("sliding_window", 4096.0), ("rope_theta", 500_000.0)],
        base_in_windows: Some(500_000.0),
        ..OLMO2
    },
    Family {
        model_types: &["exaone4"],
        gguf_architectures: &["exaone4"],
        layer_names: &[ATTENTION, GATED_MLP, POST_NORMS, HEAD_NORMS],
        norm_eps: 1e-5,
        sliding: Sliding::AllButEvery(4),
        rotary_layers: RotaryLayers::InWindowsIfAny,
        reads: &[USUAL, "layer_types sliding_window_pattern"],
        numbers: &[("num_key_value_heads", 32.0), ("max_position_embeddings", 2048.0), ("sliding_window", 4096.0)],
        ..PLAIN
    },
    Family {
        model_types: &["cwm"],
        biases: &[MLP_BIAS],
        norm_eps: 1e-5,
        sliding: Sliding::AllButFirstOf(4),
        reads: &[USUAL, "layer_types"],
        numbers: &[
            ("head_dim", 128.0),
            ("num_key_value_heads", 8.0),
            ("max_position_embeddings", 131_072.0),
            ("sliding_window", 8192.0),
            ("rope_theta", 1_000_000.0),
        ],
        base_without_parameters: Some(1_000_000.0),
        rope_scaling: &RopeScaling::Llama3 {
            factor: 16.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192.0,
        },
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
    model_types: &["mistral", "llava_mistral"],
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

pub(super) const OLMO2: Family = Family {
    model_types: &["olmo2"],
    gguf_architectures: &["olmo2"],
    biases: &[ATTENTION_BIAS],
    layer_names: &[ATTENTION, GATED_MLP, POST_NORMS, HEAD_NORMS],
    head_norms: HeadNorms::AllHeadsTogether,
    norm_eps: 1e-5,
    numbers: &[("max_position_embeddings", 2048.0)],
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
