//! A few queries of attention through blocks of keys, with the sums in registers.

use super::attention_keys::{BLOCK, HeadSizes, NARROW, PackedHead, SoftmaxRule, zeros};
use super::elementwise::{exp, tanh};
#[cfg(target_arch = "x86_64")]
use super::{attention_keys::WIDE, elementwise::has_avx512};

/// Some queries of a sequence, (queries, heads, size), of which those count whose heads share the head `kv_head` of keys.
#[derive(Clone, Copy)]
pub(super) struct QueryBlock<'a> {
    pub q: &'a [f32],
    /// The position of the first one.
    pub first: usize,
    pub kv_head: usize,
    pub sizes: HeadSizes,
}

impl QueryBlock<'_> {
    fn rows(self) -> usize {
        self.q.len() / (self.sizes.heads * self.sizes.size) * self.sizes.group()
    }

    fn place(self, row: usize) -> usize {
        self.first + row / self.sizes.group()
    }

    fn head(self, row: usize) -> usize {
        let group = self.sizes.group();
        self.kv_head * group + row % group
    }

    /// Where the values of a row begin.
    fn start(self, row: usize) -> usize {
        let HeadSizes { heads, size, .. } = self.sizes;
        (row / self.sizes.group() * heads + self.head(row)) * size
    }
}

/// What the rows of a block have seen so far.
#[derive(Default)]
pub(super) struct Sums {
    /// The largest score, and the sum of e^(score − largest): (rows).
    largest: Vec<f32>,
    total: Vec<f32>,
    /// The sum of values, each times the same: (rows, padded size).
    values: Vec<f32>,
    /// Of a few rows: (rows, BLOCK).
    weights: Vec<f32>,
}

impl Sums {
    /// Nothing, for so many rows of so many values, of which a few are weighed at once.
    fn clear(&mut self, rows: usize, width: usize, at_once: usize) {
        zeros(&mut self.values, rows * width);
        zeros(&mut self.total, rows);
        zeros(&mut self.weights, at_once * BLOCK);
        self.largest.clear();
        self.largest.resize(rows, f32::NEG_INFINITY);
    }
}

/// All rows of a block: their sums over the blocks of keys that they see, which lie in tiles of so many lanes.
///
/// Loops have no closures: these would not be compiled for the processor that the function is compiled for, unless they are inlined.
#[inline(always)]
fn attend_rows<const ROWS: usize, const LANES: usize>(
    block: QueryBlock,
    packed: &PackedHead,
    sums: &mut Sums,
    out: &mut [f32],
    rule: SoftmaxRule,
) {
    let (rows, size) = (block.rows(), block.sizes.size);
    let width = size.next_multiple_of(LANES);
    let whole = rows.next_multiple_of(ROWS);
    sums.clear(whole, width, ROWS);
    if !rule.sinks.is_empty() {
        for row in 0..rows {
            let head = block.head(row);
            let raised = rule.slope_of(head) * block.place(row) as f32;
            (sums.largest[row], sums.total[row]) = (rule.sinks[head] - raised, 1.0);
        }
    }
    // If fewer rows are left in the end, the last one is computed again, beside the others.
    let seen = |row: usize| packed.seen_from(block.place(row.min(rows - 1)), rule);
    let (first, last) = (seen(0).start, seen(rows - 1).end);
    let is_adjusted = rule.softcap.is_some() || !rule.slopes.is_empty();
    let scale = if is_adjusted { 1.0 } else { rule.scale };
    for keys in (first / BLOCK * BLOCK..last).step_by(BLOCK) {
        for row in (0..rows).step_by(ROWS) {
            // No other row sees less in front than the first, nor more behind than the last one.
            let both = seen(row).start..seen(row + ROWS - 1).end;
            let tiles = both.start.saturating_sub(keys) / LANES * LANES..both.end.saturating_sub(keys).min(BLOCK);
            if tiles.start >= tiles.end {
                continue;
            }
            let queries = std::array::from_fn(|i| &block.q[block.start((row + i).min(rows - 1))..][..size]);
            for tile in tiles.clone().step_by(LANES) {
                let (tile_keys, _) = packed.keys[(keys + tile) * size..][..LANES * size].as_chunks();
                score::<ROWS, LANES>(queries, tile_keys, &mut sums.weights[tile..]);
            }
            let mut factors = [1f32; ROWS];
            for (i, factor) in factors.iter_mut().enumerate() {
                let seen = seen(row + i);
                let inside = |place: usize| place.clamp(keys + tiles.start, keys + tiles.end) - keys;
                let seen = inside(seen.start)..inside(seen.end);
                let weights = &mut sums.weights[i * BLOCK..][..BLOCK];
                weights[tiles.start..seen.start].fill(0.0);
                weights[seen.end..tiles.end].fill(0.0);
                if seen.start < seen.end {
                    let scores = &mut weights[seen.clone()];
                    if is_adjusted {
                        let slope = rule.slope_of(block.head(row + i));
                        let distance = (keys + seen.start) as f32 - block.place(row + i) as f32;
                        adjust(scores, rule, slope, distance);
                    }
                    let (largest, total) = (&mut sums.largest[row + i], &mut sums.total[row + i]);
                    *factor = weigh(scores, scale, largest, total);
                }
            }
            let (values, _) = packed.values[(keys + tiles.start) * width..][..tiles.len() * width].as_chunks();
            let weights = &sums.weights[tiles.start..];
            let (own, _) = sums.values[row * width..][..ROWS * width].as_chunks_mut();
            mix::<ROWS, LANES>(weights, values, own, factors);
        }
    }
    for row in 0..rows {
        let out = &mut out[block.start(row)..][..size];
        for (out, value) in out.iter_mut().zip(&sums.values[row * width..]) {
            *out = value / sums.total[row];
        }
    }
}

/// sum + a·b. ARM has one instruction for both, which takes as long as either. x86 with AVX-512 or AVX2 adds beside it multiplying, and
/// processors without these would call a function.
#[inline(always)]
fn add_product(sum: f32, a: f32, b: f32) -> f32 {
    if cfg!(target_arch = "aarch64") { a.mul_add(b, sum) } else { sum + a * b }
}

/// The products of queries with the keys of one tile, (size, lanes); `scores` (rows, BLOCK).
#[inline(always)]
fn score<const ROWS: usize, const LANES: usize>(queries: [&[f32]; ROWS], tile: &[[f32; LANES]], scores: &mut [f32]) {
    let mut sums = [[0f32; LANES]; ROWS];
    for (dimension, keys) in tile.iter().enumerate() {
        for (sums, query) in sums.iter_mut().zip(queries) {
            let value = query[dimension];
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum = add_product(*sum, value, *key);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        scores[i * BLOCK..][..LANES].copy_from_slice(sums);
    }
}

/// Scales the scores of a row, caps them, and adds what grows with the position. A softmax does not change with what is added to all
/// scores, so positions count from the query's, and near ones lose no digits.
#[inline(always)]
fn adjust(scores: &mut [f32], rule: SoftmaxRule, slope: f32, distance: f32) {
    match rule.softcap {
        Some(cap) => {
            for score in scores.iter_mut() {
                *score = tanh(*score * rule.scale / cap) * cap;
            }
        }
        None => {
            for score in scores.iter_mut() {
                *score *= rule.scale;
            }
        }
    }
    if slope != 0.0 {
        for (i, score) in scores.iter_mut().enumerate() {
            *score += slope * (distance + i as f32);
        }
    }
}

/// Scores that a row sees to e^(score − largest), with the largest of all so far. Gives the factor that this makes of what the row has
/// summed before.
#[inline(always)]
fn weigh(scores: &mut [f32], scale: f32, largest: &mut f32, total: &mut f32) -> f32 {
    let mut most = [f32::NEG_INFINITY; NARROW];
    let (blocks, rest) = scores.as_chunks::<NARROW>();
    for block in blocks {
        for (most, &score) in most.iter_mut().zip(block) {
            *most = if score > *most { score } else { *most };
        }
    }
    let mut found = *largest;
    for &score in most.iter().chain(rest) {
        found = found.max(score * scale);
    }
    let before = std::mem::replace(largest, found);
    let factor = exp(before - found);
    let mut sums = [0f32; NARROW];
    let (blocks, rest) = scores.as_chunks_mut::<NARROW>();
    for block in blocks {
        for (sum, score) in sums.iter_mut().zip(block) {
            *score = exp(*score * scale - found);
            *sum += *score;
        }
    }
    *total *= factor;
    for score in rest {
        *score = exp(*score * scale - found);
        *total += *score;
    }
    for sum in sums {
        *total += sum;
    }
    factor
}

/// Adds the weighted values of the positions of a block, (positions, width), to sums of which a factor remains, (rows, width); `weights`
/// (rows, BLOCK).
#[inline(always)]
fn mix<const ROWS: usize, const LANES: usize>(
    weights: &[f32],
    values: &[[f32; LANES]],
    sums: &mut [[f32; LANES]],
    factors: [f32; ROWS],
) {
    let groups = sums.len() / ROWS;
    for group in 0..groups {
        let mut mixed = [[0f32; LANES]; ROWS];
        for (i, mixed) in mixed.iter_mut().enumerate() {
            for (mixed, sum) in mixed.iter_mut().zip(&sums[i * groups + group]) {
                *mixed = sum * factors[i];
            }
        }
        for (position, values) in values.iter().skip(group).step_by(groups).enumerate() {
            for (i, mixed) in mixed.iter_mut().enumerate() {
                let weight = weights[i * BLOCK + position];
                for (mixed, value) in mixed.iter_mut().zip(values) {
                    *mixed = add_product(*mixed, weight, *value);
                }
            }
        }
        for (i, mixed) in mixed.iter().enumerate() {
            sums[i * groups + group] = *mixed;
        }
    }
}

/// All rows of a block. Registers hold as many sums as the processor has room for.
pub(super) fn attend_block(
    block: QueryBlock,
    packed: &PackedHead,
    sums: &mut Sums,
    out: &mut [f32],
    rule: SoftmaxRule,
) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn wide(block: QueryBlock, packed: &PackedHead, sums: &mut Sums, out: &mut [f32], rule: SoftmaxRule) {
            attend_rows::<8, WIDE>(block, packed, sums, out, rule);
        }
        #[target_feature(enable = "avx2,fma")]
        fn narrow(block: QueryBlock, packed: &PackedHead, sums: &mut Sums, out: &mut [f32], rule: SoftmaxRule) {
            attend_rows::<4, NARROW>(block, packed, sums, out, rule);
        }
        if has_avx512() {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { wide(block, packed, sums, out, rule) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { narrow(block, packed, sums, out, rule) };
        }
    }
    attend_rows::<4, NARROW>(block, packed, sums, out, rule);
}
