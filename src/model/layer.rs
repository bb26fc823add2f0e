//! One decoder layer: reading it, adapting it, and running hidden states through it.

use std::collections::BTreeMap;

use candle_core::{Device, Result as TensorResult, Tensor};

use super::attention::attend;
use super::cache::LayerCache;
use super::experts::{ExpertDeltas, Routed};
use super::family::Role;
use super::linear::{Linear, Norm};
use super::weights::Weights;
use super::{ModelConfig, Pass};
use crate::adapter::LayerAdapter;
use crate::error::Result;
use crate::kernel::Arithmetic;

/// A layer in memory, in f32; its experts, if it has any, stay on disk.
#[derive(Clone)]
pub struct Layer<'a> {
    pub(super) weights: &'a Weights,
    pub(super) config: &'a ModelConfig,
    pub(super) index: usize,
    pub(super) device: Device,
    pub(super) arithmetic: Arithmetic,
    /// The modules that the layer has. Without any, hidden states go past it.
    norms: BTreeMap<Role, Norm>,
    linears: BTreeMap<Role, Linear>,
    sinks: Option<Tensor>,
    pub(super) experts: ExpertDeltas,
}

impl<'a> Layer<'a> {
    pub(super) fn load(
        weights: &'a Weights,
        config: &'a ModelConfig,
        index: usize,
        device: &Device,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let (mut linears, mut norms, mut sinks) = (BTreeMap::new(), BTreeMap::new(), None);
        let roles = if config.skipped.contains(&index) { Vec::new() } else { weights.roles(config, index) };
        for role in roles {
            if role.is_norm() {
                norms.insert(role, weights.norm(config, index, role, device)?);
            } else if role.is_linear() {
                let weight = weights.weight(config, index, role, (device, arithmetic))?;
                let bias = weights.bias(config, index, role, device)?;
                linears.insert(role, Linear::new(weight, bias, arithmetic)?);
            } else {
                sinks = Some(weights.sinks(config, index, device)?);
            }
        }
        let (device, experts) = (device.clone(), ExpertDeltas::default());
        Ok(Self { weights, config, index, device, arithmetic, norms, linears, sinks, experts })
    }

    /// The layer with what an adapter does to it. The base weights are shared, not copied.
    pub fn adapted(&self, adapter: LayerAdapter) -> Result<Self> {
        let mut layer = self.clone();
        for (name, tensor) in &adapter.saved {
            let Some((module, part)) = name.rsplit_once('.') else { continue };
            match self.config.family.role_of(module) {
                Some(role) if role.is_norm() => {
                    let Some(norm) = layer.norms.get_mut(&role) else { continue };
                    match part {
                        "bias" => norm.bias = Some(tensor.clone()),
                        _ => norm.weight = self.weights.norm_factor(tensor.clone(), self.config)?,
                    }
                }
                Some(role) => {
                    let Some(linear) = layer.linears.get_mut(&role) else { continue };
                    match part {
                        "bias" => linear.bias = Some(tensor.clone()),
                        _ => {
                            let transposed = self.config.family.linears_transposed;
                            let weight = if transposed { tensor.t()?.contiguous()? } else { tensor.clone() };
                            *linear = linear.with_weight(weight, self.arithmetic)?;
                        }
                    }
                }
                None => {}
            }
        }
        for (module, delta) in &adapter.deltas {
            if let Some(role) = self.config.family.role_of(module)
                && let Some(linear) = layer.linears.get_mut(&role)
            {
                *linear = linear.adapted(delta)?;
            }
        }
        layer.experts = ExpertDeltas::new(adapter);
        Ok(layer)
    }

    /// Runs a stream's hidden states (rows of the batch, hidden) through the layer. Where the layer has experts, what
    /// they add is left out, and what they are to be given comes beside the hidden states.
    ///
    /// A pass through caches needs the stream's own of this layer.
    pub fn forward(
        &self,
        hidden: &Tensor,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
    ) -> TensorResult<(Tensor, Option<Routed>)> {
        if self.linears.is_empty() {
            return Ok((hidden.clone(), None));
        }
        let residual = |x: Tensor| scaled(x, self.config.scales.residual);
        let x = self.norm(Role::AttentionNorm, hidden)?;
        let attended = residual(self.norm(Role::AttentionPostNorm, &self.attention(&x, pass, cache)?)?)?;
        // From here on only the rows count that queries were taken from.
        let (hidden, x) = match pass.narrowing_at(self.index) {
            Some(narrowing) => (&hidden.index_select(&narrowing.rows, 0)?, x.index_select(&narrowing.rows, 0)?),
            None => (hidden, x),
        };
        let before_mlp = if self.config.parallel { hidden.clone() } else { (hidden + &attended)? };
        let x = match self.norms.contains_key(&Role::MlpNorm) {
            true => self.norm(Role::MlpNorm, &before_mlp)?,
            // The blocks of a parallel layer share their norm; others of this kind have norms after the blocks only.
            false if self.config.parallel => x,
            false => before_mlp.clone(),
        };
        let hidden = if self.config.parallel { (hidden + &attended)? } else { before_mlp };
        let routed = if self.config.is_sparse(self.index) { Some(self.route(x.clone())?) } else { None };
        match self.mlp(&x)? {
            Some(added) => Ok(((hidden + residual(self.norm(Role::MlpPostNorm, &added)?)?)?, routed)),
            None => Ok((hidden, routed)),
        }
    }

    /// Projects, attends within each sample, projects back: (rows, hidden) → the same, or fewer rows in the layer that
    /// narrows.
    fn attention(&self, x: &Tensor, pass: &Pass, cache: Option<&mut LayerCache>) -> TensorResult<Tensor> {
        let asking = |x: &Tensor| match pass.narrowing_at(self.index) {
            Some(narrowing) => x.index_select(&narrowing.rows, 0),
            None => Ok(x.clone()),
        };
        let (q, k, v) = match self.linears.get(&Role::QueryKeyValue) {
            Some(fused) => {
                let (q, k, v) = self.split_heads(&fused.forward(x)?)?;
                (asking(&q)?, k, v)
            }
            None => (self.linear(Role::Query, &asking(x)?)?, self.linear(Role::Key, x)?, self.linear(Role::Value, x)?),
        };
        let (q, k) = (self.norm(Role::QueryNorm, &q)?, self.norm(Role::KeyNorm, &k)?);
        let attended = attend((&q, &k, &v), self.sinks.as_ref(), (pass, cache), self.config, self.index)?;
        self.linear(Role::AttentionOut, &attended)
    }

    /// Takes queries, keys and values out of the output of one matrix.
    fn split_heads(&self, fused: &Tensor) -> TensorResult<(Tensor, Tensor, Tensor)> {
        let (tokens, _) = fused.dims2()?;
        let (query_size, kv_size) = (self.config.query_size(), self.config.kv_size());
        if self.config.family.fused_by_head {
            let by_head = fused.reshape((tokens, self.config.heads, 3, self.config.head_dim))?;
            let part = |i: usize| by_head.narrow(2, i, 1)?.reshape((tokens, query_size));
            return Ok((part(0)?, part(1)?, part(2)?));
        }
        let part = |start: usize, size: usize| fused.narrow(1, start, size)?.contiguous();
        Ok((part(0, query_size)?, part(query_size, kv_size)?, part(query_size + kv_size, kv_size)?))
    }

    /// What the MLP, or the expert that every token goes to, adds: (tokens, hidden) → the same.
    fn mlp(&self, x: &Tensor) -> TensorResult<Option<Tensor>> {
        if self.linears.contains_key(&Role::SharedDown) {
            let gated = self.gated(&self.linear(Role::SharedGate, x)?, &self.linear(Role::SharedUp, x)?)?;
            let shared = self.linear(Role::SharedDown, &gated)?;
            let switch = candle_nn::ops::sigmoid(&self.linear(Role::SharedSwitch, x)?)?;
            return Ok(Some(shared.broadcast_mul(&switch)?));
        }
        let activated = if let Some(fused) = self.linears.get(&Role::GateUp) {
            let fused = fused.forward(x)?;
            let size = self.config.intermediate_size;
            let part = |start: usize| fused.narrow(1, start, size)?.contiguous();
            self.gated(&part(0)?, &part(size)?)?
        } else if self.linears.contains_key(&Role::Gate) {
            self.gated(&self.linear(Role::Gate, x)?, &self.linear(Role::Up, x)?)?
        } else if let Some(up) = self.linears.get(&Role::Up) {
            self.config.gating.activate(&up.forward(x)?)?
        } else {
            return Ok(None);
        };
        self.linear(Role::Down, &activated).map(Some)
    }

    fn gated(&self, gate: &Tensor, up: &Tensor) -> TensorResult<Tensor> {
        self.config.gating.apply(gate, up)
    }

    pub(super) fn linear(&self, role: Role, x: &Tensor) -> TensorResult<Tensor> {
        self.linears[&role].forward(x)
    }

    /// The norm of a role; nothing where the layer does without.
    fn norm(&self, role: Role, x: &Tensor) -> TensorResult<Tensor> {
        match self.norms.get(&role) {
            Some(norm) => norm.forward(x, self.config.family.norms, self.config.norm_eps),
            None => Ok(x.clone()),
        }
    }
}

/// x · scale, for nothing if that is x.
pub(super) fn scaled(x: Tensor, scale: f64) -> TensorResult<Tensor> {
    if scale == 1.0 { Ok(x) } else { x * scale }
}

/// c·tanh(x / c), or x without c.
pub(super) fn softcapped(x: Tensor, cap: Option<f64>) -> TensorResult<Tensor> {
    match cap {
        Some(cap) => (x / cap)?.tanh()? * cap,
        None => Ok(x),
    }
}
