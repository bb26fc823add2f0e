//! Hugging Face's own program `hf`, which has the login and the connections that an upload needs.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::name::HubName;
use crate::error::{PushError, Result};

const TOOL: &str = "hf";
/// How tokens of the hub begin, and the variables that may hold one.
const TOKEN: &str = "hf_";
const TOKEN_VARIABLES: [&str; 2] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
/// The most characters that are shown of what the tool says about a failure.
const MOST_SAID: usize = 600;
/// How lines begin that say nothing about the failure.
const ASIDES: [&str; 2] = ["Hint:", "For more information"];

/// The name of a repository that can be uploaded to: an owner and a name.
pub fn repository(text: &str) -> Result<String> {
    let name = HubName::parse(text).filter(HubName::has_organisation);
    match name.filter(|name| name.revision.is_none() && name.file.is_none()) {
        Some(name) => Ok(name.repository),
        None => Err(PushError::Repository { name: text.into() }.into()),
    }
}

/// The program on this machine.
#[derive(Debug)]
pub struct Hf {
    program: PathBuf,
}

impl Hf {
    /// Looks for the program where the shell does.
    ///
    /// # Errors
    /// No folder of `PATH` holds it.
    pub fn find() -> Result<Self> {
        let Some(folders) = env::var_os("PATH") else { return Ok(Self { program: TOOL.into() }) };
        let here = env::current_dir().unwrap_or_default();
        let name = format!("{TOOL}{}", env::consts::EXE_SUFFIX);
        let found: Vec<PathBuf> =
            env::split_paths(&folders).map(|path| here.join(path).join(&name)).filter(|path| path.is_file()).collect();
        // The system's error says why one cannot be started that is there.
        let program = found.iter().find(|path| is_executable(path)).or(found.first());
        program.map(|program| Self { program: program.clone() }).ok_or(PushError::NoTool { tool: TOOL }.into())
    }

    /// Uploads all files of a folder, and returns what the program says then.
    pub fn upload(&self, folder: &Path, repository: &str, is_private: bool) -> Result<String> {
        upload(&self.program, folder, repository, is_private)
    }
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(_path: &Path) -> bool {
    true
}

/// The program runs in the folder, because it would take `*` and `[` in a path for a pattern.
fn upload(program: &Path, folder: &Path, repository: &str, is_private: bool) -> Result<String> {
    let mut command = Command::new(program);
    command.args(["upload", repository, ".", ".", "--repo-type", "model"]).current_dir(folder);
    if is_private {
        command.arg("--private");
    }
    // What it says is read here before anybody sees it.
    command.env("HF_HUB_DISABLE_PROGRESS_BARS", "1").env("NO_COLOR", "1").stdin(Stdio::null());
    let output = command.output().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PushError::NoTool { tool: TOOL },
        _ => PushError::NotStarted { tool: TOOL, source },
    })?;
    if output.status.success() {
        return Ok(without_tokens(&String::from_utf8_lossy(&output.stdout)));
    }
    let (ended, said) = (output.status.to_string(), complaint(&output));
    Err(PushError::Refused { tool: TOOL, name: repository.into(), ended, said }.into())
}

/// What the tool says about a failure, on one line: from the last line with an error on.
fn complaint(output: &Output) -> String {
    let text = [&output.stderr, &output.stdout].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let text = text.into_iter().find(|text| !text.trim().is_empty()).unwrap_or_default();
    let is_aside = |line: &str| ASIDES.iter().any(|beginning| line.starts_with(beginning));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_aside(line)).collect();
    let first = lines.iter().rposition(|line| line.contains("Error")).unwrap_or(lines.len().saturating_sub(1));
    let said: String = without_tokens(&lines[first..].join(" ")).chars().take(MOST_SAID).collect();
    if said.is_empty() { "it does not say why".into() } else { said }
}

/// A text without tokens: those of the environment, and whatever looks like one.
fn without_tokens(text: &str) -> String {
    let known = TOKEN_VARIABLES.iter().filter_map(|name| env::var(name).ok()).filter(|token| !token.is_empty());
    let text = known.fold(text.to_string(), |text, token| text.replace(&token, "[token]"));
    let mut parts = text.split(TOKEN);
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |mut shown, part| {
        let rest = part.trim_start_matches(|character: char| character.is_ascii_alphanumeric());
        // `hf_hub_download` is no token.
        let is_token = part.len() - rest.len() >= 12;
        shown.push_str(if is_token { "[token]" } else { TOKEN });
        shown.push_str(if is_token { rest } else { part });
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_shown() {
        for (text, shown) in [
            ("", ""),
            ("no token", "no token"),
            ("hf_hub_download failed", "hf_hub_download failed"),
            ("Bearer hf_AbCdEfGhIjKlMnOpQr.", "Bearer [token]."),
            ("hf_AbCdEfGhIjKlMnOpQrhf_AbCdEfGhIjKlMnOpQr", "[token]"),
            ("a hf_AbCdEfGhIjKlMnOpQr, hf_AbCdEfGhIjKlMnOpQs", "a [token], [token]"),
        ] {
            assert_eq!(without_tokens(text).replace("[token][token]", "[token]"), shown, "{text}");
        }
    }

    #[test]
    fn repositories_have_an_owner() {
        assert_eq!(repository("user/name").unwrap(), "user/name");
        for text in [
            "name",
            "user/name@main",
            "user/name/a.gguf",
            "",
            "-x/y",
            "https://host/user/name",
            "a/../b",
            "a/b --token",
        ] {
            assert!(repository(text).is_err(), "{text}");
        }
    }
}
