//! The MLP of a layer, or in a layer with experts the router and the expert that every token goes to.

use candle_core::{Result as TensorResult, Tensor};
use candle_nn::ops::sigmoid;

use super::activation::{Gating, Xielu};
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
    /// The activation, if the layer has numbers for it.
    xielu: Option<Xielu>,
}

impl Mlp {
    pub fn load(weights: LayerWeights) -> Result<Self> {
        let modules = Modules::load(weights, |role| role.is_linear() && !role.is_of_mixer())?;
        Ok(Self { modules, gating: weights.config.gating, xielu: weights.xielu()? })
    }

    pub fn adapted(&self, adapter: &LayerAdapter, weights: LayerWeights) -> Result<Self> {
        Ok(Self { modules: self.modules.adapted(adapter, weights)?, ..self.clone() })
    }

    pub fn linear(&self, role: Role, x: &Tensor) -> TensorResult<Tensor> {
        self.modules.linear(role, x)
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
            let up = self.linear(Role::Up, x)?;
            self.xielu.map_or_else(|| self.gating.activate(&up), |xielu| xielu.apply(&up))?
        } else {
            return Ok(None);
        };
        self.linear(Role::Down, &activated).map(Some)
    }
}
