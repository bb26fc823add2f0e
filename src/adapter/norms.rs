//! How much each layer of an adapter changes, without a base model: ‖ΔW‖_F.

use std::collections::BTreeMap;

use candle_core::Device;
use rayon::prelude::*;

use super::names::Part;
use super::{Adapter, Capability, Method, Module};
use crate::error::{ComputeError, Result};

impl Adapter {
    /// The Frobenius norm of what the adapter adds to each layer's weights, all modules together. It leaves out modules outside
    /// the stack, convolutions, and methods whose change is not a closed formula.
    pub fn layer_norms(&self) -> Result<BTreeMap<usize, f64>> {
        if self.obstacle(Capability::Evaluate).is_some() && self.config.method != Method::Lora {
            return Ok(BTreeMap::new());
        }
        let is_matrix = |name: &str| self.weights.get(name).is_some_and(|entry| entry.shape.len() == 2);
        let modules: Vec<&Module> = self.modules().values().collect();
        let squares = modules.par_iter().filter_map(|module| {
            let layer = module.layer?;
            let mut factors = [Part::LoraA, Part::LoraB].into_iter().filter_map(|part| module.tensor(part));
            factors.all(is_matrix).then(|| Ok((layer, self.squared_norm(module)?)))
        });
        let mut norms = BTreeMap::new();
        for (layer, square) in squares.collect::<Result<Vec<_>>>()? {
            *norms.entry(layer).or_insert(0.0) += square;
        }
        norms.values_mut().for_each(|norm| *norm = norm.sqrt());
        Ok(norms)
    }

    fn squared_norm(&self, module: &Module) -> Result<f64> {
        let square = match module.parameter {
            Some(_) => self.load_stack(module, &Device::Cpu)?.squared_norm(),
            None => match self.load_delta(module, &Device::Cpu)? {
                Some(delta) => delta.squared_norm(),
                None => Ok(0.0),
            },
        };
        Ok(square.map_err(ComputeError::TensorOperation)?)
    }
}
