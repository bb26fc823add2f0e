//! What an adapter does in one decoder layer, widened to f32.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::delta::{Delta, ExpertStack};
use crate::adapter::Adapter;
use crate::adapter::names::Part;
use crate::error::{AdapterError, ComputeError, Result};

/// The changes in one decoder layer, by names inside the layer.
#[derive(Debug, Clone, Default)]
pub struct LayerAdapter {
    /// By module: `self_attn.q_proj`.
    pub deltas: BTreeMap<String, Delta>,
    /// By the parameter that holds all experts: `mlp.experts.gate_up_proj`.
    pub stacks: BTreeMap<String, ExpertStack>,
    /// Weights that take the place of the base model's, by tensor: `input_layernorm.weight`.
    pub saved: BTreeMap<String, Tensor>,
}

impl LayerAdapter {
    /// The same changes with the scaling of each module multiplied; by 0, the module is left out. What takes the place of
    /// a weight of the base model does so at any other strength.
    pub fn scaled(mut self, strength_of: impl Fn(&str) -> f64) -> candle_core::Result<Self> {
        self.deltas.retain(|module, _| strength_of(module) != 0.0);
        self.stacks.retain(|parameter, _| strength_of(parameter) != 0.0);
        self.saved.retain(|tensor, _| strength_of(tensor.rsplit_once('.').map_or(tensor, |(module, _)| module)) != 0.0);
        self.deltas.iter_mut().try_for_each(|(module, delta)| delta.scale(strength_of(module)))?;
        self.stacks.iter_mut().for_each(|(parameter, stack)| stack.scale(strength_of(parameter)));
        Ok(self)
    }
}

/// The tensors of one module by their part.
type Parts<'a> = BTreeMap<Part, &'a str>;

impl Adapter {
    /// Reads what the adapter does in a layer. NaN and infinities are an error.
    pub fn load_layer(&self, layer: usize, device: &Device) -> Result<LayerAdapter> {
        let prefix = format!("{}.{layer}.", self.stack);
        let mut loaded = LayerAdapter::default();
        for (module, parts) in self.modules() {
            let Some(name) = module.strip_prefix(&prefix) else { continue };
            match self.parameter_of(&module) {
                Some(parameter) => {
                    let inside = parameter.strip_prefix(&prefix).unwrap_or(&parameter).to_string();
                    loaded.stacks.insert(inside, self.load_stack(&parameter, &parts, device)?);
                }
                None => {
                    if let Some(delta) = self.load_delta(&module, &parts, device)? {
                        loaded.deltas.insert(name.into(), delta);
                    }
                }
            }
        }
        for tensor in self.tensors().filter(|tensor| tensor.key.part == Part::Saved) {
            let Some(module) = tensor.key.module.strip_prefix(&prefix) else { continue };
            let part = tensor.name.rsplit('.').next().unwrap_or_default();
            loaded.saved.insert(format!("{module}.{part}"), self.load(tensor.name, device)?);
        }
        Ok(loaded)
    }

    /// What the adapter adds to a module of the given parts; `None` if that is nothing (AdaLoRA with no rank left).
    pub fn load_delta(&self, module: &str, parts: &Parts, device: &Device) -> Result<Option<Delta>> {
        let load = |part: Part| parts.get(&part).map(|name| self.load(name, device)).transpose();
        let need = |part: Part| -> Result<Tensor> {
            load(part)?.ok_or_else(|| self.unsupported(format!("module `{module}` without all of its tensors")).into())
        };
        let factor = |name: &'static str| Part::Factor(name);
        let scaling = self.config.scaling_of(module);
        let made = match self.config.method.peft_type {
            "ADALORA" => {
                // Seen from the header: CUDA has no tensors without values.
                let is_pruned = |name: &str| self.weights.get(name).is_some_and(|entry| entry.shape.contains(&0));
                if parts.get(&factor("lora_E")).is_some_and(|name| is_pruned(name)) {
                    return Ok(None);
                }
                let (a, b, e) = (need(Part::LoraA)?, need(Part::LoraB)?, need(factor("lora_E"))?);
                a.broadcast_mul(&e).map(|a| Delta::low_rank(a, b, scaling))
            }
            "LOHA" => {
                let factors = ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"].map(|name| need(factor(name)));
                let [w1_a, w1_b, w2_a, w2_b] = factors;
                Delta::hadamard([&w1_a?, &w1_b?, &w2_a?, &w2_b?], scaling)
            }
            "LOKR" => {
                let whole_or_product = |whole, a, b| -> Result<Tensor> {
                    match load(factor(whole))? {
                        Some(whole) => Ok(whole),
                        None => {
                            Ok(need(factor(a))?.matmul(&need(factor(b))?).map_err(ComputeError::TensorOperation)?)
                        }
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
        Ok(Some(made.map_err(ComputeError::TensorOperation)?))
    }

    pub(super) fn load_stack(&self, parameter: &str, parts: &Parts, device: &Device) -> Result<ExpertStack> {
        let (Some(a), Some(b)) = (parts.get(&Part::LoraA), parts.get(&Part::LoraB)) else {
            return Err(self.unsupported(format!("`target_parameters` without LoRA pairs (`{parameter}`)")).into());
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

    /// A tensor of the adapter in its shape.
    pub fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        let shape = self.weights.entry(name)?.shape.clone();
        let values = self.weights.load_finite(name)?;
        Ok(Tensor::from_vec(values, shape, device).map_err(ComputeError::TensorOperation)?)
    }

    /// The parameter that the pair of a module belongs to, where that is LoRA on a parameter of several dimensions. Two
    /// of one module are nested: PEFT wraps the first inside the second, as `…base_layer`.
    pub fn parameter_of(&self, module: &str) -> Option<String> {
        let targets = &self.config.targets;
        let owner = module.trim_end_matches(".base_layer");
        let mut parameters = targets.parameters_of(owner);
        if parameters.is_empty() || parameters == ["weight"] {
            return None;
        }
        // In the order of their definition in all families: the gate before what follows it.
        parameters.sort_by_key(|name| !name.starts_with("gate_up"));
        let depth = (module.len() - owner.len()) / ".base_layer".len();
        let place = parameters.len().checked_sub(1 + depth)?;
        Some(format!("{owner}.{}", parameters[place]))
    }
}
