//! One file of a repository, into the blobs of the cache. What has arrived is kept, so that the next try continues there.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::{HeaderMap, Response, header};

use super::client::{Fault, HubQuestion, pause, read_fault};
use super::{Remote, Watch};
use crate::error::{ComputeError, FileError, Result};
use crate::files::{self, FileLock, Folder, LockAttempt, LockMode};

/// How often in a row a download may end without a byte.
const FRUITLESS: u32 = 5;
/// How many bytes are read at a time.
const PIECE: usize = 1 << 16;

/// A file as the hub describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The name of its blob: the SHA-256 of large files, Git's hash of others.
    pub etag: String,
    pub size: u64,
}

impl Described {
    /// Reads the headers of an answer. The error says what is wrong with them.
    pub fn read(headers: &HeaderMap, listed_size: Option<u64>) -> std::result::Result<Self, &'static str> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let etag = text("x-linked-etag").or_else(|| text("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if etag.is_empty() || etag.len() > 128 || etag.starts_with('.') || !etag.bytes().all(is_plain) {
            return Err("a file without a usable ETag");
        }
        let length = || text("content-length")?.parse().ok();
        let size = text("x-linked-size").and_then(|size| size.parse().ok()).or_else(|| {
            // The length of a redirect is that of the redirect.
            if text("location").is_some() { listed_size } else { length().or(listed_size) }
        });
        Ok(Self { etag: etag.into(), size: size.ok_or("a file without a size")? })
    }

    /// Whether the name is the SHA-256 of the bytes.
    fn has_hash(&self) -> bool {
        self.etag.len() == 64 && self.etag.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// A file that is being fetched.
pub struct Download<'a> {
    pub remote: &'a Remote,
    pub file: &'a str,
    pub described: &'a Described,
    pub watch: &'a mut dyn Watch,
}

impl Download<'_> {
    /// Fetches the file, unless its blob is there.
    pub fn run(mut self) -> Result<()> {
        let blob = self.remote.blob(&self.described.etag);
        if blob.is_file() {
            self.watch.moves(self.described.size);
            return Ok(());
        }
        let lock = self.lock()?;
        if blob.is_file() {
            self.watch.moves(self.described.size);
            return Ok(());
        }
        // Where the file system has no locks, nobody else may write to the same file.
        let own = if lock.is_some() { String::new() } else { format!(".{}", std::process::id()) };
        let partial = blob.with_file_name(format!("{}{own}.incomplete", self.described.etag));
        self.fill(&partial)?;
        self.verify(&partial)?;
        fs::rename(&partial, &blob).map_err(FileError::write(&blob))?;
        drop(lock);
        Ok(())
    }

    /// Takes the lock that the hub's own client takes, too; waits for others. `None` where there are no locks.
    fn lock(&mut self) -> Result<Option<FileLock>> {
        const TURN: Duration = Duration::from_millis(100);
        let folder = self.remote.repository.locks();
        let name = format!("{}.lock", self.described.etag);
        fs::create_dir_all(&folder).map_err(FileError::write(&folder))?;
        let open = Folder::open(&folder).map_err(FileError::write(&folder))?;
        let is_new = !folder.join(&name).exists();
        loop {
            let attempt = FileLock::lasting(&open, OsStr::new(&name), LockMode::Exclusive);
            match attempt.map_err(FileError::write(&folder.join(&name)))? {
                LockAttempt::Acquired(lock) => {
                    if is_new {
                        share(&folder.join(&name));
                    }
                    return Ok(Some(lock));
                }
                LockAttempt::Unsupported => return Ok(None),
                LockAttempt::Taken | LockAttempt::Gone | LockAttempt::NotOurs => {}
            }
            if self.watch.is_stopped() {
                return Err(ComputeError::Interrupted.into());
            }
            thread::sleep(TURN);
        }
    }

    /// Fetches what is missing of a file, with new connections where one is cut.
    fn fill(&mut self, partial: &Path) -> Result<()> {
        let write_error = FileError::write;
        let open = OpenOptions::new().create(true).write(true).truncate(false).open(partial);
        let mut file = open.map_err(write_error(partial))?;
        let mut have = file.metadata().map_err(write_error(partial))?.len();
        if have > self.described.size {
            have = 0;
        }
        self.watch.moves(have);
        let mut fruitless = 0;
        loop {
            file.set_len(have).and_then(|()| file.seek(SeekFrom::Start(have))).map_err(write_error(partial))?;
            if have == self.described.size {
                return file.sync_all().map_err(|error| self.written(error, partial));
            }
            let (arrived, end) = self.receive(&mut file, have, partial)?;
            fruitless = if arrived > have { 0 } else { fruitless + 1 };
            have = arrived;
            match end {
                End::Whole => {}
                End::Lasting(reason) => return Err(self.cut(reason)),
                End::Passing(reason) if fruitless == FRUITLESS => return Err(self.cut(reason)),
                End::Passing(_) => pause(fruitless, self.watch)?,
            }
        }
    }

    /// Appends what one connection gives. Returns how many bytes the file has then.
    fn receive(&mut self, file: &mut File, have: u64, partial: &Path) -> Result<(u64, End)> {
        let answer = match self.remote.client.ask(HubQuestion::BytesFrom(have), &self.remote.path_of(self.file)) {
            Ok(answer) => answer,
            Err(Fault::Passing(reason)) => return Ok((have, End::Passing(reason))),
            Err(Fault::Lasting(reason)) => return Ok((have, End::Lasting(reason))),
            Err(Fault::Nonsense(reason)) => return Err(self.remote.answer(reason).into()),
        };
        let start = match answer.status().as_u16() {
            200 => 0,
            206 if starts_at(&answer, have) => have,
            206 => return Err(self.remote.answer("a part of a file that was not asked for").into()),
            // What was left is no beginning of this file.
            416 if have > 0 => {
                self.watch.moves_back(have);
                return Ok((0, End::Passing("it has no such part".into())));
            }
            // The hub has just described the file: what refuses it is where the hub sends us, whose addresses expire.
            status => return Ok((have, End::Passing(format!("status {status}")))),
        };
        let length = answer.body().content_length();
        if length.is_some_and(|length| length != self.described.size - start) {
            return Err(self.remote.damaged(self.file, "length").into());
        }
        if start < have {
            // The server gives all of it once more.
            self.watch.moves_back(have);
            let again = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
            again.map_err(FileError::write(partial))?;
        }
        self.append(answer.into_body(), file, start, partial)
    }

    fn append(&mut self, body: Body, file: &mut File, start: u64, partial: &Path) -> Result<(u64, End)> {
        let mut body = body.into_reader();
        let (mut buffer, mut have) = (vec![0; PIECE], start);
        while have < self.described.size {
            if self.watch.is_stopped() {
                return Err(ComputeError::Interrupted.into());
            }
            let wanted = buffer.len().min(usize::try_from(self.described.size - have).unwrap_or(usize::MAX));
            match body.read(&mut buffer[..wanted]) {
                Ok(0) => return Ok((have, End::Passing("the connection was cut".into()))),
                Ok(count) => {
                    file.write_all(&buffer[..count]).map_err(|error| self.written(error, partial))?;
                    have += count as u64;
                    self.watch.moves(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok((have, End::Passing(read_fault(&error)))),
            }
        }
        Ok((have, End::Whole))
    }

    /// Compares the bytes with the hash that the hub gives. What is damaged goes.
    fn verify(&mut self, partial: &Path) -> Result<()> {
        if !self.described.has_hash() {
            return Ok(());
        }
        let mut file = files::open(partial)?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            if self.watch.is_stopped() {
                return Err(ComputeError::Interrupted.into());
            }
            match file.read(&mut buffer).map_err(FileError::read(partial))? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        if files::hex(&hasher.finalize()).eq_ignore_ascii_case(&self.described.etag) {
            return Ok(());
        }
        fs::remove_file(partial).map_err(FileError::write(partial))?;
        Err(self.remote.damaged(self.file, "SHA-256").into())
    }

    fn written(&self, error: io::Error, partial: &Path) -> crate::Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let have = partial.metadata().map_or(0, |metadata| metadata.len());
                let free = free_space(&self.remote.repository.path()).unwrap_or(0);
                self.remote.no_space(self.described.size.saturating_sub(have), free).into()
            }
            _ => FileError::write(partial)(error).into(),
        }
    }

    fn cut(&self, reason: String) -> crate::Error {
        self.remote.cut(self.file, reason).into()
    }
}

/// Lets the group lock a file, too, as the hub's own client does.
fn share(lock: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = fs::set_permissions(lock, fs::Permissions::from_mode(0o664));
    }
    #[cfg(not(unix))]
    let _ = lock;
}

/// How a connection ended.
enum End {
    Whole,
    Passing(String),
    Lasting(String),
}

/// Whether a part of a file begins at this byte.
fn starts_at(answer: &Response<Body>, start: u64) -> bool {
    let range = answer.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    range.strip_prefix("bytes ").and_then(|range| range.split_once('-')?.0.parse().ok()) == Some(start)
}

/// The bytes that are free for this user where a folder is.
pub fn free_space(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let there: PathBuf = folder.ancestors().find(|path| path.is_dir())?.into();
        let system = rustix::fs::statvfs(&there).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_file_is_described_by_its_headers() {
        let read = |pairs: &[(&'static str, &str)]| Described::read(&headers(pairs), Some(7));
        let described = |etag: &str, size| Ok(Described { etag: etag.into(), size });
        assert_eq!(read(&[("etag", "\"abc\""), ("content-length", "5")]), described("abc", 5));
        assert_eq!(read(&[("etag", "W/\"abc\""), ("content-length", "5")]), described("abc", 5));
        let linked = [("x-linked-etag", "\"def\""), ("x-linked-size", "9"), ("etag", "\"abc\""), ("location", "/x")];
        assert_eq!(read(&linked), described("def", 9));
        assert_eq!(read(&[("etag", "abc"), ("location", "/x"), ("content-length", "300")]), described("abc", 7));
        for etag in ["", "\"\"", "\"../../x\"", "\"a/b\"", "\".hidden\"", &"a".repeat(129)] {
            assert!(read(&[("etag", etag), ("content-length", "5")]).is_err(), "{etag}");
        }
        assert!(Described::read(&headers(&[("etag", "abc"), ("content-length", "-1")]), None).is_err());
    }
}
