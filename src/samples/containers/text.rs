//! The text of a file: UTF-8, or UTF-16 as Windows writes it.

use std::borrow::Cow;

use super::SampleFile;
use crate::error::Result;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// An encoding of text other than UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Utf16 {
    Little,
    Big,
}

/// The text of a file, without a byte order mark.
pub fn text<'a>(file: &SampleFile<'a>) -> Result<Cow<'a, str>> {
    if let Some(order) = utf16(file.bytes) {
        return Ok(Cow::Owned(decode(file, order)?));
    }
    let text = std::str::from_utf8(file.bytes).map_err(|error| {
        let line = 1 + file.bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        file.malformed(line, "it is not UTF-8")
    })?;
    Ok(Cow::Borrowed(text.trim_start_matches(BYTE_ORDER_MARK)))
}

/// Whether the text of a file begins with a character, after white space.
pub fn begins_with(bytes: &[u8], first: char) -> bool {
    let start: String = match utf16(bytes) {
        Some(order) => char::decode_utf16(units(&bytes[..bytes.len().min(1024)], order)).flatten().collect(),
        None => {
            let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii_start();
            return bytes.first().is_some_and(|&byte| char::from(byte) == first);
        }
    };
    start.trim_start_matches(BYTE_ORDER_MARK).trim_start().starts_with(first)
}

/// The byte order of UTF-16, told by its mark or by the zeros of the first ASCII character.
fn utf16(bytes: &[u8]) -> Option<Utf16> {
    match bytes {
        [0xff, 0xfe, third, fourth, ..] if (*third, *fourth) != (0, 0) => Some(Utf16::Little),
        [0xfe, 0xff, ..] => Some(Utf16::Big),
        [1..=127, 0, 1..=127, 0, ..] => Some(Utf16::Little),
        [0, 1..=127, 0, 1..=127, ..] => Some(Utf16::Big),
        _ => None,
    }
}

fn units(bytes: &[u8], order: Utf16) -> impl Iterator<Item = u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(move |&pair| match order {
        Utf16::Little => u16::from_le_bytes(pair),
        Utf16::Big => u16::from_be_bytes(pair),
    })
}

fn decode(file: &SampleFile, order: Utf16) -> Result<String> {
    let mut text = String::new();
    for unit in char::decode_utf16(units(file.bytes, order)) {
        let line = || 1 + text.matches('\n').count();
        text.push(unit.map_err(|_| file.malformed(line(), "it is not UTF-16"))?);
    }
    Ok(text.trim_start_matches(BYTE_ORDER_MARK).into())
}
