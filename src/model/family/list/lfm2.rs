//! LFM2: short convolutions, and attention in some layers; some have experts.

use super::super::names::*;
use super::routed::SIGMOID_EXPERTS;
use super::*;

pub static FAMILIES: [Family; 2] = [
    Family { gguf_architectures: &["lfm2"], gguf: LFM2_GGUF, ..LFM2_DENSE },
    // The MLPs of the first layers are as large as the configuration says; the others are experts.
    Family {
        model_types: &["lfm2_moe"],
        gguf_architectures: &["lfm2moe"],
        gguf: LFM2_GGUF,
        layer_names: &[LFM2, SHORT_CONVOLUTION, HEAD_LAYER_NORMS, LFM2_ROUTER],
        experts: Some(&ExpertNames {
            modules: &[["feed_forward.experts.{}.w1", "feed_forward.experts.{}.w3", "feed_forward.experts.{}.w2"]],
            stacked: &[["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"]],
            weights: ExpertWeights::Configured { sum_to_one_in_gguf: true },
            grouping: Grouping::Never,
            added_to_sum: 1e-6,
            ..SIGMOID_EXPERTS
        }),
        reads: &["intermediate_size num_key_value_heads layer_types moe_intermediate_size"],
        spellings: &[
            ("activation", &[]),
            ("rms_norm_eps", &["norm_eps"]),
            ("tie_word_embeddings", &["tie_embedding", "tie_word_embeddings"]),
            ("first_k_dense_replace", &["num_dense_layers"]),
        ],
        numbers: &[
            ("vocab_size", 65_536.0),
            ("hidden_size", 2048.0),
            ("intermediate_size", 7168.0),
            ("moe_intermediate_size", 1792.0),
            ("num_hidden_layers", 32.0),
            ("num_attention_heads", 32.0),
            ("num_key_value_heads", 8.0),
            ("max_position_embeddings", 128_000.0),
            ("rope_theta", 1_000_000.0),
            ("conv_L_cache", 3.0),
            ("first_k_dense_replace", 2.0),
            ("num_experts", 32.0),
            ("num_experts_per_tok", 4.0),
            ("routed_scaling_factor", 1.0),
        ],
        flags: &[
            ("tie_word_embeddings", true),
            ("conv_bias", false),
            ("use_expert_bias", true),
            ("norm_topk_prob", true),
        ],
        ..LFM2_DENSE
    },
];

/// llama.cpp takes the last norm for one of embeddings, by its name.
const LFM2_GGUF: GgufConventions = GgufConventions {
    outer: &OuterNames { embedding_norm: None, final_norm: "token_embd_norm", ..OuterNames::GGUF },
    ..PLAIN_GGUF
};

const LFM2_DENSE: Family = Family {
    model_types: &["lfm2"],
    outer: &OUTER_LFM2,
    layer_names: &[LFM2, SHORT_CONVOLUTION, HEAD_LAYER_NORMS],
    biases: &[CONVOLUTION_BIAS],
    // The MLP has one activation.
    norm_eps: 1e-5,
    reads: &["intermediate_size num_key_value_heads layer_types full_attn_idxs block_ffn_dim_multiplier"],
    spellings: &[
        ("activation", &[]),
        ("intermediate_size", &["block_ff_dim", "intermediate_size"]),
        ("rms_norm_eps", &["norm_eps"]),
        ("tie_word_embeddings", &["tie_embedding", "tie_word_embeddings"]),
    ],
    numbers: &[
        ("vocab_size", 65_536.0),
        ("hidden_size", 2560.0),
        ("intermediate_size", 12_288.0),
        ("num_hidden_layers", 32.0),
        ("num_attention_heads", 32.0),
        ("num_key_value_heads", 8.0),
        ("max_position_embeddings", 128_000.0),
        ("rope_theta", 1_000_000.0),
        ("conv_L_cache", 3.0),
        ("block_multiple_of", 256.0),
        ("block_ffn_dim_multiplier", 1.0),
    ],
    flags: &[("tie_word_embeddings", true), ("conv_bias", false), ("block_auto_adjust_ff_dim", true)],
    harmless: PUBLISHED,
    ..PLAIN
};

/// Keys of published configurations.
const PUBLISHED: &[Harmless] = &[
    ("block_dim", COPY),
    ("block_mlp_init_scale", "only training uses it"),
    ("block_norm_eps", COPY),
    ("block_out_init_scale", "only training uses it"),
    ("block_use_swiglu", COPY),
    ("block_use_xavier_init", "only training uses it"),
    ("conv_dim", COPY),
    ("conv_dim_out", COPY),
    ("conv_use_xavier_init", "only training uses it"),
    ("num_heads", COPY),
    ("theta", COPY),
    ("use_pos_enc", COPY),
];
const COPY: &str = "nothing in transformers reads it";
