//! More families with experts: AFMoE (Trinity), FlexOlmo, Granite Swash with experts, Command A+.

use super::super::names::*;
use super::cohere::COHERE;
use super::llama::{GRANITE_NUMBERS, OLMO2};
use super::mamba::GRANITE_SHARED;
use super::mixtures::{EXPERTS, GRANITE_EXPERTS, LOCAL_EXPERTS, ROUTER};
use super::routed::{SHARED_EXPERTS, SIGMOID_EXPERTS};
use super::*;

/// Norms on both sides of a block, and a gate on what attention reads.
const AFMOE: RoleNames = &[
    (Role::AttentionGate, "self_attn.gate_proj", ""),
    (Role::AttentionNorm, "input_layernorm", ""),
    (Role::AttentionPostNorm, "post_attention_layernorm", ""),
    (Role::MlpNorm, "pre_mlp_layernorm", ""),
    (Role::MlpPostNorm, "post_mlp_layernorm", ""),
    (Role::Router, "mlp.router.gate", ""),
    (Role::RouterBias, "mlp.expert_bias", ""),
];

/// Its configurations have a copy of the base.
const ROPE_THETA: Harmless = ("rope_theta", "`rope_parameters` has it");
/// Experts, and one for all tokens, in the place of the MLP of Cohere 2.
const COHERE2_MOE: Family = Family {
    model_types: &["cohere2_moe"],
    gguf_architectures: &[],
    layer_names: &[ATTENTION, GATED_MLP, ROUTER, SHARED_EXPERTS, SHARED_NORM],
    optional: &[],
    experts: Some(&ExpertNames { weights: ExpertWeights::Configured { sum_to_one_in_gguf: true }, ..EXPERTS }),
    sliding: Sliding::AllButEveryBehindDense(4),
    rotary_layers: RotaryLayers::InWindowsOrDense,
    reads: &[
        USUAL,
        "layer_types mlp_layer_types norm_topk_prob expert_selection_fn shared_expert_combination_strategy \
         sliding_window_pattern n_shared_experts",
    ],
    spellings: &[
        ("intermediate_size", &["prefix_dense_intermediate_size", "intermediate_size"]),
        ("moe_intermediate_size", &["intermediate_size"]),
        ("n_shared_experts", &["num_shared_experts"]),
    ],
    numbers: &[
        ("logit_scale", 0.0625),
        ("head_dim", 128.0),
        ("max_position_embeddings", 8192.0),
        ("sliding_window", 4096.0),
        ("prefix_dense_sliding_window_pattern", 1.0),
        ("moe_intermediate_size", 22_528.0),
        ("n_shared_experts", 0.0),
        ("first_k_dense_replace", 0.0),
        ("num_experts_per_tok", 2.0),
        ("num_experts", 8.0),
    ],
    flags: &[("tie_word_embeddings", true), ("norm_topk_prob", true)],
    ..COHERE
};

/// The same with norms that do not centre.
static COHERE2_MOE_RMS: Family =
    Family { norms: Norms::Rms, harmless: &[("layer_norm_eps", "`rms_norm_eps` counts"), ROPE_THETA], ..COHERE2_MOE };

pub static FAMILIES: [Family; 4] = [
    Family {
        model_types: &["afmoe"],
        layer_names: &[ATTENTION, GATED_MLP, SHARED_EXPERTS, HEAD_NORMS, AFMOE],
        experts: Some(&ExpertNames {
            weights: ExpertWeights::SumToOne,
            grouping: Grouping::Never,
            added_to_sum: 1e-20,
            ..SIGMOID_EXPERTS
        }),
        biases: &[ATTENTION_BIAS],
        norm_eps: 1e-5,
        sliding: Sliding::AllButEvery(4),
        rotary_layers: RotaryLayers::InWindows,
        reads: &[USUAL, "layer_types sliding_window_pattern n_shared_experts"],
        spellings: &[
            ("sliding_window_pattern", &["global_attn_every_n_layers"]),
            ("embeddings_are_scaled", &["mup_enabled"]),
            ("first_k_dense_replace", &["num_dense_layers"]),
            ("n_shared_experts", &["num_shared_experts"]),
            ("routed_scaling_factor", &["route_scale"]),
        ],
        numbers: &[
            ("head_dim", 128.0),
            ("max_position_embeddings", 16_384.0),
            ("sliding_window", 1024.0),
            ("num_experts_per_tok", 6.0),
            ("num_experts", 64.0),
            ("moe_intermediate_size", 1408.0),
            ("n_shared_experts", 2.0),
            ("routed_scaling_factor", 1.0),
            ("first_k_dense_replace", 1.0),
        ],
        flags: &[("embeddings_are_scaled", false)],
        harmless: &[
            ("load_balance_coeff", "only training uses it"),
            ("use_grouped_mm", "an evaluation has its own arithmetic"),
            ("score_func", "nothing in transformers reads it"),
            ("route_norm", "nothing in transformers reads it"),
            ("n_group", "nothing in transformers reads it"),
            ("topk_group", "nothing in transformers reads it"),
            ("num_expert_groups", "nothing in transformers reads it"),
            ("num_limited_groups", "nothing in transformers reads it"),
        ],
        ..PLAIN
    },
    Family {
        variant: Some(("rms_norm_eps", &COHERE2_MOE_RMS)),
        spellings: &[
            COHERE2_MOE.spellings[0],
            COHERE2_MOE.spellings[1],
            COHERE2_MOE.spellings[2],
            ("rms_norm_eps", &[]),
        ],
        harmless: &[("rms_norm_eps", "it has no value here"), ROPE_THETA],
        ..COHERE2_MOE
    },
    // OLMo 2 with experts.
    Family {
        model_types: &["flex_olmo"],
        gguf_architectures: &[],
        layer_names: &[ATTENTION, ROUTER, POST_NORMS, HEAD_NORMS],
        experts: Some(&ExpertNames { weights: ExpertWeights::Configured { sum_to_one_in_gguf: false }, ..EXPERTS }),
        norm_eps: 1e-6,
        reads: &[USUAL, "norm_topk_prob"],
        spellings: &[LOCAL_EXPERTS],
        numbers: &[
            ("max_position_embeddings", 4096.0),
            ("rope_theta", 500_000.0),
            ("num_experts_per_tok", 5.0),
            ("num_experts", 7.0),
        ],
        ..OLMO2
    },
    // Granite with experts beside an MLP, windows, sinks and a rotary base for each layer.
    Family {
        model_types: &["granitemoe_swa"],
        layer_names: &[
            ATTENTION,
            &[
                (Role::Sinks, "self_attn.sinks", ""),
                (Role::Router, "block_sparse_moe.router", ""),
                (Role::GateUp, "shared_mlp.input_linear", ""),
                (Role::Down, "shared_mlp.output_linear", ""),
            ],
            PRE_NORMS,
        ],
        experts: Some(&ExpertNames {
            stacked: &[["block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.experts.down_proj"]],
            ..GRANITE_EXPERTS
        }),
        sliding: Sliding::AllButFirstOf(4),
        reads: &[USUAL, "layer_types layer_rope_theta"],
        numbers: &[
            GRANITE_NUMBERS[0],
            GRANITE_NUMBERS[1],
            GRANITE_NUMBERS[2],
            GRANITE_NUMBERS[3],
            GRANITE_NUMBERS[4],
            ("num_experts_per_tok", 2.0),
            ("num_experts", 8.0),
            ("moe_intermediate_size", 11_008.0),
            ("sliding_window", 128.0),
        ],
        ..GRANITE_SHARED
    },
];
