//! Which layer has which mixer, and the sizes of those that are not attention.

use super::MOST_LAYERS;
use super::fields::ConfigFields;
use super::latent::LatentSizes;
use crate::error::Result;
use crate::kernel::delta_rule::DeltaSizes;
use crate::kernel::recurrent::StateSizes;
use crate::model::activation::{Activation, Gating};
use crate::model::family::{MixerKind, Role};

/// The sizes of the mixer that a model has beside attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MixerSizes {
    Delta(DeltaSizes),
    Latent(LatentSizes),
}

impl MixerSizes {
    /// The shape of a role's weight, as [`ModelConfig::shape_of`](super::ModelConfig::shape_of) has it; `None` if the mixer has no
    /// such role.
    pub fn shape_of(&self, role: Role, hidden: usize) -> Option<Vec<usize>> {
        let delta = match self {
            Self::Latent(latent) => return latent.shape_of(role, hidden),
            Self::Delta(delta) => delta,
        };
        Some(match role {
            Role::DeltaInput => vec![delta.channels(), hidden],
            Role::DeltaGate => vec![delta.values(), hidden],
            Role::DeltaWrite | Role::DeltaDecay => vec![delta.value_heads, hidden],
            Role::Convolution => vec![delta.channels(), 1, delta.taps],
            Role::DeltaBias | Role::DeltaRate => vec![delta.value_heads],
            Role::DeltaNorm => vec![delta.value_size],
            Role::DeltaOut => vec![hidden, delta.values()],
            _ => return None,
        })
    }

    /// What is left of a sequence behind each of its tokens.
    pub fn state(&self) -> StateSizes {
        match self {
            Self::Delta(delta) => delta.state(),
            Self::Latent(_) => StateSizes::default(),
        }
    }

    /// The values that a token takes inside the mixer: its inputs, their convolution, and the copy that goes there and back.
    pub fn inner_values(&self) -> usize {
        match self {
            Self::Delta(delta) => 5 * delta.channels(),
            Self::Latent(latent) => latent.inner_values(),
        }
    }

    /// The values that a layer's cache keeps of each token.
    pub fn cached_values(&self) -> usize {
        self.latent().map_or(0, |latent| latent.cached_values())
    }

    pub fn latent(&self) -> Option<LatentSizes> {
        match self {
            Self::Latent(latent) => Some(*latent),
            Self::Delta(_) => None,
        }
    }

    /// The values that a token takes with derivatives: memories of its own, decayed, read, written and read again.
    pub fn gradient_values(&self) -> usize {
        6 * self.state().memories
    }

    /// What is wrong with the sizes.
    pub fn problem(&self) -> Option<&'static str> {
        let delta = match self {
            Self::Latent(latent) => return latent.problem(),
            Self::Delta(delta) => delta,
        };
        let sizes = [delta.key_heads, delta.value_heads, delta.key_size, delta.value_size, delta.taps];
        let is_sound =
            sizes.iter().all(|size| (1..=LARGEST).contains(size)) && delta.value_heads.is_multiple_of(delta.key_heads);
        (!is_sound).then_some("are zero, impossibly large or no multiples")
    }
}

/// A bound on each of the sizes, far above any model, so that they multiply without overflow.
const LARGEST: usize = 1 << 12;

impl ConfigFields<'_> {
    /// What mixes tokens in each layer. The length of `layer_types` is checked with the windows.
    pub fn mixers(&self, layers: usize) -> Result<Vec<MixerKind>> {
        let types = self.get("layer_types").and_then(|types| types.as_array());
        let interval = self.optional_size("full_attention_interval")?.unwrap_or(1);
        let other = self.family.other_mixer();
        let has_attention = self.family.roles().any(|role| role.mixer() == Some(MixerKind::Attention));
        let kind = |layer: usize| match (other, types) {
            (None, _) => MixerKind::Attention,
            (Some(other), _) if !has_attention => other,
            (Some(other), Some(types)) if Some(&types[layer]).and_then(|name| name.as_str()) == other.layer_type() => {
                other
            }
            (Some(other), None) if !(layer + 1).is_multiple_of(interval) => other,
            _ => MixerKind::Attention,
        };
        Ok((0..layers.min(MOST_LAYERS)).map(kind).collect())
    }

    /// The sizes of the family's mixer beside attention.
    pub fn other_mixer(&self) -> Result<Option<MixerSizes>> {
        Ok(match self.family.other_mixer() {
            None | Some(MixerKind::Attention) => None,
            Some(MixerKind::Latent) => Some(MixerSizes::Latent(self.latent()?)),
            Some(MixerKind::DeltaNet) => Some(MixerSizes::Delta(self.delta()?)),
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
