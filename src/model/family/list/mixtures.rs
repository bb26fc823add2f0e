//! Families whose layers have experts.

use super::super::names::*;
use super::llama::{GRANITE_GGUF, GRANITE_NUMBERS};
use super::qwen::{QWEN35, QWEN35_GGUF};
use super::*;

/// Experts as transformers 5 holds them, and the modules that earlier versions and most files have.
pub(super) const EXPERTS: ExpertNames = ExpertNames {
    modules: &[["mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj", "mlp.experts.{}.down_proj"]],
    stacked: &[["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]],
    stack_layout: StackLayout::GateFirst,
    have_biases: false,
    are_gated: true,
    weights: ExpertWeights::SumToOne,
    scores: Scores::Softmax,
    added_to_sum: 0.0,
    grouping: Grouping::Never,
};
pub(super) const GRANITE_EXPERTS: ExpertNames = ExpertNames {
    modules: &[],
    stacked: &[
        ["block_sparse_moe.input_linear.weight", "block_sparse_moe.output_linear.weight"],
        ["block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.experts.down_proj"],
    ],
    ..EXPERTS
};
/// Both names are read.
pub(super) const LOCAL_EXPERTS: KeySpelling = ("num_experts", &["num_local_experts", "num_experts"]);
const SHARED_EXPERT: RoleNames = &[
    (Role::SharedGate, "mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    (Role::SharedUp, "mlp.shared_expert.up_proj", "ffn_up_shexp"),
    (Role::SharedDown, "mlp.shared_expert.down_proj", "ffn_down_shexp"),
    (Role::SharedSwitch, "mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
];
pub(super) const ROUTER: RoleNames = &[(Role::Router, "mlp.gate", "ffn_gate_inp")];

/// The delta nets of Qwen 3.5 from fused matrices.
const QWEN3_NEXT: Family = Family {
    model_types: &["qwen3_next"],
    gguf_architectures: &["qwen3next"],
    gguf: GgufConventions {
        splits: &[(Role::DeltaInputGate, Split::ByKeyHead(["attn_qkv", "attn_gate"]))],
        ..MLP_NORM_IS_POST_ATTENTION
    },
    layer_names: &[ATTENTION, FUSED_DELTA_NET, GATED_MLP, ROUTER, SHARED_EXPERT, PRE_NORMS, HEAD_NORMS],
    experts: Some(&ExpertNames { weights: ExpertWeights::Configured { sum_to_one_in_gguf: true }, ..EXPERTS }),
    reads: &[USUAL, "layer_types mlp_only_layers"],
    numbers: &[
        ("head_dim", 256.0),
        ("num_key_value_heads", 2.0),
        ("max_position_embeddings", 32_768.0),
        ("partial_rotary_factor", 0.25),
        ("full_attention_interval", 4.0),
        ("linear_conv_kernel_dim", 4.0),
        ("linear_key_head_dim", 128.0),
        ("linear_value_head_dim", 128.0),
        ("linear_num_key_heads", 16.0),
        ("linear_num_value_heads", 32.0),
        ("decoder_sparse_step", 1.0),
        ("num_experts_per_tok", 10.0),
        ("num_experts", 512.0),
        ("moe_intermediate_size", 512.0),
        ("shared_expert_intermediate_size", 512.0),
    ],
    flags: &[("norm_topk_prob", true)],
    ..QWEN35
};

pub static FAMILIES: [Family; 7] = [
    QWEN3_NEXT,
    Family {
        model_types: &["mixtral"],
        gguf_architectures: &["llama"],
        layer_names: &[ATTENTION, &[(Role::Router, "block_sparse_moe.gate", "ffn_gate_inp")], ROUTER, PRE_NORMS],
        experts: Some(&ExpertNames {
            modules: &[[
                "block_sparse_moe.experts.{}.w1",
                "block_sparse_moe.experts.{}.w3",
                "block_sparse_moe.experts.{}.w2",
            ]],
            ..EXPERTS
        }),
        norm_eps: 1e-5,
        sliding: Sliding::Always,
        reads: &[USUAL, "sliding_window num_experts"],
        spellings: &[LOCAL_EXPERTS],
        numbers: &[("rope_theta", 1_000_000.0), ("num_experts_per_tok", 2.0), ("max_position_embeddings", 131_072.0)],
        gguf: PERMUTED_GGUF,
        ..PLAIN
    },
    Family {
        model_types: &["qwen2_moe"],
        gguf_architectures: &["qwen2moe"],
        layer_names: &[ATTENTION, GATED_MLP, ROUTER, SHARED_EXPERT, PRE_NORMS],
        experts: Some(&ExpertNames { weights: ExpertWeights::Configured { sum_to_one_in_gguf: false }, ..EXPERTS }),
        biases: &[QKV_BIAS_BY_FLAG],
        sliding: Sliding::EvenBelowMaxWindowLayers,
        reads: &[USUAL, "layer_types mlp_only_layers norm_topk_prob"],
        numbers: &[
            ("max_position_embeddings", 32_768.0),
            ("sliding_window", 4096.0),
            ("max_window_layers", 28.0),
            ("decoder_sparse_step", 1.0),
            ("num_experts_per_tok", 4.0),
            ("num_experts", 60.0),
            ("moe_intermediate_size", 1408.0),
            ("shared_expert_intermediate_size", 5632.0),
        ],
        flags: &[("use_sliding_window", false), ("qkv_bias", true)],
        ..PLAIN
    },
    Family {
        model_types: &["qwen3_moe"],
        gguf_architectures: &["qwen3moe"],
        layer_names: &[ATTENTION, GATED_MLP, ROUTER, PRE_NORMS, HEAD_NORMS],
        experts: Some(&ExpertNames { weights: ExpertWeights::Configured { sum_to_one_in_gguf: true }, ..EXPERTS }),
        biases: &[ATTENTION_BIAS],
        sliding: Sliding::Always,
        reads: &[USUAL, "sliding_window mlp_only_layers norm_topk_prob"],
        spellings: &[LOCAL_EXPERTS],
        numbers: &[
            ("max_position_embeddings", 32_768.0),
            ("decoder_sparse_step", 1.0),
            ("num_experts_per_tok", 8.0),
            ("num_experts", 128.0),
            ("moe_intermediate_size", 768.0),
        ],
        flags: WITHOUT_WINDOWS,
        harmless: WITHOUT_WINDOW_LAYERS,
        ..PLAIN
    },
    Family {
        model_types: &["qwen3_5_moe_text"],
        gguf_architectures: &["qwen35moe"],
        gguf: QWEN35_GGUF,
        layer_names: &[ATTENTION, DELTA_NET, ROUTER, SHARED_EXPERT, PRE_NORMS, HEAD_NORMS],
        experts: Some(&EXPERTS),
        reads: &["num_key_value_heads head_dim layer_types"],
        spellings: &[LOCAL_EXPERTS],
        numbers: &[
            ("head_dim", 256.0),
            ("num_key_value_heads", 2.0),
            ("max_position_embeddings", 32_768.0),
            ("partial_rotary_factor", 0.25),
            ("full_attention_interval", 4.0),
            ("linear_conv_kernel_dim", 4.0),
            ("linear_key_head_dim", 128.0),
            ("linear_value_head_dim", 128.0),
            ("linear_num_key_heads", 16.0),
            ("linear_num_value_heads", 32.0),
            ("num_experts_per_tok", 8.0),
            ("num_experts", 256.0),
            ("moe_intermediate_size", 512.0),
            ("shared_expert_intermediate_size", 512.0),
        ],
        ..QWEN35
    },
    Family {
        model_types: &["granitemoe"],
        gguf_architectures: &["granitemoe"],
        layer_names: &[ATTENTION, &[(Role::Router, "block_sparse_moe.router.layer", "ffn_gate_inp")], PRE_NORMS],
        experts: Some(&GRANITE_EXPERTS),
        biases: &[ATTENTION_BIAS],
        spellings: &[("num_experts", &["num_local_experts"])],
        numbers: &[
            GRANITE_NUMBERS[0],
            GRANITE_NUMBERS[1],
            GRANITE_NUMBERS[2],
            GRANITE_NUMBERS[3],
            GRANITE_NUMBERS[4],
            ("num_experts_per_tok", 2.0),
            ("num_experts", 8.0),
        ],
        gguf: GRANITE_GGUF,
        ..PLAIN
    },
    Family {
        model_types: &["gpt_oss"],
        gguf_architectures: &["gpt-oss"],
        layer_names: &[
            ATTENTION,
            &[(Role::Sinks, "self_attn.sinks", "attn_sinks.weight"), (Role::Router, "mlp.router", "ffn_gate_inp")],
            GPT_OSS_NORMS,
        ],
        experts: Some(&ExpertNames {
            modules: &[],
            stack_layout: StackLayout::Alternating,
            have_biases: true,
            ..EXPERTS
        }),
        biases: &[ATTENTION_BIAS, ROUTER_BIAS],
        gating: Gating::Clamped { alpha: 1.702, limit: 7.0 },
        norm_eps: 1e-5,
        sliding: Sliding::AllButEvery(2),
        reads: &[USUAL, "layer_types swiglu_alpha swiglu_limit"],
        spellings: &[LOCAL_EXPERTS],
        numbers: &[
            ("head_dim", 64.0),
            ("num_key_value_heads", 8.0),
            ("max_position_embeddings", 131_072.0),
            ("rope_theta", 150_000.0),
            ("sliding_window", 128.0),
            ("num_experts_per_tok", 4.0),
            ("num_experts", 128.0),
        ],
        flags: &[("attention_bias", true)],
        rope_scaling: &RopeScaling::Yarn {
            factor: 32.0,
            original_context: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: false,
            attention_factor: None,
            mscale: None,
        },
        harmless: &[
            ("hidden_act", "the experts have one activation"),
            ("experts_per_token", "a copy of `num_experts_per_tok`"),
        ],
        gguf: GgufConventions { yarn_is_exact: true, ..PLAIN_GGUF },
        ..PLAIN
    },
];
