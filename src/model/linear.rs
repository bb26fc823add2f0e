//! The two kinds of module that a decoder consists of, linear maps and norms, with and without an adapter.

use std::sync::Arc;

use candle_core::{D, DType, Result, Tensor};

use super::family::Norms;
use crate::adapter::Delta;
use crate::kernel::device::{is_ours, matmul, split_product};
use crate::kernel::gradient::{self, rms_norm};
use crate::kernel::{self, Arithmetic, Packed, Precision};

/// x·Wᵀ + bias, with what an adapter adds.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Weight,
    pub bias: Option<Tensor>,
    delta: Option<Delta>,
    /// DoRA: what the outputs are multiplied by before the bias is added, (outputs).
    factor: Option<Tensor>,
}

/// A weight (outputs, inputs) in the form that products take.
#[derive(Debug, Clone)]
enum Weight {
    Plain(Tensor),
    Packed(Arc<Packed>, Precision),
    /// Values of bf16 in f32, for tensor cores.
    Narrow(Tensor),
}

impl Weight {
    /// Takes a weight in f32 or bf16.
    fn new(weight: Tensor, arithmetic: Arithmetic) -> Result<Self> {
        if let Arithmetic::Bf16 { unit, precision } = arithmetic
            && is_ours(weight.device())
        {
            let packed = Packed::new(&weight, unit)?;
            // Otherwise f32 is faster and more exact.
            if packed.is_exact() || unit.outruns_f32_three_times() {
                return Ok(Self::Packed(Arc::new(packed), precision));
            }
        }
        let wide = weight.to_dtype(DType::F32)?;
        let is_narrow = || Ok::<_, candle_core::Error>(weight.dtype() == DType::BF16 || is_bf16(&wide)?);
        Ok(if arithmetic == Arithmetic::Tf32x2 && is_narrow()? { Self::Narrow(wide) } else { Self::Plain(wide) })
    }

    /// x·Wᵀ: (rows, inputs) → (rows, outputs). It is differentiated by x alone: the weight is as large as all the rest.
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, transposed) = (self.clone(), self.clone());
        let forward = move |x: &Tensor| match &weight {
            Self::Plain(weight) => matmul(x, &weight.t()?),
            Self::Packed(weight, precision) => kernel::product(&x.contiguous()?, weight, *precision),
            Self::Narrow(weight) => split_product(x, &weight.t()?),
        };
        gradient::apply(x, forward, move |_, _, gradient| matmul(gradient, &transposed.matrix()?))
    }

    fn matrix(&self) -> Result<Tensor> {
        match self {
            Self::Plain(weight) | Self::Narrow(weight) => Ok(weight.clone()),
            Self::Packed(weight, ..) => weight.unpacked(),
        }
    }
}

/// Whether all values are those of bf16.
fn is_bf16(weight: &Tensor) -> Result<bool> {
    let lost = (weight.to_dtype(DType::BF16)?.to_dtype(DType::F32)? - weight)?.abs()?;
    Ok(weight.elem_count() > 0 && lost.flatten_all()?.max(0)?.to_scalar::<f32>()? == 0.0)
}

impl Linear {
    /// A map by `weight` (outputs, inputs) whose products are computed in `arithmetic`.
    pub fn new(weight: Tensor, bias: Option<Tensor>, arithmetic: Arithmetic) -> Result<Self> {
        Ok(Self { weight: Weight::new(weight, arithmetic)?, bias, delta: None, factor: None })
    }

    /// The same map by another weight.
    pub fn with_weight(&self, weight: Tensor, arithmetic: Arithmetic) -> Result<Self> {
        Ok(Self { weight: Weight::new(weight, arithmetic)?, ..self.clone() })
    }

    /// The same map with `delta` added.
    pub fn adapted(&self, delta: &Delta) -> Result<Self> {
        let mut adapted = self.clone();
        adapted.factor = match delta.magnitude() {
            Some(magnitude) => Some(dora_factor(&self.weight.matrix()?, delta, magnitude)?),
            None => None,
        };
        adapted.delta = Some(delta.clone());
        Ok(adapted)
    }

    /// (rows, inputs) → (rows, outputs)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = self.weight.product(x)?;
        if let Some(delta) = &self.delta {
            y = (y + delta.forward(x)?)?;
        }
        if let Some(factor) = &self.factor {
            y = y.broadcast_mul(factor)?;
        }
        for bias in [self.bias.as_ref(), self.delta.as_ref().and_then(Delta::bias)].into_iter().flatten() {
            y = y.broadcast_add(bias)?;
        }
        Ok(y)
    }
}

/// DoRA (arXiv 2402.09353; PEFT's `DoraLinearLayer`): the magnitude over the norm of each row of W + ΔW.
fn dora_factor(weight: &Tensor, delta: &Delta, magnitude: &Tensor) -> Result<Tensor> {
    let norms = (weight + delta.matrix()?)?.sqr()?.sum(D::Minus1)?.sqrt()?;
    magnitude / norms
}

/// A normalisation.
#[derive(Debug, Clone)]
pub struct Norm {
    /// (size), or (heads, size) if each head has its own.
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    pub norms: Norms,
    pub eps: f64,
}

impl Norm {
    /// Normalises x over as many values as the norm has weights: all of a row, or those of one head.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let size = self.weight.dim(D::Minus1)?;
        let mut rows = x.reshape(((), size))?;
        if self.norms.centre() {
            rows = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
        }
        // LayerNorm is the root-mean-square norm of centred values.
        let normed = match self.weight.dims() {
            &[heads, size] => {
                let normed = rms_norm(&rows, &self.weight.narrow(0, 0, 1)?.squeeze(0)?.ones_like()?, self.eps as f32)?;
                normed.reshape(((), heads, size))?.broadcast_mul(&self.weight)?
            }
            _ => rms_norm(&rows, &self.weight, self.eps as f32)?,
        };
        let normed = match &self.bias {
            Some(bias) => normed.broadcast_add(bias)?,
            None => normed,
        };
        normed.reshape(x.shape())
    }
}

/// Values over the root of their mean square, along the last dimension; `eps` is added to the mean.
pub fn unit_mean_square(x: &Tensor, eps: f64) -> Result<Tensor> {
    x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn layer_norm_centres_and_heads_may_have_own_weights() -> Result<()> {
        let x = Tensor::new(&[[1f32, 3.0, 10.0, 20.0]], &Device::Cpu)?;
        let weight = Tensor::new(&[[1f32, 1.0], [2.0, 3.0]], &Device::Cpu)?;
        let bias = Some(Tensor::new(&[0.5f32, 0.0], &Device::Cpu)?);
        let y = Norm { weight, bias, norms: Norms::Layer, eps: 0.0 }.forward(&x)?.to_vec2::<f32>()?;
        let expected = [-0.5, 1.0, -1.5, 3.0];
        assert!(y[0].iter().zip(expected).all(|(got, wanted)| (got - wanted).abs() < 1e-5), "{y:?}");
        Ok(())
    }
}
