//! What the hub says of a repository: its commit, and the files that it has.

use serde::Deserialize;

use crate::hub::name::{is_inner_path, leads_out};

/// The most files of a repository. Models have some dozens.
const MOST_FILES: usize = 100_000;

/// The state of a repository at a revision.
#[derive(Debug, Clone, Default)]
pub struct RepositoryFiles {
    pub commit: String,
    /// Sorted by name.
    pub files: Vec<ListedFile>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Its path in the repository, which stays in its folder.
    pub name: String,
    /// In bytes, where the hub says it.
    pub size: Option<u64>,
}

#[derive(Deserialize)]
struct ListingAnswer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

impl RepositoryFiles {
    /// Reads the hub's answer. The error says what is wrong with it.
    pub fn parse(answer: &[u8]) -> Result<Self, String> {
        let answer: ListingAnswer = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
        if !is_commit(&answer.sha) {
            return Err("its commit is no hash".into());
        }
        if answer.siblings.len() > MOST_FILES {
            return Err("it has too many files".into());
        }
        let mut files = Vec::new();
        for Sibling { rfilename: name, size } in answer.siblings {
            if leads_out(&name) {
                return Err(format!("the file name `{name}` leads out of its folder"));
            }
            // Names that are not possible everywhere are not those of adapters and models.
            if is_inner_path(&name) {
                files.push(ListedFile { name, size });
            }
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        files.dedup_by(|one, other| one.name == other.name);
        Ok(Self { commit: answer.sha, files })
    }

    pub fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    /// The files that do not lie in a folder.
    pub fn at_the_top(&self) -> impl Iterator<Item = &ListedFile> {
        self.files.iter().filter(|file| !file.name.contains('/'))
    }
}

/// Whether this is the hash of a commit.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_the_repository() {
        let listing = |name: &str| {
            let answer = serde_json::json!({"sha": "a".repeat(40), "siblings": [{"rfilename": name}]});
            RepositoryFiles::parse(answer.to_string().as_bytes())
        };
        assert!(listing("config.json").is_ok() && listing("a/b.jinja").is_ok());
        for wrong in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./x", "a\\..\\x", "a\nb", "x\0"] {
            assert!(listing(wrong).is_err(), "{wrong:?}");
        }
        assert!(listing("C:x").unwrap().files.is_empty());
        assert!(RepositoryFiles::parse(br#"{"sha": "../../x", "siblings": []}"#).is_err());
        assert!(RepositoryFiles::parse(b"<html>").is_err());
    }
}
