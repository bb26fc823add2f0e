//! The MLP of a layer, or in a layer with experts the router and the expert that every token goes to.

use candle_core::{D, Result as TensorResult, Tensor};
use candle_nn::ops::sigmoid;

use super::activation::{Gating, Xielu};
use super::family::Role;
use super::modules::Modules;
use super::router::Router;
use super::scaling::scaled;
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
    gate_scale: f64,
    /// By how many standard deviations over their mean gates are lowered before those below 0 are cut off, if they are.
    cutoff: Option<f64>,
    output_scale: f64,
    shared_scale: f64,
    pub router: Router,
}

impl Mlp {
    pub fn load(weights: LayerWeights) -> Result<Self> {
        let modules = Modules::load(weights, |role| role.is_linear() && !role.is_of_mixer())?;
        let scales = weights.config.scales;
        Ok(Self {
            modules,
            gating: weights.config.gating,
            router: Router::load(weights)?,
            xielu: weights.xielu()?,
            gate_scale: scales.mlp_gate,
            cutoff: weights.config.by_layer.cutoffs[weights.index],
            output_scale: scales.mlp_output,
            shared_scale: weights.config.experts.as_ref().map_or(1.0, |experts| experts.shared_scale),
        })
    }

    pub fn adapted(&self, adapter: &LayerAdapter, weights: LayerWeights) -> Result<Self> {
        Ok(Self { modules: self.modules.adapted(adapter, weights)?, ..self.clone() })
    }

    /// The activation of the MLP alone.
    pub fn activate(&self, x: &Tensor) -> TensorResult<Tensor> {
        self.gating.activate(x)
    }

    pub fn has(&self, role: Role) -> bool {
        self.modules.has(role)
    }

    pub fn linear(&self, role: Role, x: &Tensor) -> TensorResult<Tensor> {
        self.modules.linear(role, x)
    }

    /// Gates, (tokens, size), lowered and cut off below 0, in layers that do so.
    fn cut_off(&self, gates: Tensor) -> TensorResult<Tensor> {
        let Some(deviations) = self.cutoff else { return Ok(gates) };
        let centred = gates.broadcast_sub(&gates.mean_keepdim(D::Minus1)?)?;
        let deviation = centred.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
        centred.broadcast_sub(&(deviation * deviations)?)?.relu()
    }

    /// What the MLP or the shared expert adds, (tokens, hidden) → the same; `None` if the layer has experts only.
    pub fn forward(&self, x: &Tensor) -> TensorResult<Option<Tensor>> {
        let gated = |gate: Role, up: Role| {
            let gate = self.cut_off(scaled(self.linear(gate, x)?, self.gate_scale)?)?;
            self.gating.apply(&gate, &self.linear(up, x)?)
        };
        if self.modules.has(Role::SharedDown) {
            let activated = match self.modules.has(Role::SharedGate) {
                true => gated(Role::SharedGate, Role::SharedUp)?,
                false => self.gating.activate(&self.linear(Role::SharedUp, x)?)?,
            };
            let shared = scaled(self.linear(Role::SharedDown, &activated)?, self.shared_scale)?;
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
        scaled(self.linear(Role::Down, &activated)?, self.output_scale).map(Some)
    }
}
