//! Which modules have biases. A bias in a file whose module has none is not read, as in transformers.

use super::role::Role;

/// When modules of some roles have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biased {
    Always,
    /// If this flag of the configuration is set.
    By(&'static str),
}

impl Biased {
    /// Whether the flag `key` of the configuration decides.
    pub fn is_by(self, key: &str) -> bool {
        matches!(self, Self::By(flag) if flag == key)
    }
}

/// The roles that have biases, each group with its condition.
pub type Biases = &'static [(Biased, &'static [Role])];

const QKV: &[Role] = &[Role::Query, Role::Key, Role::Value];
const QKVO: &[Role] = &[Role::Query, Role::Key, Role::Value, Role::AttentionOut];

pub const ATTENTION_BIAS: (Biased, &[Role]) = (Biased::By("attention_bias"), QKVO);
pub const ATTENTION_INPUT_BIAS: (Biased, &[Role]) = (Biased::By("attention_bias"), QKV);
pub const ATTENTION_OUT_BIAS: (Biased, &[Role]) = (Biased::By("attention_out_bias"), &[Role::AttentionOut]);
pub const ALL_BIAS: (Biased, &[Role]) = (
    Biased::By("use_bias"),
    &[Role::Query, Role::Key, Role::Value, Role::AttentionOut, Role::Gate, Role::Up, Role::Down],
);
pub const MLP_BIAS: (Biased, &[Role]) = (Biased::By("mlp_bias"), &[Role::Gate, Role::Up, Role::Down]);
pub const MAMBA_BIAS: (Biased, &[Role]) = (Biased::By("mamba_proj_bias"), &[Role::MambaInput, Role::MambaOut]);
pub const FILTER_BIAS: (Biased, &[Role]) = (Biased::By("mamba_conv_bias"), &[Role::MambaConvolution]);
pub const QKV_BIAS: (Biased, &[Role]) = (Biased::Always, QKV);
pub const QKV_BIAS_BY_FLAG: (Biased, &[Role]) = (Biased::By("qkv_bias"), QKV);
pub const STABLELM_QKV_BIAS: (Biased, &[Role]) = (Biased::By("use_qkv_bias"), QKV);
pub const CONVOLUTION_BIAS: (Biased, &[Role]) =
    (Biased::By("conv_bias"), &[Role::ShortInput, Role::ShortConvolution, Role::ShortOut]);
pub const LATENT_BIAS: (Biased, &[Role]) =
    (Biased::By("attention_bias"), &[Role::LatentQueryDown, Role::LatentDown, Role::LatentOut]);
pub const ALL_MLP_BIAS: (Biased, &[Role]) =
    (Biased::By("mlp_bias"), &[Role::Gate, Role::Up, Role::Down, Role::SharedGate, Role::SharedUp, Role::SharedDown]);
pub const ROUTER_BIAS: (Biased, &[Role]) = (Biased::Always, &[Role::Router]);
pub const LAYER_NORM_BIAS: (Biased, &[Role]) = (Biased::Always, &[Role::AttentionNorm, Role::MlpNorm]);
pub const HEAD_NORM_BIAS: (Biased, &[Role]) = (Biased::Always, &[Role::QueryNorm, Role::KeyNorm]);
pub const FUSED_ATTENTION_BIAS: (Biased, &[Role]) =
    (Biased::By("attention_bias"), &[Role::QueryKeyValue, Role::AttentionOut]);
pub const PLAIN_MLP_BIAS: (Biased, &[Role]) = (Biased::Always, &[Role::Up, Role::Down]);
pub const FUSED_BIAS: (Biased, &[Role]) =
    (Biased::Always, &[Role::QueryKeyValue, Role::AttentionOut, Role::Up, Role::Down]);
pub const FUSED_BIAS_BY_FLAG: (Biased, &[Role]) =
    (Biased::By("bias"), &[Role::QueryKeyValue, Role::AttentionOut, Role::Up, Role::Down]);
pub const OPT_BIAS: (Biased, &[Role]) =
    (Biased::By("enable_bias"), &[Role::Query, Role::Key, Role::Value, Role::AttentionOut, Role::Up, Role::Down]);
pub const DENSE_BIAS: (Biased, &[Role]) =
    (Biased::Always, &[Role::Query, Role::Key, Role::Value, Role::AttentionOut, Role::Up, Role::Down]);
pub const STARCODER_BIAS: (Biased, &[Role]) =
    (Biased::By("use_bias"), &[Role::Query, Role::Key, Role::Value, Role::AttentionOut, Role::Up, Role::Down]);
