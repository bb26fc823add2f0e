//! Reading safetensors headers: one file, or an index with shards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::SafeTensorError;
use safetensors::tensor::{Metadata, TensorInfo};

use super::map::WeightFile;
use super::stored::{Stored, StoredType};
use crate::error::{Result, TensorError};
use crate::files;

/// The files that `path` stands for: itself, or the shards that an index names, each once.
pub fn shards(path: &Path) -> Result<Vec<PathBuf>> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok(vec![path.into()]);
    }
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: serde_json::Map<String, serde_json::Value>,
    }
    let index: Index = files::read_json(path)?;
    let mut shards = BTreeSet::new();
    for shard in index.weight_map.values() {
        let name = shard.as_str().unwrap_or_default();
        if Path::new(name).file_name().is_none_or(|file_name| file_name != name) || name.contains('\0') {
            return Err(TensorError::ShardName { path: path.into(), shard: shard.to_string() }.into());
        }
        shards.insert(path.with_file_name(name));
    }
    Ok(shards.into_iter().collect())
}

/// The longest header that is read: a hundred thousand tensors with long names. Parsed, it takes several times as much.
const LONGEST_HEADER: u64 = 32 << 20;

/// The validated header of a safetensors file and the offset at which its tensors start.
///
/// `bytes` is the whole file, or its beginning when `length` tells how long the file really is.
pub fn header(path: &Path, bytes: &[u8], length: u64) -> Result<(usize, Metadata)> {
    let (start, metadata) = parse(bytes).map_err(|source| explain(path, bytes, length, source))?;
    let (expected, actual) = (metadata.data_len() as u64, length.saturating_sub(start as u64));
    if expected != actual {
        return Err(TensorError::Truncated { path: path.into(), expected, actual }.into());
    }
    Ok((start, metadata))
}

/// As `SafeTensors::read_metadata`, with a limit, and on a copy of the text, because a mapped file may change meanwhile.
fn parse(bytes: &[u8]) -> std::result::Result<(usize, Metadata), SafeTensorError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(SafeTensorError::HeaderTooSmall)?;
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER {
        return Err(SafeTensorError::HeaderTooLarge);
    }
    let text = rest.get(..length as usize).ok_or(SafeTensorError::InvalidHeaderLength)?.to_vec();
    let text = std::str::from_utf8(&text).map_err(SafeTensorError::InvalidHeader)?;
    let metadata = serde_json::from_str(text).map_err(SafeTensorError::InvalidHeaderDeserialization)?;
    Ok((size_of::<u64>() + text.len(), metadata))
}

/// What is wrong with a file whose header cannot be read: it is cut off, is another kind of file, or says itself what it lacks.
fn explain(path: &Path, bytes: &[u8], length: u64, source: SafeTensorError) -> TensorError {
    let path = path.to_path_buf();
    let Some(first) = bytes.first_chunk() else {
        return TensorError::CutOff { path, length, header: size_of::<u64>() as u64 };
    };
    let promised = u64::from_le_bytes(*first);
    match source {
        // A length of printable characters is the beginning of a text, such as a page that says why there is no download.
        SafeTensorError::HeaderTooLarge if first.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') => {
            let beginning = format!("the text `{}`", String::from_utf8_lossy(first));
            TensorError::NotSafetensors { path, beginning }
        }
        SafeTensorError::InvalidHeaderLength if promised.saturating_add(8) > length => {
            TensorError::CutOff { path, length, header: promised + 8 }
        }
        source => TensorError::Safetensors { path, source },
    }
}

/// The keys of the notes in a file's header (`__metadata__`); none if it has no such header.
pub fn notes(mapped: &WeightFile) -> Vec<String> {
    let notes = parse(mapped.bytes()).ok().and_then(|(_, metadata)| metadata.metadata().clone());
    notes.into_iter().flatten().map(|(key, _)| key).collect()
}

/// The tensors of one mapped file, which becomes file number `file` of its store.
pub fn tensors(path: &Path, mapped: &WeightFile, file: usize) -> Result<Vec<(String, Stored)>> {
    let (start, metadata) = header(path, mapped.bytes(), mapped.bytes().len() as u64)?;
    let stored = |(name, info): (String, &TensorInfo)| {
        let (from, to) = info.data_offsets;
        let dtype = StoredType::Plain(info.dtype);
        (name, Stored { file, dtype, shape: info.shape.clone(), range: start + from..start + to })
    };
    Ok(metadata.tensors().into_iter().map(stored).collect())
}
