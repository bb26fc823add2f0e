//! Attacks as data: what lies there, the command, and the code that the documentation promises for it.
//!
//! Each attack runs in a sandbox with an adapter, a base model and samples, with bounded memory and time. Whatever happens, nothing
//! but the output may change in the sandbox, nothing stays in the folder for temporary files, and neither standard output nor
//! standard error gets a character that a terminal obeys or a reader does not see. To add an attack, add it to a table.

mod links;
mod patterns;
mod shown;
mod streams;
mod waits;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lora_slim::printable;

use crate::bad_input::Setup;
use crate::support::fixture;
use crate::support::limits::lora_slim_under;

/// Address space of a run, in KiB, and the time that one may take beside others.
const MEMORY: usize = 1 << 20;
const TIME: Duration = Duration::from_secs(60);

/// Where the attacks write.
const OUTPUTS: [&str; 3] = ["out", "page.html", "tmp"];

struct Attack {
    name: &'static str,
    /// Prepares the sandbox.
    prepare: fn(&Sandbox),
    args: &'static [&'static str],
    /// The documented exit codes.
    codes: &'static [i32],
    /// Part of what is said, on either stream.
    says: &'static str,
    /// What must be true afterwards.
    then: fn(&Sandbox),
}

impl Attack {
    const fn new(name: &'static str, prepare: fn(&Sandbox), args: &'static [&'static str]) -> Self {
        Self { name, prepare, args, codes: &[0], says: "", then: |_| {} }
    }

    const fn code(self, codes: &'static [i32], says: &'static str) -> Self {
        Self { codes, says, ..self }
    }

    const fn then(self, then: fn(&Sandbox)) -> Self {
        Self { then, ..self }
    }
}

/// A folder to attack, with short names for what the tables do.
struct Sandbox(Setup);

impl Sandbox {
    fn new() -> Self {
        let setup = Setup::new();
        fs::create_dir(setup.path("tmp")).unwrap();
        Self(setup)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap()).into_owned()
    }

    /// Puts a link in the place of whatever is there.
    fn link(&self, name: &str, target: &str) {
        self.remove(name);
        symlink(target, self.path(name)).unwrap();
    }

    /// Puts a pipe in the place of whatever is there.
    fn pipe(&self, name: &str) {
        self.remove(name);
        assert!(Command::new("mkfifo").arg(self.path(name)).status().unwrap().success());
    }

    fn remove(&self, name: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        if self.path(name).is_dir() && !self.path(name).is_symlink() {
            fs::remove_dir_all(self.path(name)).unwrap();
        } else {
            let _ = fs::remove_file(self.path(name));
        }
    }

    fn edit(&self, name: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        self.0.edit_json(name, edit);
    }

    /// A copy of the adapter.
    fn adapter(&self, name: &str) {
        crate::support::copy_folder(&self.path("adapter"), &self.path(name));
    }

    fn exists(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// Everything in the sandbox but the outputs: its kind, size, time and content.
    fn listing(&self) -> BTreeMap<PathBuf, (u32, u64, i64, Option<String>)> {
        let root = self.0.folder.path();
        let walk = walkdir(root);
        let is_output = |path: &Path| path.iter().next().is_some_and(|first| OUTPUTS.iter().any(|name| first == *name));
        let inside = walk.into_iter().filter_map(|path| Some(path.strip_prefix(root).ok()?.to_path_buf()));
        let described = inside.filter(|path| !is_output(path) && path != Path::new("")).map(|path| {
            let found = root.join(&path).symlink_metadata().unwrap();
            let content = match found.file_type() {
                kind if kind.is_symlink() => Some(fs::read_link(root.join(&path)).unwrap().display().to_string()),
                kind if kind.is_file() && found.len() < 1 << 20 => {
                    fs::read(root.join(&path)).ok().map(|bytes| lora_slim::files::sha256_of(&bytes))
                }
                _ => None,
            };
            // Making an output beside it changes a folder's time.
            let time = if found.is_dir() { 0 } else { found.mtime_nsec() ^ found.mtime() };
            let size = if found.is_dir() { 0 } else { found.len() };
            (path, (found.mode(), size, time, content))
        });
        described.collect()
    }
}

fn walkdir(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

fn run_all(attacks: &[Attack]) {
    for attack in attacks {
        let sandbox = Sandbox::new();
        (attack.prepare)(&sandbox);
        let before = sandbox.listing();
        let mut command = lora_slim_under(&format!("ulimit -v {MEMORY}"));
        command.current_dir(sandbox.0.folder.path()).env("TMPDIR", sandbox.path("tmp")).timeout(TIME);
        command.env("HF_HUB_CACHE", fixture("no-such-cache")).env("HF_HUB_OFFLINE", "1");
        let output = command.args(attack.args).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let context = format!("{}: {}\n{out}\n{err}", attack.name, output.status);
        let code = output.status.code();
        assert!(code.is_some_and(|code| attack.codes.contains(&code)), "{context}");
        assert!(!err.contains("panicked"), "{context}");
        assert!(out.contains(attack.says) || err.contains(attack.says), "`{}` is not said: {context}", attack.says);
        let is_raw = |character: char| !printable::is_printable(character) && character != '\n';
        assert!(!out.contains(is_raw) && !err.contains(is_raw), "raw: {} {out:?}\n{err:?}", attack.name);
        // The system prints an apostrophe for what it replaces; anything that is no UTF-8 would be raw, too.
        assert!(std::str::from_utf8(&output.stdout).is_ok(), "{context}");
        let after = sandbox.listing();
        assert!(before == after, "something else was touched: {context}\n{before:#?}\n{after:#?}");
        assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0, "{context}");
        (attack.then)(&sandbox);
    }
}
