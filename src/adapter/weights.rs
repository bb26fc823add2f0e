//! The weight files of an adapter folder: which of them are read, and what is wrong where they hold no adapter.

use std::fs;
use std::path::{Path, PathBuf};

use super::WEIGHTS_NAME;
use super::names::{Key, Part};
use super::strays::is_vocabulary;
use crate::error::{AdapterError, FileError, NoTensors, Result};
use crate::format::{first_names, plural};
use crate::tensors::TensorStore;

/// Where the weights of adapters lie, in the order in which they are looked for: as PEFT saves them, in shards, as PEFT used to save
/// them, and as some trainers do.
#[derive(Debug, Clone, PartialEq)]
enum WeightFiles {
    One(PathBuf),
    /// Shards that no index lists.
    Shards(Vec<PathBuf>),
}

const INDEX_NAME: &str = "adapter_model.safetensors.index.json";
const PICKLE_NAME: &str = "adapter_model.bin";
/// What a whole model is saved as, and the adapter by trainers that know no PEFT.
const MODEL_NAME: &str = "model.safetensors";

/// Opens the weights of an adapter folder. Comes with remarks on the files.
pub(super) fn open(folder: &Path) -> Result<(TensorStore, Vec<String>)> {
    let mut found = find(folder)?;
    if found.is_empty() {
        return Err(nothing_to_read(folder).into());
    }
    let read = found.remove(0);
    let mut remarks = Vec::new();
    let store = match &read {
        WeightFiles::One(path) => {
            if path.metadata().map_err(FileError::read(path))?.len() == 0 {
                return Err(empty(folder, NoTensors::NoBytes(name_of(path))).into());
            }
            match path.extension() {
                Some(extension) if extension == "bin" => TensorStore::open_pickle(path)?,
                _ => TensorStore::open_safetensors(path)?,
            }
        }
        WeightFiles::Shards(shards) => {
            let count = plural(shards.len(), "shard");
            remarks.push(format!(
                "the weights are in {count} without an index: PEFT reads only {WEIGHTS_NAME}, which lora-slim writes"
            ));
            TensorStore::open_files(folder, shards)?
        }
    };
    check(folder, &store)?;
    let is_other = |files: &WeightFiles| *files != WeightFiles::One(folder.join(MODEL_NAME));
    let others: Vec<String> = found.iter().filter(|files| is_other(files)).map(first_name).collect();
    if !others.is_empty() {
        remarks.push(format!("{} is not read, because {} is there, too", first_names(&others, 3), first_name(&read)));
    }
    Ok((store, remarks))
}

/// All files that may hold the weights, the first choice first.
fn find(folder: &Path) -> Result<Vec<WeightFiles>> {
    let one = |name: &str| Some(folder.join(name)).filter(|path| path.exists()).map(WeightFiles::One);
    let shards = match one(INDEX_NAME) {
        Some(_) => None,
        None => find_shards(folder)?.map(WeightFiles::Shards),
    };
    let choices = [one(WEIGHTS_NAME), one(INDEX_NAME), shards, one(PICKLE_NAME), one(MODEL_NAME)];
    Ok(choices.into_iter().flatten().collect())
}

/// The shards `adapter_model-00001-of-00002.safetensors` and so on, if there are any; an error if one of them is missing.
fn find_shards(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let (before, after) = ("adapter_model-", ".safetensors");
    let total = |name: &str| -> Option<usize> {
        let (_, total) = name.strip_prefix(before)?.strip_suffix(after)?.split_once("-of-")?;
        total.parse().ok()
    };
    let entries = fs::read_dir(folder).map_err(FileError::read(folder))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut shards: Vec<(usize, String)> = names.filter_map(|name| Some((total(&name)?, name))).collect();
    shards.sort();
    let Some((count, _)) = shards.first() else { return Ok(None) };
    if shards.len() != *count || shards.iter().any(|(total, _)| total != count) {
        let (path, found, expected) = (folder.into(), shards.len(), *count);
        return Err(AdapterError::Shards { path, found, expected }.into());
    }
    Ok(Some(shards.into_iter().map(|(_, name)| folder.join(name)).collect()))
}

/// Refuses weights that have no tensor of any method, and says what they are instead.
fn check(folder: &Path, store: &TensorStore) -> Result<()> {
    let keys = || store.iter().map(|(name, _)| (name, Key::parse(name, None)));
    if keys().any(|(_, key)| key.is_wrapped()) {
        return Ok(());
    }
    let (file, is_model_file) = (name_of(store.path()), store.path().ends_with(MODEL_NAME));
    let of_model = keys().find(|(_, key)| key.part == Part::Saved && (is_model_file || is_vocabulary(&key.module)));
    let found = match (of_model, keys().next()) {
        (Some((name, _)), _) => NoTensors::WholeModel { file, tensor: name.into() },
        (None, Some((name, _))) => NoTensors::Others { file, tensor: name.into() },
        (None, None) => NoTensors::None(file),
    };
    Err(empty(folder, found).into())
}

fn empty(folder: &Path, found: NoTensors) -> AdapterError {
    AdapterError::Empty { path: folder.into(), found }
}

/// The error for a folder without any of the files. A whole model may be there in files that no adapter has.
fn nothing_to_read(folder: &Path) -> AdapterError {
    const OF_MODELS: [&str; 3] = ["model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];
    match OF_MODELS.into_iter().find(|name| folder.join(name).is_file()) {
        Some(name) => empty(folder, NoTensors::ModelFile(name.into())),
        None => AdapterError::NotAnAdapter { path: folder.into(), missing: WEIGHTS_NAME },
    }
}

fn first_name(files: &WeightFiles) -> String {
    match files {
        WeightFiles::One(path) => name_of(path),
        WeightFiles::Shards(shards) => shards.first().map(|path| name_of(path)).unwrap_or_default(),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
