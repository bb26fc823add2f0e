//! Derivatives: fused operations with the gradients that candle does not have for them.
//!
//! candle records an operation where an input is tracked ([`Tensor::track_op`]), that is, in the backward pass of
//! [`sensitivity`](crate::measure::sensitivities) alone. There the same fast code computes the values, and its derivative is written
//! here. Everywhere else these functions are the fused operations and nothing more.

use std::sync::{Arc, Mutex};

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, D, Device, Layout, Result, Shape, Storage, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb::rope_thd;

/// An operation on one tensor, by its value and its derivative.
struct Operation<F, B> {
    forward: F,
    /// The gradient of the input from the input, the output and the gradient of the output.
    backward: B,
}

impl<F, B> CustomOp1 for Operation<F, B>
where
    F: Fn(&Tensor) -> Result<Tensor>,
    B: Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
{
    fn name(&self) -> &'static str {
        "operation with a derivative"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the input of an operation is not contiguous")
        };
        let x = Tensor::from_slice(&storage.as_slice::<f32>()?[start..end], layout.shape(), &Device::Cpu)?;
        let y = (self.forward)(&x)?;
        let values = super::with_values(&y, |values: &[f32]| values.to_vec())?;
        Ok((CpuStorage::F32(values), y.shape().clone()))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let storage = Storage::Cuda(storage.try_clone(layout)?);
        let x = Tensor::from_storage(storage, layout.shape().clone(), BackpropOp::none(), false);
        let y = (self.forward)(&x)?.force_contiguous()?;
        let (storage, layout) = y.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, y.shape().clone())),
            _ => candle_core::bail!("the output of an operation left its device"),
        }
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        (self.backward)(&x.detach(), &y.detach(), &gradient.contiguous()?).map(Some)
    }
}

/// Applies `forward`, with `backward` as its derivative where `x` is tracked.
pub fn apply<F, B>(x: &Tensor, forward: F, backward: B) -> Result<Tensor>
where
    F: Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    B: Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
{
    if !x.track_op() {
        return forward(x);
    }
    // The storage of a GPU is handed on as a whole.
    let x = if x.device().is_cpu() { x.contiguous()? } else { x.force_contiguous()? };
    x.apply_op1(Operation { forward, backward })
}

/// The softmax over the last dimension.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    apply(x, softmax_last_dim, |_, y, gradient| {
        let weighted = (gradient * y)?;
        &weighted - y.broadcast_mul(&weighted.sum_keepdim(D::Minus1)?)?
    })
}

/// Root-mean-square normalisation of rows by one weight.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let (weight, other) = (weight.clone(), weight.clone());
    let forward = move |x: &Tensor| candle_nn::ops::rms_norm(x, &weight, eps);
    apply(x, forward, move |x, _, gradient| {
        let factor = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?.sqrt()?.recip()?;
        let normed = x.broadcast_mul(&factor)?;
        let gradient = gradient.broadcast_mul(&other)?;
        let along = (&gradient * &normed)?.mean_keepdim(D::Minus1)?;
        (gradient - normed.broadcast_mul(&along)?)?.broadcast_mul(&factor)
    })
}

/// Rotary embedding of (1, tokens, heads, size), whose derivative turns back.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (back_cos, back_sin) = (cos.clone(), sin.clone());
    let (cos, sin) = (cos.clone(), sin.clone());
    let forward = move |x: &Tensor| rope_thd(x, &cos, &sin);
    apply(x, forward, move |_, _, gradient| rope_thd(gradient, &back_cos, &back_sin.neg()?))
}

/// Values on their way forward, and the gradients that came back to them.
#[derive(Debug, Default)]
pub struct Probe(Mutex<Vec<Observed>>);

/// The rows of one call: values and their gradients, both (rows, size).
#[derive(Debug)]
pub struct Observed {
    pub values: Tensor,
    pub gradients: Tensor,
}

impl Probe {
    /// Passes `x` on, and keeps it with its gradient once that is known.
    pub fn observe(self: &Arc<Self>, x: &Tensor) -> Result<Tensor> {
        let probe = self.clone();
        apply(
            x,
            |x| Ok(x.clone()),
            move |values, _, gradients| {
                let observed = Observed { values: values.clone(), gradients: gradients.clone() };
                if let Ok(mut all) = probe.0.lock() {
                    all.push(observed);
                }
                Ok(gradients.clone())
            },
        )
    }

    /// What was observed since the last call.
    pub fn take(&self) -> Vec<Observed> {
        self.0.lock().map(|mut all| std::mem::take(&mut *all)).unwrap_or_default()
    }
}
