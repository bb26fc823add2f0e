//! The low-rank pairs of one layer, widened to f32.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::keys::Part;
use super::{Adapter, Key};
use crate::error::{Result, SweepError};

/// One module's pair.
#[derive(Debug, Clone)]
pub struct Lora {
    /// `lora_A`, transposed: shape (inputs, rank).
    pub a_t: Tensor,
    /// `lora_B`, transposed: shape (rank, outputs).
    pub b_t: Tensor,
    /// alpha / rank, or alpha / √rank with rsLoRA.
    pub scaling: f64,
}

impl Lora {
    /// What the adapter adds to the module's output for inputs `x` (rows, inputs): shape (rows, outputs).
    ///
    /// The order is PEFT's, `lora_B(lora_A(x)) * scaling`: the product B·A is never formed, neither here nor merged
    /// into a weight, because factors of 1e-5 would drown there.
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.a_t)?.matmul(&self.b_t)? * self.scaling
    }
}

/// The pairs of one decoder layer, by the module's name inside the layer (`self_attn.q_proj`).
pub type LayerLora = BTreeMap<String, Lora>;

impl Adapter {
    /// Reads the pairs of a layer. NaN and infinities are an error.
    pub fn load_layer(&self, layer: usize, device: &Device) -> Result<LayerLora> {
        let prefix = format!("{}.{layer}.", self.stack);
        let mut pairs = LayerLora::new();
        for (module, parts) in self.modules() {
            let Some(name) = module.strip_prefix(&prefix) else { continue };
            let (Some(a), Some(b)) = (parts.get(&Part::LoraA), parts.get(&Part::LoraB)) else { continue };
            let lora = Lora {
                a_t: self.load_transposed(a, device)?,
                b_t: self.load_transposed(b, device)?,
                scaling: self.config.scaling_of(&module),
            };
            pairs.insert(name.into(), lora);
        }
        Ok(pairs)
    }

    fn load_transposed(&self, name: &str, device: &Device) -> Result<Tensor> {
        let shape = self.weights.entry(name)?.shape.clone();
        let values = self.weights.load_finite(name)?;
        let load = || Tensor::from_vec(values, shape, device)?.t()?.contiguous();
        Ok(load().map_err(SweepError::Compute)?)
    }

    /// The sizes of a module's pair: (inputs, outputs).
    pub fn module_shape(&self, module: &str) -> Option<(usize, usize)> {
        let find = |part| {
            let key = Key { module: module.into(), part };
            self.tensors().find(|tensor| tensor.key == key).map(|tensor| tensor.entry.shape.clone())
        };
        Some((*find(Part::LoraA)?.get(1)?, *find(Part::LoraB)?.first()?))
    }
}
