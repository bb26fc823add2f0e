//! Activations of MLPs, and how a gate and the values that it gates come together.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use candle_nn::ops::sigmoid;

use crate::kernel::device::{is_ours, require_cpu};
use crate::kernel::elementwise::silu_times;

/// The activation of the MLP, or of its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Silu,
    /// GELU by the error function, and its approximation by tanh.
    Gelu,
    GeluTanh,
    Relu,
    ReluSquared,
}

impl Activation {
    /// By the names of transformers (`activations.py`).
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu" => Some(Self::Gelu),
            "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Some(Self::GeluTanh),
            "relu" => Some(Self::Relu),
            "relu2" => Some(Self::ReluSquared),
            _ => None,
        }
    }

    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::Relu => x.relu(),
            Self::ReluSquared => x.relu()?.sqr(),
        }
    }
}

/// How an MLP's gate is applied to the values beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gating {
    By(Activation),
    /// gpt-oss: g·sigmoid(α·g)·(u + 1), with g cut off above `limit` and u on both sides.
    Clamped {
        alpha: f64,
        limit: f64,
    },
    /// xIELU without a gate; each layer has numbers of its own.
    Xielu,
}

impl Gating {
    pub fn apply(self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        match self {
            Self::Xielu => candle_core::bail!("xIELU has no gate"),
            Self::By(Activation::Silu) if is_ours(gate.device()) && !gate.track_op() => {
                gate.apply_op2_no_bwd(up, &SiluTimes)
            }
            Self::By(activation) => activation.apply(gate)? * up,
            Self::Clamped { alpha, limit } => {
                let gate = gate.minimum(limit)?;
                let up = up.clamp(-limit, limit)?;
                (&gate * sigmoid(&(&gate * alpha)?)?)? * (up + 1.0)?
            }
        }
    }

    /// The activation alone, for an MLP without a gate.
    pub fn activate(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::By(activation) => activation.apply(x),
            Self::Clamped { .. } | Self::Xielu => self.apply(x, &x.zeros_like()?),
        }
    }
}

/// xIELU (arXiv 2411.13010) in one layer: a·x² + b·x above 0, and c·(eˣ − 1 − x) + b·x below.
#[derive(Debug, Clone, Copy)]
pub struct Xielu {
    squares: f64,
    exponentials: f64,
    slope: f64,
    /// Exponentials are those of at most this number.
    end: f64,
}

impl Xielu {
    /// From the numbers of a file: two factors by the inverse of softplus, the slope and the end of exponentials.
    pub fn new([squares, exponentials, slope, end]: [f32; 4]) -> Self {
        let softplus = |x: f32| f64::from(x).exp().ln_1p();
        let slope = f64::from(slope);
        Self { squares: softplus(squares), exponentials: slope + softplus(exponentials), slope, end: f64::from(end) }
    }

    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        let is_above = x.detach().gt(0.0)?;
        let cut = x.minimum(self.end)?;
        // eˣ − 1 without the loss of digits near 0
        let expm1 = ((&cut * 0.5)?.tanh()? * (cut.exp()? + 1.0)?)?;
        let below = ((expm1 - x)? * self.exponentials)?;
        let above = (x.sqr()? * self.squares)?;
        is_above.where_cond(&above, &below)? + (x * self.slope)?
    }
}

/// SiLU(gate) · up as one operation, which saves two passes over memory.
struct SiluTimes;

impl CustomOp2 for SiluTimes {
    fn name(&self) -> &'static str {
        "silu-times"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        require_cpu(self.name())?;
        let (Some((gate_start, gate_end)), Some((up_start, up_end))) =
            (gate_layout.contiguous_offsets(), up_layout.contiguous_offsets())
        else {
            candle_core::bail!("gate and up are not contiguous")
        };
        let mut gated = gate.as_slice::<f32>()?[gate_start..gate_end].to_vec();
        silu_times(&mut gated, &up.as_slice::<f32>()?[up_start..up_end]);
        Ok((CpuStorage::F32(gated), gate_layout.shape().clone()))
    }
}
