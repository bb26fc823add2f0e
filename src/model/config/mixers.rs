//! Which layer has which mixer, and the sizes of those that are not attention.

use serde_json::Value;

use super::MOST_LAYERS;
use super::fields::ConfigFields;
use super::latent::LatentSizes;
use super::mamba::MambaConfig;
use crate::error::Result;
use crate::kernel::delta_rule::DeltaSizes;
use crate::kernel::recurrent::{ConvolutionSizes, StateSizes};
use crate::model::activation::{Activation, Gating};
use crate::model::family::{MixerKind, Role};

/// The sizes of the mixer that a model has beside attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MixerSizes {
    Delta(DeltaSizes),
    Short(ConvolutionSizes),
    Mamba(MambaConfig),
    Latent(LatentSizes),
}

impl MixerSizes {
    /// The shape of a role's weight, as [`ModelConfig::shape_of`](super::ModelConfig::shape_of) has it; `None` if the mixer has no
    /// such role.
    pub fn shape_of(&self, role: Role, hidden: usize) -> Option<Vec<usize>> {
        match self {
            Self::Delta(delta) => delta_shape(delta, role, hidden),
            Self::Latent(latent) => latent.shape_of(role, hidden),
            Self::Mamba(mamba) => mamba.shape_of(role, hidden),
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
            Self::Mamba(mamba) => mamba.sizes.state(),
            Self::Latent(_) => StateSizes::default(),
        }
    }

    /// The values that a token takes inside the mixer: its inputs, their convolution, and the copies that go there and back.
    pub fn inner_values(&self) -> usize {
        match self {
            Self::Delta(delta) => 5 * delta.channels(),
            Self::Short(short) => 8 * short.channels,
            Self::Mamba(mamba) => mamba.inner_values(),
            Self::Latent(latent) => latent.inner_values(),
        }
    }

    /// The values that a layer's cache keeps of each token, of latent attention.
    pub fn cached_values(&self) -> usize {
        self.latent().map_or(0, |latent| latent.cached_values())
    }

    pub fn latent(&self) -> Option<LatentSizes> {
        match self {
            Self::Latent(latent) => Some(*latent),
            _ => None,
        }
    }

    /// The values that a token takes with derivatives: memories of its own, decayed, read, written and read again.
    pub fn gradient_values(&self) -> usize {
        6 * self.state().memories
    }

    /// What is wrong with the sizes.
    pub fn problem(&self) -> Option<&'static str> {
        let is_sound = match self {
            Self::Delta(delta) => {
                let sizes = [delta.key_heads, delta.value_heads, delta.key_size, delta.value_size, delta.taps];
                sizes.iter().all(|size| (1..=LARGEST).contains(size))
                    && delta.value_heads.is_multiple_of(delta.key_heads)
            }
            Self::Latent(latent) => return latent.problem(),
            Self::Mamba(mamba) => mamba.is_sound(LARGEST),
            Self::Short(short) => (1..=LARGEST).contains(&short.taps),
        };
        (!is_sound).then_some("are zero, impossibly large or no multiples")
    }
}

fn delta_shape(delta: &DeltaSizes, role: Role, hidden: usize) -> Option<Vec<usize>> {
    Some(match role {
        Role::DeltaInput => vec![delta.channels(), hidden],
        Role::DeltaQuery | Role::DeltaKey => vec![delta.key_heads * delta.key_size, hidden],
        Role::DeltaGate | Role::DeltaValue => vec![delta.values(), hidden],
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

/// What a layer is, if it is a single block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    Attention,
    Mamba,
    Mlp,
    Experts,
}

impl Block {
    pub fn named(name: &str) -> Option<Self> {
        match current_layer_type(name) {
            "full_attention" => Some(Self::Attention),
            "linear_attention" => Some(Self::Mamba),
            "mlp" => Some(Self::Mlp),
            "moe" => Some(Self::Experts),
            _ => None,
        }
    }

    fn lettered(letter: char) -> Option<Self> {
        match letter {
            '*' => Some(Self::Attention),
            'M' => Some(Self::Mamba),
            '-' => Some(Self::Mlp),
            'E' => Some(Self::Experts),
            _ => None,
        }
    }

    fn mixer(self) -> MixerKind {
        match self {
            Self::Attention => MixerKind::Attention,
            Self::Mamba => MixerKind::Mamba,
            Self::Mlp | Self::Experts => MixerKind::Absent,
        }
    }
}

/// The name that a type of layer has now.
pub fn current_layer_type(name: &str) -> &str {
    match name {
        "mamba" => "linear_attention",
        "attention" => "full_attention",
        name => name,
    }
}

impl ConfigFields<'_> {
    /// What each layer is, in a family whose layers are single blocks. The list of their types counts before the pattern of letters.
    pub fn blocks(&self) -> Result<Option<Vec<Block>>> {
        if !self.family.layers_are_single_blocks {
            return Ok(None);
        }
        let types = self.get("layer_types").and_then(|types| types.as_array());
        let pattern = self.text("hybrid_override_pattern");
        let blocks: Option<Vec<Block>> = match (types, pattern) {
            (Some(types), _) => types.iter().map(|name| Block::named(name.as_str()?)).collect(),
            (None, Some(pattern)) => pattern.chars().map(Block::lettered).collect(),
            (None, None) => Some(vec![Block::Mamba, Block::Experts, Block::Attention, Block::Mlp]),
        };
        match blocks {
            Some(blocks) => Ok(Some(blocks)),
            None => Err(self.unsupported("layers of an unknown type (`hybrid_override_pattern`)".into()).into()),
        }
    }

    /// What mixes tokens in each layer. The length of `layer_types` is checked with the windows.
    pub fn mixers(&self, layers: usize, blocks: Option<&[Block]>) -> Result<Vec<MixerKind>> {
        if let Some(blocks) = blocks {
            return Ok(blocks.iter().map(|block| block.mixer()).collect());
        }
        let types = self.get("layer_types").and_then(|types| types.as_array());
        let interval = self.optional_size("full_attention_interval")?;
        let with_attention = self.layers_with_attention(layers);
        let Some(other) = self.family.other_mixer() else {
            return Ok(vec![MixerKind::Attention; layers.min(MOST_LAYERS)]);
        };
        if !self.family.roles().any(|role| role.mixer() == Some(MixerKind::Attention)) {
            return Ok(vec![other; layers.min(MOST_LAYERS)]);
        }
        let has_other = |layer: usize| match (types, &with_attention) {
            (Some(types), _) => types[layer].as_str().map(current_layer_type) == other.layer_type(),
            (None, Some(with_attention)) => !with_attention.contains(&layer),
            (None, None) => interval.is_none_or(|interval| !(layer + 1).is_multiple_of(interval)),
        };
        let kind = |layer: usize| match has_other(layer) {
            true if self.family.mixers_are_side_by_side => MixerKind::AttentionAndMamba,
            true => other,
            false => MixerKind::Attention,
        };
        Ok((0..layers.min(MOST_LAYERS)).map(kind).collect())
    }

    /// The layers with attention, in families that list them; LFM2 without a list has it in all of them.
    fn layers_with_attention(&self, layers: usize) -> Option<Vec<usize>> {
        if self.family.reads("attn_layer_indices") {
            return Some(self.layers("attn_layer_indices").collect());
        }
        self.family.reads("full_attn_idxs").then(|| match self.get("full_attn_idxs").is_some_and(Value::is_array) {
            true => self.layers("full_attn_idxs").collect(),
            false => (0..layers.min(MOST_LAYERS)).collect(),
        })
    }

    /// The sizes of the family's mixer beside attention.
    pub fn other_mixer(&self, hidden_size: usize) -> Result<Option<MixerSizes>> {
        Ok(match self.family.other_mixer() {
            None | Some(MixerKind::Attention | MixerKind::AttentionAndMamba | MixerKind::Absent) => None,
            Some(MixerKind::Mamba) => Some(MixerSizes::Mamba(self.mamba()?)),
            Some(MixerKind::Latent) => Some(MixerSizes::Latent(self.latent()?)),
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
        // Families without numbers for these derive them from other sizes.
        let size = |key: &str, derived: usize| match self.family.number(key) {
            Some(_) => self.size(key),
            None => Ok(self.optional_size(key)?.unwrap_or(derived)),
        };
        let heads = self.size("num_attention_heads")?;
        let key_heads = size("linear_num_key_heads", heads)?;
        let key_size = size("linear_key_head_dim", (0.75 * self.size("hidden_size")? as f64) as usize / key_heads)?;
        Ok(DeltaSizes {
            key_heads,
            value_heads: size("linear_num_value_heads", heads)?,
            key_size,
            value_size: size("linear_value_head_dim", key_size.saturating_mul(2))?,
            taps: self.size("linear_conv_kernel_dim")?,
        })
    }
}
