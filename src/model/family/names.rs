//! What weights are called: groups of names of which families are composed.
//!
//! A name is given as in a Hugging Face layer, which is also its name in an adapter, and as in `blk.N` of GGUF. That of a parameter which
//! is no module is whole; the others are followed by `.weight` or `.bias`.

use super::{FormerName, Role, RoleNames};

pub const ATTENTION: RoleNames = &[
    (Role::Query, "self_attn.q_proj", "attn_q"),
    (Role::Key, "self_attn.k_proj", "attn_k"),
    (Role::Value, "self_attn.v_proj", "attn_v"),
    (Role::AttentionOut, "self_attn.o_proj", "attn_output"),
];
/// Phi and StableLM-like names of the same.
pub const ATTENTION_DENSE: RoleNames = &[
    (Role::Query, "self_attn.q_proj", "attn_q"),
    (Role::Key, "self_attn.k_proj", "attn_k"),
    (Role::Value, "self_attn.v_proj", "attn_v"),
    (Role::AttentionOut, "self_attn.dense", "attn_output"),
];
pub const ATTENTION_FUSED: RoleNames =
    &[(Role::QueryKeyValue, "self_attn.qkv_proj", "attn_qkv"), (Role::AttentionOut, "self_attn.o_proj", "attn_output")];
pub const GATED_MLP: RoleNames = &[
    (Role::Gate, "mlp.gate_proj", "ffn_gate"),
    (Role::Up, "mlp.up_proj", "ffn_up"),
    (Role::Down, "mlp.down_proj", "ffn_down"),
];
pub const PLAIN_MLP: RoleNames = &[(Role::Up, "mlp.up_proj", "ffn_up"), (Role::Down, "mlp.down_proj", "ffn_down")];
pub const XIELU_MLP: RoleNames = &[
    (Role::Up, "mlp.up_proj", "ffn_up"),
    (Role::Down, "mlp.down_proj", "ffn_down"),
    (Role::XieluSquares, "mlp.act_fn.alpha_p", ""),
    (Role::XieluExponentials, "mlp.act_fn.alpha_n", ""),
    (Role::XieluSlope, "mlp.act_fn.beta", ""),
    (Role::XieluEnd, "mlp.act_fn.eps", ""),
];
pub const FUSED_MLP: RoleNames =
    &[(Role::GateUp, "mlp.gate_up_proj", "ffn_up"), (Role::Down, "mlp.down_proj", "ffn_down")];

pub const PRE_NORMS: RoleNames =
    &[(Role::AttentionNorm, "input_layernorm", "attn_norm"), (Role::MlpNorm, "post_attention_layernorm", "ffn_norm")];
/// Apertus calls them by their blocks.
pub const APERTUS_NORMS: RoleNames =
    &[(Role::AttentionNorm, "attention_layernorm", "attn_norm"), (Role::MlpNorm, "feedforward_layernorm", "ffn_norm")];
/// One norm before a parallel block.
pub const SHARED_NORM: RoleNames = &[(Role::AttentionNorm, "input_layernorm", "attn_norm")];
pub const POST_NORMS: RoleNames = &[
    (Role::AttentionPostNorm, "post_attention_layernorm", "post_attention_norm"),
    (Role::MlpPostNorm, "post_feedforward_layernorm", "post_ffw_norm"),
];
/// With norms on both sides of a block the MLP's first one has a name of its own.
pub const OUTER_PRE_NORMS: RoleNames =
    &[(Role::AttentionNorm, "input_layernorm", "attn_norm"), (Role::MlpNorm, "pre_feedforward_layernorm", "ffn_norm")];
/// GLM-4 keeps the usual names before a block and has others after it.
pub const GLM_POST_NORMS: RoleNames = &[
    (Role::AttentionPostNorm, "post_self_attn_layernorm", "post_attention_norm"),
    (Role::MlpPostNorm, "post_mlp_layernorm", "post_ffw_norm"),
];
/// gpt-oss has no norms after a block, but llama.cpp calls the MLP's first one so.
pub const GPT_OSS_NORMS: RoleNames = &[
    (Role::AttentionNorm, "input_layernorm", "attn_norm"),
    (Role::MlpNorm, "post_attention_layernorm", "post_attention_norm"),
];
pub const HEAD_NORMS: RoleNames =
    &[(Role::QueryNorm, "self_attn.q_norm", "attn_q_norm"), (Role::KeyNorm, "self_attn.k_norm", "attn_k_norm")];
pub const DELTA_NET: RoleNames = &[
    (Role::DeltaInput, "linear_attn.in_proj_qkv", "attn_qkv"),
    (Role::DeltaGate, "linear_attn.in_proj_z", "attn_gate"),
    (Role::DeltaWrite, "linear_attn.in_proj_b", "ssm_beta"),
    (Role::DeltaDecay, "linear_attn.in_proj_a", "ssm_alpha"),
    (Role::Convolution, "linear_attn.conv1d", "ssm_conv1d"),
    (Role::DeltaBias, "linear_attn.dt_bias", "ssm_dt.bias"),
    (Role::DeltaRate, "linear_attn.A_log", "ssm_a"),
    (Role::DeltaNorm, "linear_attn.norm", "ssm_norm"),
    (Role::DeltaOut, "linear_attn.out_proj", "ssm_out"),
];
pub const LAYER_INPUTS: RoleNames = &[
    (Role::LayerInputGate, "per_layer_input_gate", "inp_gate"),
    (Role::LayerInputOut, "per_layer_projection", "proj"),
    (Role::LayerInputNorm, "post_per_layer_input_norm", "post_norm"),
];
pub const LAYER_SCALE: RoleNames = &[(Role::LayerScale, "layer_scalar", "layer_output_scale.weight")];
pub const SHORT_CONVOLUTION: RoleNames = &[
    (Role::ShortInput, "conv.in_proj", "shortconv.in_proj"),
    (Role::ShortConvolution, "conv.conv", "shortconv.conv"),
    (Role::ShortOut, "conv.out_proj", "shortconv.out_proj"),
];
pub const LFM2: RoleNames = &[
    (Role::AttentionNorm, "operator_norm", "attn_norm"),
    (Role::Query, "self_attn.q_proj", "attn_q"),
    (Role::Key, "self_attn.k_proj", "attn_k"),
    (Role::Value, "self_attn.v_proj", "attn_v"),
    (Role::AttentionOut, "self_attn.out_proj", "attn_output"),
    (Role::MlpNorm, "ffn_norm", "ffn_norm"),
    (Role::Gate, "feed_forward.w1", "ffn_gate"),
    (Role::Up, "feed_forward.w3", "ffn_up"),
    (Role::Down, "feed_forward.w2", "ffn_down"),
];
pub const LFM2_ROUTER: RoleNames = &[
    (Role::Router, "feed_forward.gate", "ffn_gate_inp"),
    (Role::RouterBias, "feed_forward.expert_bias", "exp_probs_b.bias"),
];
pub const FUSED_DELTA_NET: RoleNames = &[
    (Role::DeltaInputGate, "linear_attn.in_proj_qkvz", "ssm_in"),
    (Role::DeltaWriteDecay, "linear_attn.in_proj_ba", "ssm_ba"),
    (Role::Convolution, "linear_attn.conv1d", "ssm_conv1d"),
    (Role::DeltaBias, "linear_attn.dt_bias", "ssm_dt.bias"),
    (Role::DeltaRate, "linear_attn.A_log", "ssm_a"),
    (Role::DeltaNorm, "linear_attn.norm", "ssm_norm"),
    (Role::DeltaOut, "linear_attn.out_proj", "ssm_out"),
];
pub const MAMBA: RoleNames = &[
    (Role::MambaInput, "mamba.in_proj", "ssm_in"),
    (Role::MambaConvolution, "mamba.conv1d", "ssm_conv1d"),
    (Role::MambaBias, "mamba.dt_bias", "ssm_dt.bias"),
    (Role::MambaRate, "mamba.A_log", "ssm_a"),
    (Role::MambaSkip, "mamba.D", "ssm_d"),
    (Role::MambaNorm, "mamba.norm", "ssm_norm"),
    (Role::MambaOut, "mamba.out_proj", "ssm_out"),
];
pub const LATENT: RoleNames = &[
    (Role::LatentQuery, "self_attn.q_proj", "attn_q"),
    (Role::LatentQueryDown, "self_attn.q_a_proj", "attn_q_a"),
    (Role::LatentQueryNorm, "self_attn.q_a_layernorm", "attn_q_a_norm"),
    (Role::LatentQueryUp, "self_attn.q_b_proj", "attn_q_b"),
    (Role::LatentDown, "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    (Role::LatentNorm, "self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    (Role::LatentUp, "self_attn.kv_b_proj", "attn_kv_b"),
    (Role::LatentOut, "self_attn.o_proj", "attn_output"),
];
pub const HUNYUAN_HEAD_NORMS: RoleNames = &[
    (Role::QueryNorm, "self_attn.query_layernorm", "attn_q_norm"),
    (Role::KeyNorm, "self_attn.key_layernorm", "attn_k_norm"),
];
pub const HEAD_LAYER_NORMS: RoleNames = &[
    (Role::QueryNorm, "self_attn.q_layernorm", "attn_q_norm"),
    (Role::KeyNorm, "self_attn.k_layernorm", "attn_k_norm"),
];

pub const PHI_MLP: RoleNames = &[(Role::Up, "mlp.fc1", "ffn_up"), (Role::Down, "mlp.fc2", "ffn_down")];
pub const STARCODER_MLP: RoleNames = &[(Role::Up, "mlp.c_fc", "ffn_up"), (Role::Down, "mlp.c_proj", "ffn_down")];

pub const GPT2: RoleNames = &[
    (Role::AttentionNorm, "ln_1", "attn_norm"),
    (Role::QueryKeyValue, "attn.c_attn", "attn_qkv"),
    (Role::AttentionOut, "attn.c_proj", "attn_output"),
    (Role::MlpNorm, "ln_2", "ffn_norm"),
    (Role::Up, "mlp.c_fc", "ffn_up"),
    (Role::Down, "mlp.c_proj", "ffn_down"),
];
pub const GPT_NEOX: RoleNames = &[
    (Role::QueryKeyValue, "attention.query_key_value", "attn_qkv"),
    (Role::AttentionOut, "attention.dense", "attn_output"),
    (Role::Up, "mlp.dense_h_to_4h", "ffn_up"),
    (Role::Down, "mlp.dense_4h_to_h", "ffn_down"),
];
pub const BLOOM: RoleNames = &[
    (Role::QueryKeyValue, "self_attention.query_key_value", "attn_qkv"),
    (Role::AttentionOut, "self_attention.dense", "attn_output"),
    (Role::Up, "mlp.dense_h_to_4h", "ffn_up"),
    (Role::Down, "mlp.dense_4h_to_h", "ffn_down"),
];
/// Beside [`PRE_NORMS`] in Falcon.
pub const FALCON_NORMS: RoleNames =
    &[(Role::AttentionNorm, "ln_attn", "attn_norm_2"), (Role::MlpNorm, "ln_mlp", "attn_norm")];
pub const GPTJ: RoleNames = &[
    (Role::AttentionNorm, "ln_1", "attn_norm"),
    (Role::Query, "attn.q_proj", "attn_q"),
    (Role::Key, "attn.k_proj", "attn_k"),
    (Role::Value, "attn.v_proj", "attn_v"),
    (Role::AttentionOut, "attn.out_proj", "attn_output"),
    (Role::Up, "mlp.fc_in", "ffn_up"),
    (Role::Down, "mlp.fc_out", "ffn_down"),
];
pub const CODEGEN: RoleNames = &[
    (Role::AttentionNorm, "ln_1", "attn_norm"),
    (Role::QueryKeyValue, "attn.qkv_proj", "attn_qkv"),
    (Role::AttentionOut, "attn.out_proj", "attn_output"),
    (Role::Up, "mlp.fc_in", "ffn_up"),
    (Role::Down, "mlp.fc_out", "ffn_down"),
];
pub const MPT: RoleNames = &[
    (Role::AttentionNorm, "norm_1", "attn_norm"),
    (Role::QueryKeyValue, "attn.Wqkv", "attn_qkv"),
    (Role::AttentionOut, "attn.out_proj", "attn_output"),
    (Role::MlpNorm, "norm_2", "ffn_norm"),
    (Role::Up, "ffn.up_proj", "ffn_up"),
    (Role::Down, "ffn.down_proj", "ffn_down"),
];
pub const OPT: RoleNames = &[
    (Role::AttentionNorm, "self_attn_layer_norm", "attn_norm"),
    (Role::Query, "self_attn.q_proj", "attn_q"),
    (Role::Key, "self_attn.k_proj", "attn_k"),
    (Role::Value, "self_attn.v_proj", "attn_v"),
    (Role::AttentionOut, "self_attn.out_proj", "attn_output"),
    (Role::MlpNorm, "final_layer_norm", "ffn_norm"),
    (Role::Up, "fc1", "ffn_up"),
    (Role::Down, "fc2", "ffn_down"),
];
pub const LLAMA4_MLP: RoleNames = &[
    (Role::Gate, "feed_forward.gate_proj", ""),
    (Role::Up, "feed_forward.up_proj", ""),
    (Role::Down, "feed_forward.down_proj", ""),
    (Role::Router, "feed_forward.router", ""),
    (Role::SharedGate, "feed_forward.shared_expert.gate_proj", ""),
    (Role::SharedUp, "feed_forward.shared_expert.up_proj", ""),
    (Role::SharedDown, "feed_forward.shared_expert.down_proj", ""),
];

/// The modules outside the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    Embedding,
    EmbeddingNorm,
    /// Learned embeddings of positions.
    Positions,
    FinalNorm,
    /// The embeddings that tokens have for each layer, the map of usual embeddings to inputs of layers, and its norm.
    LayerEmbedding,
    LayerProjection,
    LayerNorm,
    /// Beside the decoder, not inside it.
    Head,
    /// A map of one of the lists of [`ALTUP_MAPS`].
    Listed,
}

/// The names of the modules outside the layers, where the family has them, and of the list of the layers.
#[derive(Debug, PartialEq)]
pub struct OuterNames {
    /// The decoder inside the text model with a head.
    pub decoder: &'static str,
    pub embedding: &'static str,
    pub embedding_norm: Option<&'static str>,
    pub positions: Option<&'static str>,
    pub stack: &'static str,
    /// Those of [`Outside::LayerEmbedding`], [`Outside::LayerProjection`] and [`Outside::LayerNorm`].
    pub layer_inputs: Option<[&'static str; 3]>,
    pub final_norm: &'static str,
    pub head: &'static str,
    /// Former names of the decoder in the text model, which PEFT replaces in LoRA adapters.
    pub former: &'static [FormerName],
}

impl Outside {
    pub const ALL: [Self; 8] = [
        Self::Embedding,
        Self::EmbeddingNorm,
        Self::Positions,
        Self::LayerEmbedding,
        Self::LayerProjection,
        Self::LayerNorm,
        Self::FinalNorm,
        Self::Head,
    ];

    /// The head under a name that it has in other trainers or in former versions of transformers.
    pub fn head_by_another_name(module: &str) -> Option<Self> {
        let last = module.rsplit('.').next()?;
        ["lm_head", "embed_out", "unembed_tokens", "unembed", "output_layer"].contains(&last).then_some(Self::Head)
    }
}

impl OuterNames {
    pub const GGUF: Self = OuterNames {
        decoder: "",
        embedding: "token_embd",
        embedding_norm: Some("token_embd_norm"),
        positions: Some("position_embd"),
        stack: "blk",
        layer_inputs: None,
        final_norm: "output_norm",
        head: "output",
        former: &[],
    };

    pub fn name(&self, outside: Outside) -> Option<&'static str> {
        match outside {
            Outside::Embedding => Some(self.embedding),
            Outside::EmbeddingNorm => self.embedding_norm,
            Outside::Positions => self.positions,
            Outside::LayerEmbedding => self.layer_inputs.map(|names| names[0]),
            Outside::LayerProjection => self.layer_inputs.map(|names| names[1]),
            Outside::LayerNorm => self.layer_inputs.map(|names| names[2]),
            Outside::FinalNorm => Some(self.final_norm),
            Outside::Head => Some(self.head),
            Outside::Listed => None,
        }
    }

    /// The module whose name ends in this one's.
    pub fn module_of(&self, name: &str) -> Option<Outside> {
        let last = name.rsplit('.').next();
        Outside::ALL.into_iter().find(|outside| self.name(*outside) == last)
    }
}

pub const OUTER: OuterNames = OuterNames {
    decoder: "model",
    embedding: "embed_tokens",
    embedding_norm: None,
    positions: None,
    stack: "layers",
    layer_inputs: None,
    final_norm: "norm",
    head: "lm_head",
    former: &[],
};
pub const OUTER_PHI: OuterNames = OuterNames { final_norm: "final_layernorm", ..OUTER };
pub const OUTER_GEMMA4: OuterNames = OuterNames {
    layer_inputs: Some(["embed_tokens_per_layer", "per_layer_model_projection", "per_layer_projection_norm"]),
    ..OUTER
};
/// Filters of queries, keys and values, which some files have in the place of [`Role::Convolution`] of a gated delta net.
pub const FILTER_PARTS: [&str; 3] = ["linear_attn.q_conv1d", "linear_attn.k_conv1d", "linear_attn.v_conv1d"];
/// The lists of maps outside the layers from embeddings to the further hidden states of tokens, and back from these.
pub const ALTUP_MAPS: [&str; 2] = ["altup_projections", "altup_unembed_projections"];
pub const OUTER_LFM2: OuterNames = OuterNames { final_norm: "embedding_norm", ..OUTER };
pub const OUTER_NEMOTRON_H: OuterNames =
    OuterNames { embedding: "embeddings", final_norm: "norm_f", former: &[("backbone", "model")], ..OUTER };
pub const OUTER_GPT2: OuterNames = OuterNames {
    decoder: "transformer",
    embedding: "wte",
    positions: Some("wpe"),
    stack: "h",
    final_norm: "ln_f",
    ..OUTER
};
pub const OUTER_GPT_NEOX: OuterNames = OuterNames {
    decoder: "gpt_neox",
    embedding: "embed_in",
    final_norm: "final_layer_norm",
    head: "embed_out",
    ..OUTER
};
pub const OUTER_BLOOM: OuterNames = OuterNames {
    decoder: "transformer",
    embedding: "word_embeddings",
    embedding_norm: Some("word_embeddings_layernorm"),
    stack: "h",
    final_norm: "ln_f",
    ..OUTER
};
pub const OUTER_GPTJ: OuterNames = OuterNames { positions: None, ..OUTER_GPT2 };
pub const OUTER_MPT: OuterNames = OuterNames { stack: "blocks", final_norm: "norm_f", ..OUTER_GPTJ };
pub const OUTER_FALCON: OuterNames = OuterNames { embedding_norm: None, ..OUTER_BLOOM };
pub const OUTER_OPT: OuterNames = OuterNames {
    decoder: "model.decoder",
    positions: Some("embed_positions"),
    final_norm: "final_layer_norm",
    ..OUTER
};
pub const OUTER_XGLM: OuterNames = OuterNames { final_norm: "layer_norm", ..OUTER };
/// Its norms have no weights, so that they have no names.
pub const OUTER_NANOCHAT: OuterNames = OuterNames { embedding_norm: Some("norm"), ..OUTER };

/// Modules outside the layers that have biases: the norms, in Phi the head, too.
pub const OUTER_NORMS: &[Outside] = &[Outside::FinalNorm, Outside::EmbeddingNorm];
pub const OUTER_NORM_AND_HEAD: &[Outside] = &[Outside::FinalNorm, Outside::Head];
