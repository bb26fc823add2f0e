//! Gemma 1 to 4.

use super::super::names::*;
use super::mixtures::EXPERTS;
use super::*;

pub(super) const HIDDEN_ACTIVATION: KeySpelling = ("activation", &["hidden_activation"]);

pub(super) const HIDDEN_ACT: &[Harmless] = &[("hidden_act", "`hidden_activation` counts")];

pub(super) const GEMMA: Family = Family {
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

/// Inputs of each layer's own, keys that later layers read again, other heads in layers without a window.
const GEMMA4: Family = Family {
    model_types: &["gemma4_text"],
    gguf_architectures: &[],
    outer: &OUTER_GEMMA4,
    layer_names: &[
        ATTENTION,
        GATED_MLP,
        OUTER_PRE_NORMS,
        POST_NORMS,
        HEAD_NORMS,
        LAYER_INPUTS,
        LAYER_SCALE,
        EXPERTS_BESIDE,
    ],
    experts: Some(&ExpertNames { modules: &[], stacked: &[["experts.gate_up_proj", "experts.down_proj"]], ..EXPERTS }),
    mlp_is_beside_experts: true,
    gelu: GeluMeaning::ErrorFunction,
    norms: Norms::Rms,
    normed_values: true,
    attention_scale: AttentionScale::One,
    sliding: Sliding::AllButEvery(6),
    last_layer_is_full: true,
    rope_by_type: true,
    reads: &[
        USUAL,
        "layer_types final_logit_softcapping per_layer_config num_global_key_value_heads num_kv_shared_layers \
         hidden_size_per_layer_input num_experts num_experts_per_tok moe_intermediate_size",
    ],
    spellings: &[HIDDEN_ACTIVATION, ("num_experts_per_tok", &["top_k_experts"])],
    harmless: GEMMA4_HARMLESS,
    numbers: &[
        ("hidden_size", 2304.0),
        ("intermediate_size", 9216.0),
        ("num_hidden_layers", 30.0),
        ("num_attention_heads", 8.0),
        ("num_key_value_heads", 4.0),
        ("head_dim", 256.0),
        ("max_position_embeddings", 131_072.0),
        ("sliding_window", 512.0),
        ("global_head_dim", 512.0),
        ("hidden_size_per_layer_input", 256.0),
        ("vocab_size_per_layer_input", 262_144.0),
    ],
    flags: &[
        ("tie_word_embeddings", true),
        ("attention_k_eq_v", false),
        ("use_double_wide_mlp", false),
        ("enable_moe_block", false),
    ],
    ..GEMMA
};

/// A router and experts that look at the hidden states before the MLP.
const EXPERTS_BESIDE: RoleNames = &[
    (Role::DensePostNorm, "post_feedforward_layernorm_1", "post_ffw_norm_1"),
    (Role::ExpertsNorm, "pre_feedforward_layernorm_2", "pre_ffw_norm_2"),
    (Role::ExpertsPostNorm, "post_feedforward_layernorm_2", "post_ffw_norm_2"),
    (Role::Router, "router.proj", "ffn_gate_inp"),
    (Role::RouterScale, "router.scale", "ffn_gate_inp.scale"),
    (Role::ExpertScale, "router.per_expert_scale", "ffn_down_exps.scale"),
];

const GEMMA4_HARMLESS: &[Harmless] = &[
    ("hidden_act", "`hidden_activation` counts"),
    ("num_experts", "only `enable_moe_block` uses it"),
    ("top_k_experts", "only `enable_moe_block` uses it"),
    ("moe_intermediate_size", "only `enable_moe_block` uses it"),
];

/// The names of what makes the inputs of layers.
const GEMMA4_GGUF: GgufConventions = GgufConventions {
    outer: &OuterNames {
        layer_inputs: Some(["per_layer_token_embd", "per_layer_model_proj", "per_layer_proj_norm"]),
        ..OuterNames::GGUF
    },
    ..PLAIN_GGUF
};

pub static FAMILIES: [Family; 5] = [
    Family { gguf_architectures: &["gemma4"], gguf: GEMMA4_GGUF, ..GEMMA4 },
    // Without inputs of each layer's own, and without experts.
    Family {
        model_types: &["gemma4_unified_text"],
        outer: &OUTER,
        layer_names: &[ATTENTION, GATED_MLP, OUTER_PRE_NORMS, POST_NORMS, HEAD_NORMS, LAYER_SCALE],
        experts: None,
        mlp_is_beside_experts: false,
        reads: &[
            USUAL,
            "layer_types final_logit_softcapping per_layer_config num_global_key_value_heads num_kv_shared_layers",
        ],
        harmless: HIDDEN_ACT,
        numbers: &[
            ("hidden_size", 2304.0),
            ("intermediate_size", 9216.0),
            ("num_hidden_layers", 30.0),
            ("num_attention_heads", 8.0),
            ("num_key_value_heads", 4.0),
            ("head_dim", 256.0),
            ("max_position_embeddings", 262_144.0),
            ("sliding_window", 1024.0),
            ("global_head_dim", 512.0),
        ],
        ..GEMMA4
    },
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
