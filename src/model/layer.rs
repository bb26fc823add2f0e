//! One decoder layer: reading it, adapting it, and running hidden states through it.

use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};

use super::Pass;
use super::altup::{self, AltUp};
use super::carried::Carried;
use super::experts::{ExpertDeltas, Routed, Waiting};
use super::family::{MixerKind, Residual, Role};
use super::mixer::{self, LayerCache, Mixer};
use super::mlp::Mlp;
use super::modules::Modules;
use super::per_layer::PerLayerInput;
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
    /// The input that the layer has of its own, and what all that leaves it is multiplied by, in models that have them.
    input: Option<PerLayerInput>,
    scale: Option<Tensor>,
    /// In models whose tokens have several hidden states.
    altup: Option<AltUp>,
    pub(super) experts: ExpertDeltas,
}

impl<'a> Layer<'a> {
    pub(super) fn load(weights: LayerWeights<'a>) -> Result<Self> {
        let has_mixer = !weights.is_skipped() && weights.config.mixers[weights.index] != MixerKind::Absent;
        let mixer = if has_mixer { Some(mixer::load(weights)?) } else { None };
        let norms = Modules::load(weights, |role| role.is_norm() && !role.is_of_mixer())?;
        let has_scale = weights.roles().contains(&Role::LayerScale);
        let scale = has_scale.then(|| weights.parameter(Role::LayerScale)).transpose()?;
        let (mlp, input, altup) = (Mlp::load(weights)?, PerLayerInput::load(weights)?, AltUp::load(weights)?);
        Ok(Self { weights, mixer, norms, mlp, input, scale, altup, experts: ExpertDeltas::default() })
    }

    /// The layer with an adapter on. The base weights are shared, not copied.
    pub fn adapted(&self, adapter: LayerAdapter) -> Result<Self> {
        Ok(Self {
            weights: self.weights,
            mixer: self.mixer.as_ref().map(|mixer| mixer.adapted(&adapter)).transpose()?,
            norms: self.norms.adapted(&adapter, self.weights)?,
            mlp: self.mlp.adapted(&adapter, self.weights)?,
            input: self.input.clone(),
            scale: self.scale.clone(),
            altup: self.altup.clone(),
            experts: ExpertDeltas::new(adapter),
        })
    }

    /// Runs a stream's hidden states with what they carry, (rows of the batch, hidden or more), through the layer. If the layer
    /// has experts, what they add is left out, and their input is returned beside the hidden states.
    ///
    /// A pass through caches needs the stream's own of this layer.
    pub fn forward(
        &self,
        state: &Tensor,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
    ) -> TensorResult<(Tensor, Option<Routed>)> {
        if self.weights.is_skipped() {
            return Ok((state.clone(), None));
        }
        let config = self.weights.config;
        let (states, mut carried) = Carried::split(state, config)?;
        let predicted = self.altup.as_ref().map(|altup| altup.predicted(self.parts(), &states)).transpose()?;
        let hidden = match &predicted {
            Some(predicted) => altup::first_of(predicted)?,
            None => states,
        };
        let is_parallel = config.residual == Residual::Parallel;
        let residual = |x: Tensor| scaled(x, config.scales.residual);
        let [post_norm, mlp_norm] = self.middle_norms();
        let x = self.norms.norm(Role::AttentionNorm, &hidden)?;
        let mixed = match &self.mixer {
            Some(mixer) => {
                let mixed = mixer.forward(&x, pass, cache, &mut carried)?;
                Some(residual(self.norms.norm(post_norm, &mixed)?)?)
            }
            None => None,
        };
        // From here on only the rows count that queries were taken from.
        let rows = pass.narrowing_at(self.weights.index).map(|narrowing| &narrowing.rows);
        let narrowed = |x: &Tensor| pass.narrowed(x, self.weights.index);
        let (hidden, x) = (narrowed(&hidden)?, narrowed(&x)?);
        let after_mixer = match &mixed {
            Some(mixed) => (&hidden + mixed)?,
            None => hidden.clone(),
        };
        let after_mixer = self.with_laurel(after_mixer, &x)?;
        let before_mlp = if is_parallel { &hidden } else { &after_mixer };
        let x = match self.norms.has(mlp_norm) {
            true => self.norms.norm(mlp_norm, before_mlp)?,
            // The blocks of a parallel layer share their norm, and a single block has only one; other families without this one
            // have norms after the blocks.
            false if is_parallel || mixed.is_none() => x,
            false => before_mlp.clone(),
        };
        if self.needs_all_of_experts() {
            return self.wait_for_experts(after_mixer, x, carried, rows.is_some());
        }
        let routed = if config.is_sparse(self.weights.index) { Some(self.route(&x, x.clone())?) } else { None };
        let hidden = match self.mlp.forward(&x)? {
            Some(added) => (after_mixer + residual(self.norms.norm(Role::MlpPostNorm, &added)?)?)?,
            None => after_mixer,
        };
        let hidden = match &predicted {
            Some(predicted) => self.corrected(&narrowed(predicted)?, &hidden, &carried, (pass, rows))?,
            None => self.behind_mlp(hidden, &carried, (pass, rows))?,
        };
        // Rows that are left behind the last layer carry nothing further.
        Ok((if rows.is_some() { hidden } else { carried.join(hidden)? }, routed))
    }

    /// The norms on what the mixer adds and before the MLP.
    fn middle_norms(&self) -> [Role; 2] {
        match self.weights.config.mixers[self.weights.index] {
            _ if !self.norms.has(Role::MiddleNorm) => [Role::AttentionPostNorm, Role::MlpNorm],
            MixerKind::Attention => [Role::MiddleNorm, Role::MlpNorm],
            _ => [Role::AttentionPostNorm, Role::MiddleNorm],
        }
    }

    /// Whether the layer normalises or maps the sum of what its experts add.
    fn needs_all_of_experts(&self) -> bool {
        let norms_sum = [Role::ExpertsPostNorm, Role::MlpPostNorm].into_iter().any(|role| self.norms.has(role));
        let is_sparse = self.weights.config.is_sparse(self.weights.index);
        is_sparse && (norms_sum || self.mlp.has(Role::ExpertsOutput))
    }

    /// Goes on from the hidden states before the MLP, and its inputs, in a layer that normalises or maps the sum of what its experts
    /// add, when all of it is there.
    fn wait_for_experts(
        &self,
        before: Tensor,
        x: Tensor,
        carried: Carried,
        is_narrowed: bool,
    ) -> TensorResult<(Tensor, Option<Routed>)> {
        let dense = self.mlp.forward(&x)?.map(|added| self.norms.norm(Role::DensePostNorm, &added)).transpose()?;
        let routed = match self.norms.has(Role::ExpertsNorm) {
            true => self.route(&before, self.norms.norm(Role::ExpertsNorm, &before)?)?,
            false => self.route(&x, x.clone())?,
        };
        let columns = carried.into_columns().filter(|_| !is_narrowed);
        Ok((routed.nothing()?, Some(routed.with(Waiting { before, dense, columns }))))
    }

    /// The state behind such a layer, from the sum of what its experts add: (rows, hidden), or shorter in some families.
    pub(super) fn join_experts(&self, waiting: Waiting, sum: Tensor) -> TensorResult<Tensor> {
        let sum = if self.mlp.has(Role::ExpertsOutput) { self.mlp.linear(Role::ExpertsOutput, &sum)? } else { sum };
        let experts = self.norms.norm(Role::ExpertsPostNorm, &sum)?;
        let added = match waiting.dense {
            Some(dense) => (dense + experts)?,
            None => experts,
        };
        let added = self.norms.norm(Role::MlpPostNorm, &added)?;
        let hidden = self.scaled((waiting.before + added)?)?;
        match waiting.columns {
            Some(columns) => Tensor::cat(&[&hidden, &columns], 1),
            None => Ok(hidden),
        }
    }

    /// The parts of the layer that alternating updates use.
    fn parts(&self) -> (&Mlp, &Modules) {
        (&self.mlp, &self.norms)
    }

    /// Adds a short map of the normalised input of the layer, and that input, to the hidden states behind the mixer (LAuReL, arXiv
    /// 2411.07501), in layers that have it.
    fn with_laurel(&self, after_mixer: Tensor, x: &Tensor) -> TensorResult<Tensor> {
        if !self.mlp.has(Role::LaurelUp) {
            return Ok(after_mixer);
        }
        let mapped = self.mlp.linear(Role::LaurelUp, &self.mlp.linear(Role::LaurelDown, x)?)?;
        let added = (x + self.norms.norm(Role::LaurelNorm, &mapped)?)?;
        (after_mixer + added)? / 2f64.sqrt()
    }

    /// All states of the tokens behind the blocks, from those that these started from and what became of the first: one row for each
    /// token.
    fn corrected(
        &self,
        predicted: &Tensor,
        first: &Tensor,
        carried: &Carried,
        rows: (&Pass, Option<&Tensor>),
    ) -> TensorResult<Tensor> {
        let (Some(altup), Some(input)) = (&self.altup, &self.input) else {
            candle_core::bail!("several hidden states in a layer without an input of its own")
        };
        let states = altup.corrected(self.parts(), predicted, first)?;
        let added = input.added(&self.mlp, &altup.scaled_first(&states)?, &carried.embeddings()?, rows)?;
        altup.joined(&states, &self.norms.norm(Role::LayerInputNorm, &added)?)
    }

    /// What a layer with inputs of its own does behind its MLP.
    fn behind_mlp(&self, hidden: Tensor, carried: &Carried, rows: (&Pass, Option<&Tensor>)) -> TensorResult<Tensor> {
        let hidden = match &self.input {
            Some(input) => {
                let added = input.added(&self.mlp, &hidden, &carried.embeddings()?, rows)?;
                (hidden + self.norms.norm(Role::LayerInputNorm, &added)?)?
            }
            None => hidden,
        };
        self.scaled(hidden)
    }

    fn scaled(&self, hidden: Tensor) -> TensorResult<Tensor> {
        match &self.scale {
            Some(scale) => hidden.broadcast_mul(scale),
            None => Ok(hidden),
        }
    }
}
