//! One store over the weight files that people have, so that nothing above knows which kind it reads.
//!
//! A [`TensorStore`] maps safetensors (one file or shards) or GGUF, validates the headers once, and then hands out weights
//! or rows of them in f32, or their bytes. It holds no values: what it reads is copied out and the mapped pages are given
//! back, so a model much larger than memory can be read layer by layer.
//!
//! - `safetensors.rs`, `gguf.rs`, `pickle.rs`: which tensors a file holds (`stored.rs`)
//! - `encodings/`: how the values of a weight are stored in them
//! - `map.rs`, `fault.rs`: the files in memory; all `unsafe` code is here

mod block_types;
mod encodings;
mod fault;
mod float8;
mod gguf;
mod gguf_header;
mod map;
mod pickle;
pub mod pickle_program;
mod safetensors;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Map, Value};

use crate::error::{Error, Result, TensorError};
use encodings::Rows;
use map::WeightFile;
use stored::{Stored, StoredTensors};

pub use ::safetensors::Dtype;
pub use encodings::Entry;
pub use encodings::reads_method;
pub use fault::install_sigbus_handler;
pub use gguf::Metadata as GgufMetadata;
pub use gguf::parts as gguf_parts;
pub use safetensors::header as safetensors_header;

/// The tensors of one adapter or one model, by name.
#[derive(Debug)]
pub struct TensorStore {
    path: PathBuf,
    files: Vec<WeightFile>,
    entries: BTreeMap<String, Entry>,
}

impl TensorStore {
    /// Opens the safetensors of an adapter: one file, or a shard index (`*.safetensors.index.json`) with its shards. Every
    /// stored tensor is an entry of its own, so that it can be copied byte for byte.
    pub fn open_safetensors(path: &Path) -> Result<Self> {
        let (files, stored) = map_shards(path, safetensors::shards(path)?)?;
        let entries = stored.into_iter().map(|(name, stored)| (name, encodings::single(stored))).collect();
        Ok(Self { path: path.into(), files, entries })
    }

    /// The keys of the notes in the headers of its safetensors (`__metadata__`).
    pub fn file_notes(&self) -> BTreeSet<String> {
        self.files.iter().flat_map(safetensors::notes).collect()
    }

    /// A store without tensors. `path` is only for messages.
    pub fn without_files(path: &Path) -> Self {
        Self { path: path.into(), files: Vec::new(), entries: BTreeMap::new() }
    }

    /// Takes tensors out of the store, as if the files did not have them.
    pub fn leave_out(&mut self, names: &[String]) {
        names.iter().for_each(|name| {
            self.entries.remove(name);
        });
    }

    /// Opens the safetensors of a base model, as [`open_safetensors`](Self::open_safetensors). A weight that several stored
    /// tensors encode is one entry, and they are none. `config` is the model's `config.json`.
    pub fn open_base(path: &Path, config: &Map<String, Value>) -> Result<Self> {
        let (files, stored) = map_shards(path, safetensors::shards(path)?)?;
        let entries = encodings::entries(StoredTensors { path, files: &files, tensors: stored, config })?;
        Ok(Self { path: path.into(), files, entries })
    }

    /// Opens a PyTorch file (`adapter_model.bin`), which is read into memory as a whole.
    pub fn open_pickle(path: &Path) -> Result<Self> {
        let file = WeightFile::open(path)?.translated(pickle::to_safetensors(path)?);
        let stored = safetensors::tensors(path, &file, 0)?;
        let entries = stored.into_iter().map(|(name, stored)| (name, encodings::single(stored))).collect();
        Ok(Self { path: path.into(), files: vec![file], entries })
    }

    /// Opens files that belong together: safetensors, or PyTorch's by their endings. `path` is what they are called together.
    pub fn open_files(path: &Path, files: &[PathBuf]) -> Result<Self> {
        let (mut opened, mut entries) = (Vec::new(), BTreeMap::new());
        for file in files {
            let store = match file.extension().and_then(|extension| extension.to_str()) {
                Some("safetensors" | "json") => Self::open_safetensors(file)?,
                _ => Self::open_pickle(file)?,
            };
            let first = opened.len();
            opened.extend(store.files);
            for (name, entry) in store.entries {
                if entries.insert(name.clone(), entry.in_files_from(first)).is_some() {
                    return Err(TensorError::DuplicateTensor { path: path.into(), name }.into());
                }
            }
        }
        Ok(Self { path: path.into(), files: opened, entries })
    }

    /// Opens a GGUF file, or all parts of a split one; the metadata (configuration, tokenizer), which is that of the first
    /// part, comes beside the tensors.
    pub fn open_gguf(path: &Path) -> Result<(Self, GgufMetadata)> {
        let mut parts = gguf::parts(path).into_iter();
        let first = parts.next().unwrap_or_else(|| path.into());
        let file = WeightFile::open(&first)?;
        let (mut stored, metadata) = gguf::read(&first, &file, 0)?;
        let mut files = vec![file];
        for part in parts {
            let file = WeightFile::open(&part)?;
            for (name, tensor) in gguf::read(&part, &file, files.len())?.0 {
                if stored.insert(name.clone(), tensor).is_some() {
                    return Err(TensorError::DuplicateTensor { path: first, name }.into());
                }
            }
            files.push(file);
        }
        let entries =
            encodings::entries(StoredTensors { path: &first, files: &files, tensors: stored, config: &Map::new() })?;
        Ok((Self { entries, path: first, files }, metadata))
    }

    /// Checks that the files are still those that were opened: what is read of a file in two states is neither.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(WeightFile::check_unchanged)
    }

    /// The file or shard index that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file in which all tensors lie as they are, so that a range of it is a tensor. Not always the one that was opened, which may
    /// be a list of one shard.
    pub fn one_file(&self) -> Option<&Path> {
        match self.files.as_slice() {
            [file] if file.is_mapped() => Some(file.path()),
            _ => None,
        }
    }

    /// The weight files, in the order of the shards.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(WeightFile::path)
    }

    /// Every tensor, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The entry of `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Whether there is a tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The entry of `name`, or an error that names the file.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.get(name).ok_or_else(|| TensorError::Missing { path: self.path.clone(), name: name.into() }.into())
    }

    /// As [`entry`](Self::entry), and the shape must be `expected`.
    pub fn entry_of_shape(&self, name: &str, expected: &[usize]) -> Result<&Entry> {
        let entry = self.entry(name)?;
        if entry.shape == expected { Ok(entry) } else { Err(self.shape_error(name, entry, expected)) }
    }

    /// The first dimension of a tensor.
    pub fn height(&self, name: &str) -> Result<usize> {
        Ok(self.entry(name)?.shape.first().copied().unwrap_or(0))
    }

    /// The bytes of a tensor as they stand in its file.
    pub fn bytes(&self, name: &str) -> Result<&[u8]> {
        let entry = self.entry(name)?;
        match entry.parts.as_slice() {
            [part] => Ok(self.bytes_of(part)),
            _ => Err(self.dtype_error(name, entry)),
        }
    }

    /// Whether two tensors have the same bytes; `false` if one of them is not there.
    pub fn are_same(&self, one: &str, other: &str) -> bool {
        let bytes = |name: &str| -> Option<Vec<&[u8]>> {
            Some(self.get(name)?.parts.iter().map(|part| self.bytes_of(part)).collect())
        };
        bytes(one).is_some_and(|one| Some(one) == bytes(other))
    }

    fn bytes_of(&self, part: &Stored) -> &[u8] {
        &self.files[part.file].bytes()[part.range.clone()]
    }

    /// A whole tensor in f32.
    pub fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        let (entry, rows) = self.rows(name, None)?;
        Ok(self.decode(name, entry, &rows)?.to_device(device)?)
    }

    /// Rows `rows` of a tensor (rows, …) in f32: (rows, …).
    pub fn load_rows(&self, name: &str, rows: Range<usize>, device: &Device) -> Result<Tensor> {
        let (entry, rows) = self.rows(name, Some(rows))?;
        Ok(self.decode(name, entry, &rows)?.to_device(device)?)
    }

    /// A whole tensor, or rows of it, for the CPU: in bf16 if it is stored so, else in f32.
    pub fn load_narrow(&self, name: &str, rows: Option<Range<usize>>) -> Result<Tensor> {
        let (entry, rows) = self.rows(name, rows)?;
        match entry.encoding.bf16(&rows)? {
            Some(tensor) => Ok(tensor),
            None => self.decode(name, entry, &rows),
        }
    }

    /// The rows `ids` of the matrix `name`, each read once: (ids, columns).
    pub fn rows_of(&self, name: &str, ids: &[u32], device: &Device) -> Result<Tensor> {
        let mut unique = ids.to_vec();
        unique.sort_unstable();
        unique.dedup();
        // They go to the device together: in one transfer, not one for each row.
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
        let values = self.load(name, &Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(TensorError::NotFinite { path: self.path.clone(), name: name.into() }.into())
        }
    }

    /// Whether all values of a tensor are finite in f32.
    pub fn is_finite(&self, name: &str) -> Result<bool> {
        let (entry, rows) = self.rows(name, None)?;
        match entry.encoding.is_finite(&rows) {
            Some(is_finite) => Ok(is_finite),
            None => match self.load_finite(name) {
                Err(Error::Tensor(TensorError::NotFinite { .. })) => Ok(false),
                values => values.map(|_| true),
            },
        }
    }

    /// Asks the operating system to begin reading a tensor, if there is one of that name.
    pub fn prefetch(&self, name: &str) {
        for part in self.get(name).into_iter().flat_map(|entry| &entry.parts) {
            self.files[part.file].prefetch(part.range.clone());
        }
    }

    /// The given rows of a tensor, or all.
    fn rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<(&Entry, Rows<'_>)> {
        let entry = self.entry(name)?;
        let height = entry.shape.first().copied();
        match rows {
            Some(rows) if rows.end > height.unwrap_or(0) => Err(self.shape_error(name, entry, &[rows.end])),
            rows => Ok((entry, Rows::new(&self.files, entry, rows.unwrap_or(0..height.unwrap_or(1))))),
        }
    }

    fn decode(&self, name: &str, entry: &Entry, rows: &Rows) -> Result<Tensor> {
        entry.encoding.decode(rows)?.ok_or_else(|| self.dtype_error(name, entry))
    }

    fn dtype_error(&self, name: &str, entry: &Entry) -> crate::Error {
        TensorError::Dtype { path: self.path.clone(), name: name.into(), dtype: entry.encoding() }.into()
    }

    fn shape_error(&self, name: &str, entry: &Entry, expected: &[usize]) -> crate::Error {
        let (path, expected, actual) = (self.path.clone(), expected.into(), entry.shape.clone());
        TensorError::Shape { path, name: name.into(), expected, actual }.into()
    }
}

/// Maps safetensors files and reads the headers; `path` stands for all of them in messages.
fn map_shards(path: &Path, shards: Vec<PathBuf>) -> Result<(Vec<WeightFile>, BTreeMap<String, Stored>)> {
    let (mut files, mut stored) = (Vec::new(), BTreeMap::new());
    for shard in shards {
        let file = WeightFile::open(&shard)?;
        for (name, tensor) in safetensors::tensors(&shard, &file, files.len())? {
            if stored.insert(name.clone(), tensor).is_some() {
                return Err(TensorError::DuplicateTensor { path: path.into(), name }.into());
            }
        }
        files.push(file);
    }
    Ok((files, stored))
}
