//! Every supported family. An entry says what differs from the one it builds on.

use super::names::*;
use super::{Experts, Family, Norms, Positions, Role, Sliding};
use crate::model::config::Activation;

/// Llama 1 to 3.x, SmolLM2 and others under the same type.
const LLAMA: Family = Family {
    model_types: &["llama"],
    gguf_architectures: &["llama"],
    outer: &OUTER,
    layer_names: &[ATTENTION, GATED_MLP, PRE_NORMS],
    optional: &[],
    experts: None,
    gguf_permutes_query_and_key: true,
    activation: Activation::Silu,
    norms: Norms::Rms,
    scales_embedding: false,
    norms_heads_together: false,
    parallel: false,
    positions: Positions::Rotary,
    sliding: Sliding::Never,
    ropes_only_in_windows: false,
    fused_by_head: false,
    linears_transposed: false,
    // The sizes of Llama 1, which multimodal models with a decoder of that size leave out.
    defaults: &[
        ("hidden_size", 4096.0),
        ("intermediate_size", 11_008.0),
        ("num_hidden_layers", 32.0),
        ("num_attention_heads", 32.0),
        ("max_position_embeddings", 2048.0),
    ],
    gguf_constants: &[],
};

/// What other families start from.
const PLAIN: Family = Family { gguf_architectures: &[], gguf_permutes_query_and_key: false, defaults: &[], ..LLAMA };

/// Differs by its window, which the config tells.
const MISTRAL: Family = Family {
    model_types: &["mistral"],
    sliding: Sliding::Always,
    defaults: &[
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

/// Biases on queries, keys and values.
const QWEN2: Family = Family {
    model_types: &["qwen2"],
    sliding: Sliding::FromMaxWindowLayers,
    gguf_architectures: &["qwen2"],
    defaults: &[("use_sliding_window", 0.0), ("sliding_window", 4096.0), ("max_window_layers", 28.0)],
    ..PLAIN
};

const QWEN3: Family = Family {
    model_types: &["qwen3"],
    sliding: Sliding::FromMaxWindowLayers,
    gguf_architectures: &["qwen3"],
    layer_names: &[ATTENTION, GATED_MLP, PRE_NORMS, HEAD_NORMS],
    defaults: &[
        ("head_dim", 128.0),
        ("use_sliding_window", 0.0),
        ("sliding_window", 4096.0),
        ("max_window_layers", 28.0),
    ],
    ..PLAIN
};

/// Four multipliers, which the config tells.
const GRANITE: Family = Family {
    model_types: &["granite"],
    gguf_constants: &[("logit_scale_divides", 1.0)],
    gguf_permutes_query_and_key: true,
    gguf_architectures: &["granite"],
    defaults: &[
        ("attention_multiplier", 1.0),
        ("embedding_multiplier", 1.0),
        ("residual_multiplier", 1.0),
        ("logits_scaling", 1.0),
    ],
    ..PLAIN
};

const GEMMA: Family = Family {
    model_types: &["gemma"],
    gguf_architectures: &["gemma"],
    activation: Activation::GeluTanh,
    norms: Norms::RmsPlusOne,
    scales_embedding: true,
    defaults: &[
        ("hidden_size", 3072.0),
        ("intermediate_size", 24_576.0),
        ("num_hidden_layers", 28.0),
        ("num_attention_heads", 16.0),
        ("gelu_means_tanh", 1.0),
        ("head_dim", 256.0),
        ("max_position_embeddings", 8192.0),
        ("tie_word_embeddings", 1.0),
    ],
    ..PLAIN
};

const COHERE: Family = Family {
    model_types: &["cohere"],
    gguf_architectures: &["command-r"],
    layer_names: &[ATTENTION, GATED_MLP, SHARED_NORM, HEAD_NORMS],
    optional: &[Role::QueryNorm, Role::KeyNorm],
    norms: Norms::Layer,
    parallel: true,
    positions: Positions::RotaryNeighbours,
    defaults: &[
        ("logit_scale", 0.0625),
        ("rope_theta", 500_000.0),
        ("norm_eps", 1e-5),
        ("max_position_embeddings", 8192.0),
        ("tie_word_embeddings", 1.0),
    ],
    ..PLAIN
};

const GLM4: Family = Family {
    model_types: &["glm4"],
    gguf_architectures: &["glm4"],
    layer_names: &[ATTENTION, FUSED_MLP, PRE_NORMS, GLM_POST_NORMS],
    positions: Positions::RotaryNeighbours,
    defaults: &[
        ("head_dim", 128.0),
        ("num_key_value_heads", 2.0),
        ("partial_rotary_factor", 0.5),
        ("norm_eps", 1.5625e-7),
        ("max_position_embeddings", 131_072.0),
    ],
    ..PLAIN
};

/// Experts as transformers 5 holds them, and the modules that earlier versions and most files have.
const EXPERTS: Experts = Experts {
    modules: &[["mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj", "mlp.experts.{}.down_proj"]],
    stacked: &[["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]],
    transposed: false,
    normalises: None,
};
const ROUTER: super::Names = &[(Role::Router, "mlp.gate", "ffn_gate_inp")];

pub static FAMILIES: [Family; 29] = [
    LLAMA,
    MISTRAL,
    // Llama 3.2 with images: some layers attend to those only.
    Family {
        model_types: &["mllama_text_model"],
        defaults: &[("norm_eps", 1e-5), ("rope_theta", 500_000.0), ("num_key_value_heads", 8.0)],
        ..PLAIN
    },
    QWEN2,
    Family {
        model_types: &["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"],
        gguf_architectures: &[],
        defaults: &[
            ("use_sliding_window", 0.0),
            ("sliding_window", 4096.0),
            ("max_window_layers", 80.0),
            ("num_key_value_heads", 8.0),
            ("norm_eps", 1e-5),
            ("rope_theta", 1_000_000.0),
        ],
        ..QWEN2
    },
    QWEN3,
    Family {
        model_types: &["qwen3_vl_text"],
        sliding: Sliding::Never,
        gguf_architectures: &[],
        defaults: &[("head_dim", 128.0), ("rope_theta", 500_000.0), ("max_position_embeddings", 128_000.0)],
        ..QWEN3
    },
    // Every fourth layer has no rotary embedding.
    Family {
        model_types: &["smollm3"],
        sliding: Sliding::WithoutRope,
        gguf_constants: &[("no_rope_layer_interval", 4.0)],
        gguf_permutes_query_and_key: true,
        gguf_architectures: &["smollm3"],
        defaults: &[("no_rope_layer_interval", 4.0), ("rope_theta", 2_000_000.0), ("use_sliding_window", 0.0)],
        ..PLAIN
    },
    GRANITE,
    Family {
        model_types: &["olmo2"],
        gguf_architectures: &["olmo2"],
        layer_names: &[ATTENTION, GATED_MLP, POST_NORMS, HEAD_NORMS],
        norms_heads_together: true,
        defaults: &[("norm_eps", 1e-5)],
        ..PLAIN
    },
    GEMMA,
    Family {
        model_types: &["gemma2"],
        sliding: Sliding::Pattern,
        gguf_constants: &[("sliding_window_pattern", 2.0)],
        gguf_architectures: &["gemma2"],
        layer_names: &[ATTENTION, GATED_MLP, OUTER_PRE_NORMS, POST_NORMS],
        defaults: &[
            ("head_dim", 256.0),
            ("num_key_value_heads", 4.0),
            ("query_pre_attn_scalar", 256.0),
            ("attn_logit_softcapping", 50.0),
            ("final_logit_softcapping", 30.0),
            ("sliding_window", 4096.0),
            ("sliding_window_pattern", 2.0),
            ("tie_word_embeddings", 1.0),
        ],
        ..GEMMA
    },
    Family {
        model_types: &["gemma3_text"],
        sliding: Sliding::Pattern,
        gguf_constants: &[
            ("sliding_window_pattern", 6.0),
            ("rope.freq_base", 1000000.0),
            ("rope.freq_base_swa", 10000.0),
        ],
        gguf_architectures: &["gemma3"],
        layer_names: &[ATTENTION, GATED_MLP, OUTER_PRE_NORMS, POST_NORMS, HEAD_NORMS],
        defaults: &[
            ("hidden_size", 2304.0),
            ("intermediate_size", 9216.0),
            ("num_hidden_layers", 26.0),
            ("head_dim", 256.0),
            ("num_attention_heads", 8.0),
            ("num_key_value_heads", 4.0),
            ("max_position_embeddings", 131_072.0),
            ("query_pre_attn_scalar", 256.0),
            ("sliding_window", 4096.0),
            ("sliding_window_pattern", 6.0),
            ("rope_theta", 1_000_000.0),
            ("rope_local_base_freq", 10_000.0),
            ("tie_word_embeddings", 1.0),
        ],
        ..GEMMA
    },
    Family {
        model_types: &["phi3"],
        sliding: Sliding::Always,
        gguf_architectures: &["phi3"],
        layer_names: &[ATTENTION_FUSED, FUSED_MLP, PRE_NORMS],
        defaults: &[
            ("norm_eps", 1e-5),
            ("max_position_embeddings", 4096.0),
            ("original_max_position_embeddings", 4096.0),
            ("partial_rotary_factor", 1.0),
        ],
        ..PLAIN
    },
    Family {
        model_types: &["phi"],
        gguf_architectures: &["phi2"],
        outer: &OUTER_PHI,
        layer_names: &[ATTENTION_DENSE, PHI_MLP, SHARED_NORM, HEAD_LAYER_NORMS],
        optional: &[Role::QueryNorm, Role::KeyNorm],
        activation: Activation::GeluTanh,
        norms: Norms::Layer,
        parallel: true,
        defaults: &[("partial_rotary_factor", 0.5), ("norm_eps", 1e-5), ("max_position_embeddings", 2048.0)],
        ..PLAIN
    },
    COHERE,
    // Layers without a window have no rotary embedding.
    Family {
        model_types: &["cohere2"],
        sliding: Sliding::Pattern,
        gguf_constants: &[("sliding_window_pattern", 4.0)],
        gguf_architectures: &["cohere2"],
        layer_names: &[ATTENTION, GATED_MLP, SHARED_NORM],
        ropes_only_in_windows: true,
        defaults: &[
            ("head_dim", 128.0),
            ("logit_scale", 0.0625),
            ("norm_eps", 1e-5),
            ("max_position_embeddings", 8192.0),
            ("sliding_window", 4096.0),
            ("sliding_window_pattern", 4.0),
            ("tie_word_embeddings", 1.0),
        ],
        ..COHERE
    },
    Family {
        model_types: &["starcoder2"],
        sliding: Sliding::Always,
        gguf_architectures: &["starcoder2"],
        layer_names: &[ATTENTION, STARCODER_MLP, PRE_NORMS],
        activation: Activation::GeluTanh,
        norms: Norms::Layer,
        defaults: &[
            ("norm_eps", 1e-5),
            ("num_key_value_heads", 2.0),
            ("max_position_embeddings", 4096.0),
            ("tie_word_embeddings", 1.0),
        ],
        ..PLAIN
    },
    // The parallel form has no second norm.
    Family {
        model_types: &["stablelm"],
        gguf_architectures: &["stablelm"],
        layer_names: &[ATTENTION, GATED_MLP, PRE_NORMS, HEAD_LAYER_NORMS],
        optional: &[Role::MlpNorm, Role::QueryNorm, Role::KeyNorm],
        norms: Norms::Layer,
        defaults: &[("partial_rotary_factor", 0.25), ("norm_eps", 1e-5), ("max_position_embeddings", 4096.0)],
        ..PLAIN
    },
    Family {
        model_types: &["bloom"],
        gguf_architectures: &["bloom"],
        outer: &OUTER_BLOOM,
        layer_names: &[BLOOM, PRE_NORMS],
        activation: Activation::GeluTanh,
        norms: Norms::Layer,
        positions: Positions::Alibi,
        fused_by_head: true,
        defaults: &[
            ("norm_eps", 1e-5),
            ("max_position_embeddings", 2048.0),
            ("intermediate_per_hidden", 4.0),
            ("tie_word_embeddings", 1.0),
        ],
        ..PLAIN
    },
    Family {
        model_types: &["glm"],
        gguf_architectures: &["chatglm"],
        layer_names: &[ATTENTION, FUSED_MLP, PRE_NORMS],
        ..GLM4
    },
    GLM4,
    Family {
        model_types: &["gpt2"],
        gguf_architectures: &["gpt2"],
        outer: &OUTER_GPT2,
        layer_names: &[GPT2],
        activation: Activation::GeluTanh,
        norms: Norms::Layer,
        positions: Positions::Learned,
        linears_transposed: true,
        defaults: &[
            ("norm_eps", 1e-5),
            ("max_position_embeddings", 1024.0),
            ("intermediate_per_hidden", 4.0),
            ("tie_word_embeddings", 1.0),
        ],
        ..PLAIN
    },
    Family {
        model_types: &["gpt_neox"],
        gguf_architectures: &["gptneox"],
        outer: &OUTER_GPT_NEOX,
        layer_names: &[GPT_NEOX, PRE_NORMS],
        activation: Activation::Gelu,
        norms: Norms::Layer,
        parallel: true,
        fused_by_head: true,
        defaults: &[("partial_rotary_factor", 0.25), ("norm_eps", 1e-5), ("max_position_embeddings", 2048.0)],
        ..PLAIN
    },
    Family {
        model_types: &["mixtral"],
        sliding: Sliding::Always,
        gguf_permutes_query_and_key: true,
        gguf_architectures: &["llama"],
        layer_names: &[ATTENTION, &[(Role::Router, "block_sparse_moe.gate", "ffn_gate_inp")], ROUTER, PRE_NORMS],
        experts: Some(&Experts {
            modules: &[[
                "block_sparse_moe.experts.{}.w1",
                "block_sparse_moe.experts.{}.w3",
                "block_sparse_moe.experts.{}.w2",
            ]],
            normalises: Some(true),
            ..EXPERTS
        }),
        defaults: &[("norm_eps", 1e-5), ("rope_theta", 1_000_000.0), ("num_experts_per_tok", 2.0)],
        ..PLAIN
    },
    Family {
        model_types: &["qwen2_moe"],
        sliding: Sliding::EvenBelowMaxWindowLayers,
        gguf_architectures: &["qwen2moe"],
        layer_names: &[
            ATTENTION,
            GATED_MLP,
            ROUTER,
            &[
                (Role::SharedGate, "mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
                (Role::SharedUp, "mlp.shared_expert.up_proj", "ffn_up_shexp"),
                (Role::SharedDown, "mlp.shared_expert.down_proj", "ffn_down_shexp"),
                (Role::SharedSwitch, "mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
            ],
            PRE_NORMS,
        ],
        experts: Some(&EXPERTS),
        defaults: &[
            ("use_sliding_window", 0.0),
            ("sliding_window", 4096.0),
            ("max_window_layers", 28.0),
            ("decoder_sparse_step", 1.0),
            ("num_experts_per_tok", 4.0),
            ("num_experts", 60.0),
            ("moe_intermediate_size", 1408.0),
            ("shared_expert_intermediate_size", 5632.0),
        ],
        ..PLAIN
    },
    Family {
        model_types: &["qwen3_moe"],
        sliding: Sliding::Always,
        gguf_constants: &[("norm_topk_prob", 1.0)],
        gguf_architectures: &["qwen3moe"],
        layer_names: &[ATTENTION, GATED_MLP, ROUTER, PRE_NORMS, HEAD_NORMS],
        experts: Some(&EXPERTS),
        defaults: &[
            ("use_sliding_window", 0.0),
            ("decoder_sparse_step", 1.0),
            ("num_experts_per_tok", 8.0),
            ("num_experts", 128.0),
            ("moe_intermediate_size", 768.0),
        ],
        ..PLAIN
    },
    Family {
        model_types: &["granitemoe"],
        gguf_constants: &[("logit_scale_divides", 1.0)],
        gguf_permutes_query_and_key: true,
        gguf_architectures: &["granitemoe"],
        layer_names: &[ATTENTION, &[(Role::Router, "block_sparse_moe.router.layer", "ffn_gate_inp")], PRE_NORMS],
        experts: Some(&Experts {
            modules: &[],
            stacked: &[["block_sparse_moe.input_linear.weight", "block_sparse_moe.output_linear.weight"]],
            normalises: Some(true),
            ..EXPERTS
        }),
        defaults: &[
            ("attention_multiplier", 1.0),
            ("embedding_multiplier", 1.0),
            ("residual_multiplier", 1.0),
            ("logits_scaling", 1.0),
            ("num_experts_per_tok", 2.0),
            ("num_experts", 8.0),
        ],
        ..PLAIN
    },
    Family {
        model_types: &["gpt_oss"],
        sliding: Sliding::Pattern,
        gguf_constants: &[
            ("sliding_window_pattern", 2.0),
            ("swiglu_alpha", 1.702),
            ("swiglu_limit", 7.0),
            ("yarn_truncate", 0.0),
        ],
        gguf_architectures: &["gpt-oss"],
        layer_names: &[
            ATTENTION,
            &[(Role::Sinks, "self_attn.sinks", "attn_sinks"), (Role::Router, "mlp.router", "ffn_gate_inp")],
            GPT_OSS_NORMS,
        ],
        experts: Some(&Experts { modules: &[], transposed: true, normalises: Some(true), ..EXPERTS }),
        defaults: &[
            ("head_dim", 64.0),
            ("num_key_value_heads", 8.0),
            ("norm_eps", 1e-5),
            ("rope_theta", 150_000.0),
            ("sliding_window", 128.0),
            ("sliding_window_pattern", 2.0),
            ("num_experts_per_tok", 4.0),
            ("num_experts", 128.0),
            ("swiglu_alpha", 1.702),
            ("swiglu_limit", 7.0),
        ],
        ..PLAIN
    },
];
