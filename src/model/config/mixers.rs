//! Which layer has which mixer, and the sizes of those that are not attention.

use serde_json::Value;

use super::MOST_LAYERS;
use super::fields::ConfigFields;
use crate::error::Result;
use crate::kernel::delta_rule::DeltaSizes;
use crate::kernel::recurrent::StateSizes;
use crate::model::activation::{Activation, Gating};
use crate::model::family::{MixerKind, Role};
use crate::model::mixer::ConvolutionSizes;

/// The sizes of the mixer that a model has beside attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MixerSizes {
    Delta(DeltaSizes),
    Short(ConvolutionSizes),
}

impl MixerSizes {
    /// The shape of a role's weight, as [`ModelConfig::shape_of`](super::ModelConfig::shape_of) has it; `None` if the mixer has no
    /// such role.
    pub fn shape_of(&self, role: Role, hidden: usize) -> Option<Vec<usize>> {
        match self {
            Self::Delta(delta) => delta_shape(delta, role, hidden),
            Self::Short(short) => Some(match role {
                Role::ShortInput => vec![3 * short.channels, hidden],
                Role::ShortConvolution => vec![short.channels, 1, short.taps],
                Role::ShortOut => vec![hidden, short.channels],
                _ => return None,
            }),
        }
    }

    /// What is left of a sequence behind each of its tokens.
    pub fn state(&self) -> StateSizes {
        match self {
            Self::Delta(delta) => delta.state(),
            Self::Short(short) => short.state(),
        }
    }

    /// The values that a token takes inside the mixer: its inputs, their convolution, and the copies that go there and back.
    pub fn inner_values(&self) -> usize {
        match self {
            Self::Delta(delta) => 5 * delta.channels(),
            Self::Short(short) => 8 * short.channels,
        }
    }

    /// The values that a token takes with derivatives: memories of its own, decayed, read, written and read again.
    pub fn gradient_values(&self) -> usize {
        6 * self.state().memories
    }

    /// What is wrong with the sizes.
    pub fn problem(&self) -> Option<&'static str> {
        let (sizes, is_multiple) = match self {
            Self::Delta(delta) => (
                vec![delta.key_heads, delta.value_heads, delta.key_size, delta.value_size, delta.taps],
                delta.key_heads > 0 && delta.value_heads.is_multiple_of(delta.key_heads),
            ),
            Self::Short(short) => (vec![short.taps], true),
        };
        let are_sound = is_multiple && sizes.iter().all(|size| (1..=LARGEST).contains(size));
        (!are_sound).then_some("are zero, impossibly large or no multiples")
    }
}

fn delta_shape(delta: &DeltaSizes, role: Role, hidden: usize) -> Option<Vec<usize>> {
    Some(match role {
        Role::DeltaInput => vec![delta.channels(), hidden],
        Role::DeltaGate => vec![delta.values(), hidden],
        Role::DeltaWrite | Role::DeltaDecay => vec![delta.value_heads, hidden],
        Role::DeltaInputGate => vec![delta.channels() + delta.values(), hidden],
        Role::DeltaWriteDecay => vec![2 * delta.value_heads, hidden],
        Role::Convolution => vec![delta.channels(), 1, delta.taps],
        Role::DeltaBias | Role::DeltaRate => vec![delta.value_heads],
        Role::DeltaNorm => vec![delta.value_size],
        Role::DeltaOut => vec![hidden, delta.values()],
        _ => return None,
    })
}

/// A bound on each of the sizes, far above any model, so that they multiply without overflow.
const LARGEST: usize = 1 << 12;

impl ConfigFields<'_> {
    /// What mixes tokens in each layer. The length of `layer_types` is checked with the windows.
    pub fn mixers(&self, layers: usize) -> Result<Vec<MixerKind>> {
        let types = self.get("layer_types").and_then(Value::as_array);
        let interval = self.optional_size("full_attention_interval")?.unwrap_or(1);
        let attending: Option<Vec<usize>> =
            self.get("full_attn_idxs").and_then(Value::as_array).map(|_| self.layers("full_attn_idxs").collect());
        let attends = |layer: usize| match &attending {
            Some(attending) => attending.contains(&layer),
            None => (layer + 1).is_multiple_of(interval),
        };
        let kind = |layer: usize| match (self.family.other_mixer(), types) {
            (Some(other), Some(types)) if types[layer].as_str() == other.layer_type() => other,
            (Some(other), None) if !attends(layer) => other,
            _ => MixerKind::Attention,
        };
        Ok((0..layers.min(MOST_LAYERS)).map(kind).collect())
    }

    /// The sizes of the family's mixer beside attention.
    pub fn other_mixer(&self, hidden_size: usize) -> Result<Option<MixerSizes>> {
        Ok(match self.family.other_mixer() {
            None | Some(MixerKind::Attention) => None,
            Some(MixerKind::DeltaNet) => Some(MixerSizes::Delta(self.delta()?)),
            Some(MixerKind::ShortConvolution) => {
                Some(MixerSizes::Short(ConvolutionSizes { channels: hidden_size, taps: self.size("conv_L_cache")? }))
            }
        })
    }

    fn delta(&self) -> Result<DeltaSizes> {
        // The activation is also that behind the convolution.
        if self.gating()? != Gating::By(Activation::Silu) {
            return Err(self.unsupported("another activation than SiLU in a gated delta net".into()).into());
        }
        Ok(DeltaSizes {
            key_heads: self.size("linear_num_key_heads")?,
            value_heads: self.size("linear_num_value_heads")?,
            key_size: self.size("linear_key_head_dim")?,
            value_size: self.size("linear_value_head_dim")?,
            taps: self.size("linear_conv_kernel_dim")?,
        })
    }
}
