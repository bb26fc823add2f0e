//! The stamp of a result: one hash of all that it was made from, which is the bytes of all inputs, the options and the version of
//! this program. A job whose stamp has changed is done again. Clocks play no part in it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::files;

/// Flags that name an input, of which the bytes count and not the path.
pub const INPUTS: [&str; 5] = ["--base=", "--samples=", "--test=", "--tokenizer=", "--chat-template="];

/// The hashes of files, each read once in a run.
#[derive(Default)]
pub struct Hashes(Mutex<HashMap<PathBuf, String>>);

impl Hashes {
    /// Remembers a hash that was computed elsewhere.
    pub fn insert(&self, path: PathBuf, hash: Option<&str>) {
        if let Some(hash) = hash {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path, hash.into());
        }
    }

    fn of_file(&self, path: &Path) -> String {
        if let Some(hash) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return hash.clone();
        }
        let hash = match path.metadata() {
            // A pipe or a device cannot be read again: no result that was made from it counts as done.
            Ok(metadata) if !metadata.is_file() => fastrand::u64(..).to_string(),
            // An input that cannot be read has a stamp too, which changes once it can.
            _ => files::blake3(path).unwrap_or_else(|error| error.to_string()),
        };
        self.insert(path.into(), Some(&hash));
        hash
    }

    /// The names and hashes of a file, or of the files of a folder that are read or copied.
    fn of(&self, path: &Path) -> Vec<(String, String)> {
        if !path.is_dir() {
            return vec![(String::new(), self.of_file(path))];
        }
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
        let mut files: Vec<(String, PathBuf)> = named.filter(|(name, path)| is_input(name) && path.is_file()).collect();
        files.sort();
        files.into_iter().map(|(name, path)| (name, self.of_file(&path))).collect()
    }

    /// The stamp of a job with these flags and inputs.
    pub fn stamp(&self, words: &[OsString], inputs: &[PathBuf]) -> String {
        let mut hasher = Sha256::new();
        // The length before each text keeps different lists of texts from being the same bytes.
        let mut add = |text: &[u8]| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        };
        add(env!("CARGO_PKG_VERSION").as_bytes());
        for word in words.iter().map(|word| word.as_encoded_bytes()) {
            match INPUTS.iter().find(|flag| word.starts_with(flag.as_bytes())) {
                Some(flag) => add(flag.as_bytes()),
                None => add(word),
            }
        }
        for input in inputs {
            for (name, hash) in self.of(input) {
                add(name.as_bytes());
                add(hash.as_bytes());
            }
        }
        files::hex(&hasher.finalize())
    }
}

/// Whether a file of a folder is read. Training state, weights in other formats and hidden files are not.
fn is_input(name: &str) -> bool {
    const UNREAD: [&str; 4] = [".pt", ".pth", ".ckpt", ".npz"];
    let is_other_weights = name.ends_with(".bin") && name != "adapter_model.bin";
    !name.starts_with('.') && !is_other_weights && !UNREAD.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_options_count_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("config.json", "{}");
        let stamp = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            Hashes::default().stamp(&words, &[folder.path().into()])
        };
        let first = stamp(&["--chat", "--samples=here"]);
        write("optimizer.pt", "large");
        write(".hidden", "");
        assert_eq!(first, stamp(&["--chat", "--samples=there"]));
        assert_ne!(first, stamp(&["--samples=here"]));
        assert_ne!(first, stamp(&["--chat", "--base=here"]));
        write("config.json", "{ }");
        assert_ne!(first, stamp(&["--chat", "--samples=here"]));
        write("config.json", "{}");
        write("more.json", "");
        assert_ne!(first, stamp(&["--chat", "--samples=here"]));
    }
}
