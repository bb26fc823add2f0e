//! How much each layer of an adapter changes, without a base model: ‖scaling · B·A‖_F.
//!
//! The norm comes from the two rank × rank Gram matrices, ‖B·A‖² = trace(BᵀB · AAᵀ); the product, as large as the
//! base weight, is never formed.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::Adapter;
use super::keys::Part;
use crate::error::{Result, SweepError};

impl Adapter {
    /// The Frobenius norm of what the adapter adds to each layer's weights, all modules together. Modules outside the
    /// stack and whatever is not a low-rank pair are left out.
    pub fn layer_norms(&self) -> Result<BTreeMap<usize, f64>> {
        let modules = self.modules();
        let squares = modules
            .par_iter()
            .filter_map(|(module, parts)| {
                let layer = self.layer_of(module)?;
                if self.config.method.peft_type != "LORA" || self.parameter_of(module).is_some() {
                    return None;
                }
                let (a, b) = (parts.get(&Part::LoraA)?, parts.get(&Part::LoraB)?);
                let squared = self.squared_norm(a, b).map(|square| square * self.config.scaling_of(module).powi(2));
                Some(squared.map(|square| (layer, square)))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut norms = BTreeMap::new();
        for (layer, square) in squares {
            *norms.entry(layer).or_insert(0.0) += square;
        }
        norms.values_mut().for_each(|norm| *norm = norm.sqrt());
        Ok(norms)
    }

    /// ‖B·A‖² of one pair.
    fn squared_norm(&self, a: &str, b: &str) -> Result<f64> {
        let matrix = |name: &str| -> Result<Tensor> {
            let shape = &self.weights.entry(name)?.shape;
            let rows = shape.first().copied().unwrap_or(1);
            let values = self.weights.load_finite(name)?;
            let columns = values.len() / rows.max(1);
            Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu).map_err(SweepError::Compute)?)
        };
        Ok(squared_product_norm(&matrix(a)?, &matrix(b)?).map_err(SweepError::Compute)?)
    }
}

/// ‖B·A‖² for `a` (rank, inputs) and `b` (outputs, rank).
fn squared_product_norm(a: &Tensor, b: &Tensor) -> candle_core::Result<f64> {
    let gram_a = a.matmul(&a.t()?)?.flatten_all()?.to_vec1::<f32>()?;
    let gram_b = b.t()?.matmul(b)?.flatten_all()?.to_vec1::<f32>()?;
    // Both are symmetric, so the trace of their product is the sum over elements.
    Ok(gram_a.iter().zip(&gram_b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_that_of_the_product() -> candle_core::Result<()> {
        let a = Tensor::randn(0f32, 1.0, (4, 37), &Device::Cpu)?;
        let b = Tensor::randn(0f32, 1.0, (29, 4), &Device::Cpu)?;
        let product = b.matmul(&a)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
        let ratio = squared_product_norm(&a, &b)? / f64::from(product);
        assert!((ratio - 1.0).abs() < 1e-5, "{ratio}");
        Ok(())
    }
}
