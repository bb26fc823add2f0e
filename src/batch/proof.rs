//! Whether what a job wrote is still there as it was written.
//!
//! Two hashes are recorded of the files that a job wrote. One is cheap enough to be compared in every run: it covers
//! the names, the sizes, all bytes of small files and samples of large ones. It does not see a change of the same
//! length between the samples; the other hash, over all bytes, does. What others have put beside the files is not
//! looked at.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use blake3::Hasher;

use crate::files::{Access, Folder};

/// How much of a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Samples,
    AllBytes,
}

/// The largest file that is read whole as its own sample, in bytes.
const SMALL: u64 = 256 << 10;

/// What is read at the beginning and at the end of a larger file, in bytes.
const END: u64 = 64 << 10;

/// How many blocks are read between them, at equal distances, and their size in bytes.
const BLOCKS: u64 = 32;
const BLOCK: u64 = 4 << 10;

/// The names of the files below a folder, with `/` between folders, sorted.
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    add_names(&Folder::open(folder)?, "", &mut names)?;
    names.sort();
    Ok(names)
}

fn add_names(folder: &Folder, above: &str, names: &mut Vec<String>) -> io::Result<()> {
    for name in folder.names()? {
        let path = format!("{above}{}", name.to_string_lossy());
        match folder.subfolder(&name) {
            Ok(inner) => add_names(&inner, &format!("{path}/"), names)?,
            Err(_) => names.push(path),
        }
    }
    Ok(())
}

/// The hash of files below a folder; `None` if one of them is not there, or is no regular file.
pub fn hash(folder: &Path, names: &[String], depth: Depth) -> Option<String> {
    let mut hasher = Hasher::new();
    for name in names {
        let file = open(folder, name).ok()?;
        let length = file.metadata().ok()?.len();
        // The length before each text keeps different lists of texts from being the same bytes.
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&length.to_le_bytes());
        match depth {
            Depth::Samples if length > SMALL => add_samples(&mut hasher, file, length),
            _ => hasher.update_reader(file).map(drop),
        }
        .ok()?;
    }
    Some(hasher.finalize().to_string())
}

fn open(folder: &Path, name: &str) -> io::Result<File> {
    let mut folder = Folder::open(folder)?;
    let (above, name) = name.rsplit_once('/').map_or(("", name), |(above, name)| (above, name));
    for part in above.split('/').filter(|part| !part.is_empty()) {
        folder = folder.subfolder(part.as_ref())?;
    }
    folder.open_file(name.as_ref(), Access::Read)
}

fn add_samples(hasher: &mut Hasher, mut file: File, length: u64) -> io::Result<()> {
    let between = length - 2 * END - BLOCK;
    let blocks = (0..BLOCKS).map(|block| (END + between * block / (BLOCKS - 1), BLOCK));
    for (start, count) in [(0, END)].into_iter().chain(blocks).chain([(length - END, END)]) {
        file.seek(SeekFrom::Start(start))?;
        let before = hasher.count();
        if hasher.update_reader((&file).take(count))?.count() - before != count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_written_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut weights: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
        fs::create_dir(path("templates")).unwrap();
        fs::write(path("templates/a.jinja"), "a").unwrap();
        fs::write(path("weights"), &weights).unwrap();
        let names = names(folder.path()).unwrap();
        assert_eq!(names, ["templates/a.jinja", "weights"]);
        let hashes = || [Depth::Samples, Depth::AllBytes].map(|depth| hash(folder.path(), &names, depth));
        let whole = hashes();
        assert!(whole.iter().all(Option::is_some) && whole[0] != whole[1]);
        fs::write(path("notes"), "of the user").unwrap();
        assert_eq!(hashes(), whole);
        // In the first block, in the last, in one between them, and in none.
        for (place, is_sampled) in [(100, true), (weights.len() - 1, true), (66_000, true), (500_000, false)] {
            weights[place] ^= 1;
            fs::write(path("weights"), &weights).unwrap();
            let found = hashes();
            assert_eq!((found[0] != whole[0], found[1] != whole[1]), (is_sampled, true), "{place}");
            weights[place] ^= 1;
        }
        for change in [&weights[..weights.len() - 1], &[], b"{}"] {
            fs::write(path("weights"), change).unwrap();
            let found = hashes();
            assert!(found[0] != whole[0] && found[1] != whole[1]);
        }
        fs::remove_file(path("weights")).unwrap();
        assert_eq!(hashes(), [None, None]);
        #[cfg(unix)]
        {
            fs::write(path("elsewhere"), &weights).unwrap();
            std::os::unix::fs::symlink("elsewhere", path("weights")).unwrap();
            assert_eq!(hashes(), [None, None]);
        }
    }
}
