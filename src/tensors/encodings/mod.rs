//! How weights are stored, and how they become numbers: an encoding is one file and one line of [`ENCODINGS`].
//!
//! A weight is an encoding of one or more stored tensors. Plain numbers are one tensor; a quantised matrix may be one
//! tensor of codes beside one of scales. Whoever reads weights sees one tensor of numbers in either case.

mod ggml;
mod mxfp4;
mod plain;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;

use candle_core::{Result as TensorResult, Tensor};
use safetensors::Dtype;

use super::map::WeightFile;
use super::stored::{Stored, StoredTensors, StoredType};
use crate::error::TensorError;

/// The encodings of several stored tensors. What none of them recognises is one tensor of plain numbers or GGML blocks.
static ENCODINGS: [&dyn Encoding; 1] = [&mxfp4::Mxfp4];

/// A way of storing weights.
pub trait Encoding: Debug + Sync {
    /// The weight whose leading part is the stored tensor `name`, or `None` if that tensor is stored in another way. An
    /// error says that the tensor is meant to be stored like this but its parts do not fit each other.
    fn recognise(&self, _name: &str, _stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        Ok(None)
    }

    /// Its `quant_method` in the `quantization_config` of Hugging Face, if it has one.
    fn quant_method(&self) -> Option<&'static str> {
        None
    }

    /// What people call it: `BF16`, `Q4K`, `MXFP4`.
    fn describe(&self, parts: &[Stored]) -> String {
        parts[0].dtype.to_string()
    }

    /// The rows in f32 on the CPU, in their shape; `None` if the stored type is not one of weights.
    fn decode(&self, rows: &Rows) -> TensorResult<Option<Tensor>>;

    /// The rows in bf16 on the CPU, in their shape; `None` if they are not stored in bf16.
    fn bf16(&self, _rows: &Rows) -> TensorResult<Option<Tensor>> {
        Ok(None)
    }
}

/// A weight: an encoding of one or more stored tensors.
#[derive(Debug, Clone)]
pub struct Entry {
    pub shape: Vec<usize>,
    pub(in crate::tensors) encoding: &'static dyn Encoding,
    pub(in crate::tensors) parts: Vec<Stored>,
}

impl Entry {
    /// The size of the weight in its files.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.range.len() as u64).sum()
    }

    /// What the weight is stored as: `BF16`, `Q4K`, `MXFP4`.
    pub fn encoding(&self) -> String {
        self.encoding.describe(&self.parts)
    }

    /// The type of the numbers, where one tensor holds them one after the other.
    pub fn dtype(&self) -> Option<Dtype> {
        match self.parts.as_slice() {
            [Stored { dtype: StoredType::Plain(dtype), .. }] => Some(*dtype),
            _ => None,
        }
    }

    /// The same where `first` files precede its own in the store.
    pub(in crate::tensors) fn in_files_from(mut self, first: usize) -> Self {
        self.parts.iter_mut().for_each(|part| part.file += first);
        self
    }

    /// The bytes of the weight's first stored tensor, the only one of an adapter's, counted from the start of its file.
    pub fn range(&self) -> Range<usize> {
        self.parts[0].range.clone()
    }
}

/// A weight that an encoding has recognised.
pub struct RecognisedWeight {
    pub name: String,
    pub shape: Vec<usize>,
    /// The names of its stored tensors, in the order in which the encoding reads them.
    pub parts: Vec<String>,
}

/// Whether weights of a `quant_method` of Hugging Face are read.
pub fn reads_method(quant_method: &str) -> bool {
    ENCODINGS.iter().any(|encoding| encoding.quant_method() == Some(quant_method))
}

/// The weights that stored tensors encode. The parts of a weight of several tensors are no entries of their own.
pub fn entries(path: &Path, mut tensors: BTreeMap<String, Stored>) -> Result<BTreeMap<String, Entry>, TensorError> {
    let stored = StoredTensors { path, tensors: &tensors };
    let mut recognised = Vec::new();
    for encoding in ENCODINGS {
        for name in tensors.keys() {
            recognised.extend(encoding.recognise(name, &stored)?.map(|weight| (encoding, weight)));
        }
    }
    let composites: Vec<(String, Entry)> = recognised
        .into_iter()
        .map(|(encoding, RecognisedWeight { name, shape, parts })| {
            let parts = parts.iter().filter_map(|part| tensors.remove(part)).collect();
            (name, Entry { shape, encoding, parts })
        })
        .collect();
    Ok(tensors.into_iter().map(|(name, stored)| (name, single(stored))).chain(composites).collect())
}

/// The entry of a stored tensor by itself.
pub fn single(stored: Stored) -> Entry {
    let encoding: &dyn Encoding = match stored.dtype {
        StoredType::Plain(_) => &plain::Plain,
        StoredType::Ggml(_) => &ggml::Ggml,
    };
    Entry { shape: stored.shape.clone(), encoding, parts: vec![stored] }
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
