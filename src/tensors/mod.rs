//! One store over the weight files that people have, so that nothing above knows which kind it reads.
//!
//! A [`TensorStore`] maps safetensors (one file or shards) or GGUF, validates the headers once, and then hands out
//! rows of a tensor widened to f32, or its bytes. It never holds a tensor: what it reads is copied out and the
//! mapped pages are given back, so that a model much larger than memory can be walked layer by layer.
//!
//! Its `unsafe` code is in `map.rs` and `fault.rs`.

mod encodings;
mod fault;
mod gguf;
mod gguf_header;
mod map;
mod pickle;
pub mod pickle_program;
mod safetensors;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};

use crate::error::{Result, TensorError};
use map::WeightFile;

pub use ::safetensors::Dtype;
pub use fault::end_with_a_word;
pub use gguf::Metadata as GgufMetadata;
pub use safetensors::header as safetensors_header;

/// How the values of a tensor are encoded in its file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoding {
    /// One number after the other.
    Plain(Dtype),
    /// GGML blocks of quantised values.
    Blocks(GgmlDType),
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Encoding::Plain(dtype) => write!(f, "{dtype:?}"),
            Encoding::Blocks(dtype) => write!(f, "{dtype:?}"),
        }
    }
}

/// Where a tensor lies, as its file's header says.
#[derive(Debug, Clone)]
pub struct Entry {
    file: usize,
    pub encoding: Encoding,
    pub shape: Vec<usize>,
    /// The bytes of the tensor, counted from the start of the file.
    pub range: Range<usize>,
}

impl Entry {
    /// The size of the tensor in its file.
    pub fn bytes(&self) -> u64 {
        self.range.len() as u64
    }
}

/// The tensors of one adapter or one model, by name.
#[derive(Debug)]
pub struct TensorStore {
    path: PathBuf,
    files: Vec<WeightFile>,
    entries: BTreeMap<String, Entry>,
}

impl TensorStore {
    /// Opens one safetensors file, or one shard index (`*.safetensors.index.json`) with its shards.
    pub fn open_safetensors(path: &Path) -> Result<Self> {
        let mut store = Self { path: path.into(), files: Vec::new(), entries: BTreeMap::new() };
        for shard in safetensors::shards(path)? {
            let file = WeightFile::open(&shard)?;
            for (name, entry) in safetensors::entries(&shard, &file, store.files.len())? {
                if store.entries.insert(name.clone(), entry).is_some() {
                    return Err(TensorError::DuplicateTensor { path: path.into(), name }.into());
                }
            }
            store.files.push(file);
        }
        Ok(store)
    }

    /// Opens a PyTorch file (`adapter_model.bin`), which is read into memory as a whole.
    pub fn open_pickle(path: &Path) -> Result<Self> {
        let file = WeightFile::open(path)?.translated(pickle::to_safetensors(path)?);
        let entries = safetensors::entries(path, &file, 0)?.into_iter().collect();
        Ok(Self { path: path.into(), files: vec![file], entries })
    }

    /// Opens a GGUF file; its metadata (configuration, tokenizer) comes beside the tensors.
    pub fn open_gguf(path: &Path) -> Result<(Self, GgufMetadata)> {
        let file = WeightFile::open(path)?;
        let (entries, metadata) = gguf::read(path, &file)?;
        Ok((Self { path: path.into(), files: vec![file], entries }, metadata))
    }

    /// Whether the files are still those that were opened: what is read of a file in two states is neither.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(WeightFile::check_unchanged)
    }

    /// The file or shard index that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the tensors lie in one file as they are, so that a range of it is a tensor.
    pub fn is_one_file(&self) -> bool {
        matches!(self.files.as_slice(), [file] if file.is_mapped())
    }

    /// The weight files, in the order of the shards.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(WeightFile::path)
    }

    /// Every tensor, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The entry of `name`, or an error that names the file.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.get(name).ok_or_else(|| TensorError::Missing { path: self.path.clone(), name: name.into() }.into())
    }

    /// As [`entry`](Self::entry), and the shape must be `expected`.
    pub fn entry_of_shape(&self, name: &str, expected: &[usize]) -> Result<&Entry> {
        let entry = self.entry(name)?;
        if entry.shape != expected {
            return Err(TensorError::Shape {
                path: self.path.clone(),
                name: name.into(),
                expected: expected.into(),
                actual: entry.shape.clone(),
            }
            .into());
        }
        Ok(entry)
    }

    /// The bytes of a tensor as they stand in its file.
    pub fn bytes(&self, name: &str) -> Result<&[u8]> {
        let entry = self.entry(name)?;
        Ok(&self.files[entry.file].bytes()[entry.range.clone()])
    }

    /// A whole tensor, widened to f32.
    pub fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        let entry = self.entry(name)?;
        let shape = entry.shape.clone();
        let values = self.decode(name, entry, entry.range.clone())?;
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(device)?)
    }

    /// A whole tensor for a processor, in bf16 if it is stored so, else widened to f32.
    pub fn load_narrow(&self, name: &str) -> Result<Tensor> {
        let entry = self.entry(name)?;
        match entry.encoding {
            Encoding::Plain(Dtype::BF16) => self.bf16(entry, entry.range.clone(), entry.shape.clone()),
            _ => self.load(name, &Device::Cpu),
        }
    }

    /// As [`load_narrow`](Self::load_narrow), rows `rows` of it.
    pub fn load_rows_narrow(&self, name: &str, rows: Range<usize>) -> Result<Tensor> {
        let entry = self.entry(name)?;
        match entry.encoding {
            Encoding::Plain(Dtype::BF16) => {
                let (range, shape) = self.rows(name, entry, &rows)?;
                self.bf16(entry, range, shape)
            }
            _ => self.load_rows(name, rows, &Device::Cpu),
        }
    }

    fn bf16(&self, entry: &Entry, range: Range<usize>, shape: Vec<usize>) -> Result<Tensor> {
        let file = &self.files[entry.file];
        let values = encodings::plain::bf16s(&file.bytes()[range.clone()]);
        file.release(range);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// Rows `rows` of a tensor (rows, …), widened to f32: (rows, …).
    pub fn load_rows(&self, name: &str, rows: Range<usize>, device: &Device) -> Result<Tensor> {
        let entry = self.entry(name)?;
        let (range, shape) = self.rows(name, entry, &rows)?;
        let values = self.decode(name, entry, range)?;
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(device)?)
    }

    /// The bytes and the shape of some rows of a tensor.
    fn rows(&self, name: &str, entry: &Entry, rows: &Range<usize>) -> Result<(Range<usize>, Vec<usize>)> {
        let mut shape = entry.shape.clone();
        let height = shape.first().copied().unwrap_or(0);
        if rows.end > height {
            return Err(self.shape_error(name, entry, vec![rows.end]));
        }
        shape[0] = rows.len();
        let row_bytes = entry.range.len() / height.max(1);
        Ok((entry.range.start + rows.start * row_bytes..entry.range.start + rows.end * row_bytes, shape))
    }

    /// Matrix `index` of those that `NAME_blocks` and `NAME_scales` hold in MXFP4: (rows, columns).
    pub fn load_mxfp4(&self, name: &str, index: usize, device: &Device) -> Result<Tensor> {
        let (blocks, scales) = (format!("{name}_blocks"), format!("{name}_scales"));
        let &[matrices, rows, blocks_per_row] = self.entry(&scales)?.shape.as_slice() else {
            return Err(self.shape_error(&scales, self.entry(&scales)?, vec![index + 1, 0, 0]));
        };
        self.entry_of_shape(&blocks, &[matrices, rows, blocks_per_row, encodings::mxfp4::BLOCK / 2])?;
        for name in [&blocks, &scales] {
            let dtype = self.entry(name)?.encoding;
            if dtype != Encoding::Plain(Dtype::U8) {
                let (path, name) = (self.path.clone(), name.clone());
                return Err(TensorError::Dtype { path, name, dtype: dtype.to_string() }.into());
            }
        }
        if index >= matrices {
            return Err(self.shape_error(&scales, self.entry(&scales)?, vec![index + 1, rows, blocks_per_row]));
        }
        let part = |name: &str| -> Result<&[u8]> {
            let bytes = self.bytes(name)?;
            let size = bytes.len() / matrices;
            Ok(&bytes[index * size..(index + 1) * size])
        };
        let values = encodings::mxfp4::decode(part(&blocks)?, part(&scales)?);
        let shape = (rows, blocks_per_row * encodings::mxfp4::BLOCK);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(device)?)
    }

    /// The rows `ids` of the matrix `name`, each read once: (ids, columns).
    pub fn rows_of(&self, name: &str, ids: &[u32], device: &Device) -> Result<Tensor> {
        let mut unique = ids.to_vec();
        unique.sort_unstable();
        unique.dedup();
        // Put together before they go to the device: in one transfer, not one for each row.
        let rows = unique
            .iter()
            .map(|&id| self.load_rows(name, id as usize..id as usize + 1, &Device::Cpu))
            .collect::<Result<Vec<_>>>()?;
        let position = |id: &u32| unique.binary_search(id).unwrap_or_default() as u32;
        let index = Tensor::from_iter(ids.iter().map(position), &Device::Cpu)?;
        Ok(Tensor::cat(&rows, 0)?.index_select(&index, 0)?.to_device(device)?)
    }

    /// A whole tensor as f32 values; NaN and infinities are an error.
    pub fn load_finite(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.entry(name)?;
        let values = self.decode(name, entry, entry.range.clone())?;
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(TensorError::NotFinite { path: self.path.clone(), name: name.into() }.into())
        }
    }

    /// Has the operating system begin to read a tensor, if there is one of that name.
    pub fn announce(&self, name: &str) {
        if let Some(entry) = self.get(name) {
            self.files[entry.file].announce(entry.range.clone());
        }
    }

    fn decode(&self, name: &str, entry: &Entry, range: Range<usize>) -> Result<Vec<f32>> {
        let file = &self.files[entry.file];
        let values = encodings::plain::to_f32(&file.bytes()[range.clone()], entry.encoding)?.ok_or_else(|| {
            TensorError::Dtype { path: self.path.clone(), name: name.into(), dtype: entry.encoding.to_string() }
        })?;
        file.release(range);
        Ok(values)
    }

    fn shape_error(&self, name: &str, entry: &Entry, expected: Vec<usize>) -> crate::Error {
        TensorError::Shape { path: self.path.clone(), name: name.into(), expected, actual: entry.shape.clone() }.into()
    }
}
