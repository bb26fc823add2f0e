//! Whole numbers of one to eight bits, packed along the rows: compressed-tensors' `pack-quantized`.
//!
//! `X.weight_packed`, I32, holds the codes of a row one after the other, `X.weight_scale` a scale for each row or group of columns,
//! and `X.weight_shape` the shape. A value is (code − 2^(bits − 1)) · scale, or (code − zero point) · scale with `X.weight_zero_point`,
//! whose codes are packed along the columns. `X.weight_g_idx` puts the columns into groups in another order.

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;

use super::bits::{Groups, number, word, words};
use super::matrix::{Matrix, Numbers};
use super::scales::{BlockScales, Layout};
use super::{RecognisedWeight, Scheme};
use crate::error::TensorError;
use crate::tensors::stored::StoredTensors;

pub struct PackedInts;

#[derive(Debug)]
struct PackedRows {
    bits: usize,
    /// The words of a row.
    words: usize,
    columns: usize,
    scales: BlockScales,
    /// The place of the zero points among the parts, and how many words a column of them takes. They stand in as many columns as the
    /// scales.
    zeros: Option<usize>,
    groups: usize,
    group_of: Groups,
}

impl Scheme for PackedInts {
    fn quant_methods(&self) -> &'static [&'static str] {
        &["compressed-tensors"]
    }

    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        let Some(module) = name.strip_suffix(".weight_packed") else { return Ok(None) };
        if !stored.has_type(name, Dtype::I32) {
            return Ok(None);
        }
        let part = |suffix: &str| format!("{module}.{suffix}");
        let shape = stored.numbers(&part("weight_shape"), Dtype::I64, 2)?;
        let side = |place: usize| {
            let bytes = shape.as_chunks::<8>().0.get(place).copied().unwrap_or_default();
            usize::try_from(i64::from_le_bytes(bytes)).unwrap_or(0)
        };
        let (rows, columns) = (side(0), side(1));
        let wrong = |problem: &str| stored.quantised_error(name, problem);
        let packed = match stored.find(name)?.shape.as_slice() {
            &[height, packed] if height == rows => packed,
            _ => return Err(stored.shape_error(name, &[rows, columns.div_ceil(8)])),
        };
        // Small matrices leave it open, so that the configuration decides.
        let fits = |&bits: &usize| columns.checked_mul(bits).is_some() && words(columns, bits) == packed;
        let told = stored.setting("num_bits").filter(fits);
        let bits = told.or_else(|| (1..=8).find(fits)).ok_or_else(|| wrong("has no width that its shape explains"))?;
        let scales = BlockScales::of(stored, (&part("weight_scale"), 1), (rows, columns), Layout::Groups)?;
        let groups = columns.div_ceil(scales.width().max(1));
        let mut parts = vec![name.to_string(), part("weight_scale"), part("weight_shape")];
        let zeros = part("weight_zero_point");
        let zeros = match stored.tensors.contains_key(&zeros) {
            true => {
                stored.expect(&zeros, Dtype::I32, &[words(rows, bits), groups])?;
                parts.push(zeros);
                Some(parts.len() - 1)
            }
            false => None,
        };
        let order = part("weight_g_idx");
        let group_of = match stored.tensors.contains_key(&order) {
            true => {
                let listed = Groups::listed(stored.numbers(&order, Dtype::I32, columns)?, groups);
                parts.push(order);
                listed.ok_or_else(|| wrong("has columns of groups that it does not have"))?
            }
            false => Groups::Neighbours(scales.width()),
        };
        let encoding = Arc::new(PackedRows { bits, words: packed, columns, scales, zeros, groups, group_of });
        Ok(Some(RecognisedWeight { name: part("weight"), shape: vec![rows, columns], encoding, parts }))
    }
}

impl Matrix for PackedRows {
    fn name(&self) -> String {
        format!("int{}, packed", self.bits)
    }

    fn numbers(&self) -> Numbers {
        self.scales.numbers()
    }

    fn dequantise(&self, parts: &[&[u8]], rows: Range<usize>, values: &mut [f32]) {
        for (row, values) in rows.zip(values.chunks_mut(self.columns.max(1))) {
            let scales = self.scales.of_row(parts, row);
            let zero = |group: usize| match self.zeros {
                None => 1 << (self.bits - 1),
                Some(part) => number(self.bits, row, |place| word(parts[part], place * self.groups + group)),
            };
            let zeros: Vec<i32> = (0..scales.len()).map(|group| zero(group) as i32).collect();
            let codes = &parts[0][row * self.words * 4..];
            for (column, value) in values.iter_mut().enumerate() {
                let group = self.group_of.of(column);
                let code = number(self.bits, column, |place| word(codes, place)) as i32;
                *value = (code - zeros[group]) as f32 * scales[group];
            }
        }
    }
}
