//! Errors of reading and writing files.

use std::io;
use std::path::{Path, PathBuf};

use super::Kind;

/// Reading and writing files, and standard output.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("`{}` will be a folder with {file} in it", path.display())]
    OutputIsFolder { path: PathBuf, file: &'static str },
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is {kind}, and not a file", path.display())]
    NotAFile { path: PathBuf, kind: &'static str },
    #[error("cannot write `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot write to standard output: {source}")]
    Stdout { source: io::Error },
    #[error("`{}` is not valid JSON: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("`{}` {encoding}, which Python's reader of JSON refuses, and PEFT and transformers with it", path.display())]
    Encoding { path: PathBuf, encoding: &'static str },
    #[error("`{}` is a Git LFS pointer, not the file itself", path.display())]
    LfsPointer { path: PathBuf },
    #[error("`{}` already exists", path.display())]
    OutputExists { path: PathBuf },
    #[error("`{}` changed while it was being read", path.display())]
    Changed { path: PathBuf },
    #[error("`{}` is larger than {most} bytes, the limit for such a file", path.display())]
    TooLarge { path: PathBuf, most: u64 },
    #[error("another run is writing `{}`", path.display())]
    Busy { path: PathBuf },
    #[error("`{}` exists and is not an adapter folder", path.display())]
    OutputNotAnAdapter { path: PathBuf },
    #[error("output `{}` and input `{}` overlap", output.display(), input.display())]
    OutputOverlapsInput { output: PathBuf, input: PathBuf },
    #[error("`{}` is a mount point, which cannot be replaced", path.display())]
    MountPoint { path: PathBuf },
    #[error("`{}` is not a file of results: {reason}", path.display())]
    NotResults { path: PathBuf, reason: String },
    #[error("the outputs `{}` and `{}` overlap", one.display(), other.display())]
    OutputsOverlap { one: PathBuf, other: PathBuf },
    #[error("`{}` already exists", path.display())]
    ReportExists { path: PathBuf },
    #[error("`{}` exists and is not a report of lora-slim", path.display())]
    NotAReport { path: PathBuf },
    #[error("`{}` is not a report of `slim`, `scan` or `cut`{}", path.display(), behind_a_colon(reason))]
    NotSlimReport { path: PathBuf, reason: Option<String> },
    #[error("`{}` holds the results of a batch, and is not a report of one adapter", path.display())]
    ResultsOfBatch { path: PathBuf },
}

impl FileError {
    /// Adds the path to an error of reading.
    pub fn read(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
        move |source| FileError::Read { path: path.into(), source }
    }

    /// Adds the path to an error of writing.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
        move |source| FileError::Write { path: path.into(), source }
    }

    pub(super) fn kind(&self) -> Kind {
        use io::ErrorKind as E;
        match self {
            Self::Read { source, .. } if is_loop(source) => Kind::BadInput,
            Self::Read { source, .. } => match source.kind() {
                E::NotFound | E::IsADirectory | E::NotADirectory | E::InvalidData | E::InvalidInput => Kind::BadInput,
                E::InvalidFilename => Kind::BadInput,
                _ => Kind::Io,
            },
            Self::Write { source, .. } if is_loop(source) => Kind::Usage,
            // A name that is too long, has characters that the file system refuses, or lies below a file.
            Self::Write { source, .. } => match source.kind() {
                E::InvalidFilename | E::InvalidInput | E::NotADirectory | E::IsADirectory => Kind::Usage,
                _ => Kind::Io,
            },
            Self::Stdout { .. } | Self::Busy { .. } | Self::Changed { .. } => Kind::Io,
            Self::Json { .. }
            | Self::Encoding { .. }
            | Self::LfsPointer { .. }
            | Self::TooLarge { .. }
            | Self::NotResults { .. }
            | Self::NotSlimReport { .. }
            | Self::ResultsOfBatch { .. }
            | Self::NotAFile { .. } => Kind::BadInput,
            Self::OutputIsFolder { .. }
            | Self::OutputExists { .. }
            | Self::OutputNotAnAdapter { .. }
            | Self::OutputOverlapsInput { .. }
            | Self::OutputsOverlap { .. }
            | Self::ReportExists { .. }
            | Self::MountPoint { .. }
            | Self::NotAReport { .. } => Kind::Usage,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::OutputIsFolder { .. } => "leave out the file extension",
            Self::Encoding { .. } => "save it as UTF-8 without a byte order mark",
            Self::LfsPointer { .. } => "run `git lfs pull` in that repository",
            Self::OutputExists { .. } => "choose another output folder, or replace this one with `--force`",
            Self::Changed { .. } => "run the command again when nothing else writes to it",
            Self::Busy { .. } => "wait until it is done, or choose another output",
            Self::OutputNotAnAdapter { .. } => "`--force` replaces only adapter folders; choose another output folder",
            Self::OutputOverlapsInput { .. } => "inputs are never changed; choose an output folder outside of them",
            Self::OutputsOverlap { .. } => {
                "the adapter folder holds only the adapter; choose a report file outside of it"
            }
            Self::MountPoint { .. } => "choose a place below or beside it",
            Self::NotResults { .. } => "choose another output folder, or move that file away",
            Self::NotSlimReport { .. } => {
                "name the folder that `slim` or `cut` wrote, or a file of what `--json` printed"
            }
            Self::ResultsOfBatch { .. } => {
                "name two outputs of the batch, or look at its `index.html` and `summary.csv`, which show all side by side"
            }
            Self::ReportExists { .. } => "choose another report file, or replace this one with `--force`",
            Self::NotAReport { .. } => {
                "`--force` replaces only reports that lora-slim wrote; choose another report file"
            }
            Self::Read { .. }
            | Self::NotAFile { .. }
            | Self::Write { .. }
            | Self::Stdout { .. }
            | Self::Json { .. }
            | Self::TooLarge { .. } => {
                return None;
            }
        };
        Some(hint.into())
    }
}

fn behind_a_colon(reason: &Option<String>) -> String {
    reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"))
}

/// Whether a link leads back to itself. Another try does not change that.
fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}
