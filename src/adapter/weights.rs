//! The weight files of an adapter folder: which of them are read, and what is wrong where they hold no adapter.

use std::fs;
use std::path::{Path, PathBuf};

use super::names::{Key, Part};
use super::strays::is_vocabulary;
use super::{WEIGHTS_NAME, config, file_notes};
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

/// The lists of shards, and what the names of these begin with.
const SHARDED: [(&str, &str); 2] =
    [("adapter_model.safetensors.index.json", "adapter_model-"), ("model.safetensors.index.json", "model-")];
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
            let found = path.metadata().map_err(FileError::read(path))?;
            if found.is_file() && found.len() == 0 {
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
    let unlisted = if matches!(read, WeightFiles::One(_)) { unlisted_shards(folder, &store)? } else { Vec::new() };
    if !unlisted.is_empty() && name_of(store.path()) == SHARDED[0].0 {
        remarks.push(format!(
            "`{}` does not list {}, so that nothing of it is read",
            SHARDED[0].0,
            first_names(&unlisted, 3)
        ));
    }
    // A model beside the adapter is no part of it.
    let is_other = |files: &WeightFiles| !first_name(files).starts_with("model");
    let others: Vec<String> = found.iter().filter(|files| is_other(files)).map(first_name).collect();
    if !others.is_empty() {
        remarks.push(format!(
            "the weights are read from `{}`, not from {} beside it",
            first_name(&read),
            first_names(&others, 3)
        ));
    }
    let others = adapters_below(folder)?;
    if !others.is_empty() {
        remarks.push(format!(
            "the folder also holds adapters of their own, which are no part of this one (`lora-slim batch` takes all): {}",
            first_names(&others, 3)
        ));
    }
    remarks.extend(file_notes::remark(&store));
    Ok((store, remarks))
}

/// The names of the files that the weights of an adapter folder are read from, with that of the index of shards.
pub fn weight_files(folder: &Path) -> Result<Vec<String>> {
    let (store, _) = open(folder)?;
    let index = Some(name_of(store.path())).filter(|name| SHARDED.iter().any(|(index, _)| index == name));
    Ok(store.files().map(name_of).chain(index).collect())
}

/// The folders of further adapters in that of an adapter, as PEFT saves several of one model. Training leaves checkpoints there, too.
fn adapters_below(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(FileError::read(folder))?;
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| path.join(config::FILE_NAME).is_file());
    let mut names: Vec<String> = paths.map(|path| name_of(&path)).collect();
    names.retain(|name| !name.starts_with("checkpoint"));
    names.sort();
    Ok(names)
}

/// All files that may hold the weights, the first choice first.
fn find(folder: &Path) -> Result<Vec<WeightFiles>> {
    let one = |name: &str| Some(folder.join(name)).filter(|path| path.exists()).map(WeightFiles::One);
    let sharded = |(index, prefix)| -> Result<Option<WeightFiles>> {
        match one(index) {
            // Those of a model may be elsewhere.
            Some(_) if index == SHARDED[1].0 && names_of_shards(folder, prefix)?.is_empty() => Ok(None),
            Some(found) => Ok(Some(found)),
            None => Ok(find_shards(folder, prefix)?.map(WeightFiles::Shards)),
        }
    };
    let choices = [one(WEIGHTS_NAME), sharded(SHARDED[0])?, one(PICKLE_NAME), one(MODEL_NAME)];
    let mut found: Vec<WeightFiles> = choices.into_iter().flatten().collect();
    if found.is_empty() {
        found.extend(sharded(SHARDED[1])?);
    }
    Ok(found)
}

/// The shards in a folder that the opened files are not among.
fn unlisted_shards(folder: &Path, store: &TensorStore) -> Result<Vec<String>> {
    let is_open = |name: &String| store.files().any(|file| file.file_name().is_some_and(|own| own == name.as_str()));
    let mut names: Vec<String> = names_of_shards(folder, SHARDED[0].1)?.into_iter().map(|(_, name)| name).collect();
    names.retain(|name| !is_open(name));
    Ok(names)
}

/// The names of the shards in a folder, each with the number of all.
fn names_of_shards(folder: &Path, prefix: &str) -> Result<Vec<(usize, String)>> {
    let total = |name: &str| -> Option<usize> {
        let (_, total) = name.strip_prefix(prefix)?.strip_suffix(".safetensors")?.split_once("-of-")?;
        total.parse().ok()
    };
    let entries = fs::read_dir(folder).map_err(FileError::read(folder))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut shards: Vec<(usize, String)> = names.filter_map(|name| Some((total(&name)?, name))).collect();
    shards.sort();
    Ok(shards)
}

/// The shards `adapter_model-00001-of-00002.safetensors` and so on, if there are any; an error if one of them is missing.
fn find_shards(folder: &Path, prefix: &str) -> Result<Option<Vec<PathBuf>>> {
    let shards = names_of_shards(folder, prefix)?;
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
    let file = match store.files().next() {
        Some(first) if store.path().is_dir() => name_of(first),
        _ => name_of(store.path()),
    };
    let is_model_file = file.starts_with("model");
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
