//! Kin of Llama with other norms, activations or routers.

use super::super::names::*;
use super::llama::GRANITE_NUMBERS;
use super::mixtures::{EXPERTS, LOCAL_EXPERTS, ROUTER};
use super::*;

pub static FAMILIES: [Family; 9] = [
    // Its norms are centred, and their weights are those of 1 + weight.
    Family {
        model_types: &["nemotron"],
        gguf_architectures: &["nemotron"],
        layer_names: &[ATTENTION, PLAIN_MLP, PRE_NORMS],
        biases: &[ATTENTION_BIAS, MLP_BIAS, LAYER_NORM_BIAS],
        outer_biases: OUTER_NORMS,
        gating: Gating::By(Activation::ReluSquared),
        norms: Norms::LayerPlusOne,
        norm_eps: 1e-5,
        spellings: &[("layer_norm_eps", &["norm_eps"])],
        numbers: &[("partial_rotary_factor", 0.5), ("max_position_embeddings", 4096.0)],
        ..PLAIN
    },
    Family {
        model_types: &["apertus"],
        gguf_architectures: &["apertus"],
        layer_names: &[ATTENTION, XIELU_MLP, APERTUS_NORMS, HEAD_NORMS],
        biases: &[ATTENTION_BIAS],
        gating: Gating::Xielu,
        norm_eps: 1e-5,
        numbers: &[("max_position_embeddings", 65_536.0), ("rope_theta", 12_000_000.0)],
        base_without_parameters: Some(12_000_000.0),
        rope_scaling: &RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192.0,
        },
        ..PLAIN
    },
    Family {
        model_types: &["olmo"],
        gguf_architectures: &["olmo"],
        gguf: PERMUTED_GGUF,
        biases: &[ATTENTION_BIAS],
        norms: Norms::LayerWithoutWeights,
        norm_eps: 1e-5,
        reads: &[USUAL, "clip_qkv"],
        spellings: &[("layer_norm_eps", &[])],
        numbers: &[("max_position_embeddings", 2048.0)],
        ..PLAIN
    },
    Family {
        model_types: &["olmoe"],
        gguf_architectures: &["olmoe"],
        layer_names: &[ATTENTION, ROUTER, PRE_NORMS, HEAD_NORMS],
        experts: Some(&ExpertNames { weights: ExpertWeights::Configured { sum_to_one_in_gguf: false }, ..EXPERTS }),
        biases: &[ATTENTION_BIAS],
        head_norms: HeadNorms::AllHeadsTogether,
        norm_eps: 1e-5,
        reads: &[USUAL, "clip_qkv norm_topk_prob"],
        spellings: &[LOCAL_EXPERTS],
        numbers: &[("max_position_embeddings", 4096.0), ("num_experts_per_tok", 8.0), ("num_experts", 64.0)],
        ..PLAIN
    },
    Family {
        model_types: &["phimoe"],
        gguf_architectures: &["phimoe"],
        layer_names: &[
            ATTENTION,
            &[(Role::Router, "mlp.router", "ffn_gate_inp"), (Role::Router, "block_sparse_moe.gate", "ffn_gate_inp")],
            PRE_NORMS,
        ],
        experts: Some(&ExpertNames {
            modules: &[[
                "block_sparse_moe.experts.{}.w1",
                "block_sparse_moe.experts.{}.w3",
                "block_sparse_moe.experts.{}.w2",
            ]],
            weights: ExpertWeights::AsScored,
            scores: Scores::SoftmaxOfNear,
            ..EXPERTS
        }),
        biases: &[ATTENTION_BIAS, LAYER_NORM_BIAS],
        outer_biases: OUTER_NORM_AND_HEAD,
        norms: Norms::Layer,
        norm_eps: 1e-5,
        sliding: Sliding::Always,
        reads: &[USUAL, "sliding_window short_mscale"],
        spellings: &[
            ("layer_norm_eps", &["rms_norm_eps"]),
            ("num_experts", &["num_local_experts"]),
            ("num_experts_per_tok", &[]),
            ("original_max_position_embeddings", &[]),
        ],
        numbers: &[
            ("num_key_value_heads", 8.0),
            ("max_position_embeddings", 131_072.0),
            ("rope_theta", 1_000_000.0),
            ("num_experts", 16.0),
            ("num_experts_per_tok", 2.0),
            ("router_jitter_noise", 0.01),
        ],
        flags: &[("lm_head_bias", false)],
        harmless: &[
            ("num_experts_per_tok", "the router takes two, whatever it says"),
            ("original_max_position_embeddings", "the rotary parameters have it"),
            ("input_jitter_noise", "only training uses it"),
        ],
        ..PLAIN
    },
    // Some layers see chunks, the others have no rotary embedding.
    Family {
        model_types: &["llama4_text"],
        layer_names: &[ATTENTION, LLAMA4_MLP, PRE_NORMS],
        experts: Some(&ExpertNames {
            modules: &[],
            stacked: &[["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"]],
            stack_layout: StackLayout::GateFirstByInputs,
            weights: ExpertWeights::AsScored,
            scores: Scores::SigmoidOfInputs,
            ..EXPERTS
        }),
        biases: &[ATTENTION_BIAS],
        norm_eps: 1e-5,
        head_norms: HeadNorms::RotatedWithoutWeights,
        positions: Positions::RotaryNeighbours,
        rotary_layers: RotaryLayers::AllButEvery(4),
        reads: &[USUAL, "layer_types no_rope_layers no_rope_layer_interval moe_layers"],
        // All but those of the dense layers are as large as an expert.
        spellings: &[
            ("intermediate_size", &["intermediate_size_mlp"]),
            ("moe_intermediate_size", &["intermediate_size"]),
            ("shared_expert_intermediate_size", &["intermediate_size"]),
            ("decoder_sparse_step", &["interleave_moe_layer_step"]),
            ("num_experts", &["num_local_experts"]),
        ],
        numbers: &[
            ("head_dim", 128.0),
            ("num_key_value_heads", 8.0),
            ("intermediate_size", 16_384.0),
            ("moe_intermediate_size", 8192.0),
            ("shared_expert_intermediate_size", 8192.0),
            ("max_position_embeddings", 131_072.0),
            ("rope_theta", 500_000.0),
            ("attention_chunk_size", 8192.0),
            ("decoder_sparse_step", 1.0),
            ("num_experts", 16.0),
            ("num_experts_per_tok", 1.0),
            ("attn_scale", 0.1),
            ("floor_scale", 8192.0),
        ],
        flags: &[("use_qk_norm", true), ("attn_temperature_tuning", true)],
        harmless: &[("for_llm_compressor", "nothing in transformers reads it")],
        ..PLAIN
    },
    // Granite with windows, sinks and a rotary base for each layer.
    Family {
        model_types: &["granite_swa"],
        layer_names: &[ATTENTION, &[(Role::Sinks, "self_attn.sinks", "")], GATED_MLP, PRE_NORMS],
        biases: &[ATTENTION_BIAS, MLP_BIAS],
        norm_eps: 1e-5,
        sliding: Sliding::AllButFirstOf(4),
        reads: &[USUAL, "layer_types layer_rope_theta"],
        numbers: &[
            GRANITE_NUMBERS[0],
            GRANITE_NUMBERS[1],
            GRANITE_NUMBERS[2],
            GRANITE_NUMBERS[3],
            ("num_key_value_heads", 4.0),
            ("max_position_embeddings", 8192.0),
            ("sliding_window", 128.0),
        ],
        flags: TIED,
        ..PLAIN
    },
    // Phi-3 beside images and speech.
    Family {
        model_types: &["phi4_multimodal"],
        layer_names: &[ATTENTION_FUSED, FUSED_MLP, PRE_NORMS],
        norm_eps: 1e-5,
        sliding: Sliding::Always,
        reads: &[USUAL, "sliding_window"],
        numbers: &[
            ("num_key_value_heads", 8.0),
            ("max_position_embeddings", 131_072.0),
            ("original_max_position_embeddings", 4096.0),
            ("partial_rotary_factor", 1.0),
        ],
        ..PLAIN
    },
    // ERNIE 4.5, whose rotary embedding has three axes here and rotates halves. Published files have its numbers among the others.
    Family {
        model_types: &["paddleocr_vl", "paddleocr_vl_text"],
        biases: &[ALL_BIAS],
        norm_eps: 1e-5,
        numbers: &[
            ("head_dim", 128.0),
            ("num_key_value_heads", 2.0),
            ("max_position_embeddings", 131_072.0),
            ("rope_theta", 500_000.0),
        ],
        flags: TIED,
        ..PLAIN
    },
];
