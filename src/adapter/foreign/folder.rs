//! The files of an adapter as they lie there, whatever their layout: the configuration, if there is one, and the tensors.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::adapter::{WEIGHTS_NAME, config};
use crate::error::{FileError, FixError, Result};
use crate::files;
use crate::tensors::TensorStore;

/// What trainers call the file of an adapter's tensors.
#[derive(Debug, Clone, Copy)]
enum Naming {
    Name(&'static str),
    /// `PREFIX-00001-of-00003ENDING`
    Shards(&'static str, &'static str),
    /// `PREFIX3ENDING`, numbered by epoch.
    Numbered(&'static str, &'static str),
    /// The only file with this ending.
    Only(&'static str),
}

/// In the order in which they are looked for: what a trainer wrote for PEFT comes before its own format.
const NAMINGS: [Naming; 14] = [
    Naming::Name(WEIGHTS_NAME),
    Naming::Name("adapter_model.safetensors.index.json"),
    Naming::Shards("adapter_model", ".safetensors"),
    Naming::Name("adapters.safetensors"),
    Naming::Name("adapter_model.bin"),
    Naming::Shards("adapter_model", ".bin"),
    Naming::Name("adapter_model.pt"),
    Naming::Numbered("adapter_", ".pt"),
    Naming::Name("model_weights.ckpt"),
    Naming::Name("model.safetensors"),
    Naming::Name("model.safetensors.index.json"),
    Naming::Shards("model", ".safetensors"),
    Naming::Only(".safetensors"),
    Naming::Only(".pt"),
];

/// An adapter's files, of any layout.
#[derive(Debug)]
pub struct StoredAdapter {
    /// The folder or the one file that the user named.
    pub path: PathBuf,
    pub config: Option<Map<String, Value>>,
    pub weights: TensorStore,
    /// The names of the weight files.
    pub files: Vec<String>,
}

impl StoredAdapter {
    /// Opens a folder, or one file of tensors. `None` if no file there has a name that adapters have.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        files::inputs::declare(path);
        let (folder, paths) = match path.parent() {
            _ if path.is_dir() => (path, weight_files(path)?),
            Some(folder) if is_weights(path) => (folder, vec![path.to_path_buf()]),
            _ => return Ok(None),
        };
        if paths.is_empty() {
            return Ok(None);
        }
        let config = Some(folder.join(config::FILE_NAME)).filter(|file| file.is_file());
        let config = config.map(|file| read_config(&file)).transpose()?;
        let names = paths.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_string())).collect();
        Ok(Some(Self { path: path.into(), config, weights: TensorStore::open_files(path, &paths)?, files: names }))
    }

    /// The folder of the files that belong to the adapter, such as its tokenizer.
    pub fn folder(&self) -> Option<&Path> {
        Some(self.path.as_path()).filter(|path| path.is_dir())
    }

    /// The names of the tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.iter().map(|(name, _)| name)
    }

    /// The names of further weight files in the folder, which nothing is read from.
    pub fn other_weights(&self) -> Result<Vec<String>> {
        let Some(folder) = self.folder() else { return Ok(Vec::new()) };
        let is_other = |name: &String| is_weights(&folder.join(name)) && !self.files.contains(name);
        let shards = |name: &String| self.weights.files().any(|file| file.ends_with(name));
        Ok(file_names(folder)?.into_iter().filter(|name| is_other(name) && !shards(name)).collect())
    }

    /// The first file beside the weights whose name ends in one of these.
    pub fn file_with_ending(&self, endings: &[&str]) -> Option<String> {
        let names = file_names(self.folder().or(self.path.parent())?).ok()?;
        names.into_iter().find(|name| endings.iter().any(|ending| name.ends_with(ending)))
    }

    /// Where the configuration is or would be, for messages.
    pub fn config_path(&self) -> PathBuf {
        let folder = self.folder().or(self.path.parent());
        folder.unwrap_or(Path::new("")).join(config::FILE_NAME)
    }
}

/// A configuration as Python may have written it: what is no number there is null.
fn read_config(path: &Path) -> Result<Map<String, Value>> {
    match files::read_python_json(path)?.value {
        Value::Object(fields) => Ok(fields),
        _ => {
            let source = serde::de::Error::custom("it should be an object");
            Err(FileError::Json { path: path.into(), source }.into())
        }
    }
}

fn is_weights(path: &Path) -> bool {
    const ENDINGS: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];
    path.is_file() && path.extension().is_some_and(|own| ENDINGS.iter().any(|ending| own == *ending))
}

/// The files under the first naming that the folder has.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = file_names(folder)?;
    for naming in NAMINGS {
        let found: Vec<&String> = names.iter().filter(|name| naming.fits(name)).collect();
        let several = || -> crate::Error {
            let files = found.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            FixError::SeveralFiles { path: folder.into(), files }.into()
        };
        match (naming, found.as_slice()) {
            (_, []) => {}
            (Naming::Shards(..), shards) => {
                check_shards(folder, shards)?;
                return Ok(shards.iter().map(|name| folder.join(name)).collect());
            }
            (_, [one]) => return Ok(vec![folder.join(one)]),
            (Naming::Numbered(..), _) => return Err(several()),
            // Other files of that ending may be anything.
            (Naming::Name(_) | Naming::Only(_), _) => {}
        }
    }
    Ok(Vec::new())
}

/// The names of the files in a folder, sorted.
fn file_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileError::read(folder))? {
        let path = entry.map_err(FileError::read(folder))?.path();
        if path.is_file() {
            names.extend(path.file_name().and_then(|name| name.to_str()).map(String::from));
        }
    }
    names.sort();
    Ok(names)
}

impl Naming {
    fn fits(self, name: &str) -> bool {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let between = |prefix, ending| name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(ending));
        match self {
            Self::Name(own) => name == own,
            Self::Shards(prefix, ending) => between(prefix, ending).and_then(shard_of).is_some(),
            Self::Numbered(prefix, ending) => between(prefix, ending).is_some_and(number),
            Self::Only(ending) => name.ends_with(ending),
        }
    }
}

/// The number of a shard and of all shards: `-00001-of-00003`.
fn shard_of(text: &str) -> Option<(usize, usize)> {
    let (shard, of) = text.strip_prefix('-')?.split_once("-of-")?;
    Some((shard.parse().ok()?, of.parse().ok()?))
}

/// Refuses shards of which some are absent: what they held would be dropped in silence.
fn check_shards(folder: &Path, names: &[&String]) -> Result<()> {
    let shard = |name: &&String| {
        let start = name.find('-')?;
        shard_of(&name[start..name.rfind('.')?])
    };
    let shards: Vec<(usize, usize)> = names.iter().filter_map(shard).collect();
    let count = shards.first().map_or(0, |(_, count)| *count);
    let is_complete = shards.len() == count
        && shards.iter().zip(1..).all(|(&(number, of), expected)| number == expected && of == count);
    if is_complete {
        return Ok(());
    }
    let present = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Err(FixError::MissingShards { path: folder.into(), present }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_told_apart() {
        let shards = Naming::Shards("adapter_model", ".safetensors");
        assert!(shards.fits("adapter_model-00001-of-00002.safetensors"));
        assert!(!shards.fits("adapter_model.safetensors") && !shards.fits("adapter_model-1.safetensors"));
        let numbered = Naming::Numbered("adapter_", ".pt");
        assert!(numbered.fits("adapter_0.pt") && !numbered.fits("adapter_model.pt") && !numbered.fits("adapter_.pt"));
    }
}
