//! The ways to split a token into two tokens, in time proportional to its length.
//!
//! Looking up both sides of every split takes as long as the square of the length, because a look-up reads all of a side. So
//! sides are looked up by a hash that follows from those of prefixes (a polynomial modulo the prime 2⁶¹ − 1), and only those that
//! are found are read.

use std::collections::{HashMap, HashSet};

const PRIME: u64 = (1 << 61) - 1;

/// Any number below the prime. Tokens that share a hash cost time, which is limited, and nothing else.
const BASE: u64 = 0x0123_4567_89ab_cdef;

/// The bytes of all merges of a file together, as long as a tokenizer.json may be.
const MOST_BYTES: usize = 64 << 20;

/// Finds splits among the tokens of a vocabulary.
pub struct TokenSplits<'a> {
    ids: HashMap<&'a str, usize>,
    /// The length and the hash of each token.
    hashes: HashSet<(usize, u64)>,
    /// The powers of the base.
    powers: Vec<u64>,
    /// How many bytes may still be read.
    left: usize,
}

fn add(one: u64, other: u64) -> u64 {
    let sum = one + other;
    if sum >= PRIME { sum - PRIME } else { sum }
}

fn multiply(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    add((product & u128::from(PRIME)) as u64, (product >> 61) as u64 % PRIME)
}

fn longer(hash: u64, byte: u8) -> u64 {
    add(multiply(hash, BASE), u64::from(byte) + 1)
}

impl<'a> TokenSplits<'a> {
    pub fn of(ids: HashMap<&'a str, usize>) -> Self {
        let hash = |token: &&str| (token.len(), token.bytes().fold(0, longer));
        let hashes = ids.keys().map(hash).collect();
        let longest = ids.keys().map(|token| token.len()).max().unwrap_or(0);
        let powers = std::iter::successors(Some(1), |power| Some(multiply(*power, BASE))).take(longest + 1).collect();
        Self { ids, hashes, powers, left: MOST_BYTES }
    }

    /// The two tokens of each split of a token, with their ids. Fails where all splits of the vocabulary come to too much.
    pub fn of_token(&mut self, token: &'a str) -> Result<Vec<[(usize, &'a str); 2]>, String> {
        let whole = token.bytes().fold(0, longer);
        let (mut before, mut splits) = (0, Vec::new());
        for (at, byte) in token.bytes().enumerate() {
            if at > 0 && token.is_char_boundary(at) {
                let rest = token.len() - at;
                let behind = add(whole, PRIME - multiply(before, self.powers.get(rest).copied().unwrap_or(0)));
                if self.hashes.contains(&(at, before)) && self.hashes.contains(&(rest, behind % PRIME)) {
                    let enough = self.left.checked_sub(token.len());
                    self.left =
                        enough.ok_or("its tokens can be split in too many ways: their merges take more than 64 MiB")?;
                    let (one, other) = token.split_at(at);
                    if let (Some(&first), Some(&second)) = (self.ids.get(one), self.ids.get(other)) {
                        splits.push([(first, one), (second, other)]);
                    }
                }
            }
            before = longer(before, byte);
        }
        Ok(splits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slowly<'a>(ids: &HashMap<&str, usize>, token: &'a str) -> Vec<[(usize, &'a str); 2]> {
        let split = |(at, _)| {
            let (one, other): (&'a str, &'a str) = token.split_at(at);
            Some([(*ids.get(one)?, one), (*ids.get(other)?, other)])
        };
        token.char_indices().skip(1).filter_map(split).collect()
    }

    #[test]
    fn splits_are_those_of_looking_up_both_sides() {
        let mut random = fastrand::Rng::with_seed(7);
        let word = |random: &mut fastrand::Rng| -> String {
            (0..random.usize(1..9)).map(|_| ['a', 'b', 'é', '▁', '\0'][random.usize(0..5)]).collect()
        };
        let words: Vec<String> = (0..2000).map(|_| word(&mut random)).collect();
        let ids: HashMap<&str, usize> = words.iter().enumerate().map(|(id, word)| (word.as_str(), id)).collect();
        let mut splits = TokenSplits::of(ids.clone());
        let found: usize = words
            .iter()
            .map(|word| {
                let found = splits.of_token(word).unwrap();
                assert_eq!(found, slowly(&ids, word), "{word}");
                found.len()
            })
            .sum();
        assert!(found > 1000);
    }

    #[test]
    fn long_tokens_take_linear_time_and_too_many_splits_are_refused() {
        let long = "a".repeat(2_000_000);
        let ids = HashMap::from([("a", 0), ("aa", 1), (long.as_str(), 2)]);
        assert!(TokenSplits::of(ids).of_token(&long).unwrap().is_empty());
        let words: Vec<String> = (1..2000).map(|length| "a".repeat(length)).collect();
        let mut splits = TokenSplits::of(words.iter().enumerate().map(|(id, word)| (word.as_str(), id)).collect());
        let all: Result<Vec<_>, String> = words.iter().map(|word| splits.of_token(word)).collect();
        assert!(all.unwrap_err().contains("too many ways"));
    }
}
