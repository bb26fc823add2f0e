//! The order in which the units read values: weights in panels, activations in rows, both padded with zeros.

use candle_core::{DType, Device, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::elementwise::for_each_processor;
use super::{Precision, with_values};

/// The outputs of a panel, and the inputs to whose multiple rows and panels are padded.
pub const PANEL: usize = 16;
pub const DEPTH: usize = 32;
/// Rows are padded to a multiple of this.
pub const ROW_BLOCK: usize = 32;
/// Panels are padded to a multiple of this, because the units take two or three at once.
const PANELS: usize = 6;

/// A weight (outputs, inputs) as bf16 in panels of 16 outputs, in which the values of two neighbouring inputs stand
/// side by side: (panels, inputs / 2, 16, 2).
#[derive(Debug, Clone)]
pub struct Packed {
    pub outputs: usize,
    pub inputs: usize,
    pub(super) high: Vec<u16>,
    /// What `high` lacks of the weight; `None` for a bf16 weight.
    pub(super) low: Option<Vec<u16>>,
}

impl Packed {
    /// Packs a weight (outputs, inputs) in bf16 or f32.
    pub fn new(weight: &Tensor) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        if weight.dtype() == DType::BF16 {
            let high = with_values(weight, |values| pack(values, outputs, inputs, bf16::to_bits))?;
            return Ok(Self { outputs, inputs, high, low: None });
        }
        with_values(weight, |values: &[f32]| {
            let low_bits = |values: &[f32]| values.iter().fold(0, |bits, value| bits | value.to_bits()) & 0xffff;
            let is_exact = values.par_chunks(1 << 16).all(|values| low_bits(values) == 0);
            let high = pack(values, outputs, inputs, round);
            let rest = |value| round(value - widen(round(value)));
            let low = (!is_exact).then(|| pack(values, outputs, inputs, rest));
            Self { outputs, inputs, high, low }
        })
    }

    /// Whether the weight was bf16.
    pub fn is_exact(&self) -> bool {
        self.low.is_none()
    }

    /// The weight as a tensor: (outputs, inputs).
    pub fn unpacked(&self) -> Result<Tensor> {
        let depth = self.inputs.next_multiple_of(DEPTH);
        let value = |output: usize, input: usize| {
            let place = place(output, input, depth);
            widen(self.high[place]) + self.low.as_ref().map_or(0.0, |low| widen(low[place]))
        };
        let values: Vec<f32> = (0..self.outputs)
            .into_par_iter()
            .flat_map_iter(|output| (0..self.inputs).map(move |input| value(output, input)))
            .collect();
        Tensor::from_vec(values, (self.outputs, self.inputs), &Device::Cpu)
    }
}

fn place(output: usize, input: usize, depth: usize) -> usize {
    output / PANEL * (PANEL * depth) + input / 2 * (2 * PANEL) + output % PANEL * 2 + input % 2
}

fn pack<T: Copy + Sync>(values: &[T], outputs: usize, inputs: usize, part: impl Fn(T) -> u16 + Sync) -> Vec<u16> {
    let depth = inputs.next_multiple_of(DEPTH);
    let panels = outputs.div_ceil(PANEL).next_multiple_of(PANELS);
    let mut packed = vec![0u16; panels * PANEL * depth];
    let filled = packed.par_chunks_mut(PANEL * depth).zip(values.par_chunks(PANEL * inputs));
    // Each row is converted first, in vectors; then its pairs go to their places, which is a transposition.
    filled.for_each_init(
        || vec![0u16; depth],
        |buffer, (packed, values)| {
            let (places, _) = packed.as_chunks_mut::<2>();
            for (column, row) in values.chunks_exact(inputs).enumerate() {
                buffer.iter_mut().zip(row).for_each(|(to, &value)| *to = part(value));
                let (pairs, _) = buffer.as_chunks::<2>();
                places[column..].iter_mut().step_by(PANEL).zip(pairs).for_each(|(place, pair)| *place = *pair);
            }
        },
    );
    packed
}

/// Rows of activations in bf16: (rows, inputs), both padded.
#[derive(Default)]
pub struct SplitRows {
    pub high: Vec<u16>,
    /// Empty for [`Precision::One`].
    pub low: Vec<u16>,
}

impl SplitRows {
    /// Replaces the rows by x (rows, inputs).
    pub fn fill(&mut self, x: &[f32], inputs: usize, precision: Precision) {
        let (rows, depth) = (x.len() / inputs, inputs.next_multiple_of(DEPTH));
        let size = rows.next_multiple_of(ROW_BLOCK) * depth;
        self.high.resize(size, 0);
        self.low.resize(if precision == Precision::Two { size } else { 0 }, 0);
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            let place = row * depth..row * depth + inputs;
            split(x, &mut self.high[place.clone()], self.low.get_mut(place).unwrap_or(&mut []));
        }
        for part in [&mut self.high, &mut self.low].into_iter().filter(|part| !part.is_empty()) {
            part[rows * depth..].fill(0);
            if inputs < depth {
                part.chunks_exact_mut(depth).for_each(|row| row[inputs..].fill(0));
            }
        }
    }
}

for_each_processor! {
    /// The high parts of a row and, if `low` is not empty, the low ones.
    pub fn split(x: &[f32], high: &mut [u16], low: &mut [u16]) { split_inner }
}

#[inline(always)]
fn split_inner(x: &[f32], high: &mut [u16], low: &mut [u16]) {
    x.iter().zip(&mut *high).for_each(|(&value, high)| *high = round(value));
    x.iter().zip(high).zip(low).for_each(|((&value, &mut high), low)| *low = round(value - widen(high)));
}

/// The nearest bf16 value, ties to even. NaN stays NaN.
#[inline(always)]
fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    // The carry would make a number of a NaN with a large payload.
    if value.is_nan() { 0x7fc0 } else { rounded }
}

#[inline(always)]
fn widen(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_half_and_keeps_nan() {
        for bits in (0..=u32::MAX).step_by(9973).chain([0x7fff_ffff, u32::MAX, 0x7f80_0001]) {
            let (value, expected) = (f32::from_bits(bits), bf16::from_f32(f32::from_bits(bits)));
            let rounded = bf16::from_bits(round(value));
            assert!(rounded == expected || rounded.is_nan() && expected.is_nan(), "{bits:#x}: {rounded} {expected}");
        }
    }
}
