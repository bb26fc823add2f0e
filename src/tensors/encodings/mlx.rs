//! MLX: whole numbers of two to eight bits in U32 words along the rows, with a scale and an offset for each group of columns.
//!
//! A value is code · scale + offset (`X.weight`, `X.scales`, `X.biases`; MLX's `affine` mode), rounded to the type of the scales. The
//! width comes from `quantization` in `config.json`, for all modules or one, because the shapes leave it open.

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;

use super::bits::{number, word};
use super::matrix::{Matrix, Numbers};
use super::scales::{BlockScales, Layout};
use super::{RecognisedWeight, Scheme};
use crate::error::TensorError;
use crate::tensors::stored::StoredTensors;

pub struct Mlx;

#[derive(Debug)]
struct Affine {
    bits: usize,
    words: usize,
    columns: usize,
    scales: BlockScales,
    offsets: BlockScales,
}

impl Scheme for Mlx {
    fn quant_methods(&self) -> &'static [&'static str] {
        &["mlx", "metal"]
    }

    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        let Some(module) = name.strip_suffix(".scales") else { return Ok(None) };
        let part = |suffix: &str| format!("{module}.{suffix}");
        let weight = part("weight");
        if !stored.has_type(&weight, Dtype::U32) {
            return Ok(None);
        }
        let wrong = |problem: &str| stored.quantised_error(&weight, problem);
        let (&[rows, packed], Some(&across)) =
            (stored.find(&weight)?.shape.as_slice(), stored.find(name)?.shape.last())
        else {
            return Err(wrong("is not a matrix"));
        };
        let (bits, group) = stored.mlx_widths(module).ok_or_else(|| {
            wrong("is in words, and `quantization` in `config.json` does not tell their bits and groups")
        })?;
        let columns = across.saturating_mul(group);
        if !(2..=8).contains(&bits) || columns.checked_mul(bits).map(|all| all.div_ceil(32)) != Some(packed) {
            return Err(wrong("has another width than `quantization` in `config.json` says"));
        }
        // transformers' name for what MLX calls biases.
        let biases = [part("biases"), part("qbiases")].into_iter().find(|name| stored.tensors.contains_key(name));
        let biases =
            biases.ok_or_else(|| wrong("has no `biases` beside its scales; only MLX's mode `affine` is read"))?;
        let scales = BlockScales::of(stored, (name, 1), (rows, columns), Layout::GroupsOf(group))?;
        let offsets = BlockScales::of(stored, (&biases, 2), (rows, columns), Layout::GroupsOf(group))?;
        let encoding = Arc::new(Affine { bits, words: packed, columns, scales, offsets });
        let parts = vec![weight.clone(), name.to_string(), biases];
        Ok(Some(RecognisedWeight { name: weight, shape: vec![rows, columns], encoding, parts }))
    }
}

impl Matrix for Affine {
    fn name(&self) -> String {
        format!("MLX, {} bits", self.bits)
    }

    fn numbers(&self) -> Numbers {
        self.scales.numbers()
    }

    fn dequantise(&self, parts: &[&[u8]], rows: Range<usize>, values: &mut [f32]) {
        for (row, values) in rows.zip(values.chunks_mut(self.columns.max(1))) {
            let (scales, offsets) = (self.scales.of_row(parts, row), self.offsets.of_row(parts, row));
            let codes = &parts[0][row * self.words * 4..];
            for (column, value) in values.iter_mut().enumerate() {
                let group = column / self.scales.width();
                let code = number(self.bits, column, |place| word(codes, place)) as f32;
                // MLX computes in the type of the scales, a step at a time.
                *value = self.scales.numbers().round(code * scales[group]) + offsets[group];
            }
        }
    }
}
