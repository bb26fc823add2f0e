//! Decoders of 2021 to 2023: GPT-J, CodeGen, GPT BigCode, MPT, Falcon and OPT.

use super::super::names::*;
use super::gpt::LAYER_NORM;
use super::*;

pub static FAMILIES: [Family; 6] = [
    GPTJ_FAMILY,
    Family { model_types: &["codegen"], layer_names: &[CODEGEN], fused_order: FusedOrder::FourParts, ..GPTJ_FAMILY },
    // SantaCoder and StarCoder: GPT-2 with one key for all queries.
    Family {
        model_types: &["gpt_bigcode"],
        gguf_architectures: &["starcoder"],
        outer: &OUTER_GPT2,
        layer_names: &[GPT2],
        biases: &[FUSED_BIAS, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::GeluTanh),
        positions: Positions::Learned,
        fused_order: FusedOrder::GroupByGroup,
        intermediate_per_hidden: Some(4),
        reads: &["n_inner scale_attn_weights"],
        spellings: GPT_SPELLINGS,
        numbers: &[("max_position_embeddings", 1024.0)],
        flags: &[("tie_word_embeddings", true), ("multi_query", true)],
        harmless: &[("num_key_value_heads", "`multi_query` says it")],
        ..LAYER_NORM
    },
    Family {
        model_types: &["mpt"],
        gguf_architectures: &["mpt"],
        outer: &OUTER_MPT,
        layer_names: &[MPT],
        outer_biases: &[],
        gating: Gating::By(Activation::Gelu),
        positions: Positions::Alibi,
        intermediate_per_hidden: Some(4),
        reads: &["clip_qkv softmax_scale alibi qk_ln prefix_lm attn_type no_bias"],
        spellings: &[
            ("hidden_size", &["d_model", "hidden_size"]),
            ("num_hidden_layers", &["n_layers", "num_hidden_layers"]),
            ("num_attention_heads", &["n_heads", "num_attention_heads"]),
            ("max_position_embeddings", &["max_seq_len"]),
            ("layer_norm_eps", &["layer_norm_epsilon"]),
            ("activation", &[]),
        ],
        numbers: &[("max_position_embeddings", 2048.0)],
        flags: TIED,
        nested: Some("attn_config"),
        // transformers takes no notice of them; the authors' own code did.
        refused: &[
            &[("alibi", "false")],
            &[("qk_ln", "true")],
            &[("prefix_lm", "true")],
            &[("no_bias", "false")],
            &[("attn_type", "\"multiquery_attention\"")],
        ],
        harmless: &[
            ("attn_impl", "an evaluation has its own arithmetic"),
            ("attn_uses_sequence_id", "a sample is one sequence"),
            ("alibi_bias_max", "transformers has no code for it"),
            ("learned_pos_emb", "transformers has no code for it"),
            ("expansion_ratio", "transformers has no code for it"),
            ("init_device", "only training uses it"),
            ("init_config", "only training uses it"),
            ("emb_pdrop", "only training uses it"),
            ("embedding_fraction", "only training uses it"),
        ],
        ..LAYER_NORM
    },
    Family {
        model_types: &["falcon"],
        gguf_architectures: &["falcon"],
        // Only models whose blocks are side by side have such files.
        gguf: GgufConventions {
            names: &[
                (Role::AttentionNorm, "attn_norm_2"),
                (Role::AttentionNorm, "attn_norm"),
                (Role::MlpNorm, "attn_norm"),
            ],
            ..PLAIN_GGUF
        },
        outer: &OUTER_FALCON,
        layer_names: &[BLOOM, PRE_NORMS, FALCON_NORMS],
        optional: &[Role::MlpNorm],
        biases: &[FUSED_BIAS_BY_FLAG, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::Gelu),
        fused_order: FusedOrder::GroupByGroup,
        intermediate_per_hidden: Some(4),
        reads: &["intermediate_size num_key_value_heads num_ln_in_parallel_attn alibi"],
        spellings: &[
            ("hidden_size", &["n_embed", "hidden_size"]),
            ("num_key_value_heads", &["num_kv_heads"]),
            ("intermediate_size", &["ffn_hidden_size"]),
            ("use_parallel_residual", &["parallel_attn"]),
            ("layer_norm_eps", &["layer_norm_epsilon"]),
            ("activation", &["activation"]),
        ],
        numbers: &[("max_position_embeddings", 2048.0)],
        flags: &[
            ("tie_word_embeddings", true),
            ("multi_query", true),
            ("use_parallel_residual", true),
            ("new_decoder_architecture", false),
        ],
        refused: &[
            // Its numbers in transformers depend on the attention that is chosen: `eager` adds ALiBi twice.
            &[("alibi", "true")],
            // transformers fails.
            &[("new_decoder_architecture", "true"), ("use_parallel_residual", "false")],
            &[("new_decoder_architecture", "true"), ("use_parallel_residual", "null")],
            &[("new_decoder_architecture", "false"), ("num_ln_in_parallel_attn", "2")],
        ],
        ..LAYER_NORM
    },
    Family {
        model_types: &["opt"],
        outer: &OUTER_OPT,
        layer_names: &[OPT],
        biases: &[OPT_BIAS, LAYER_NORM_BIAS],
        gating: Gating::By(Activation::Relu),
        positions: Positions::Learned,
        first_position: 2,
        reads: &["intermediate_size do_layer_norm_before word_embed_proj_dim layer_norm_elementwise_affine \
             _remove_final_layer_norm"],
        spellings: &[
            ("intermediate_size", &["ffn_dim"]),
            ("activation", &["activation_function"]),
            ("layer_norm_eps", &[]),
        ],
        numbers: &[("intermediate_size", 3072.0), ("max_position_embeddings", 2048.0)],
        flags: &[("tie_word_embeddings", true), ("enable_bias", true)],
        refused: &[
            &[("do_layer_norm_before", "false")],
            &[("layer_norm_elementwise_affine", "false")],
            &[("_remove_final_layer_norm", "true")],
        ],
        harmless: &[("layerdrop", "only training uses it"), ("init_std", "only training uses it")],
        ..LAYER_NORM
    },
];

/// Attention and MLP side by side; the head has a bias.
const GPTJ_FAMILY: Family = Family {
    model_types: &["gptj"],
    outer: &OUTER_GPTJ,
    layer_names: &[GPTJ],
    biases: &[PLAIN_MLP_BIAS, LAYER_NORM_BIAS],
    outer_biases: OUTER_NORM_AND_HEAD,
    gating: Gating::By(Activation::GeluTanh),
    residual: Residual::Parallel,
    positions: Positions::RotaryNeighbours,
    intermediate_per_hidden: Some(4),
    reads: &["n_inner"],
    spellings: &[
        GPT_SPELLINGS[0],
        GPT_SPELLINGS[1],
        GPT_SPELLINGS[2],
        GPT_SPELLINGS[3],
        GPT_SPELLINGS[4],
        GPT_SPELLINGS[5],
        ("rope_theta", &[]),
        ("rope_scaling", &[]),
        ("rope_parameters", &[]),
    ],
    numbers: &[("max_position_embeddings", 2048.0), ("rotary_dim", 64.0)],
    harmless: &[("rotary", "all models of the family have it"), ("scale_attn_weights", "they are always scaled")],
    ..LAYER_NORM
};

const GPT_SPELLINGS: &[KeySpelling] = &[
    ("hidden_size", &["n_embd", "hidden_size"]),
    ("num_hidden_layers", &["n_layer", "num_hidden_layers"]),
    ("num_attention_heads", &["n_head", "num_attention_heads"]),
    ("max_position_embeddings", &["n_positions", "max_position_embeddings"]),
    ("layer_norm_eps", &["layer_norm_epsilon"]),
    ("activation", &["activation_function"]),
];
