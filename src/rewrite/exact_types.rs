//! The narrowest types in which no value of an adapter changes: numbers that were trained in bf16 are often stored as f32.
//!
//! All factors get one type, and whole weights keep theirs, because with `low_cpu_mem_usage` PEFT computes in the types of the file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use half::{bf16, f16};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::write::dtype;
use crate::adapter::names::Part;
use crate::adapter::{Adapter, AdapterTensor};
use crate::error::Result;
use crate::format::{bytes, plural};
use crate::tensors::Dtype;

/// Values that one task converts.
const CHUNK: usize = 64 * 1024;

/// A tensor as it is to be stored.
pub struct StoredValues<'a> {
    pub name: &'a str,
    pub dtype: Dtype,
    pub bytes: Cow<'a, [u8]>,
    /// Whether it takes the place of a weight of the base model.
    is_whole: bool,
}

impl<'a> StoredValues<'a> {
    /// A tensor of an adapter, or some of its rows, which are trained tokens then.
    pub fn new(adapter: &'a Adapter, tensor: &AdapterTensor<'a>, rows: Option<&[usize]>) -> Result<Self> {
        let bytes = adapter.weights.bytes(tensor.name)?;
        Ok(Self {
            name: tensor.name,
            dtype: dtype(tensor.entry),
            bytes: rows.map_or(bytes.into(), |rows| rows_of(bytes, &tensor.entry.shape, rows).into()),
            is_whole: matches!(tensor.key.part, Part::Saved | Part::BaseCopy) && rows.is_none(),
        })
    }

    fn is_wide(&self) -> bool {
        matches!(self.dtype, Dtype::F32 | Dtype::F64)
    }

    /// The bytes that a narrower type saves.
    fn saved_by(&self, to: Dtype) -> u64 {
        let per_number = (self.dtype.bitsize() - to.bitsize()) as u64;
        self.bytes.len() as u64 / self.dtype.bitsize() as u64 * per_number
    }

    /// The bytes in another type; `None` unless it has every value.
    pub fn converted(&self, to: Dtype) -> Option<Vec<u8>> {
        match (self.dtype, to) {
            (Dtype::F32, Dtype::BF16) => convert(&self.bytes, |value| exactly(f32::from_le_bytes(value), to_bf16)),
            (Dtype::F32, Dtype::F16) => convert(&self.bytes, |value| exactly(f32::from_le_bytes(value), to_f16)),
            (Dtype::F64, Dtype::BF16) => convert(&self.bytes, |value| exactly(narrow(value)?, to_bf16)),
            (Dtype::F64, Dtype::F16) => convert(&self.bytes, |value| exactly(narrow(value)?, to_f16)),
            _ => None,
        }
    }

    fn fits(&self, to: Dtype) -> bool {
        self.converted(to).is_some()
    }
}

/// The bytes of some rows of a tensor.
pub fn rows_of(bytes: &[u8], shape: &[usize], rows: &[usize]) -> Vec<u8> {
    let width = bytes.len() / shape.first().map_or(1, |&height| height.max(1));
    rows.iter().flat_map(|row| &bytes[row * width..(row + 1) * width]).copied().collect()
}

/// The nearest number of 16 bits: its value, and its bytes.
type Rounded = (f32, [u8; 2]);

fn to_bf16(value: f32) -> Rounded {
    let half = bf16::from_f32(value);
    (half.to_f32(), half.to_le_bytes())
}

fn to_f16(value: f32) -> Rounded {
    let half = f16::from_f32(value);
    (half.to_f32(), half.to_le_bytes())
}

/// The bytes of the rounded number, if it is the same.
fn exactly(value: f32, round: impl Fn(f32) -> Rounded) -> Option<[u8; 2]> {
    let (rounded, bytes) = round(value);
    (rounded.to_bits() == value.to_bits() && value.is_finite()).then_some(bytes)
}

fn narrow(value: [u8; 8]) -> Option<f32> {
    let value = f64::from_le_bytes(value);
    let narrow = value as f32;
    (f64::from(narrow).to_bits() == value.to_bits()).then_some(narrow)
}

fn convert<const SIZE: usize>(bytes: &[u8], convert: impl Fn([u8; SIZE]) -> Option<[u8; 2]> + Sync) -> Option<Vec<u8>> {
    let (numbers, _) = bytes.as_chunks::<SIZE>();
    let numbers: Option<Vec<[u8; 2]>> = numbers.par_iter().with_min_len(CHUNK).map(|&number| convert(number)).collect();
    numbers.map(Vec::into_flattened)
}

/// Tensors that get a narrower type that holds all of their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExactTypes {
    pub tensors: usize,
    /// The narrower types: `bf16`.
    pub types: BTreeSet<String>,
    /// What the adapter is smaller by.
    pub bytes: u64,
}

impl ExactTypes {
    /// Of tensors that get these types, by name; `None` if none does.
    pub fn of(tensors: &[StoredValues], types: &BTreeMap<String, Dtype>) -> Option<Self> {
        let narrowed = tensors.iter().filter_map(|tensor| Some((tensor, *types.get(tensor.name)?)));
        (!types.is_empty()).then(|| Self {
            tensors: types.len(),
            types: types.values().map(|to| format!("{to:?}").to_lowercase()).collect(),
            bytes: narrowed.map(|(tensor, to)| tensor.saved_by(to)).sum(),
        })
    }
}

/// `4.6 MiB in 420 tensors, whose values are all numbers of bf16`
impl fmt::Display for ExactTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types: Vec<&str> = self.types.iter().map(String::as_str).collect();
        let (size, tensors) = (bytes(self.bytes), plural(self.tensors, "tensor"));
        write!(f, "{size} in {tensors}, whose values are all numbers of {}", types.join(" or "))
    }
}

/// The types of 16 bits that replace wider ones, by the names of the tensors, where no value changes.
pub fn narrower(tensors: &[StoredValues]) -> BTreeMap<String, Dtype> {
    let mut types = BTreeMap::new();
    let factors = || tensors.iter().filter(|tensor| !tensor.is_whole);
    let has = |dtype: Dtype| factors().any(|tensor| tensor.dtype == dtype);
    // Those that are narrow already tell which one.
    let candidates: &[Dtype] = match (has(Dtype::BF16), has(Dtype::F16)) {
        (false, true) => &[Dtype::F16],
        (true, false) => &[Dtype::BF16],
        (false, false) => &[Dtype::BF16, Dtype::F16],
        (true, true) => &[],
    };
    let wide = || factors().filter(|tensor| tensor.is_wide());
    if let Some(&to) = candidates.iter().find(|&&to| wide().all(|tensor| tensor.fits(to))) {
        types.extend(wide().map(|tensor| (tensor.name.to_string(), to)));
    }
    types
}
