//! Whole numbers of a few bits, one after the other in words of 32 bits, the lowest bits first.

/// Number `place` of `bits` bits each, which may run on from one word into the next. `word` gives a word by its place.
pub fn number(bits: usize, place: usize, word: impl Fn(usize) -> u32) -> u32 {
    let (first, shift) = (place * bits / 32, place * bits % 32);
    let mut value = u64::from(word(first));
    if shift + bits > 32 {
        value |= u64::from(word(first + 1)) << 32;
    }
    (value >> shift) as u32 & ((1 << bits) - 1)
}

/// The group of each column.
#[derive(Debug)]
pub enum Groups {
    /// This many neighbours share a group.
    Neighbours(usize),
    /// One after the other.
    Listed(Vec<u32>),
}

impl Groups {
    /// The groups that a tensor of I32 names for its columns; `None` if one of them is not among the first `count`.
    pub fn listed(bytes: &[u8], count: usize) -> Option<Self> {
        let groups: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
        groups.iter().all(|&group| (group as usize) < count).then_some(Self::Listed(groups))
    }

    pub fn of(&self, column: usize) -> usize {
        match self {
            Self::Neighbours(width) => column / width,
            Self::Listed(groups) => groups[column] as usize,
        }
    }
}

/// Word `place` of bytes.
pub fn word(bytes: &[u8], place: usize) -> u32 {
    bytes.as_chunks::<4>().0.get(place).map_or(0, |&bytes| u32::from_le_bytes(bytes))
}

/// How many words `count` numbers of `bits` bits take.
pub fn words(count: usize, bits: usize) -> usize {
    count.saturating_mul(bits).div_ceil(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_on_from_one_word_into_the_next() {
        let words = [0b11 << 30 | 0b101, 0b1];
        assert_eq!(number(3, 0, |place| words[place]), 0b101);
        assert_eq!(number(3, 10, |place| words[place]), 0b111);
        assert_eq!((super::words(32, 3), super::words(33, 3), super::words(8, 4)), (3, 4, 1));
    }
}
