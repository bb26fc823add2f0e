//! The files beside an adapter as they lie in its folder: which of them are copied, and why the others are not.
//!
//! What is copied is published with the adapter. So a copy holds bytes of the folder and no others: a link may lead to a file of the
//! same folder, or to a blob of the same repository in the Hugging Face cache, and nowhere else.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::{Sidecar, of};
use crate::adapter::config;
use crate::error::{FileError, Result};
use crate::files::{self, Staging};
use crate::format::{first_names, plural};

/// The largest file that is copied, in bytes; the largest tokenizer that is read has this size, too.
pub const LARGEST: u64 = 64 << 20;
/// The most files that are copied.
pub const MOST: usize = 1000;
/// The most bytes that are copied in all.
pub const MOST_BYTES: u64 = 1 << 30;

/// The most names that a report lists, and those in a sentence.
const MOST_NAMES: usize = 20;
const SHOWN: usize = 3;

/// Files and folders beside an adapter that are not copied for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotCopied {
    pub reason: NotCopiedReason,
    pub count: usize,
    /// The first of them by name, at most 20.
    pub names: Vec<String>,
}

/// Why something beside an adapter is not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NotCopiedReason {
    /// It is a link to something outside of the adapter's folder.
    LeadsOut,
    /// It is a link that leads nowhere, or back to itself.
    BrokenLink,
    /// It has the name of a file, and is a pipe, a socket or a device.
    NotAFile,
    /// It is larger than a file beside an adapter may be.
    TooLarge,
    /// So many, or so large, are the files before it.
    TooMany,
    /// Its name is not that of a tokenizer, chat template, README, licence or model configuration.
    OtherKind,
}

impl NotCopied {
    /// A sentence without an end.
    pub fn sentence(&self) -> String {
        let shown = &self.names[..self.names.len().min(SHOWN)];
        let names = match self.count - shown.len() {
            0 => first_names(shown, SHOWN),
            more => format!("{} and {more} more", first_names(shown, SHOWN)),
        };
        let verb = if self.count == 1 { "is" } else { "are" };
        format!("{names} {verb} not copied: {}", self.reason.words())
    }
}

impl NotCopiedReason {
    fn words(self) -> String {
        match self {
            Self::LeadsOut => "a link may only lead to a file of the adapter's own folder".into(),
            Self::BrokenLink => "a link that leads nowhere".into(),
            Self::NotAFile => "no regular file".into(),
            Self::TooLarge => format!("a file beside an adapter may have at most {LARGEST} bytes"),
            Self::TooMany => {
                format!("of the files beside an adapter, at most {} and {MOST_BYTES} bytes are", plural(MOST, "file"))
            }
            Self::OtherKind => "only tokenizer, chat template, README, licence and model configuration are".into(),
        }
    }
}

/// What lies beside an adapter.
#[derive(Debug, Default)]
pub struct Sidecars {
    /// Sorted by name.
    copied: Vec<FoundSidecar>,
    not_copied: Vec<NotCopied>,
}

/// A file to copy.
#[derive(Debug)]
struct FoundSidecar {
    name: String,
    /// Without links.
    path: PathBuf,
    found: Metadata,
}

impl Sidecars {
    /// Looks at everything in an adapter's folder.
    pub fn find(folder: &Path) -> Result<Self> {
        let resolved = folder.canonicalize().map_err(FileError::read(folder))?;
        let (mut candidates, mut left): (Vec<FoundSidecar>, Vec<(NotCopiedReason, String)>) = Default::default();
        for entry in fs::read_dir(folder).map_err(FileError::read(folder))? {
            let path = entry.map_err(FileError::read(folder))?.path();
            if path.join(config::FILE_NAME).is_file() {
                // An adapter of its own.
                continue;
            }
            let name = path.file_name().unwrap_or_default();
            let Some(name) = name.to_str() else {
                left.push((NotCopiedReason::OtherKind, name.to_string_lossy().into_owned()));
                continue;
            };
            match of(name, path.is_dir()) {
                Sidecar::NotOfTheAdapter => {}
                Sidecar::Left => left.push((NotCopiedReason::OtherKind, name.into())),
                Sidecar::Copied => match find(&path, name, &resolved)? {
                    Ok(found) => candidates.push(found),
                    Err(reason) => left.push((reason, name.into())),
                },
            }
        }
        // The standard names come first, so that what is too many is not the tokenizer.
        candidates.sort_by_key(|found| (!super::COPIED.contains(&found.name.as_str()), found.name.clone()));
        let (mut copied, mut bytes) = (Vec::new(), 0);
        for found in candidates {
            bytes += found.found.len();
            if copied.len() < MOST && bytes <= MOST_BYTES {
                copied.push(found);
            } else {
                left.push((NotCopiedReason::TooMany, found.name));
            }
        }
        copied.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { copied, not_copied: by_reason(left) })
    }

    /// What is not copied, and why.
    pub fn not_copied(self) -> Vec<NotCopied> {
        self.not_copied
    }

    /// Copies the files into a folder that is being written.
    pub fn copy(&self, staging: &Staging) -> Result<()> {
        staging.copy_all(&self.copied, |file| &file.name, FoundSidecar::open)
    }
}

impl FoundSidecar {
    /// Opens the file, which must still be the one that was found.
    fn open(&self) -> Result<io::Take<File>> {
        use std::io::Read;
        let file = files::open(&self.path)?;
        let opened = file.metadata().map_err(FileError::read(&self.path))?;
        if !files::is_same_file(&self.found, &opened) {
            return Err(FileError::Changed { path: self.path.clone() }.into());
        }
        // One that grows meanwhile is copied as it was found.
        Ok(file.take(self.found.len()))
    }
}

/// The file behind a name in `folder`, which is resolved, or why it is not copied.
fn find(path: &Path, name: &str, folder: &Path) -> Result<std::result::Result<FoundSidecar, NotCopiedReason>> {
    let resolved = match path.canonicalize() {
        Ok(resolved) => resolved,
        Err(_) if path.is_symlink() => return Ok(Err(NotCopiedReason::BrokenLink)),
        Err(error) => return Err(FileError::read(path)(error).into()),
    };
    if !resolved.starts_with(folder) && !is_blob_of(&resolved, folder) {
        return Ok(Err(NotCopiedReason::LeadsOut));
    }
    let found = resolved.metadata().map_err(FileError::read(path))?;
    Ok(match files::kind_of(&found) {
        Some(_) => Err(NotCopiedReason::NotAFile),
        None if found.len() > LARGEST => Err(NotCopiedReason::TooLarge),
        None => Ok(FoundSidecar { name: name.into(), path: resolved, found }),
    })
}

/// Whether `path` is a blob of the repository that `folder` is a snapshot of, or lies in one: the Hugging Face cache keeps a repository
/// as `blobs/HASH`, with links to them in `snapshots/COMMIT`.
fn is_blob_of(path: &Path, folder: &Path) -> bool {
    let mut snapshots =
        folder.ancestors().skip(1).filter(|above| above.file_name().is_some_and(|name| name == "snapshots"));
    let repository = snapshots.next().and_then(Path::parent);
    repository.is_some_and(|repository| path.parent() == Some(&repository.join("blobs")))
}

fn by_reason(mut left: Vec<(NotCopiedReason, String)>) -> Vec<NotCopied> {
    left.sort();
    let mut reasons: BTreeMap<NotCopiedReason, NotCopied> = BTreeMap::new();
    for (reason, name) in left {
        let group = reasons.entry(reason).or_insert_with(|| NotCopied { reason, count: 0, names: Vec::new() });
        group.count += 1;
        if group.names.len() < MOST_NAMES {
            group.names.push(name);
        }
    }
    reasons.into_values().collect()
}
