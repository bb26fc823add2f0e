//! What an adapter adds in one decoder layer, widened to f32.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::delta::{Delta, ExpertStack};
use super::names::Part;
use super::{Adapter, Capability, Method, Module};
use crate::error::{AdapterError, ComputeError, Error, Result};
use crate::kernel::device::matmul;

/// The changes in one decoder layer, by names inside the layer.
#[derive(Debug, Clone, Default)]
pub struct LayerAdapter {
    /// By module: `self_attn.q_proj`.
    pub deltas: BTreeMap<String, Delta>,
    /// By the parameter that holds all experts: `mlp.experts.gate_up_proj`.
    pub stacks: BTreeMap<String, ExpertStack>,
    /// Weights that replace the base model's, by tensor: `input_layernorm.weight`.
    pub saved: BTreeMap<String, Tensor>,
}

impl LayerAdapter {
    /// The same changes with the scaling of each module multiplied by its strength; 0 leaves the module out. A weight that
    /// replaces the base model's does so at any other strength.
    pub fn scaled(mut self, strength_of: impl Fn(&str) -> f64) -> candle_core::Result<Self> {
        self.deltas.retain(|module, _| strength_of(module) != 0.0);
        self.stacks.retain(|parameter, _| strength_of(parameter) != 0.0);
        self.saved.retain(|tensor, _| strength_of(tensor.rsplit_once('.').map_or(tensor, |(module, _)| module)) != 0.0);
        self.deltas.iter_mut().try_for_each(|(module, delta)| delta.scale(strength_of(module)))?;
        self.stacks.iter_mut().for_each(|(parameter, stack)| stack.scale(strength_of(parameter)));
        Ok(self)
    }
}

impl Adapter {
    /// Reads what the adapter adds in a layer. NaN and infinities are an error.
    pub fn load_layer(&self, layer: usize, device: &Device) -> Result<LayerAdapter> {
        let prefix = format!("{}.{layer}.", self.stack);
        let mut loaded = LayerAdapter::default();
        for module in self.modules().values().filter(|module| module.name.starts_with(&prefix)) {
            let name = module.configured_name();
            let inside = name.strip_prefix(&prefix).unwrap_or(name).to_string();
            if module.parameter.is_some() {
                loaded.stacks.insert(inside, self.load_stack(module, device)?);
            } else if let Some(delta) = self.load_delta(module, device)? {
                loaded.deltas.insert(inside, delta);
            }
        }
        // PEFT also loads a copy of a wrapped weight in its place.
        for tensor in self.tensors().filter(|tensor| matches!(tensor.key.part, Part::Saved | Part::BaseCopy)) {
            let Some(inside) = tensor.key.module.strip_prefix(&prefix) else { continue };
            let part = tensor.name.rsplit('.').next().unwrap_or_default();
            loaded.saved.insert(format!("{inside}.{part}"), self.load(tensor.name, device)?);
        }
        Ok(loaded)
    }

    /// What the adapter adds to a module; `None` if that is nothing (AdaLoRA with no rank left).
    pub fn load_delta(&self, module: &Module, device: &Device) -> Result<Option<Delta>> {
        let load = |part: Part| module.tensor(part).map(|name| self.load(name, device)).transpose();
        let incomplete = || self.cannot_evaluate(format!("module `{}` without all of its tensors", module.name));
        let need = |part: Part| -> Result<Tensor> { load(part)?.ok_or_else(incomplete) };
        let factor = |name: &'static str| need(Part::Factor(name));
        let scaling = self.config.scaling_of(&module.name);
        let delta = match self.config.method {
            Method::AdaLora => {
                // Seen from the header: CUDA has no tensors without values.
                let is_pruned = |name: &str| self.weights.get(name).is_some_and(|entry| entry.shape.contains(&0));
                if module.tensor(Part::LoraE).is_some_and(is_pruned) {
                    return Ok(None);
                }
                let (a, b, e) = (need(Part::LoraA)?, need(Part::LoraB)?, need(Part::LoraE)?);
                a.broadcast_mul(&e).map(|a| Delta::low_rank(a, b, scaling))
            }
            Method::LoHa => {
                let [w1_a, w1_b, w2_a, w2_b] = ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"].map(factor);
                Delta::hadamard([&w1_a?, &w1_b?, &w2_a?, &w2_b?], scaling)
            }
            Method::LoKr => {
                let whole_or_product = |whole, a, b| -> Result<Tensor> {
                    match load(Part::Factor(whole))? {
                        Some(whole) => Ok(whole),
                        None => Ok(matmul(&factor(a)?, &factor(b)?).map_err(ComputeError::TensorOperation)?),
                    }
                };
                let w1 = whole_or_product("lokr_w1", "lokr_w1_a", "lokr_w1_b")?;
                let w2 = whole_or_product("lokr_w2", "lokr_w2_a", "lokr_w2_b")?;
                Delta::kronecker(&w1, &w2, scaling)
            }
            _ => {
                let bias = load(Part::LoraBias)?
                    .map(|bias| bias * scaling)
                    .transpose()
                    .map_err(ComputeError::TensorOperation)?;
                let magnitude = load(Part::Magnitude)?;
                let delta = Delta::low_rank(need(Part::LoraA)?, need(Part::LoraB)?, scaling);
                Ok(delta.with_bias(bias).with_magnitude(magnitude))
            }
        };
        Ok(Some(delta.map_err(ComputeError::TensorOperation)?))
    }

    /// What the adapter adds to the parameter that `module` stands for.
    pub(super) fn load_stack(&self, module: &Module, device: &Device) -> Result<ExpertStack> {
        let parameter = module.configured_name();
        let (Some(a), Some(b)) = (module.tensor(Part::LoraA), module.tensor(Part::LoraB)) else {
            return Err(self.cannot_evaluate(format!("`target_parameters` without LoRA pairs (`{parameter}`)")));
        };
        let (rank, scaling) = (self.config.rank_of(parameter), self.config.scaling_of(parameter));
        let shape = |name: &str| self.weights.get(name).map_or(&[][..], |entry| &entry.shape);
        let fits =
            matches!((shape(a), shape(b)), (&[rows, _], &[_, columns]) if rows == columns && rows % rank.max(1) == 0);
        if !fits {
            let (path, module, tensor) = (self.path.clone(), parameter.into(), b.to_string());
            return Err(AdapterError::Factors { path, module, tensor }.into());
        }
        let (a, b) = (self.load(a, device)?, self.load(b, device)?);
        Ok(ExpertStack::new(&a, &b, rank, scaling).map_err(ComputeError::TensorOperation)?)
    }

    fn cannot_evaluate(&self, feature: String) -> Error {
        self.refusal(Capability::Evaluate, feature).into()
    }

    /// A tensor of the adapter in its shape.
    pub fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        let shape = self.weights.entry(name)?.shape.clone();
        let values = self.weights.load_finite(name)?;
        Ok(Tensor::from_vec(values, shape, device).map_err(ComputeError::TensorOperation)?)
    }
}
