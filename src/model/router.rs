//! What a router has beside its matrix.

use candle_core::{Result as TensorResult, Tensor};

use super::family::Role;
use super::linear::unit_mean_square;
use super::routing::Choices;
use super::weights::LayerWeights;
use crate::error::Result;

/// The numbers of a layer's router.
#[derive(Clone)]
pub struct Router {
    /// What is added to the scores by which it chooses: (experts).
    pub bias: Option<Vec<f32>>,
    /// What its inputs are multiplied by once they are normalised: (hidden).
    input_scale: Option<Tensor>,
    eps: f64,
    /// What the weights of chosen experts are multiplied by: (experts).
    expert_scales: Option<Tensor>,
}

impl Router {
    pub fn load(weights: LayerWeights) -> Result<Self> {
        let roles = weights.roles();
        let parameter = |role: Role| roles.contains(&role).then(|| weights.parameter(role)).transpose();
        let root = (weights.config.hidden_size as f64).sqrt();
        let input_scale = parameter(Role::RouterScale)?.map(|scale| scale / root).transpose()?;
        Ok(Self {
            bias: weights.router_bias()?,
            input_scale,
            eps: weights.config.norm_eps,
            expert_scales: parameter(Role::ExpertScale)?,
        })
    }

    /// The inputs of the router's matrix from what it looks at, (rows, hidden) → the same.
    pub fn inputs(&self, x: &Tensor) -> TensorResult<Tensor> {
        let Some(scale) = &self.input_scale else { return Ok(x.clone()) };
        unit_mean_square(x, self.eps)?.broadcast_mul(scale)
    }

    /// Multiplies the weights of chosen experts, also those that have derivatives, (rows, experts).
    pub fn scaled(&self, (mut choices, shares): (Choices, Option<Tensor>)) -> TensorResult<(Choices, Option<Tensor>)> {
        let Some(scales) = &self.expert_scales else { return Ok((choices, shares)) };
        for ((_, weights), scale) in choices.iter_mut().zip(scales.to_vec1::<f32>()?) {
            weights.iter_mut().for_each(|weight| *weight *= scale);
        }
        let shares = shares.map(|shares| shares.broadcast_mul(scales)).transpose()?;
        Ok((choices, shares))
    }
}
