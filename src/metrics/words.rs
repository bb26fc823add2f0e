//! Words and n-grams as Python splits them, because the reference implementations are written in Python.

use std::collections::HashMap;
use std::hash::Hash;

/// White space of `str.split`, which includes the four ASCII separators that Unicode does not.
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// `str.split()`
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// How often each item occurs.
pub fn counted<T: Hash + Eq>(items: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}

/// How many items two bags have in common.
pub fn in_common<T: Hash + Eq>(one: &HashMap<T, usize>, other: &HashMap<T, usize>) -> usize {
    one.iter().map(|(item, &count)| count.min(other.get(item).copied().unwrap_or(0))).sum()
}
