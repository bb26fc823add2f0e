//! How a tensor compares with another one, value for value.

use std::ops::Range;

use candle_core::Device;
use rayon::prelude::*;

use crate::error::Result;
use crate::tensors::{Dtype, TensorStore};

/// Rows that are compared at once.
const CHUNK: usize = 4096;

/// How a tensor compares with another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Likeness {
    /// Each value is the same, to the bit once both are widened to f32.
    Same,
    /// All rows but these are the same, in ascending order. There may be more rows than the other has.
    SameBut(Vec<usize>),
    /// It has other sizes, or fewer rows.
    OtherSizes,
}

/// A tensor of a store.
#[derive(Debug, Clone, Copy)]
pub struct ComparedWeight<'a> {
    pub store: &'a TensorStore,
    pub name: &'a str,
}

impl ComparedWeight<'_> {
    pub fn shape(&self) -> Result<&[usize]> {
        Ok(&self.store.entry(self.name)?.shape)
    }

    /// The type of its numbers, unless it is quantised.
    pub fn dtype(&self) -> Result<Option<Dtype>> {
        Ok(self.store.entry(self.name)?.dtype())
    }

    /// The bits of the f32 values of some rows.
    fn bits(&self, rows: Range<usize>) -> Result<Vec<u32>> {
        let values = self.store.load_rows(self.name, rows, &Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(values.into_par_iter().map(f32::to_bits).collect())
    }

    /// How it compares with `other`.
    pub fn likeness(&self, other: &Self) -> Result<Likeness> {
        let (shape, others) = (self.shape()?, other.shape()?);
        let (Some((&height, row)), Some((&others, others_row))) = (shape.split_first(), others.split_first()) else {
            return Ok(Likeness::OtherSizes);
        };
        let dtypes = [self.dtype()?, other.dtype()?];
        // Widening to f32 would not be exact.
        if row != others_row || height < others || dtypes.contains(&Some(Dtype::F64)) {
            return Ok(Likeness::OtherSizes);
        }
        if dtypes[0].is_some() && dtypes[0] == dtypes[1] && height == others {
            let [own, others] = [self, other].map(|weight| weight.store.bytes(weight.name));
            if own? == others? {
                return Ok(Likeness::Same);
            }
        }
        let width = row.iter().product::<usize>().max(1);
        let mut changed = Vec::new();
        for first in (0..others).step_by(CHUNK) {
            let rows = first..(first + CHUNK).min(others);
            let (own, others) = (self.bits(rows.clone())?, other.bits(rows)?);
            let pairs = own.chunks(width).zip(others.chunks(width)).enumerate();
            changed.extend(pairs.filter(|(_, (own, other))| own != other).map(|(place, _)| first + place));
        }
        changed.extend(others..height);
        Ok(if changed.is_empty() { Likeness::Same } else { Likeness::SameBut(changed) })
    }
}
