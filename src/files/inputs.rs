//! The one list of what this process reads, with which every output is compared.
//!
//! Whatever [`open`](super::open) opens is on it, and every folder or file that a user names or that is found by a name
//! ([`declare`]). No command keeps a list of its own, so no input can be missing from one. An output is no input, lies
//! in no folder that is one, and contains none. Paths are compared, and the identities of all existing folders above an
//! output, so that links, bind mounts and other spellings of a name are seen.
//!
//! The list is the process's and not a command's: what one call has read, the next must not write into either. Entries
//! whose files are gone do not count.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::identity::FileId;
use super::paths::resolve;
use crate::error::{Error, FileError, Result};

static INPUTS: Mutex<Option<InputList>> = Mutex::new(None);

/// Files and folders by their resolved paths, with indexes that find most outputs to be apart from all of them.
#[derive(Debug, Default)]
struct InputList {
    entries: HashMap<PathBuf, ListedInput>,
    ids: HashSet<FileId>,
    /// The folders above the entries.
    above: HashMap<PathBuf, Option<FileId>>,
    ids_above: HashSet<FileId>,
    /// Folders in which this process makes outputs. It reads them again, but they are no inputs.
    drafts: HashSet<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ListedInput {
    id: Option<FileId>,
    is_folder: bool,
}

/// Adds a file, or a folder with everything in it, if it exists.
pub fn declare(path: &Path) {
    // What cannot be resolved cannot be opened, either.
    if let Ok(resolved) = path.canonicalize() {
        with_list(|inputs| inputs.add(resolved));
    }
}

/// Says that outputs are made in a folder.
pub(super) fn declare_draft(folder: &Path) {
    with_list(|inputs| inputs.drafts.insert(folder.into()));
}

/// Says that a folder in which outputs were made is gone.
pub(super) fn forget_draft(folder: &Path) {
    with_list(|inputs| inputs.drafts.remove(folder));
}

/// Checks that an output, which need not exist, is no input, lies in none and contains none.
pub fn check(output: &Path) -> Result<()> {
    let resolved = resolve(output)?;
    match with_list(|inputs| inputs.overlapping(&resolved)) {
        Some(input) => Err(FileError::OutputOverlapsInput { output: output.into(), input }.into()),
        None => Ok(()),
    }
}

/// Checks that a folder in which outputs are made, and which may hold inputs, lies in none.
pub(super) fn check_folder(folder: &Path) -> Result<()> {
    // What is made in it has a name that is not taken.
    check(&folder.join(".lora-slim-output")).map_err(|error| match error {
        Error::File(FileError::OutputOverlapsInput { input, .. }) => {
            FileError::OutputOverlapsInput { output: folder.into(), input }.into()
        }
        error => error,
    })
}

/// Forgets what was read: a program that lives on after it has read something may write there later, as another run may.
pub fn forget() {
    with_list(|inputs| *inputs = InputList { drafts: std::mem::take(&mut inputs.drafts), ..InputList::default() });
}

fn with_list<T>(act: impl FnOnce(&mut InputList) -> T) -> T {
    let mut inputs: MutexGuard<Option<InputList>> = INPUTS.lock().unwrap_or_else(PoisonError::into_inner);
    act(inputs.get_or_insert_default())
}

fn id_of(path: &Path) -> Option<FileId> {
    path.metadata().ok().as_ref().and_then(FileId::of)
}

impl InputList {
    fn add(&mut self, path: PathBuf) {
        let Ok(metadata) = path.metadata() else { return };
        // Pipes and devices are read, too, but nothing lies in them.
        let is_known =
            |input: &ListedInput| *input == ListedInput { id: FileId::of(&metadata), is_folder: metadata.is_dir() };
        let is_draft = || path.ancestors().any(|above| self.drafts.contains(above));
        if self.entries.get(&path).is_some_and(is_known) || is_draft() {
            return;
        }
        let id = FileId::of(&metadata);
        self.ids.extend(id);
        for above in path.ancestors().skip(1) {
            let id = *self.above.entry(above.into()).or_insert_with(|| id_of(above));
            self.ids_above.extend(id);
        }
        self.entries.insert(path, ListedInput { id, is_folder: metadata.is_dir() });
    }

    /// An input that a resolved path is, lies in or contains.
    fn overlapping(&self, output: &Path) -> Option<PathBuf> {
        let ids: Vec<Option<FileId>> = output.ancestors().map(id_of).collect();
        let own = ids.first().copied().flatten();
        let may_contain = self.above.contains_key(output) || own.is_some_and(|id| self.ids_above.contains(&id));
        let may_lie_in = output.ancestors().any(|above| self.entries.contains_key(above))
            || ids.iter().flatten().any(|id| self.ids.contains(id));
        if !may_contain && !may_lie_in {
            return None;
        }
        // The indexes also know what is gone, and whose number another file has now.
        let overlaps = |(path, input): &(&PathBuf, &ListedInput)| {
            let Ok(there) = path.metadata() else { return false };
            let is_above = |place: usize| {
                let same_id = input.id.is_some() && input.id == FileId::of(&there) && input.id == ids[place];
                same_id && (place == 0 || input.is_folder)
            };
            let lies_in = if input.is_folder { output.starts_with(path) } else { output == path.as_path() };
            lies_in
                || (0..ids.len()).any(is_above)
                || path.ancestors().skip(1).any(|above| above == output || own.is_some() && id_of(above) == own)
        };
        self.entries.iter().filter(overlaps).map(|(path, _)| path.clone()).min()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The list of a process that has opened what lies below a folder.
    fn inputs(paths: &[PathBuf]) -> InputList {
        let mut inputs = InputList::default();
        paths.iter().for_each(|path| inputs.add(path.canonicalize().unwrap()));
        inputs
    }

    #[test]
    fn folders_protect_what_lies_in_them_and_files_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("base/part")).unwrap();
        fs::create_dir(root.join("data")).unwrap();
        fs::write(root.join("data/val.jsonl"), "").unwrap();
        let inputs = inputs(&[root.join("base"), root.join("data/val.jsonl")]);
        let is_free = |path: &str| inputs.overlapping(&root.join(path)).is_none();
        for refused in ["base", "base/out", "base/part/deep/out", "data", "data/val.jsonl", ""] {
            assert!(!is_free(refused), "{refused}");
        }
        for free in ["base2", "data/out", "data/val.jsonl.out", "out"] {
            assert!(is_free(free), "{free}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn another_name_for_the_same_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::write(root.join("samples"), "").unwrap();
        fs::hard_link(root.join("samples"), root.join("other")).unwrap();
        let inputs = inputs(&[root.join("samples")]);
        assert_eq!(inputs.overlapping(&root.join("other")), Some(root.join("samples")));
    }

    /// A number of a file that is gone may be that of a new one.
    #[test]
    fn what_is_gone_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("a")).unwrap();
        let inputs = inputs(&[root.join("a")]);
        fs::remove_dir(root.join("a")).unwrap();
        for _ in 0..10 {
            fs::create_dir(root.join("b")).unwrap();
            assert_eq!(inputs.overlapping(&root.join("b")), None);
            fs::remove_dir(root.join("b")).unwrap();
        }
    }

    #[test]
    fn what_is_made_here_is_no_input() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("draft")).unwrap();
        fs::write(root.join("draft/file"), "").unwrap();
        let mut inputs = InputList::default();
        inputs.drafts.insert(root.join("draft"));
        inputs.add(root.join("draft/file"));
        assert_eq!(inputs.overlapping(&root), None);
    }
}
