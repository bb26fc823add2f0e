//! One decoder layer: reading it, adapting it, and running hidden states through it.

use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};

use super::Pass;
use super::experts::{ExpertDeltas, Routed};
use super::family::{MixerKind, Residual, Role};
use super::mixer::{self, LayerCache, Mixer};
use super::mlp::Mlp;
use super::modules::Modules;
use super::scaling::scaled;
use super::weights::LayerWeights;
use crate::adapter::LayerAdapter;
use crate::error::Result;

/// A layer in memory, in f32; its experts, if it has any, stay on disk.
#[derive(Clone)]
pub struct Layer<'a> {
    pub(super) weights: LayerWeights<'a>,
    /// `None` in a layer that text skips, or that is an MLP alone.
    mixer: Option<Arc<dyn Mixer<'a> + 'a>>,
    /// The norms around mixer and MLP.
    norms: Modules,
    pub(super) mlp: Mlp,
    pub(super) experts: ExpertDeltas,
}

impl<'a> Layer<'a> {
    pub(super) fn load(weights: LayerWeights<'a>) -> Result<Self> {
        let has_mixer = !weights.is_skipped() && weights.config.mixers[weights.index] != MixerKind::Absent;
        let mixer = if has_mixer { Some(mixer::load(weights)?) } else { None };
        let norms = Modules::load(weights, |role| role.is_norm() && !role.is_of_mixer())?;
        Ok(Self { weights, mixer, norms, mlp: Mlp::load(weights)?, experts: ExpertDeltas::default() })
    }

    /// The layer with an adapter on. The base weights are shared, not copied.
    pub fn adapted(&self, adapter: LayerAdapter) -> Result<Self> {
        Ok(Self {
            weights: self.weights,
            mixer: self.mixer.as_ref().map(|mixer| mixer.adapted(&adapter)).transpose()?,
            norms: self.norms.adapted(&adapter, self.weights)?,
            mlp: self.mlp.adapted(&adapter, self.weights)?,
            experts: ExpertDeltas::new(adapter),
        })
    }

    /// Runs a stream's hidden states, (rows of the batch, hidden), through the layer. If the layer has experts, what they
    /// add is left out, and their input is returned beside the hidden states.
    ///
    /// A pass through caches needs the stream's own of this layer.
    pub fn forward(
        &self,
        hidden: &Tensor,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
    ) -> TensorResult<(Tensor, Option<Routed>)> {
        if self.weights.is_skipped() {
            return Ok((hidden.clone(), None));
        }
        let config = self.weights.config;
        let is_parallel = config.residual == Residual::Parallel;
        let residual = |x: Tensor| scaled(x, config.scales.residual);
        let x = self.norms.norm(Role::AttentionNorm, hidden)?;
        let mixed = match &self.mixer {
            Some(mixer) => {
                let mixed = mixer.forward(&x, pass, cache)?;
                Some(residual(self.norms.norm(Role::AttentionPostNorm, &mixed)?)?)
            }
            None => None,
        };
        // From here on only the rows count that queries were taken from.
        let (hidden, x) = match pass.narrowing_at(self.weights.index) {
            Some(narrowing) => (&hidden.index_select(&narrowing.rows, 0)?, x.index_select(&narrowing.rows, 0)?),
            None => (hidden, x),
        };
        let after_mixer = match &mixed {
            Some(mixed) => (hidden + mixed)?,
            None => hidden.clone(),
        };
        let before_mlp = if is_parallel { hidden } else { &after_mixer };
        let x = match self.norms.has(Role::MlpNorm) {
            true => self.norms.norm(Role::MlpNorm, before_mlp)?,
            // The blocks of a parallel layer share their norm, and a single block has but one; other families without this one have norms after the blocks.
            false if is_parallel || mixed.is_none() => x,
            false => before_mlp.clone(),
        };
        let routed = if config.is_sparse(self.weights.index) { Some(self.route(x.clone())?) } else { None };
        match self.mlp.forward(&x)? {
            Some(added) => Ok(((after_mixer + residual(self.norms.norm(Role::MlpPostNorm, &added)?)?)?, routed)),
            None => Ok((after_mixer, routed)),
        }
    }
}
