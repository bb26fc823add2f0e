//! Hybrids of attention and Mamba-2.

use super::super::names::*;
use super::llama::{GRANITE_GGUF, GRANITE_NUMBERS};
use super::mixtures::GRANITE_EXPERTS;
use super::*;

const SHARED_MLP: RoleNames =
    &[(Role::GateUp, "shared_mlp.input_linear", "ffn_up"), (Role::Down, "shared_mlp.output_linear", "ffn_down")];
const ROUTER: RoleNames = &[(Role::Router, "block_sparse_moe.router.layer", "ffn_gate_inp")];
/// Both names are read, and the first counts before the other.
const LAYER_TYPES: KeySpelling = ("layer_types", &["layers_block_type", "layer_types"]);
const MAMBA_KEYS: &str = "layer_types time_step_limit mamba_d_head";
const MAMBA_HARMLESS: &[Harmless] = &[
    ("z_loss_coefficient", "only training uses it"),
    ("mamba_chunk_size", "the sums are the same in chunks of any size"),
    ("num_logits_to_keep", "only generation uses it"),
    ("use_mamba_kernels", "an evaluation has its own arithmetic"),
];

/// The experts lie beside an MLP that all tokens go through; some models have no experts.
const GRANITE4: Family = Family {
    model_types: &["granitemoehybrid"],
    layer_names: &[ATTENTION, MAMBA, SHARED_MLP, ROUTER, PRE_NORMS],
    experts: Some(&GRANITE_EXPERTS),
    biases: &[ATTENTION_BIAS, MAMBA_BIAS, FILTER_BIAS],
    mlp_is_beside_experts: true,
    reads: &[USUAL, MAMBA_KEYS, "position_embedding_type"],
    spellings: &[
        LAYER_TYPES,
        ("num_experts", &["num_local_experts"]),
        ("intermediate_size", &["shared_intermediate_size"]),
        ("moe_intermediate_size", &["intermediate_size"]),
    ],
    numbers: &[
        GRANITE_NUMBERS[0],
        GRANITE_NUMBERS[1],
        GRANITE_NUMBERS[2],
        GRANITE_NUMBERS[3],
        GRANITE_NUMBERS[4],
        ("num_experts_per_tok", 2.0),
        ("num_experts", 8.0),
        ("intermediate_size", 1024.0),
        ("moe_intermediate_size", 11_008.0),
        ("mamba_n_heads", 128.0),
        ("mamba_n_groups", 1.0),
        ("mamba_d_state", 256.0),
        ("mamba_d_conv", 4.0),
        ("mamba_expand", 2.0),
    ],
    flags: &[("mamba_conv_bias", true)],
    harmless: MAMBA_HARMLESS,
    ..PLAIN
};

/// The same without Mamba.
pub(super) const GRANITE_SHARED: Family = Family {
    model_types: &["granitemoeshared"],
    layer_names: &[ATTENTION, SHARED_MLP, ROUTER, PRE_NORMS],
    biases: &[ATTENTION_BIAS],
    reads: &[USUAL],
    spellings: &[
        ("num_experts", &["num_local_experts"]),
        ("intermediate_size", &["shared_intermediate_size"]),
        ("moe_intermediate_size", &["intermediate_size"]),
    ],
    numbers: &[
        GRANITE_NUMBERS[0],
        GRANITE_NUMBERS[1],
        GRANITE_NUMBERS[2],
        GRANITE_NUMBERS[3],
        GRANITE_NUMBERS[4],
        ("num_experts_per_tok", 2.0),
        ("num_experts", 8.0),
        ("moe_intermediate_size", 11_008.0),
    ],
    flags: &[],
    harmless: &[],
    ..GRANITE4
};

const PRE_FF_NORMS: RoleNames =
    &[(Role::AttentionNorm, "input_layernorm", "attn_norm"), (Role::MlpNorm, "pre_ff_layernorm", "ffn_norm")];
const FEED_FORWARD: RoleNames = &[
    (Role::Gate, "feed_forward.gate_proj", "ffn_gate"),
    (Role::Up, "feed_forward.up_proj", "ffn_up"),
    (Role::Down, "feed_forward.down_proj", "ffn_down"),
];

const BAMBA: Family = Family {
    model_types: &["bamba"],
    outer: &OUTER_PHI,
    layer_names: &[ATTENTION, MAMBA, FEED_FORWARD, PRE_FF_NORMS],
    biases: &[ATTENTION_BIAS, MLP_BIAS, MAMBA_BIAS, FILTER_BIAS],
    norm_eps: 1e-5,
    reads: &[USUAL, "attn_layer_indices time_step_limit mamba_d_head"],
    // The part of the rotary embedding is fixed, unless the parameters of the embedding say it.
    spellings: &[("partial_rotary_factor", &[])],
    numbers: &[
        ("num_key_value_heads", 8.0),
        ("max_position_embeddings", 262_144.0),
        ("partial_rotary_factor", 0.5),
        ("mamba_n_heads", 128.0),
        ("mamba_n_groups", 1.0),
        ("mamba_d_state", 256.0),
        ("mamba_d_conv", 4.0),
        ("mamba_expand", 2.0),
    ],
    flags: &[("mamba_conv_bias", true)],
    harmless: MAMBA_HARMLESS,
    ..PLAIN
};

/// Attention and Mamba side by side in every layer.
const FALCON_H1: Family = Family {
    model_types: &["falcon_h1"],
    optional: &[Role::MambaNorm],
    biases: &[
        ATTENTION_BIAS,
        MLP_BIAS,
        FILTER_BIAS,
        (Biased::By("mamba_proj_bias"), &[Role::MambaInput]),
        (Biased::By("projectors_bias"), &[Role::MambaOut]),
    ],
    mixers_are_side_by_side: true,
    reads: &[
        USUAL,
        "time_step_limit mamba_d_head lm_head_multiplier embedding_multiplier mlp_multipliers key_multiplier \
         attention_in_multiplier attention_out_multiplier ssm_multipliers ssm_in_multiplier ssm_out_multiplier",
    ],
    spellings: &[],
    numbers: &[
        ("num_key_value_heads", 8.0),
        ("max_position_embeddings", 8192.0),
        ("mamba_d_ssm", 1024.0),
        ("mamba_n_heads", 128.0),
        ("mamba_n_groups", 1.0),
        ("mamba_d_state", 256.0),
        ("mamba_d_conv", 4.0),
        ("mamba_expand", 2.0),
    ],
    flags: &[("mamba_conv_bias", true), ("mamba_rms_norm", false), ("mamba_norm_before_gate", true)],
    ..BAMBA
};

/// Whatever a layer is, it lies in a module of the same name.
const SINGLE_BLOCKS: RoleNames = &[
    (Role::AttentionNorm, "norm", "attn_norm"),
    (Role::Query, "mixer.q_proj", "attn_q"),
    (Role::Key, "mixer.k_proj", "attn_k"),
    (Role::Value, "mixer.v_proj", "attn_v"),
    (Role::AttentionOut, "mixer.o_proj", "attn_output"),
    (Role::MambaInput, "mixer.in_proj", "ssm_in"),
    (Role::MambaConvolution, "mixer.conv1d", "ssm_conv1d"),
    (Role::MambaBias, "mixer.dt_bias", "ssm_dt.bias"),
    (Role::MambaRate, "mixer.A_log", "ssm_a"),
    (Role::MambaSkip, "mixer.D", "ssm_d"),
    (Role::MambaNorm, "mixer.norm", "ssm_norm"),
    (Role::MambaOut, "mixer.out_proj", "ssm_out"),
    (Role::Up, "mixer.up_proj", "ffn_up"),
    (Role::Down, "mixer.down_proj", "ffn_down"),
    (Role::Router, "mixer.gate", "ffn_gate_inp"),
    (Role::RouterBias, "mixer.gate.e_score_correction_bias", "exp_probs_b.bias"),
    (Role::ExpertsInput, "mixer.fc1_latent_proj", "ffn_latent_down"),
    (Role::ExpertsOutput, "mixer.fc2_latent_proj", "ffn_latent_up"),
    (Role::SharedUp, "mixer.shared_experts.up_proj", "ffn_up_shexp"),
    (Role::SharedDown, "mixer.shared_experts.down_proj", "ffn_down_shexp"),
];
/// Experts without gates.
const PLAIN_EXPERTS: ExpertNames = ExpertNames {
    modules: &[["", "mixer.experts.{}.up_proj", "mixer.experts.{}.down_proj"]],
    stacked: &[["mixer.experts.up_proj", "mixer.experts.down_proj"]],
    are_gated: false,
    weights: ExpertWeights::Configured { sum_to_one_in_gguf: true },
    scores: Scores::Sigmoid,
    added_to_sum: 1e-20,
    grouping: Grouping::By(GroupScore::TwoLargest),
    ..GRANITE_EXPERTS
};

/// Each layer is a Mamba, an attention, an MLP or a mixture of experts, and attention knows no positions.
const NEMOTRON_H: Family = Family {
    model_types: &["nemotron_h"],
    outer: &OUTER_NEMOTRON_H,
    layer_names: &[SINGLE_BLOCKS],
    experts: Some(&PLAIN_EXPERTS),
    biases: &[
        (Biased::By("use_bias"), &[Role::MambaInput, Role::MambaOut]),
        FILTER_BIAS,
        (
            Biased::By("mlp_bias"),
            &[Role::Up, Role::Down, Role::SharedUp, Role::SharedDown, Role::ExpertsInput, Role::ExpertsOutput],
        ),
    ],
    gating: Gating::By(Activation::ReluSquared),
    norm_eps: 1e-5,
    layers_are_single_blocks: true,
    positions: Positions::None,
    reads: &[USUAL, "layer_types hybrid_override_pattern mamba_hidden_act moe_latent_size"],
    // Where a key has several names, the first counts before the others.
    spellings: &[
        ("activation", &["mlp_hidden_act"]),
        ("rms_norm_eps", &["layer_norm_epsilon"]),
        ("layer_types", &["layer_types", "layers_block_type"]),
        ("num_experts", &["num_local_experts", "n_routed_experts"]),
        ("shared_expert_intermediate_size", &["moe_shared_expert_intermediate_size"]),
        ("mamba_n_heads", &["mamba_num_heads"]),
        ("mamba_d_head", &["mamba_head_dim"]),
        ("mamba_n_groups", &["mamba_n_groups", "n_groups"]),
        ("mamba_d_state", &["ssm_state_size"]),
        ("mamba_d_conv", &["mamba_d_conv", "conv_kernel"]),
        ("mamba_conv_bias", &["mamba_conv_bias", "use_conv_bias"]),
        ("time_step_min", &["mamba_dt_min", "time_step_min"]),
    ],
    numbers: &[
        ("head_dim", 128.0),
        ("num_key_value_heads", 8.0),
        ("max_position_embeddings", 4096.0),
        ("intermediate_size", 21_504.0),
        ("mamba_n_heads", 128.0),
        ("mamba_d_head", 64.0),
        ("mamba_n_groups", 8.0),
        ("mamba_d_state", 128.0),
        ("mamba_d_conv", 4.0),
        ("time_step_min", 0.001),
        ("num_experts", 8.0),
        ("num_experts_per_tok", 2.0),
        ("moe_intermediate_size", 7688.0),
        ("shared_expert_intermediate_size", 7688.0),
        ("routed_scaling_factor", 1.0),
        ("n_group", 1.0),
        ("topk_group", 1.0),
    ],
    flags: &[("mamba_conv_bias", true), ("norm_topk_prob", true)],
    harmless: NEMOTRON_H_HARMLESS,
    ..PLAIN
};

const NEMOTRON_H_HARMLESS: &[Harmless] = &[
    ("moe_intermediate_size", WITHOUT_EXPERTS),
    ("moe_latent_size", WITHOUT_EXPERTS),
    ("moe_shared_expert_intermediate_size", WITHOUT_EXPERTS),
    ("moe_shared_expert_overlap", WITHOUT_EXPERTS),
    ("n_group", WITHOUT_EXPERTS),
    ("n_routed_experts", WITHOUT_EXPERTS),
    ("n_shared_experts", WITHOUT_EXPERTS),
    ("norm_topk_prob", WITHOUT_EXPERTS),
    ("num_experts_per_tok", WITHOUT_EXPERTS),
    ("routed_scaling_factor", WITHOUT_EXPERTS),
    ("topk_group", WITHOUT_EXPERTS),
    ("chunk_size", "the sums are the same in chunks of any size"),
    ("mamba_chunk_size", "the sums are the same in chunks of any size"),
    ("num_logits_to_keep", "only generation uses it"),
    ("use_mamba_kernels", "an evaluation has its own arithmetic"),
    ("mamba_ssm_cache_dtype", "an evaluation has its own arithmetic"),
    ("n_shared_experts", "the size of the shared expert says it"),
    ("moe_shared_expert_overlap", "an evaluation has its own arithmetic"),
    ("residual_in_fp32", "an evaluation has its own arithmetic"),
    ("rescale_prenorm_residual", "only training uses it"),
    ("time_step_max", "only training uses it"),
    ("time_step_floor", "only training uses it"),
    ("time_step_limit", "the least step is another key, and there is no largest"),
    ("expand", "the heads say it"),
    ("mamba_expand", "the heads say it"),
    ("mamba_proj_bias", "another key says it"),
    ("rope_theta", "attention knows no positions"),
    ("rope_parameters", "attention knows no positions"),
    ("rope_scaling", "attention knows no positions"),
    ("sliding_window", "attention has no window"),
    ("num_nextn_predict_layers", "layers that predict several tokens are not run"),
    ("mtp_layers_block_type", "layers that predict several tokens are not run"),
    ("mtp_hybrid_override_pattern", "layers that predict several tokens are not run"),
];

/// The MLP that all tokens go through lies among the experts, where a model has some.
const SHARED_MLP_GGUF: GgufConventions = GgufConventions {
    names: &[(Role::Down, "ffn_down_shexp"), (Role::Down, "ffn_down")],
    splits: &[
        (Role::GateUp, Split::Stacked(["ffn_gate_shexp", "ffn_up_shexp"])),
        (Role::GateUp, Split::Stacked(["ffn_gate", "ffn_up"])),
    ],
    ..GRANITE_GGUF
};

pub static FAMILIES: [Family; 5] = [
    Family {
        gguf_architectures: &["granitehybrid"],
        gguf: GgufConventions { rope_is_off: true, ..SHARED_MLP_GGUF },
        ..GRANITE4
    },
    Family {
        gguf_architectures: &["granitemoe"],
        gguf: GgufConventions { mark: Some("ffn_down_shexp.weight"), ..SHARED_MLP_GGUF },
        ..GRANITE_SHARED
    },
    BAMBA,
    FALCON_H1,
    Family { gguf_architectures: &["nemotron_h", "nemotron_h_moe"], gguf: PERMUTED_GGUF, ..NEMOTRON_H },
];

/// Layers with experts are refused.
const WITHOUT_EXPERTS: &str = "the model has no experts";
