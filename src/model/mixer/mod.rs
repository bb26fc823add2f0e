//! The part of a layer that mixes tokens: attention, and whatever takes its place in other layers.
//!
//! A mixer is one file: it reads its weights, takes an adapter, and runs hidden states with and without a cache. The layer
//! around it, the walk over the layers and the MLP do not know which mixer it is.
//! [`ModelConfig`](super::ModelConfig) says which layer has which, and [`load`] asks it.

mod attention;
mod cache;
mod delta_net;
mod delta_steps;
mod latent;
mod mamba;
mod mamba_steps;
mod scores;
mod sequences;
mod short_conv;
mod side_by_side;

use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};

use super::Pass;
use super::carried::Carried;
use super::config::{MambaConfig, MixerSizes};
use super::family::MixerKind;
use super::weights::LayerWeights;
use crate::adapter::LayerAdapter;
use crate::error::Result;
pub use cache::{Cache, LayerCache};

/// What mixes the tokens of a sequence in a layer.
pub trait Mixer<'a>: Send + Sync {
    /// The same mixer with an adapter on. The base weights are shared, not copied.
    fn adapted(&self, adapter: &LayerAdapter) -> Result<Arc<dyn Mixer<'a> + 'a>>;

    /// Runs normalised hidden states, (rows, hidden), through the mixer: (rows, hidden), or fewer rows in the layer in which
    /// the pass narrows. A pass through caches needs the stream's own of this layer.
    /// Attention may read or leave what rows carry.
    fn forward(
        &self,
        x: &Tensor,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
        carried: &mut Carried,
    ) -> TensorResult<Tensor>;
}

/// Reads the mixer of a layer.
pub fn load<'a>(weights: LayerWeights<'a>) -> Result<Arc<dyn Mixer<'a> + 'a>> {
    Ok(match (weights.config.mixers[weights.index], weights.config.other_mixer) {
        (MixerKind::DeltaNet, Some(MixerSizes::Delta(sizes))) => Arc::new(delta_net::DeltaNet::load(weights, sizes)?),
        (MixerKind::ShortConvolution, Some(MixerSizes::Short(sizes))) => {
            Arc::new(short_conv::ShortConvolution::load(weights, sizes)?)
        }
        (MixerKind::Mamba, Some(MixerSizes::Mamba(config))) => Arc::new(mamba::Mamba::load(weights, config)?),
        (MixerKind::AttentionAndMamba, Some(MixerSizes::Mamba(config))) => Arc::new(beside_attention(weights, config)?),
        (MixerKind::Latent, Some(MixerSizes::Latent(sizes))) => {
            Arc::new(latent::LatentAttention::load(weights, sizes)?)
        }
        _ => Arc::new(attention::Attention::load(weights)?),
    })
}

fn beside_attention<'a>(weights: LayerWeights<'a>, config: MambaConfig) -> Result<side_by_side::SideBySide<'a>> {
    let attention = Arc::new(attention::Attention::load(weights)?);
    Ok(side_by_side::SideBySide([attention, Arc::new(mamba::Mamba::load(weights, config)?)]))
}
