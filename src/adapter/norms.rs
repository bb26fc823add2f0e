//! How much each layer of an adapter changes, without a base model: ‖ΔW‖_F.

use std::collections::BTreeMap;

use candle_core::Device;
use rayon::prelude::*;

use crate::adapter::Adapter;
use crate::adapter::names::Part;
use crate::error::{ComputeError, Result};

impl Adapter {
    /// The Frobenius norm of what the adapter adds to each layer's weights, all modules together. Modules outside the
    /// stack, convolutions and methods whose change is no closed formula are left out.
    pub fn layer_norms(&self) -> Result<BTreeMap<usize, f64>> {
        if self.check_can_be_evaluated().is_err() && self.config.method.peft_type != "LORA" {
            return Ok(BTreeMap::new());
        }
        let modules = self.modules();
        let squares = modules
            .par_iter()
            .filter_map(|(module, parts)| {
                let layer = self.layer_of(module)?;
                let is_matrix = |name: &&str| self.weights.get(name).is_some_and(|entry| entry.shape.len() == 2);
                if parts.get(&Part::LoraA).into_iter().chain(parts.get(&Part::LoraB)).any(|name| !is_matrix(name)) {
                    return None;
                }
                Some(self.squared_norm(module, parts).map(|square| (layer, square)))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut norms = BTreeMap::new();
        for (layer, square) in squares {
            *norms.entry(layer).or_insert(0.0) += square;
        }
        norms.values_mut().for_each(|norm| *norm = norm.sqrt());
        Ok(norms)
    }

    fn squared_norm(&self, module: &str, parts: &BTreeMap<Part, &str>) -> Result<f64> {
        let square = match self.parameter_of(module) {
            Some(parameter) => self.load_stack(&parameter, parts, &Device::Cpu)?.squared_norm(),
            None => match self.load_delta(module, parts, &Device::Cpu)? {
                Some(delta) => delta.squared_norm(),
                None => Ok(0.0),
            },
        };
        Ok(square.map_err(ComputeError::TensorOperation)?)
    }
}
