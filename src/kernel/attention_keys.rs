//! The keys and values of a sequence, packed for products with few queries at a time.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::elementwise::has_avx512;

/// Where the rows of one sequence are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Among the queries: the last tokens of the sequence.
    pub queries: Range<usize>,
    /// Among keys and values, behind those of the prefix.
    pub keys: Range<usize>,
    /// The rows of the prefix; empty for the prefix itself.
    pub prefix: Range<usize>,
    /// So many first positions all see each other, whatever the window: a prompt that is attended to both ways. 0 if
    /// attention is causal.
    pub prompt: usize,
}

impl Span {
    /// The positions of the sequence, with those of the prefix.
    pub fn total(&self) -> usize {
        self.prefix.len() + self.keys.len()
    }
}

/// How scores become weights.
#[derive(Debug, Clone, Copy, Default)]
pub struct SoftmaxRule<'a> {
    pub scale: f32,
    /// What scaled scores come near but do not exceed: cap · tanh(score / cap).
    pub softcap: Option<f32>,
    /// By how much the scores of each head grow with the key's position (ALiBi); empty if they do not.
    pub slopes: &'a [f32],
    /// One more score of each head that no value belongs to; empty if there are none.
    pub sinks: &'a [f32],
    /// How many positions back a query sees, itself included.
    pub window: Option<usize>,
    /// The length of the parts of a sequence that do not see each other.
    pub chunk: Option<usize>,
}

impl SoftmaxRule<'_> {
    pub(super) fn slope_of(&self, head: usize) -> f32 {
        self.slopes.get(head).copied().unwrap_or_default()
    }
}

#[derive(Clone, Copy)]
pub(super) struct HeadSizes {
    pub heads: usize,
    pub kv_heads: usize,
    /// Of a head.
    pub size: usize,
}

impl HeadSizes {
    /// The queries that go together through blocks of keys: a few dozen rows, one of each head that shares keys.
    pub fn queries_of_block(self) -> usize {
        (64 / self.group()).max(1)
    }

    /// The heads that share a head of keys.
    pub fn group(self) -> usize {
        self.heads / self.kv_heads
    }
}

/// The positions of a block of keys, whole tiles.
pub(super) const BLOCK: usize = 512;

/// The positions of a tile of keys, and the values of a head, that are summed at once.
fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if has_avx512() {
        return WIDE;
    }
    NARROW
}
#[cfg(target_arch = "x86_64")]
pub(super) const WIDE: usize = 32;
pub(super) const NARROW: usize = 16;

/// The keys and values of one head of one sequence, padded with zeros to whole tiles.
#[derive(Default)]
pub(super) struct PackedHead {
    positions: usize,
    prompt: usize,
    /// (tiles, size, lanes)
    pub keys: Vec<f32>,
    /// (positions, padded size)
    pub values: Vec<f32>,
}

impl PackedHead {
    pub fn fill(&mut self, k: &[f32], v: &[f32], sequence: &Span, kv_head: usize, sizes: HeadSizes) {
        let HeadSizes { kv_heads, size, .. } = sizes;
        self.positions = sequence.total();
        self.prompt = sequence.prompt.min(self.positions);
        let (lanes, width) = (lanes(), size.next_multiple_of(lanes()));
        zeros(&mut self.keys, size * self.positions.next_multiple_of(lanes));
        zeros(&mut self.values, self.positions * width);
        for (position, row) in sequence.prefix.clone().chain(sequence.keys.clone()).enumerate() {
            let start = (row * kv_heads + kv_head) * size;
            self.values[position * width..][..size].copy_from_slice(&v[start..start + size]);
            let tile = &mut self.keys[position / lanes * lanes * size..][..lanes * size];
            for (dimension, &key) in k[start..start + size].iter().enumerate() {
                tile[dimension * lanes + position % lanes] = key;
            }
        }
    }

    /// The positions that the query at `place` sees.
    pub fn seen_from(&self, place: usize, rule: SoftmaxRule) -> Range<usize> {
        if place < self.prompt {
            return 0..self.prompt;
        }
        let window = rule.window.map_or(0, |window| (place + 1).saturating_sub(window));
        window.max(rule.chunk.map_or(0, |chunk| place / chunk * chunk))..place + 1
    }
}

pub(super) fn zeros(buffer: &mut Vec<f32>, count: usize) {
    buffer.clear();
    buffer.resize(count, 0.0);
}
