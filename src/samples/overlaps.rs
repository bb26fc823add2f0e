//! Which tokens stand for a part of a text.

use super::tokenizer::TokenizedText;

/// Bytes between two places whose characters are counted in advance.
const STEP: usize = 4096;

/// The tokens of a text, by the characters that they stand for. Looking at a part takes as long as the part is, not as the text.
pub struct Overlaps<'a> {
    text: &'a str,
    tokens: &'a TokenizedText,
    /// The number of characters before the first boundary of characters at or behind each step, with that boundary.
    counted: Vec<(usize, usize)>,
    /// Whether tokens stand for characters in their order, as they do unless a tokenizer moves them.
    in_order: bool,
}

impl<'a> Overlaps<'a> {
    pub fn new(text: &'a str, tokens: &'a TokenizedText) -> Self {
        let (mut counted, mut before, mut characters) = (vec![(0, 0)], 0, 0);
        while let Some(next) = (before + STEP..text.len()).find(|&at| text.is_char_boundary(at)) {
            characters += text[before..next].chars().count();
            before = next;
            counted.push((next, characters));
        }
        let in_order = tokens.offsets.is_sorted_by(|one, other| one.0 <= other.0 && one.1 <= other.1);
        Self { text, tokens, counted, in_order }
    }

    /// The number of characters before a boundary of characters.
    pub fn characters(&self, at: usize) -> usize {
        let step = self.counted.partition_point(|(place, _)| *place <= at).saturating_sub(1);
        let (place, characters) = self.counted[step];
        characters + self.text[place..at].chars().count()
    }

    /// The places of those tokens `first..last` that stand for some of the characters `start..end`.
    pub fn of(&self, (first, last): (usize, usize), (start, end): (usize, usize)) -> impl Iterator<Item = usize> {
        let offsets = &self.tokens.offsets;
        let (from, to) = if self.in_order {
            let from = offsets.partition_point(|(_, to)| *to as usize <= start);
            (from, offsets.partition_point(|(from, _)| (*from as usize) < end))
        } else {
            (0, offsets.len())
        };
        let overlaps = move |&place: &usize| (offsets[place].0 as usize) < end && offsets[place].1 as usize > start;
        (first.max(from)..last.min(to)).filter(overlaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_as_by_looking_at_all_tokens() {
        let text = "é€a ".repeat(3000);
        let characters = text.chars().count();
        let ordered: Vec<(u32, u32)> = (0..characters as u32 / 3).map(|place| (3 * place, 3 * place + 3)).collect();
        let reversed = ordered.iter().rev().copied().collect();
        for offsets in [ordered, reversed] {
            let tokens = TokenizedText { ids: vec![0; offsets.len()], total: offsets.len(), offsets };
            let overlaps = Overlaps::new(&text, &tokens);
            for (at, (byte, _)) in text.char_indices().enumerate().step_by(97) {
                assert_eq!(overlaps.characters(byte), at);
                let end = at + 31;
                let all = |&place: &usize| {
                    let (from, to) = tokens.offsets[place];
                    (from as usize) < end && to as usize > at
                };
                let slow: Vec<usize> = (5..3900).filter(all).collect();
                assert_eq!(overlaps.of((5, 3900), (at, end)).collect::<Vec<_>>(), slow);
            }
            assert_eq!(overlaps.characters(text.len()), characters);
        }
    }
}
