//! How weights are stored, and how they become numbers: a scheme of quantisation is one file and one line of [`SCHEMES`].
//!
//! A weight is an encoding of one or more stored tensors. Plain numbers are one tensor; a quantised matrix may be one
//! tensor of codes beside one of scales. Whoever reads weights sees one tensor of numbers in either case.

mod awq;
mod bits;
mod bitsandbytes;
mod fp4;
mod ggml;
mod gptq;
mod matrix;
mod mlx;
mod mxfp4;
mod packed_ints;
mod plain;
mod scaled;
mod scales;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};
use safetensors::Dtype;

use super::map::WeightFile;
use super::stored::{Stored, StoredTensors, StoredType};
use crate::error::TensorError;

/// The schemes of several stored tensors for a weight. What none of them recognises is one tensor of plain numbers or GGML blocks.
static SCHEMES: [&dyn Scheme; 9] = [
    &awq::Awq,
    &bitsandbytes::FourBit,
    &bitsandbytes::Int8,
    &fp4::Fp4,
    &gptq::Gptq,
    &mlx::Mlx,
    &mxfp4::Mxfp4,
    &packed_ints::PackedInts,
    &scaled::EightBit,
];

/// A way of storing a weight as several tensors.
pub trait Scheme: Sync {
    /// The weight whose leading part is the stored tensor `name`, or `None` if that tensor is stored in another way. An
    /// error says that the tensor is meant to be stored like this but its parts do not fit each other.
    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError>;

    /// What the `quantization_config` of Hugging Face calls it.
    fn quant_methods(&self) -> &'static [&'static str];
}

/// How the numbers of a weight are stored.
pub trait Encoding: Debug + Send + Sync {
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

    /// Whether all numbers are finite in f32; `None` if they have to be decoded to tell.
    fn is_finite(&self, _rows: &Rows) -> Option<bool> {
        None
    }
}

/// A weight: an encoding of one or more stored tensors.
#[derive(Debug, Clone)]
pub struct Entry {
    pub shape: Vec<usize>,
    pub(in crate::tensors) encoding: Arc<dyn Encoding>,
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

    /// Whether several stored tensors encode it.
    pub fn is_composite(&self) -> bool {
        self.parts.len() > 1
    }

    /// Whether it stands for numbers that its codes cannot hold one by one.
    pub fn is_quantised(&self) -> bool {
        self.is_composite() || !matches!(self.parts[0].dtype, StoredType::Plain(_))
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

/// A weight that a scheme has recognised.
pub struct RecognisedWeight {
    pub name: String,
    pub shape: Vec<usize>,
    pub encoding: Arc<dyn Encoding>,
    /// The names of its stored tensors, in the order in which the encoding reads them.
    pub parts: Vec<String>,
}

/// Whether weights of a `quant_method` of Hugging Face are read.
pub fn reads_method(quant_method: &str) -> bool {
    SCHEMES.iter().any(|scheme| scheme.quant_methods().contains(&quant_method))
}

/// The weights that stored tensors encode. The parts of a weight of several tensors are no entries of their own.
pub fn entries(stored: StoredTensors) -> Result<BTreeMap<String, Entry>, TensorError> {
    let mut recognised = Vec::new();
    for scheme in SCHEMES {
        for name in stored.tensors.keys() {
            recognised.extend(scheme.recognise(name, &stored)?);
        }
    }
    if let Some(weight) = recognised.iter().find(|weight: &&RecognisedWeight| weight.shape.contains(&0)) {
        return Err(stored.shape_error(&weight.parts[0], &weight.shape));
    }
    let mut tensors = stored.tensors;
    let composites: Vec<(String, Entry)> = recognised
        .into_iter()
        .map(|RecognisedWeight { name, shape, encoding, parts }| {
            let parts = parts.iter().filter_map(|part| tensors.remove(part)).collect();
            (name, Entry { shape, encoding, parts })
        })
        .collect();
    Ok(tensors.into_iter().map(|(name, stored)| (name, single(stored))).chain(composites).collect())
}

/// The entry of a stored tensor by itself.
pub fn single(stored: Stored) -> Entry {
    let encoding: Arc<dyn Encoding> = match stored.dtype {
        StoredType::Plain(_) => Arc::new(plain::Plain),
        StoredType::Ggml(_) | StoredType::Blocks(_) => Arc::new(ggml::Ggml),
    };
    Entry { shape: stored.shape.clone(), encoding, parts: vec![stored] }
}

/// Rows of a weight that are to be decoded.
pub struct Rows<'a> {
    files: &'a [WeightFile],
    parts: &'a [Stored],
    rows: Range<usize>,
    /// The rows of the whole weight.
    height: usize,
    /// The shape of the rows together.
    pub shape: Vec<usize>,
}

impl<'a> Rows<'a> {
    pub fn new(files: &'a [WeightFile], entry: &'a Entry, rows: Range<usize>) -> Self {
        let mut shape = entry.shape.clone();
        let height = shape.first().copied().unwrap_or(1);
        if let Some(first) = shape.first_mut() {
            *first = rows.len();
        }
        Self { files, parts: &entry.parts, rows, height, shape }
    }

    pub fn dtype(&self, part: usize) -> StoredType {
        self.parts[part].dtype
    }

    /// The rows, counted from the first one of the weight.
    pub fn range(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Shows all bytes of all parts, and gives the pages that belong to the rows back to the operating system.
    pub fn whole<T>(&self, read: impl FnOnce(&[&[u8]]) -> T) -> T {
        let bytes = |part: &Stored| &self.files[part.file].bytes()[part.range.clone()];
        let result = read(&self.parts.iter().map(bytes).collect::<Vec<_>>());
        for part in self.parts {
            let place = |row: usize| {
                part.range.start + (part.range.len() as u128 * row as u128 / self.height.max(1) as u128) as usize
            };
            self.files[part.file].release(place(self.rows.start)..place(self.rows.end));
        }
        result
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use candle_core::Device;
    use serde_json::Value;

    use crate::tensors::TensorStore;

    /// What the quantisers' own code makes of the fixtures, to the bit (`scripts/fixtures/quantised.py`).
    #[test]
    fn every_scheme_reads_what_its_library_reads() {
        let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/quantised");
        let json = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let mut compared = 0;
        for case in fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()) {
            let config = json(case.join("base/config.json"));
            let store =
                TensorStore::open_base(&case.join("base/model.safetensors"), config.as_object().unwrap()).unwrap();
            for (name, expected) in json(case.join("values.json")).as_object().unwrap() {
                let whole = store.load(name, &Device::Cpu).unwrap();
                let values = whole.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let narrow = store.load_narrow(name, None).unwrap().to_dtype(candle_core::DType::F32).unwrap();
                assert_eq!(narrow.flatten_all().unwrap().to_vec1::<f32>().unwrap(), values);
                let second = store.load_rows(name, 1..2, &Device::Cpu).unwrap().get(0).unwrap();
                assert_eq!(second.to_vec1::<f32>().unwrap(), whole.get(1).unwrap().to_vec1::<f32>().unwrap());
                for (place, (value, expected)) in values.iter().zip(expected.as_array().unwrap()).enumerate() {
                    let expected = expected.as_f64().unwrap() as f32;
                    assert_eq!(*value, expected, "{}: {name}, value {place}", case.display());
                    compared += 1;
                }
            }
        }
        assert!(compared > 1000);
    }

    /// `scripts/fixtures/ggml_blocks.py`
    #[test]
    fn every_type_is_read_as_the_gguf_package_reads_it() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/ggml-blocks");
        let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("values.json")).unwrap()).unwrap();
        let (store, _) = TensorStore::open_gguf(&folder.join("blocks.gguf")).unwrap();
        for kind in &crate::tensors::block_types::TYPES {
            let values = store.load(kind.name, &Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let expected = expected[kind.name].as_array().unwrap();
            assert_eq!(values.len(), expected.len());
            for (place, (value, expected)) in values.iter().zip(expected).enumerate() {
                assert_eq!(*value, expected.as_f64().unwrap() as f32, "{}, value {place}", kind.name);
            }
        }
    }
}
