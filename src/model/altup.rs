//! Alternating updates (AltUp, arXiv 2301.13310): each token has several hidden states. A layer predicts all of them from one
//! another, runs the first through its blocks, and corrects all by what that changed.
//!
//! In a stream the states of a token lie one after the other in its row.

use candle_core::{D, Result as TensorResult, Tensor};

use super::ModelConfig;
use super::family::{ALTUP_MAPS, Role};
use super::linear::Linear;
use super::mlp::Mlp;
use super::modules::Modules;
use super::weights::{LayerWeights, Weights};
use crate::error::Result;
use crate::kernel::device::matmul;

/// The least mean square by which states are divided.
const LEAST_SQUARE: f64 = 1e-5;

/// The alternating updates of one layer. Its linear maps and its norm are among those of the layer.
#[derive(Clone)]
pub struct AltUp {
    states: usize,
    hidden_size: usize,
    /// (hidden); `None` where the first state is not scaled.
    scale: Option<Tensor>,
}

impl AltUp {
    /// `None` in models whose tokens have one hidden state.
    pub fn load(weights: LayerWeights) -> Result<Option<Self>> {
        let Some(sizes) = weights.config.altup else { return Ok(None) };
        let scale = sizes.is_scaled.then(|| weights.parameter(Role::AltUpScale)).transpose()?;
        Ok(Some(Self { states: sizes.states, hidden_size: weights.config.hidden_size, scale }))
    }

    /// What the coefficients of a token are made of, from its first state: (rows, hidden) → (rows, states).
    fn routed(&self, (mlp, norms): (&Mlp, &Modules), first: &Tensor) -> TensorResult<Tensor> {
        let x = (norms.norm(Role::AltUpRouterNorm, first)? / self.hidden_size as f64)?;
        mlp.linear(Role::AltUpRouter, &x)?.tanh()
    }

    /// The states that the layer starts from, (rows, states, hidden), from those that enter it, (rows, states · hidden).
    pub fn predicted(&self, layer: (&Mlp, &Modules), entering: &Tensor) -> TensorResult<Tensor> {
        let entering = entering.reshape(((), self.states, self.hidden_size))?;
        let routed = self.routed(layer, &first_of(&entering)?)?;
        let coefficients = layer.0.linear(Role::AltUpPrediction, &routed)?.reshape(((), self.states, self.states))?;
        matmul(&coefficients, &entering)? + entering
    }

    /// The states behind the blocks, (rows, states, hidden), from those that the layer started from and what became of the first.
    pub fn corrected(&self, layer: (&Mlp, &Modules), predicted: &Tensor, first: &Tensor) -> TensorResult<Tensor> {
        let changed = (first - first_of(predicted)?)?;
        let coefficients = (layer.0.linear(Role::AltUpCorrection, &self.routed(layer, first)?)? + 1.0)?;
        predicted + coefficients.unsqueeze(2)?.broadcast_mul(&changed.unsqueeze(1)?)?
    }

    /// The first state as the layer's own input gates it.
    pub fn scaled_first(&self, states: &Tensor) -> TensorResult<Tensor> {
        match &self.scale {
            Some(scale) => first_of(states)?.broadcast_mul(scale),
            None => first_of(states),
        }
    }

    /// Adds (rows, hidden) to all states but the first, and puts those of a token in one row.
    pub fn joined(&self, states: &Tensor, added: &Tensor) -> TensorResult<Tensor> {
        let rest = states.narrow(1, 1, self.states - 1)?.broadcast_add(&added.unsqueeze(1)?)?;
        Tensor::cat(&[&states.narrow(1, 0, 1)?, &rest], 1)?.reshape(((), self.states * self.hidden_size))
    }
}

/// The first of the states of each token: (rows, states, hidden) → (rows, hidden).
pub fn first_of(states: &Tensor) -> TensorResult<Tensor> {
    states.narrow(1, 0, 1)?.squeeze(1)?.contiguous()
}

/// The maps outside the layers: from embeddings to the states of a token but the first, and from these to the hidden state that
/// leaves the layers.
pub struct AltUpMaps {
    spreading: Vec<Linear>,
    merging: Vec<Linear>,
    hidden_size: usize,
}

impl AltUpMaps {
    pub fn load(weights: &Weights, config: &ModelConfig) -> Result<Option<Self>> {
        let Some(sizes) = config.altup else { return Ok(None) };
        let maps = |list: &str| (1..sizes.states).map(|state| weights.listed(list, state - 1)).collect::<Result<_>>();
        let [spreading, merging] = ALTUP_MAPS;
        Ok(Some(Self { spreading: maps(spreading)?, merging: maps(merging)?, hidden_size: config.hidden_size }))
    }

    /// The states of tokens with these embeddings: (rows, hidden) → (rows, states · hidden).
    pub fn spread(&self, embeddings: &Tensor) -> TensorResult<Tensor> {
        let mut states = vec![embeddings.clone()];
        for map in &self.spreading {
            states.push(as_large_as(embeddings, &map.forward(embeddings)?)?);
        }
        Tensor::cat(&states, 1)
    }

    /// The hidden states of tokens with these states: (rows, states · hidden) → (rows, hidden).
    pub fn merged(&self, states: &Tensor) -> TensorResult<Tensor> {
        let part = |place: usize| states.narrow(1, place * self.hidden_size, self.hidden_size)?.contiguous();
        let first = part(0)?;
        let mut sum = first.clone();
        for (place, map) in self.merging.iter().enumerate() {
            sum = (sum + as_large_as(&first, &map.forward(&part(place + 1)?)?)?)?;
        }
        sum / (self.merging.len() + 1) as f64
    }
}

/// x with the root mean square of `model` in each row.
fn as_large_as(model: &Tensor, x: &Tensor) -> TensorResult<Tensor> {
    let size = model.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
    let own = x.sqr()?.mean_keepdim(D::Minus1)?.maximum(LEAST_SQUARE)?.sqrt()?;
    x.broadcast_mul(&size)?.broadcast_div(&own)
}
