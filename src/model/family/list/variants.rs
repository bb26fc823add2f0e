//! Kin of Llama with other norms, activations or routers.

use super::super::names::*;
use super::mixtures::{EXPERTS, LOCAL_EXPERTS, ROUTER};
use super::*;

pub static FAMILIES: [Family; 4] = [
    // Its norms are centred, and their weights are those of 1 + weight.
    Family {
        model_types: &["nemotron"],
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
];
