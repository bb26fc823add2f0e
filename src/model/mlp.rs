//! The MLP of a layer, or in a layer with experts the router and the expert that every token goes to.

use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};
use candle_nn::ops::sigmoid;

use super::activation::Gating;
use super::family::Role;
use super::modules::Modules;
use super::weights::LayerWeights;
use crate::adapter::LayerAdapter;
use crate::error::Result;

/// The linear maps outside the mixer.
#[derive(Clone)]
pub struct Mlp {
    modules: Modules,
    gating: Gating,
    /// What is added to the scores by which a router chooses: (experts).
    router_bias: Option<Arc<[f32]>>,
}

impl Mlp {
    pub fn load(weights: LayerWeights) -> Result<Self> {
        let modules = Modules::load(weights, |role| role.is_linear() && !role.is_of_mixer())?;
        Ok(Self { modules, gating: weights.config.gating, router_bias: weights.router_bias()?.map(Arc::from) })
    }

    pub fn adapted(&self, adapter: &LayerAdapter, weights: LayerWeights) -> Result<Self> {
        Ok(Self { modules: self.modules.adapted(adapter, weights)?, ..self.clone() })
    }

    pub fn linear(&self, role: Role, x: &Tensor) -> TensorResult<Tensor> {
        self.modules.linear(role, x)
    }

    pub fn router_bias(&self) -> Option<&[f32]> {
        self.router_bias.as_deref()
    }

    /// What the MLP or the shared expert adds, (tokens, hidden) → the same; `None` if the layer has experts only.
    pub fn forward(&self, x: &Tensor) -> TensorResult<Option<Tensor>> {
        let gated = |gate: Role, up: Role| self.gating.apply(&self.linear(gate, x)?, &self.linear(up, x)?);
        if self.modules.has(Role::SharedDown) {
            let shared = self.linear(Role::SharedDown, &gated(Role::SharedGate, Role::SharedUp)?)?;
            if !self.modules.has(Role::SharedSwitch) {
                return Ok(Some(shared));
            }
            let switch = sigmoid(&self.linear(Role::SharedSwitch, x)?)?;
            return shared.broadcast_mul(&switch).map(Some);
        }
        let activated = if self.modules.has(Role::GateUp) {
            let fused = self.linear(Role::GateUp, x)?;
            let size = fused.dim(1)? / 2;
            let half = |start: usize| fused.narrow(1, start, size)?.contiguous();
            self.gating.apply(&half(0)?, &half(size)?)?
        } else if self.modules.has(Role::Gate) {
            gated(Role::Gate, Role::Up)?
        } else if self.modules.has(Role::Up) {
            self.gating.activate(&self.linear(Role::Up, x)?)?
        } else {
            return Ok(None);
        };
        self.linear(Role::Down, &activated).map(Some)
    }
}
