//! Names on the Hugging Face Hub: `ORG/NAME`, `NAME`, with `@REVISION`, and `ORG/NAME/FILE.gguf` for one file of a repository.
//!
//! Names come from command lines and from files that nobody vouches for. What is a name here leads neither out of the cache nor to
//! another place of the server.

use std::fmt;

/// The revision that a name without one means.
pub const MAIN: &str = "main";

/// The longest name of a repository, as the hub has it.
const LONGEST_REPOSITORY: usize = 96;
/// The longest name of a file or revision, in bytes. The hub's are shorter.
const LONGEST_PATH: usize = 1024;
/// The longest part of a path, in bytes, on the usual file systems.
const LONGEST_PART: usize = 255;

/// Servers whose addresses are those of the hub.
const HOSTS: [&str; 4] = ["huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com"];

/// A repository on the hub, or one of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    /// `ORG/NAME`, or `NAME` for the oldest models.
    pub repository: String,
    /// A branch, tag or commit. Nothing means `main`, or what a file that names the repository says.
    pub revision: Option<String>,
    /// The GGUF file that is meant.
    pub file: Option<String>,
}

impl HubName {
    /// Reads a name. `None` if it can only be a path.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        let slashes: Vec<usize> = name.match_indices('/').map(|(place, _)| place).collect();
        let (repository, file) = match slashes.get(1) {
            Some(&second) => (&name[..second], Some(&name[second + 1..])),
            None => (name, None),
        };
        let is_file = |file: &str| is_inner_path(file) && file.ends_with(".gguf");
        let is_name = is_repository(repository) && file.is_none_or(is_file) && revision.is_none_or(is_inner_path);
        is_name.then(|| Self {
            repository: repository.into(),
            revision: revision.map(String::from),
            file: file.map(String::from),
        })
    }

    /// The name that an address of the hub stands for, as browsers and `hf://` paths have it.
    pub fn of_address(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let path = match scheme {
            "hf" => rest,
            "http" | "https" => rest.split_once('/').filter(|(host, _)| HOSTS.contains(host))?.1,
            _ => return None,
        };
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let revision = |revision: &str| if revision == MAIN { String::new() } else { format!("@{revision}") };
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["datasets" | "spaces", ..] => None,
            [organisation, name, "tree" | "blob" | "resolve", commit, file @ ..] => {
                let file = file.join("/");
                let file = if file.ends_with(".gguf") { format!("/{file}") } else { String::new() };
                Self::parse(&format!("{organisation}/{name}{file}{}", revision(commit)))
            }
            [_, _, ..] => Self::parse(path),
            _ => None,
        }
    }

    /// The command of the hub's own client that downloads it.
    pub fn download_command(&self) -> String {
        let file = self.file.as_ref().map_or(String::new(), |file| format!(" {file}"));
        let revision = self.revision.as_ref().map_or(String::new(), |revision| format!(" --revision {revision}"));
        format!("hf download {}{file}{revision}", self.repository)
    }

    /// Whether it has an organisation. Names without one are old models', and much more often paths.
    pub fn has_organisation(&self) -> bool {
        self.repository.contains('/')
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let file = self.file.as_ref().map_or(String::new(), |file| format!("/{file}"));
        let revision = self.revision.as_ref().map_or(String::new(), |revision| format!("@{revision}"));
        write!(f, "{}{file}{revision}", self.repository)
    }
}

/// Whether a text is an address, and no path.
pub fn is_address(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.chars().all(|letter| letter.is_ascii_alphanumeric()))
}

/// Whether the hub allows this name of a repository.
fn is_repository(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_end = |character: char| character.is_ascii_alphanumeric() || character == '_';
        part.chars().all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character))
            && part.starts_with(is_end)
            && part.ends_with(is_end)
    };
    let has_parts = name.split('/').count() <= 2 && name.split('/').all(is_part);
    has_parts
        && name.len() <= LONGEST_REPOSITORY
        && !["--", ".."].iter().any(|pair| name.contains(pair))
        && !name.ends_with(".git")
}

/// Whether a path of a file or a revision stays inside of the folder that it is joined to, and is possible, on every system.
pub fn is_inner_path(path: &str) -> bool {
    !leads_out(path)
        && path.len() <= LONGEST_PATH
        && path.split('/').all(|part| part.len() <= LONGEST_PART)
        && !path.contains([':', '*', '?', '"', '<', '>', '|'])
}

/// Whether a path may leave the folder that it is joined to on some system.
pub fn leads_out(path: &str) -> bool {
    path.split('/').any(|part| ["", ".", ".."].contains(&part))
        || path.contains(|character: char| character == '\\' || character.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories_and_their_files() {
        for (text, repository, file, revision) in [
            ("org/model", "org/model", None, None),
            ("gpt2", "gpt2", None, None),
            ("Qwen/Qwen2.5-0.5B_x@v1.0", "Qwen/Qwen2.5-0.5B_x", None, Some("v1.0")),
            ("org/model@refs/pr/3", "org/model", None, Some("refs/pr/3")),
            ("org/model/q4/model.gguf", "org/model", Some("q4/model.gguf"), None),
            ("org/model/model.gguf@main", "org/model", Some("model.gguf"), Some("main")),
        ] {
            let [file, revision] = [file, revision].map(|text| text.map(String::from));
            let expected = HubName { repository: repository.into(), revision, file };
            assert_eq!(HubName::parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn addresses_of_the_hub_stand_for_names() {
        for (address, name) in [
            ("hf://org/model", Some("org/model")),
            ("hf://org/model@v1", Some("org/model@v1")),
            ("https://huggingface.co/org/model", Some("org/model")),
            ("https://huggingface.co/org/model/?library=peft", Some("org/model")),
            ("https://hf.co/org/model/tree/main", Some("org/model")),
            ("https://huggingface.co/org/model/tree/v1/checkpoint-7", Some("org/model@v1")),
            ("https://huggingface.co/org/model/blob/main/q4/model.gguf", Some("org/model/q4/model.gguf")),
            ("https://huggingface.co/org/model/resolve/v1/model.gguf", Some("org/model/model.gguf@v1")),
            ("https://huggingface.co/datasets/org/data", None),
            ("https://huggingface.co/org", None),
            ("https://example.org/org/model", None),
            ("s3://bucket/model", None),
            ("hf://org/../model", None),
            ("org/model", None),
        ] {
            assert_eq!(HubName::of_address(address).map(|name| name.to_string()).as_deref(), name, "{address}");
        }
        assert!(is_address("s3://bucket/model") && !is_address("org/model") && !is_address("a b://c"));
    }

    #[test]
    fn a_name_has_its_download() {
        let command = |text: &str| HubName::parse(text).map(|name| name.download_command());
        assert_eq!(command("org/model@v1").as_deref(), Some("hf download org/model --revision v1"));
        assert_eq!(command("org/model/q4/m.gguf").as_deref(), Some("hf download org/model q4/m.gguf"));
    }

    #[test]
    fn what_is_no_name() {
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "/a/b",
            "./a",
            "../a",
            "a/..",
            "a/../b",
            "a..b/c",
            "a--b/c",
            "-a/b",
            "a/b.",
            ".a/b",
            "a/b/c",
            "a/b/../../x.gguf",
            "a/b//x.gguf",
            "a/b@",
            "a/b@../x",
            "a/b@/x",
            "a/b@v\n",
            "a b/c",
            "a\\b/c",
            "C:/x",
            "~/x",
            "https://host/a",
            "http:a/b",
            "a/b?x=1",
            "a/b#c",
            "a/b%2e%2e",
            "a/\u{202e}b",
            "a/b.git",
            "a/b\0",
        ] {
            assert_eq!(HubName::parse(text), None, "{text:?}");
        }
        assert_eq!(HubName::parse(&format!("a/{}", "b".repeat(95))), None);
        assert_eq!(HubName::parse(&format!("a/b@{}", "c".repeat(256))), None);
    }
}
