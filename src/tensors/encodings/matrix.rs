//! Matrices whose rows are computed from several stored tensors, by all processors.

use std::fmt::Debug;
use std::ops::Range;

use candle_core::{Device, Result as TensorResult, Tensor};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::{Encoding, Rows};
use crate::tensors::stored::Stored;

/// Rows that one task computes: enough to share the cache lines of formats that store columns one after the other.
const ROWS: usize = 32;

/// The numbers that a dequantised weight is rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    F32,
    F16,
    Bf16,
}

impl Numbers {
    /// By PyTorch's name: `bfloat16`.
    pub fn named(name: &str) -> Option<Self> {
        match name.trim_start_matches("torch.") {
            "float32" => Some(Self::F32),
            "float16" => Some(Self::F16),
            "bfloat16" => Some(Self::Bf16),
            _ => None,
        }
    }

    /// The nearest of these numbers.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }
}

/// A quantised matrix (outputs, inputs).
pub trait Matrix: Debug + Send + Sync {
    /// What people call it: `NF4`, `GPTQ 4 bit`.
    fn name(&self) -> String;

    /// What its numbers are rounded to.
    fn numbers(&self) -> Numbers;

    /// Computes rows from the bytes of the parts, one row after the other, before they are rounded.
    fn dequantise(&self, parts: &[&[u8]], rows: Range<usize>, values: &mut [f32]);
}

impl<M: Matrix> Encoding for M {
    fn describe(&self, _: &[Stored]) -> String {
        self.name()
    }

    fn decode(&self, rows: &Rows) -> TensorResult<Option<Tensor>> {
        let numbers = self.numbers();
        let values = in_blocks(self, rows, |values: &mut [f32], dequantise| {
            dequantise(values);
            values.iter_mut().for_each(|value| *value = numbers.round(*value));
        });
        Tensor::from_vec(values, rows.shape.as_slice(), &Device::Cpu).map(Some)
    }

    fn bf16(&self, rows: &Rows) -> TensorResult<Option<Tensor>> {
        if self.numbers() != Numbers::Bf16 {
            return Ok(None);
        }
        let values = in_blocks(self, rows, |values: &mut [bf16], dequantise| {
            let mut wide = vec![0f32; values.len()];
            dequantise(&mut wide);
            values.convert_from_f32_slice(&wide);
        });
        Tensor::from_vec(values, rows.shape.as_slice(), &Device::Cpu).map(Some)
    }
}

/// The values of rows, a block of rows at a time: `fill` gets the place of a block and what computes its values.
fn in_blocks<M: Matrix, T: Default + Clone + Send>(
    matrix: &M,
    rows: &Rows,
    fill: impl Fn(&mut [T], &dyn Fn(&mut [f32])) + Sync,
) -> Vec<T> {
    let columns: usize = rows.shape[1..].iter().product();
    let mut values = vec![T::default(); rows.range().len() * columns];
    let first = rows.range().start;
    rows.whole(|parts| {
        values.par_chunks_mut((ROWS * columns).max(1)).enumerate().for_each(|(block, values)| {
            let start = first + block * ROWS;
            let end = start + values.len() / columns.max(1);
            fill(values, &|values| matrix.dequantise(parts, start..end, values));
        });
    });
    values
}
