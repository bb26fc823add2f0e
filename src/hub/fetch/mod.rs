//! Bringing repositories from the Hugging Face Hub into its cache, as the hub's own client does: the only code that opens connections.
//!
//! Files become blobs first, one after the other. A snapshot gets its links to them, and a branch its commit, when all of them are there:
//! what is stopped halfway looks to everybody as if it had never begun, and the next try continues.

mod client;
mod download;
mod environment;
pub mod listing;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ureq::Body;
use ureq::http::Response;

use super::cache::{self, CachedRepository};
use super::name::HubName;
use crate::error::{FileError, HubError, Result};
use crate::files;
use client::{Client, Fault, HubQuestion, read_fault};
use download::{Described, Download, free_space};
pub use environment::is_offline;
use listing::{RepositoryFiles, is_commit};

/// The longest answer to a question about a repository, in bytes.
const LONGEST_ANSWER: u64 = 64 << 20;

/// Who looks on while files arrive.
pub trait Watch {
    /// Called before the first connection: `name` will be fetched from `hub`.
    fn begins(&mut self, name: &str, hub: &str);
    /// So many bytes more are needed.
    fn needs(&mut self, bytes: u64);
    /// So many bytes more are there.
    fn moves(&mut self, bytes: u64);
    /// So many bytes have to be fetched again.
    fn moves_back(&mut self, bytes: u64);
    /// Whether to stop.
    fn is_stopped(&self) -> bool;
}

/// A repository on the hub, at one commit.
pub struct Remote {
    client: Client,
    name: String,
    revision: String,
    repository: CachedRepository,
    listing: RepositoryFiles,
    /// The files that are among the blobs, with the names of these, in the order in which they were fetched.
    fetched: Vec<(String, String)>,
}

impl Remote {
    /// Asks the hub for the files of a repository.
    pub fn open(name: &HubName, revision: &str, watch: &mut dyn Watch) -> Result<Self> {
        let client = Client::from_environment()?;
        watch.begins(&name.repository, &client.endpoint().to_string());
        let mut remote = Self {
            client,
            name: name.repository.clone(),
            revision: revision.into(),
            repository: CachedRepository::new(cache::folder(), &name.repository),
            listing: RepositoryFiles::default(),
            fetched: Vec::new(),
        };
        remote.listing = remote.list(watch)?;
        Ok(remote)
    }

    fn list(&self, watch: &mut dyn Watch) -> Result<RepositoryFiles> {
        let path = format!("/api/models/{}/revision/{}?blobs=true", self.name, encoded(&self.revision, ""));
        let answer =
            self.client.ask_patiently(HubQuestion::BytesFrom(0), &path, watch, &|fault| self.unreachable(fault))?;
        if answer.status().as_u16() != 200 {
            return Err(self.refusal(&answer, None).into());
        }
        let mut bytes = Vec::new();
        let mut body = answer.into_body().into_reader().take(LONGEST_ANSWER + 1);
        body.read_to_end(&mut bytes).map_err(|error| self.unreachable(Fault::Passing(read_fault(&error))))?;
        if bytes.len() as u64 > LONGEST_ANSWER {
            return Err(self.answer("it is too long").into());
        }
        let listing = RepositoryFiles::parse(&bytes).map_err(|reason| self.answer(&reason))?;
        match is_commit(&self.revision) && listing.commit != self.revision {
            true => Err(self.answer("it names another commit").into()),
            false => Ok(listing),
        }
    }

    pub fn listing(&self) -> &RepositoryFiles {
        &self.listing
    }

    /// Fetches files into the cache.
    pub fn fetch(&mut self, names: &[String], watch: &mut dyn Watch) -> Result<()> {
        let blobs = self.repository.path().join("blobs");
        fs::create_dir_all(&blobs).map_err(FileError::write(&blobs))?;
        let mut described = Vec::new();
        for name in names {
            let file = self.describe(name, watch)?;
            watch.needs(file.size);
            described.push(file);
        }
        self.check_space(&described)?;
        for (name, described) in names.iter().zip(&described) {
            Download { remote: self, file: name, described, watch: &mut *watch }.run()?;
        }
        self.fetched.extend(names.iter().cloned().zip(described.into_iter().map(|file| file.etag)));
        Ok(())
    }

    /// Refuses to begin what the disk has no room for.
    fn check_space(&self, files: &[Described]) -> Result<()> {
        let missing = files.iter().filter(|file| !self.blob(&file.etag).is_file());
        let needed = missing.fold(0u64, |sum, file| sum.saturating_add(file.size - self.arrived(file)));
        match free_space(&self.repository.path()) {
            Some(free) if free < needed => Err(self.no_space(needed, free).into()),
            _ => Ok(()),
        }
    }

    /// How much of a file an earlier run left.
    fn arrived(&self, file: &Described) -> u64 {
        let partial = self.blob(&format!("{}.incomplete", file.etag)).metadata();
        partial.map_or(0, |partial| partial.len()).min(file.size)
    }

    fn describe(&self, name: &str, watch: &mut dyn Watch) -> Result<Described> {
        let fail = |fault| match fault {
            Fault::Passing(reason) | Fault::Lasting(reason) => self.cut(name, reason),
            Fault::Nonsense(reason) => self.answer(reason),
        };
        let answer = self.client.ask_patiently(HubQuestion::Headers, &self.path_of(name), watch, &fail)?;
        if !answer.status().is_success() && !answer.status().is_redirection() {
            return Err(self.refusal(&answer, Some(name)).into());
        }
        let listed = self.listing.files.iter().find(|file| file.name == name).and_then(|file| file.size);
        Ok(Described::read(answer.headers(), listed).map_err(|reason| self.answer(reason))?)
    }

    /// The bytes of a file that was fetched, of which there are at most `most`.
    pub fn read(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let etag = self.fetched.iter().find(|(fetched, _)| fetched == name).map_or("", |(_, etag)| etag);
        files::read_up_to(&self.blob(etag), most)
    }

    /// Makes what was fetched the snapshot of the revision.
    pub fn publish(&self) -> Result<()> {
        let snapshot = self.repository.snapshot_of(&self.listing.commit);
        for (name, etag) in &self.fetched {
            let link = snapshot.join(name);
            let folder = link.parent().unwrap_or(&snapshot);
            fs::create_dir_all(folder).map_err(FileError::write(folder))?;
            let up = "../".repeat(name.split('/').count() + 1);
            place(&self.blob(etag), Path::new(&format!("{up}blobs/{etag}")), &link).map_err(FileError::write(&link))?;
        }
        if self.revision == self.listing.commit {
            return Ok(());
        }
        let place = self.repository.path().join("refs").join(&self.revision);
        write_whole(&place, self.listing.commit.as_bytes()).map_err(|error| FileError::write(&place)(error).into())
    }

    fn blob(&self, etag: &str) -> PathBuf {
        self.repository.path().join("blobs").join(etag)
    }

    /// Where a file is on the hub. The commit is in it, so that all files are of one state.
    fn path_of(&self, file: &str) -> String {
        format!("/{}/resolve/{}/{}", self.name, self.listing.commit, encoded(file, "/"))
    }

    /// The address of the hub.
    pub fn hub(&self) -> String {
        self.client.endpoint().to_string()
    }

    fn unreachable(&self, fault: Fault) -> HubError {
        match fault {
            Fault::Passing(reason) | Fault::Lasting(reason) => {
                HubError::Unreachable { name: self.name.clone(), hub: self.hub(), reason }
            }
            Fault::Nonsense(reason) => self.answer(reason),
        }
    }

    fn cut(&self, file: &str, reason: String) -> HubError {
        HubError::Cut { name: self.name.clone(), hub: self.hub(), file: file.into(), reason }
    }

    fn damaged(&self, file: &str, what: &'static str) -> HubError {
        HubError::Damaged { name: self.name.clone(), hub: self.hub(), file: file.into(), what }
    }

    fn answer(&self, reason: &str) -> HubError {
        HubError::Answer { name: self.name.clone(), hub: self.hub(), reason: reason.into() }
    }

    fn no_space(&self, needed: u64, free: u64) -> HubError {
        HubError::NoSpace { name: self.name.clone(), cache: cache::folder(), needed, free }
    }

    /// What a status other than success means. The hub says 401 of repositories that do not exist, too, so that nobody learns which
    /// private ones there are.
    fn refusal(&self, answer: &Response<Body>, file: Option<&str>) -> HubError {
        let (name, hub, has_token) = (self.name.clone(), self.hub(), self.client.has_token());
        let code = answer.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let status = answer.status().as_u16();
        match (code, status, file) {
            ("RevisionNotFound", ..) => HubError::NoRevision { name, hub, revision: self.revision.clone() },
            ("GatedRepo", ..) | (_, 403, _) => HubError::Gated { name, hub, has_token },
            ("EntryNotFound", _, Some(file)) | ("", 404, Some(file)) => {
                HubError::NoFile { name, hub, file: file.into() }
            }
            ("", 401, _) if has_token => HubError::Token { name, hub },
            (_, 401 | 404, _) => HubError::NotThere { name, hub, has_token },
            (_, 429 | 408 | 500.., _) => HubError::Server { name, hub, status },
            _ => self.answer(&format!("status {status}")),
        }
    }
}

/// A text as a part of an address: what is not a letter, a digit or harmless becomes its number. What `kept` has stays.
fn encoded(text: &str, kept: &str) -> String {
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte);
    text.bytes().map(|byte| if is_kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Puts a link to a blob in the place of a file. Other runs may do the same at the same time.
fn place(blob: &Path, relative: &Path, link: &Path) -> io::Result<()> {
    let leads_to_blob = || link.canonicalize().is_ok_and(|there| blob.canonicalize().is_ok_and(|blob| blob == there));
    match make_link(blob, relative, link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if !leads_to_blob() => {
            let mut draft = link.as_os_str().to_owned();
            draft.push(format!(".{}", std::process::id()));
            make_link(blob, relative, Path::new(&draft))?;
            fs::rename(&draft, link)
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make_link(_blob: &Path, relative: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, link)
}

/// Links to files need rights that Windows gives to few.
#[cfg(not(unix))]
fn make_link(blob: &Path, _relative: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(blob, link)
}

/// Writes a file that appears whole.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(content)?;
    // Files for one user alone are no use to others who share the cache.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = folder.metadata()?.permissions().mode() & 0o666;
        draft.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    }
    draft.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_addresses() {
        assert_eq!(encoded("refs/pr/1", ""), "refs%2Fpr%2F1");
        assert_eq!(encoded("a b/c?d#e%.json", "/"), "a%20b/c%3Fd%23e%25.json");
    }
}
