//! The beginning of a long text, where its tokens are to be cut anyway: 20 MB of text take gigabytes as tokens, and of those a model
//! with a context of 4096 sees the first 4096.
//!
//! The beginning has the tokens of the whole text, except perhaps for the last of them, where every step of the tokenizer looks no
//! further than some words. That is so of the usual steps. Of a regular expression it is so where nothing in it spans words: then
//! a word that follows a space is split in the same way whatever follows it. Merges and the best path of a Unigram model reach
//! over some tokens more, so many more are made than are used. A tokenizer with another step gets the whole text.

use serde_json::Value;

use super::LONGEST_TEXT;
use super::engine::TokenizerFacts;

/// The number of tokens that are made beyond those that are used.
pub const MORE_TOKENS: usize = 256;

/// Bytes of text for each token that is looked for at first.
const BYTES_PER_TOKEN: usize = 8;

/// How far behind a length the end of a word is looked for, in bytes.
const LONGEST_WORD: usize = 1 << 16;

/// Steps that look no further than some characters.
const LOCAL: [&str; 21] = [
    "BertNormalizer",
    "BertPreTokenizer",
    "ByteLevel",
    "CharDelimiterSplit",
    "Digits",
    "Lowercase",
    "Metaspace",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Prepend",
    "Punctuation",
    "Sequence",
    "Strip",
    "StripAccents",
    "UnicodeScripts",
    "Whitespace",
    "WhitespaceSplit",
];

/// Steps that do with their pattern.
const WITH_PATTERN: [&str; 2] = ["Replace", "Split"];

/// Whether the beginning of a text tells its first tokens.
pub fn tells(facts: &TokenizerFacts) -> bool {
    is_local(&facts.normalizer) && is_local(&facts.pre_tokenizer)
}

fn is_local(step: &Value) -> bool {
    let steps = ["normalizers", "pretokenizers"].iter().filter_map(|key| step.get(key)?.as_array()).flatten();
    let all = |mut steps: Box<dyn Iterator<Item = &Value> + '_>| steps.all(is_local);
    match step.get("type").and_then(Value::as_str) {
        None => step.is_null(),
        Some(kind) if WITH_PATTERN.contains(&kind) => match step.get("pattern") {
            Some(pattern) => pattern.get("Regex").and_then(Value::as_str).is_none_or(spans_no_words),
            None => false,
        },
        Some(kind) => LOCAL.contains(&kind) && all(Box::new(steps)),
    }
}

/// Whether no match of a regular expression depends on more than a few words, as far as it can be told easily: it looks ahead by one
/// character at most, repeats no groups, and what it repeats is either space or without any.
fn spans_no_words(pattern: &str) -> bool {
    let without = |pattern: String, part: &&str| pattern.replace(part, "");
    let rest = [r"(?!\S)", " ?", "(?i:", "(?:"].iter().fold(pattern.to_string(), without);
    const FAR: [&str; 13] = ["(?", "$", ".", " ", r"\z", r"\Z", r"\P", r"\S", r"\D", r"\W", ")+", ")*", "){"];
    let repeats = |class: &str| {
        // A class without the characters in brackets has space, unless that is among them.
        let (inside, behind) = class.split_once(']').unwrap_or((class, "+"));
        behind.starts_with(['+', '*', '{']) && !inside.contains(r"\s")
    };
    !FAR.iter().any(|far| rest.contains(far)) && !rest.split("[^").skip(1).any(repeats)
}

/// Beginnings of a text that should have `tokens` tokens, each longer than the one before. They end with a word.
pub fn longer_and_longer(text: &str, tokens: usize) -> impl Iterator<Item = &str> {
    let first = tokens.saturating_mul(BYTES_PER_TOKEN);
    let lengths = std::iter::successors(Some(first), |length| length.checked_mul(4));
    lengths.take_while(|length| *length < text.len().min(LONGEST_TEXT)).filter_map(|length| word_end(text, length))
}

/// The text up to the end of a word, which lies at `length` bytes or behind it.
fn word_end(text: &str, length: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let end = bytes.len().min(length.saturating_add(LONGEST_WORD));
    let is_end = |&at: &usize| matches!(bytes[at], b' ' | b'\n') && !bytes[at - 1].is_ascii_whitespace();
    let at = (length.max(1)..end).find(is_end)?;
    // Both are ASCII, so that this is a boundary of characters.
    text.get(..at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_span_words_are_told_apart() {
        let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        let llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        assert!(spans_no_words(gpt2) && spans_no_words(llama3));
        for far in [
            "(?s).*END",
            "[^x]+",
            r"\P{N}*",
            r"a(?=b)",
            r"\s+$",
            r"(?:\p{L}+(?: \p{L}+)*)+",
            r"(?:\s?\p{L})+",
            "[^a",
            "(a)+",
        ] {
            assert!(!spans_no_words(far), "{far}");
        }
    }

    #[test]
    fn beginnings_end_with_words() {
        let text = "one two  three\nfour ".repeat(200);
        let parts: Vec<&str> = longer_and_longer(&text, 16).collect();
        assert_eq!(parts.len(), 3, "128, 512 and 2048 bytes");
        for part in parts {
            let next = text[part.len()..].chars().next();
            assert!(matches!(next, Some(' ' | '\n')) && !part.ends_with([' ', '\n']), "{part}");
        }
        assert_eq!(longer_and_longer(&text, 10_000).count(), 0);
        assert_eq!(longer_and_longer(&"é".repeat(100_000), 16).count(), 0, "one word");
    }
}
