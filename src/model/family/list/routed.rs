//! Families whose routers take sigmoids, a bias that only chooses, or groups of experts.

use super::super::names::*;
use super::mixtures::{EXPERTS, LOCAL_EXPERTS, ROUTER};
use super::*;

/// A router with a bias that chooses.
pub(super) const BIASED_ROUTER: RoleNames = &[
    (Role::Router, "mlp.gate", "ffn_gate_inp"),
    (Role::RouterBias, "mlp.gate.e_score_correction_bias", "exp_probs_b.bias"),
];
/// Where the files of some families have that bias.
const OUTER_ROUTER_BIAS: RoleNames = &[(Role::RouterBias, "mlp.e_score_correction_bias", "exp_probs_b.bias")];
/// Experts that every token goes to, in one MLP without a switch.
pub(super) const SHARED_EXPERTS: RoleNames = &[
    (Role::SharedGate, "mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    (Role::SharedUp, "mlp.shared_experts.up_proj", "ffn_up_shexp"),
    (Role::SharedDown, "mlp.shared_experts.down_proj", "ffn_down_shexp"),
];
pub(super) const SIGMOID_EXPERTS: ExpertNames = ExpertNames {
    weights: ExpertWeights::Configured { sum_to_one_in_gguf: false },
    scores: Scores::Sigmoid,
    added_to_sum: 1e-20,
    grouping: Grouping::By(GroupScore::TwoLargest),
    ..EXPERTS
};
pub(super) const ROUTED_EXPERTS: KeySpelling = ("num_experts", &["n_routed_experts", "num_local_experts"]);
/// Keys of routers that all of these families read.
pub(super) const GROUPED: &str = "n_group topk_group norm_topk_prob routed_scaling_factor n_shared_experts";
pub(super) const NOT_RUN: &str = "layers that predict several tokens are not run";
const OTHER_CODE: &str = "nothing in transformers reads it";
/// What configurations of families with such routers have beside them.
pub(super) const ROUTED_HARMLESS: &[Harmless] = &[
    ("num_nextn_predict_layers", NOT_RUN),
    ("num_mtp_layers", NOT_RUN),
    ("aux_loss_alpha", "only training uses it"),
    ("seq_aux", "only training uses it"),
    ("ep_size", "says how to load the model"),
    ("moe_layer_freq", OTHER_CODE),
    ("scoring_func", OTHER_CODE),
    ("topk_method", OTHER_CODE),
    ("moe_router_activation_func", OTHER_CODE),
];
const MINIMAX_HARMLESS: &[Harmless] = &[
    ("mtp_transformer_layers", NOT_RUN),
    ("num_mtp_modules", NOT_RUN),
    ("use_mtp", NOT_RUN),
    ("qk_norm_type", "all models of the family have it"),
    ("use_qk_norm", "all models of the family have it"),
    ("use_routing_bias", "all models of the family have it"),
    ("scoring_func", OTHER_CODE),
    ("attn_type_list", OTHER_CODE),
];
const ERNIE_HARMLESS: &[Harmless] = &[
    ("num_nextn_predict_layers", NOT_RUN),
    ("router_aux_loss_coef", "only training uses it"),
    ("moe_capacity", "only training uses it"),
    ("moe_gate", OTHER_CODE),
    ("moe_use_aux_free", "all models of the family have it"),
];

const MELLUM_HARMLESS: &[Harmless] = &[
    ("num_nextn_predict_layers", NOT_RUN),
    ("num_mtp_layers", NOT_RUN),
    ("mtp_layer_types", NOT_RUN),
    ("mtp_mlp_layer_types", NOT_RUN),
];

const GLM4_MOE: Family = Family {
    model_types: &["glm4_moe"],
    gguf_architectures: &[],
    layer_names: &[ATTENTION, GATED_MLP, BIASED_ROUTER, SHARED_EXPERTS, PRE_NORMS, HEAD_NORMS],
    optional: &[Role::QueryNorm, Role::KeyNorm],
    experts: Some(&SIGMOID_EXPERTS),
    biases: &[ATTENTION_INPUT_BIAS],
    norm_eps: 1e-5,
    reads: &[USUAL, GROUPED],
    spellings: &[ROUTED_EXPERTS],
    numbers: &[
        ("num_key_value_heads", 8.0),
        ("max_position_embeddings", 131_072.0),
        ("partial_rotary_factor", 0.5),
        ("num_experts_per_tok", 8.0),
        ("num_experts", 128.0),
        ("moe_intermediate_size", 1408.0),
        ("n_shared_experts", 1.0),
        ("routed_scaling_factor", 1.0),
        ("n_group", 1.0),
        ("topk_group", 1.0),
        ("first_k_dense_replace", 1.0),
    ],
    flags: &[("norm_topk_prob", true), ("use_qk_norm", false)],
    harmless: ROUTED_HARMLESS,
    ..PLAIN
};

pub static FAMILIES: [Family; 9] = [
    // Solar Open's files have the same architecture, and its modules the same names.
    Family { gguf_architectures: &["glm4moe"], gguf: MLP_NORM_IS_POST_ATTENTION, ..GLM4_MOE },
    Family {
        model_types: &["dots1"],
        gguf_architectures: &["dots1"],
        layer_names: &[ATTENTION, GATED_MLP, BIASED_ROUTER, SHARED_EXPERTS, PRE_NORMS, HEAD_NORMS],
        optional: &[],
        biases: &[ATTENTION_BIAS],
        norm_eps: 1e-6,
        sliding: Sliding::FromMaxWindowLayers,
        reads: &[USUAL, GROUPED, "layer_types num_experts num_experts_per_tok"],
        numbers: &[
            ("num_key_value_heads", 32.0),
            ("max_position_embeddings", 2048.0),
            ("sliding_window", 4096.0),
            ("max_window_layers", 62.0),
            ("moe_intermediate_size", 1408.0),
            ("routed_scaling_factor", 1.0),
            ("n_group", 1.0),
            ("topk_group", 1.0),
            ("first_k_dense_replace", 0.0),
        ],
        flags: &[("norm_topk_prob", false)],
        ..GLM4_MOE
    },
    Family {
        model_types: &["solar_open"],
        layer_names: &[ATTENTION, BIASED_ROUTER, SHARED_EXPERTS, PRE_NORMS],
        optional: &[],
        biases: &[ATTENTION_INPUT_BIAS],
        reads: &["num_key_value_heads head_dim", GROUPED],
        numbers: &[
            ("head_dim", 128.0),
            ("num_key_value_heads", 8.0),
            ("max_position_embeddings", 131_072.0),
            ("partial_rotary_factor", 1.0),
            ("rope_theta", 1_000_000.0),
            ("num_experts_per_tok", 8.0),
            ("num_experts", 128.0),
            ("moe_intermediate_size", 1280.0),
            ("n_shared_experts", 1.0),
            ("routed_scaling_factor", 1.0),
            ("n_group", 1.0),
            ("topk_group", 1.0),
        ],
        flags: &[("norm_topk_prob", true)],
        ..GLM4_MOE
    },
    Family {
        model_types: &["exaone_moe"],
        gguf_architectures: &["exaone-moe"],
        layer_names: &[ATTENTION, GATED_MLP, BIASED_ROUTER, OUTER_ROUTER_BIAS, SHARED_EXPERTS, PRE_NORMS, HEAD_NORMS],
        optional: &[],
        biases: &[],
        sliding: Sliding::AllButEvery(4),
        rotary_layers: RotaryLayers::InWindowsIfAny,
        reads: &[USUAL, GROUPED, "layer_types sliding_window_pattern mlp_layer_types"],
        spellings: &[("n_shared_experts", &["num_shared_experts"])],
        numbers: &[
            ("num_key_value_heads", 32.0),
            ("max_position_embeddings", 2048.0),
            ("sliding_window", 4096.0),
            ("num_experts_per_tok", 8.0),
            ("num_experts", 64.0),
            ("moe_intermediate_size", 1024.0),
            ("n_shared_experts", 1.0),
            ("routed_scaling_factor", 2.5),
            ("n_group", 1.0),
            ("topk_group", 1.0),
            ("first_k_dense_replace", 1.0),
        ],
        flags: &[("norm_topk_prob", true)],
        ..GLM4_MOE
    },
    Family {
        model_types: &["minimax_m2"],
        gguf_architectures: &["minimax-m2"],
        layer_names: &[
            ATTENTION,
            BIASED_ROUTER,
            OUTER_ROUTER_BIAS,
            &[
                (Role::Router, "block_sparse_moe.gate", "ffn_gate_inp"),
                (Role::RouterBias, "block_sparse_moe.e_score_correction_bias", "exp_probs_b.bias"),
            ],
            PRE_NORMS,
            HEAD_NORMS,
        ],
        optional: &[],
        experts: Some(&ExpertNames {
            modules: &[
                ["block_sparse_moe.experts.{}.w1", "block_sparse_moe.experts.{}.w3", "block_sparse_moe.experts.{}.w2"],
                ["mlp.experts.{}.w1", "mlp.experts.{}.w3", "mlp.experts.{}.w2"],
            ],
            weights: ExpertWeights::SumToOne,
            grouping: Grouping::Never,
            ..SIGMOID_EXPERTS
        }),
        biases: &[],
        norm_eps: 1e-6,
        head_norms: HeadNorms::AllHeadsTogether,
        reads: &[USUAL, "rotary_dim"],
        spellings: &[LOCAL_EXPERTS],
        numbers: &[
            ("head_dim", 128.0),
            ("num_key_value_heads", 8.0),
            ("max_position_embeddings", 196_608.0),
            ("partial_rotary_factor", 1.0),
            ("rope_theta", 5_000_000.0),
            ("num_experts_per_tok", 8.0),
            ("num_experts", 256.0),
        ],
        flags: &[],
        harmless: MINIMAX_HARMLESS,
        ..GLM4_MOE
    },
    Family {
        model_types: &["ernie4_5_moe"],
        gguf_architectures: &["ernie4_5-moe"],
        layer_names: &[
            ATTENTION,
            GATED_MLP,
            ROUTER,
            &[
                (Role::RouterBias, "mlp.gate.moe_statics.e_score_correction_bias", "exp_probs_b.bias"),
                (Role::RouterBias, "mlp.moe_statics.e_score_correction_bias", "exp_probs_b.bias"),
            ],
            SHARED_EXPERTS,
            PRE_NORMS,
        ],
        optional: &[],
        experts: Some(&EXPERTS),
        biases: &[],
        positions: Positions::RotaryNeighbours,
        reads: &[USUAL, "n_shared_experts moe_norm_min moe_layer_end_index"],
        spellings: &[
            ("num_experts", &["moe_num_experts", "num_experts"]),
            ("num_experts_per_tok", &["moe_k", "num_experts_per_tok"]),
            ("n_shared_experts", &["moe_num_shared_experts"]),
            ("first_k_dense_replace", &["moe_layer_start_index"]),
            ("decoder_sparse_step", &["moe_layer_interval"]),
        ],
        numbers: &[
            ("num_key_value_heads", 4.0),
            ("max_position_embeddings", 131_072.0),
            ("rope_theta", 500_000.0),
            ("num_experts_per_tok", 6.0),
            ("num_experts", 64.0),
            ("moe_intermediate_size", 1536.0),
            ("n_shared_experts", 2.0),
            ("first_k_dense_replace", 1.0),
            ("decoder_sparse_step", 1.0),
            ("moe_norm_min", 1e-12),
        ],
        flags: TIED,
        refused_keys: &[("use_bias", "biases on all modules and on the head")],
        harmless: ERNIE_HARMLESS,
        ..GLM4_MOE
    },
    Family {
        model_types: &["hunyuan_v1_moe"],
        layer_names: &[
            ATTENTION,
            &[(Role::Router, "mlp.gate.wg", "ffn_gate_inp")],
            &[
                (Role::SharedGate, "mlp.shared_mlp.gate_proj", "ffn_gate_shexp"),
                (Role::SharedUp, "mlp.shared_mlp.up_proj", "ffn_up_shexp"),
                (Role::SharedDown, "mlp.shared_mlp.down_proj", "ffn_down_shexp"),
            ],
            PRE_NORMS,
            HUNYUAN_HEAD_NORMS,
        ],
        optional: &[],
        experts: Some(&EXPERTS),
        biases: &[ATTENTION_BIAS],
        head_norms: HeadNorms::EachRotatedHead,
        reads: &[USUAL],
        spellings: &[
            ("num_experts", &["num_experts", "num_local_experts"]),
            ("num_experts_per_tok", &["moe_topk", "num_experts_per_tok"]),
            // All models have one of the size of an expert.
            ("n_shared_experts", &[]),
        ],
        numbers: &[
            ("max_position_embeddings", 2048.0),
            ("num_experts", 1.0),
            ("num_experts_per_tok", 1.0),
            ("n_shared_experts", 1.0),
        ],
        flags: &[],
        has_rope_alpha: true,
        harmless: &[("eod_token_id", "the samples say where documents end")],
        ..GLM4_MOE
    },
    // Rotary embeddings by the type of layer.
    Family {
        model_types: &["mellum"],
        layer_names: &[ATTENTION, GATED_MLP, ROUTER, PRE_NORMS, HEAD_NORMS],
        optional: &[],
        experts: Some(&ExpertNames { weights: ExpertWeights::Configured { sum_to_one_in_gguf: true }, ..EXPERTS }),
        biases: &[ATTENTION_BIAS],
        norm_eps: 1e-6,
        sliding: Sliding::AllButEvery(1),
        reads: &[USUAL, "layer_types mlp_layer_types norm_topk_prob"],
        spellings: &[
            LOCAL_EXPERTS,
            ("rope_theta", &[]),
            ("rope_scaling", &[]),
            ("rope_local_base_freq", &[]),
            ("partial_rotary_factor", &[]),
        ],
        numbers: &[
            ("head_dim", 128.0),
            ("num_key_value_heads", 4.0),
            ("max_position_embeddings", 131_072.0),
            ("sliding_window", 1024.0),
            ("rope_theta", 500_000.0),
            ("rope_local_base_freq", 10_000.0),
            ("partial_rotary_factor", 1.0),
            ("num_experts_per_tok", 8.0),
            ("num_experts", 64.0),
            ("moe_intermediate_size", 896.0),
        ],
        flags: &[("norm_topk_prob", true)],
        harmless: MELLUM_HARMLESS,
        ..GLM4_MOE
    },
    Family {
        model_types: &["qwen3_vl_moe_text"],
        gguf_architectures: &["qwen3vlmoe"],
        layer_names: &[ATTENTION, GATED_MLP, ROUTER, PRE_NORMS, HEAD_NORMS],
        optional: &[],
        experts: Some(&ExpertNames { stack_layout: StackLayout::GateFirstEitherWay, ..EXPERTS }),
        biases: &[ATTENTION_BIAS],
        norm_eps: 1e-6,
        reads: &[USUAL, "mlp_only_layers"],
        spellings: &[LOCAL_EXPERTS],
        numbers: &[
            ("num_key_value_heads", 16.0),
            ("max_position_embeddings", 128_000.0),
            ("rope_theta", 500_000.0),
            ("decoder_sparse_step", 1.0),
            ("num_experts_per_tok", 4.0),
            ("num_experts", 60.0),
            ("moe_intermediate_size", 1408.0),
        ],
        flags: &[],
        harmless: &[("norm_topk_prob", "all models of the family normalise")],
        ..GLM4_MOE
    },
];
