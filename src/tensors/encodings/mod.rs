//! How weights are stored, and how they become numbers: one file and one line of [`ENCODINGS`] for each encoding.
//!
//! A weight is an encoding of one or more stored tensors. Plain numbers are one tensor; a quantised matrix may be one
//! tensor of codes beside one of scales. Whoever reads weights sees one tensor of numbers in either case.

mod ggml;
mod mxfp4;
mod plain;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Range;

use candle_core::{Result as TensorResult, Tensor};

use super::map::WeightFile;
use super::stored::{Entry, Stored, StoredTensors, StoredType};
use crate::error::TensorError;

/// All encodings. A stored tensor belongs to the first one that recognises it, so those of several tensors come first.
static ENCODINGS: [&dyn Encoding; 3] = [&mxfp4::Mxfp4, &ggml::Ggml, &plain::Plain];

/// A way of storing weights.
pub trait Encoding: Debug + Sync {
    /// The weight whose leading part is the stored tensor `name`, or `None` if that tensor is stored in another way. An
    /// error says that the tensor is meant to be stored like this but its parts do not fit each other.
    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<Weight>, TensorError>;

    /// What people call it: `BF16`, `Q4K`, `MXFP4`.
    fn describe(&self, parts: &[Stored]) -> String;

    /// The rows in f32 on the CPU, in their shape; `None` if the stored type is not one of weights.
    fn decode(&self, rows: &Rows) -> TensorResult<Option<Tensor>>;

    /// The rows in bf16 on the CPU, in their shape; `None` if they are not stored in bf16.
    fn bf16(&self, _rows: &Rows) -> TensorResult<Option<Tensor>> {
        Ok(None)
    }
}

/// A weight that an encoding has recognised.
pub struct Weight {
    pub name: String,
    pub shape: Vec<usize>,
    /// The names of its stored tensors, in the order in which the encoding reads them.
    pub parts: Vec<String>,
}

impl Weight {
    /// A weight that is one stored tensor, by its name and shape.
    fn of_one(name: &str, stored: &Stored) -> Self {
        Self { name: name.into(), shape: stored.shape.clone(), parts: vec![name.into()] }
    }
}

/// The weights that stored tensors encode. The parts of a weight of several tensors are no entries of their own.
pub fn entries(stored: &StoredTensors) -> Result<BTreeMap<String, Entry>, TensorError> {
    let (mut entries, mut taken) = (BTreeMap::new(), BTreeSet::new());
    for encoding in ENCODINGS {
        for name in stored.tensors.keys() {
            if taken.contains(name) {
                continue;
            }
            let Some(weight) = encoding.recognise(name, stored)? else { continue };
            let parts = weight.parts.iter().map(|part| stored.tensors[part].clone()).collect();
            taken.extend(weight.parts);
            entries.entry(weight.name).or_insert(Entry { shape: weight.shape, encoding, parts });
        }
    }
    Ok(entries)
}

/// The entry of a tensor of plain numbers by itself.
pub fn plain_entry(stored: Stored) -> Entry {
    Entry { shape: stored.shape.clone(), encoding: &plain::Plain, parts: vec![stored] }
}

/// Rows of a weight that are to be decoded.
pub struct Rows<'a> {
    files: &'a [WeightFile],
    parts: &'a [Stored],
    rows: Range<usize>,
    /// The shape of the rows together.
    pub shape: Vec<usize>,
}

impl<'a> Rows<'a> {
    pub fn new(files: &'a [WeightFile], entry: &'a Entry, rows: Range<usize>) -> Self {
        let mut shape = entry.shape.clone();
        if let Some(height) = shape.first_mut() {
            *height = rows.len();
        }
        Self { files, parts: &entry.parts, rows, shape }
    }

    pub fn dtype(&self, part: usize) -> StoredType {
        self.parts[part].dtype
    }

    /// Shows the bytes that a part has for the rows, and gives their pages back to the operating system.
    pub fn bytes<T>(&self, part: usize, read: impl FnOnce(&[u8]) -> T) -> T {
        let Stored { file, shape, range, .. } = &self.parts[part];
        let row_bytes = range.len() / shape.first().map_or(1, |&height| height.max(1));
        let range = range.start + self.rows.start * row_bytes..range.start + self.rows.end * row_bytes;
        let file = &self.files[*file];
        let result = read(&file.bytes()[range.clone()]);
        file.release(range);
        result
    }
}
