//! Gemma 1 to 3.

use super::super::names::*;
use super::*;

const HIDDEN_ACTIVATION: KeySpelling = ("activation", &["hidden_activation"]);

const HIDDEN_ACT: &[Harmless] = &[("hidden_act", "`hidden_activation` counts")];

const GEMMA: Family = Family {
    model_types: &["gemma"],
    gguf_architectures: &["gemma"],
    biases: &[ATTENTION_BIAS],
    gating: Gating::By(Activation::GeluTanh),
    gelu: GeluMeaning::Tanh,
    harmless: &[("hidden_activation", "`hidden_act` counts")],
    norms: Norms::RmsPlusOne,
    embedding_scale: EmbeddingScale::RootOfHidden,
    numbers: &[
        ("hidden_size", 3072.0),
        ("intermediate_size", 24_576.0),
        ("num_hidden_layers", 28.0),
        ("num_attention_heads", 16.0),
        ("head_dim", 256.0),
        ("max_position_embeddings", 8192.0),
    ],
    flags: TIED,
    ..PLAIN
};

pub static FAMILIES: [Family; 3] = [
    GEMMA,
    Family {
        model_types: &["gemma2"],
        gguf_architectures: &["gemma2"],
        layer_names: &[ATTENTION, GATED_MLP, OUTER_PRE_NORMS, POST_NORMS],
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
        gguf: GgufConventions { layers_with_attention_by_hidden: Some(46), ..PLAIN_GGUF },
        ..GEMMA
    },
    Family {
        model_types: &["gemma3_text"],
        gguf_architectures: &["gemma3"],
        layer_names: &[ATTENTION, GATED_MLP, OUTER_PRE_NORMS, POST_NORMS, HEAD_NORMS],
        gelu: GeluMeaning::ErrorFunction,
        sliding: Sliding::AllButEvery(6),
        reads: &[USUAL, "layer_types sliding_window_pattern final_logit_softcapping"],
        spellings: &[HIDDEN_ACTIVATION, SLIDING_WINDOW_PATTERN],
        harmless: HIDDEN_ACT,
        numbers: &[
            ("hidden_size", 2304.0),
            ("intermediate_size", 9216.0),
            ("num_hidden_layers", 26.0),
            ("head_dim", 256.0),
            ("num_attention_heads", 8.0),
            ("num_key_value_heads", 4.0),
            ("max_position_embeddings", 131_072.0),
            ("query_pre_attn_scalar", 256.0),
            ("sliding_window", 4096.0),
            ("rope_theta", 1_000_000.0),
            ("rope_local_base_freq", 10_000.0),
        ],
        gguf: GgufConventions {
            rope_base: Some(1_000_000.0),
            rope_base_in_windows: Some(10_000.0),
            layers_with_attention_by_hidden: Some(62),
            ..PLAIN_GGUF
        },
        ..GEMMA
    },
];
