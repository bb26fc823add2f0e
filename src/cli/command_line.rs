//! The command line as one line of text, which a shell reads as the same words.

use std::ffi::{OsStr, OsString};

use super::Command;

/// Keeps the line with the flags of a command that makes a report.
pub fn keep(command: &mut Command, words: &[OsString]) {
    let evaluate = match command {
        Command::Slim(args) => &mut args.evaluate,
        Command::Scan(args) => &mut args.evaluate,
        _ => return,
    };
    evaluate.command_line = Some(line(words));
}

/// The words for a POSIX shell. The first one, where the program was, becomes its name.
fn line(words: &[OsString]) -> String {
    let name = OsString::from(env!("CARGO_PKG_NAME"));
    let words = std::iter::once(&name).chain(words.iter().skip(1));
    words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as it is, or in quotes if the shell would read anything but its characters.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |character: char| character.is_alphanumeric() || "-_./:,=@%+".contains(character);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_same_words() {
        let words = ["/usr/bin/lora-slim", "slim", "my adapter", "--margin=2%", "it's", "$HOME", "", "ä*"];
        let line = line(&words.map(OsString::from));
        assert_eq!(line, r"lora-slim slim 'my adapter' --margin=2% 'it'\''s' '$HOME' '' 'ä*'");
    }
}
