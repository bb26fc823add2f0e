//! ΔW of a linear module for each method, as a formula over its factors.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::kernel::device::matmul;
use crate::kernel::gradient::Probe;

/// What an adapter changes in one linear module.
#[derive(Debug, Clone)]
pub struct Delta {
    change: Change,
    /// `lora_B.bias`, scaled: (outputs).
    bias: Option<Tensor>,
    /// DoRA's magnitude vector: (outputs).
    magnitude: Option<Tensor>,
    /// What sees A·x on the way, (rows, rank), and its gradient.
    probe: Option<Arc<Probe>>,
}

#[derive(Debug, Clone)]
enum Change {
    LowRank {
        /// `lora_A`: (rank, inputs).
        a: Tensor,
        /// `lora_B`: (outputs, rank).
        b: Tensor,
        scaling: f64,
    },
    /// (outputs, inputs)
    Dense(Tensor),
}

impl Delta {
    /// LoRA: scaling · B·A, for `a` (rank, inputs) and `b` (outputs, rank).
    pub fn low_rank(a: Tensor, b: Tensor, scaling: f64) -> Self {
        Self { change: Change::LowRank { a, b, scaling }, bias: None, magnitude: None, probe: None }
    }

    /// LoHa (PEFT, `loha/layer.py`): scaling · (w1_a·w1_b) ∘ (w2_a·w2_b).
    pub fn hadamard([w1_a, w1_b, w2_a, w2_b]: [&Tensor; 4], scaling: f64) -> Result<Self> {
        let product = (matmul(w1_a, w1_b)? * matmul(w2_a, w2_b)?)?;
        Self::dense((product * scaling)?)
    }

    /// LoKr (PEFT, `lokr/layer.py`): scaling · w1 ⊗ w2.
    pub fn kronecker(w1: &Tensor, w2: &Tensor, scaling: f64) -> Result<Self> {
        let ((a, c), (b, d)) = (w1.dims2()?, w2.dims2()?);
        let product = w1.reshape((a, 1, c, 1))?.broadcast_mul(&w2.reshape((1, b, 1, d))?)?;
        Self::dense((product.reshape((a * b, c * d))? * scaling)?)
    }

    fn dense(matrix: Tensor) -> Result<Self> {
        Ok(Self { change: Change::Dense(matrix), bias: None, magnitude: None, probe: None })
    }

    pub fn with_bias(mut self, bias: Option<Tensor>) -> Self {
        self.bias = bias;
        self
    }

    pub fn with_magnitude(mut self, magnitude: Option<Tensor>) -> Self {
        self.magnitude = magnitude;
        self
    }

    /// Lets a probe see the values between the two factors.
    pub fn observe(&mut self, probe: Arc<Probe>) {
        self.probe = Some(probe);
    }

    /// Multiplies the scaling, of the bias too, as a larger `lora_alpha` would.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        if factor == 1.0 {
            return Ok(());
        }
        match &mut self.change {
            Change::LowRank { scaling, .. } => *scaling *= factor,
            Change::Dense(matrix) => *matrix = (&*matrix * factor)?,
        }
        if let Some(bias) = &mut self.bias {
            *bias = (&*bias * factor)?;
        }
        Ok(())
    }

    /// The change of the outputs, without the bias, for inputs `x` (rows, inputs): (rows, outputs).
    ///
    /// The order is PEFT's, `lora_B(lora_A(x)) * scaling`, but for the scaling, which costs least between the two. The product B·A is
    /// neither formed nor merged into a weight, where changes of 1e-5 would be rounded away.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.change {
            Change::LowRank { a, b, scaling } => {
                let inner = matmul(x, &a.t()?)?;
                let inner = self.probe.as_ref().map_or(Ok(inner.clone()), |probe| probe.observe(&inner))?;
                matmul(&if *scaling == 1.0 { inner } else { (inner * *scaling)? }, &b.t()?)
            }
            Change::Dense(matrix) => matmul(x, &matrix.t()?),
        }
    }

    /// The pair of the transposed weight; `None` unless this is a plain pair.
    pub fn transposed(&self) -> Option<Self> {
        match &self.change {
            Change::LowRank { a, b, scaling } if self.bias.is_none() && self.magnitude.is_none() => {
                Some(Self::low_rank(b.t().ok()?.contiguous().ok()?, a.t().ok()?.contiguous().ok()?, *scaling))
            }
            _ => None,
        }
    }

    /// What the pair of an embedding, whose inputs are tokens, adds for the tokens `ids`: (ids, outputs).
    pub fn of_inputs(&self, ids: &[u32]) -> Result<Tensor> {
        match &self.change {
            Change::LowRank { a, b, scaling } => {
                let ids = Tensor::from_slice(ids, ids.len(), a.device())?;
                matmul(&a.index_select(&ids, 1)?.t()?, &b.t()?)? * *scaling
            }
            Change::Dense(matrix) => {
                let ids = Tensor::from_slice(ids, ids.len(), matrix.device())?;
                matrix.t()?.contiguous()?.index_select(&ids, 0)
            }
        }
    }

    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    pub fn magnitude(&self) -> Option<&Tensor> {
        self.magnitude.as_ref()
    }

    /// The change of the weight: (outputs, inputs).
    pub fn matrix(&self) -> Result<Tensor> {
        match &self.change {
            Change::LowRank { a, b, scaling } => matmul(b, a)? * *scaling,
            Change::Dense(matrix) => Ok(matrix.clone()),
        }
    }

    /// The sum of the squares of all changes of the weight.
    ///
    /// For a pair it comes from the two rank × rank Gram matrices, ‖B·A‖² = trace(BᵀB · AAᵀ); the product, as large as
    /// the base weight, is never formed.
    pub fn squared_norm(&self) -> Result<f64> {
        let sum = |values: &Tensor| -> Result<f64> {
            Ok(values.flatten_all()?.to_vec1::<f32>()?.iter().map(|&value| f64::from(value)).sum())
        };
        match &self.change {
            Change::LowRank { a, b, scaling } => {
                let (gram_a, gram_b) = (matmul(a, &a.t()?)?, matmul(&b.t()?, b)?);
                // Both are symmetric, so the trace of their product is the sum over elements.
                Ok(sum(&(gram_a * gram_b)?)? * scaling.powi(2))
            }
            Change::Dense(matrix) => sum(&matrix.sqr()?),
        }
    }

    /// The change of some of the outputs, which `choose` selects from a tensor (outputs, …).
    pub fn outputs(&self, choose: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let change = match &self.change {
            Change::LowRank { a, b, scaling } => Change::LowRank { a: a.clone(), b: choose(b)?, scaling: *scaling },
            Change::Dense(matrix) => Change::Dense(choose(matrix)?),
        };
        let part = |tensor: &Option<Tensor>| tensor.as_ref().map(&choose).transpose();
        Ok(Self { change, bias: part(&self.bias)?, magnitude: part(&self.magnitude)?, probe: self.probe.clone() })
    }
}

/// LoRA on a parameter that holds the matrices of all experts (PEFT, `ParamWrapper`).
#[derive(Debug, Clone)]
pub struct ExpertStack {
    /// (experts, rank, inputs)
    a: Tensor,
    /// (outputs, rank, experts)
    b: Tensor,
    scaling: f64,
}

impl ExpertStack {
    /// PEFT folds the experts into the rank: `a` is (experts · rank, inputs), `b` (outputs, rank · experts).
    pub fn new(a: &Tensor, b: &Tensor, rank: usize, scaling: f64) -> Result<Self> {
        let ((rows, inputs), outputs) = (a.dims2()?, b.dim(0)?);
        let experts = rows / rank.max(1);
        let (a, b) = (a.reshape((experts, rank, inputs))?, b.reshape((outputs, rank, experts))?);
        Ok(Self { a, b, scaling })
    }

    pub fn scale(&mut self, factor: f64) {
        self.scaling *= factor;
    }

    /// As [`Delta::squared_norm`], over all experts.
    pub fn squared_norm(&self) -> Result<f64> {
        (0..self.a.dim(0)?).map(|expert| self.of(expert)?.squared_norm()).sum()
    }

    /// As [`of`](Self::of), where PEFT takes the inputs of a matrix for its outputs.
    pub fn of_transposed(&self, expert: usize) -> Result<Delta> {
        let (a, b) = (self.b.get_on_dim(2, expert)?.t()?, self.a.get(expert)?.t()?);
        Ok(Delta::low_rank(a.contiguous()?, b.contiguous()?, self.scaling))
    }

    pub fn of(&self, expert: usize) -> Result<Delta> {
        Ok(Delta::low_rank(self.a.get(expert)?, self.b.get_on_dim(2, expert)?.contiguous()?, self.scaling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn formulas_are_those_of_the_definitions() -> Result<()> {
        let tensor = |values: &[f32], rows| Tensor::from_slice(values, (rows, values.len() / rows), &Device::Cpu);
        let (w1, w2) = (tensor(&[1.0, 2.0], 1)?, tensor(&[3.0, 4.0], 2)?);
        // (1, 2) ⊗ (3, 4)ᵀ
        assert_eq!(Delta::kronecker(&w1, &w2, 2.0)?.matrix()?.to_vec2::<f32>()?, [[6.0, 12.0], [8.0, 16.0]]);
        let (column, row) = (tensor(&[1.0, 2.0], 2)?, tensor(&[3.0, 5.0], 1)?);
        let hadamard = Delta::hadamard([&column, &row, &column, &row], 0.5)?;
        assert_eq!(hadamard.matrix()?.to_vec2::<f32>()?, [[4.5, 12.5], [18.0, 50.0]]);
        let low_rank = Delta::low_rank(row, column, 2.0);
        let x = tensor(&[1.0, 1.0], 1)?;
        assert_eq!(low_rank.forward(&x)?.to_vec2::<f32>()?, [[16.0, 32.0]]);
        assert_eq!(low_rank.matrix()?.to_vec2::<f32>()?, [[6.0, 10.0], [12.0, 20.0]]);
        assert_eq!(low_rank.squared_norm()?, 680.0);
        assert_eq!(hadamard.squared_norm()?, 4.5 * 4.5 + 12.5 * 12.5 + 18.0 * 18.0 + 50.0 * 50.0);
        Ok(())
    }
}
