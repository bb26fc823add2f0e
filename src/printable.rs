//! Text that came from a file, a path or a model, made safe to show.
//!
//! A terminal obeys control characters, a reader is deceived by characters that change the direction of what follows or that are not
//! seen at all, a line break makes one line look like two, and a spreadsheet computes what begins like a formula. Each way out of the
//! program has its function here, and all agree on which characters are shown as their number, such as `[U+001B]`. What prints calls
//! them: it takes no trust in what wrote the text.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// The most characters of a message, and how many of them are its end. It may quote a file, which may hold megabytes.
const LONGEST: usize = 1000;
const END: usize = 200;

/// Characters of Unicode's category Cf (format), in version 17, and the separators of lines and paragraphs.
const UNSEEN: [(char, char); 20] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// Whether a character is seen, and does nothing but that.
pub fn is_printable(character: char) -> bool {
    let is_unseen = |(first, last): (char, char)| (first..=last).contains(&character);
    !character.is_control() && (character.is_ascii() || !UNSEEN.into_iter().any(is_unseen))
}

/// Anything as part of one line.
pub struct OneLine<T>(pub T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Shown { to: f, keeps: |_| false }, "{}", self.0)
    }
}

/// Passes text on, with the numbers of characters that are not printable in their place.
struct Shown<'a, W> {
    to: &'a mut W,
    /// Which characters are passed on all the same.
    keeps: fn(char) -> bool,
}

impl<W: Write> Write for Shown<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let passes = |character: char| is_printable(character) || (self.keeps)(character);
        for part in text.split_inclusive(|character| !passes(character)) {
            match part.chars().next_back().filter(|&last| !passes(last)) {
                Some(last) => {
                    self.to.write_str(&part[..part.len() - last.len_utf8()])?;
                    write!(self.to, "{}", number(last))?;
                }
                None => self.to.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// A character by its number.
pub fn number(character: char) -> String {
    format!("[U+{:04X}]", character as u32)
}

/// Text that this program laid out in lines, whose line breaks are its own.
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| is_printable(character) || character == '\n') {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    let _ = Shown { to: &mut shown, keeps: |character| character == '\n' }.write_str(text);
    shown.into()
}

/// A message, which is one line of bounded length: its beginning and its end.
pub fn message(text: &str) -> String {
    if text.len() <= LONGEST {
        return OneLine(text).to_string();
    }
    let end = (text.len() - END..).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    let beginning: String = text.chars().take(LONGEST - END).collect();
    format!("{}…{}", OneLine(beginning), OneLine(&text[end..]))
}

/// JSON with the same value, in which no character stands for itself that is not printable: all of them are in strings.
pub fn json(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| is_printable(character) || character == '\n') {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) || character == '\n' {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped.into()
}

/// A cell of a table that a spreadsheet may open: one line, and no formula. An apostrophe, which a spreadsheet does not show, keeps it
/// a text.
pub fn cell(text: &str) -> String {
    const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];
    let begins = text.trim_start_matches(' ').starts_with(FORMULA);
    format!("{}{}", if begins { "'" } else { "" }, OneLine(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[31m\u{7}b\u{9b}c\u{202e}d\u{200b}\ne\r\tf\u{2028}\u{e0041}";
    const SHOWN: &str = "a[U+001B][31m[U+0007]b[U+009B]c[U+202E]d[U+200B][U+000A]e[U+000D][U+0009]f[U+2028][U+E0041]";

    #[test]
    fn nothing_passes_raw() {
        assert_eq!(OneLine(HOSTILE).to_string(), SHOWN);
        assert_eq!(message(HOSTILE), SHOWN);
        assert_eq!(lines(HOSTILE), SHOWN.replace("[U+000A]", "\n"));
        assert_eq!(lines("plain é 漢字 🎉\n"), "plain é 漢字 🎉\n");
        for character in (0..=0x10ffff).filter_map(char::from_u32).filter(|&one| !is_printable(one)) {
            assert_eq!(OneLine(character).to_string(), number(character));
        }
    }

    #[test]
    fn json_keeps_its_value() {
        let text = serde_json::to_string(&[HOSTILE]).unwrap();
        let safe = json(&text);
        assert!(safe.chars().all(is_printable), "{safe}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&safe).unwrap(), [HOSTILE]);
    }

    #[test]
    fn cells_are_texts() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1"] {
            assert!(cell(formula).starts_with('\''), "{formula}");
        }
        assert_eq!(cell("a=1"), "a=1");
        assert_eq!(cell("a\nb"), "a[U+000A]b");
    }

    #[test]
    fn messages_are_short() {
        let long = message(&"\u{202e}x".repeat(100_000));
        assert!(long.chars().count() < 10 * LONGEST && long.chars().all(is_printable));
    }
}
