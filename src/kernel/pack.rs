//! The order of values that the units want: weights in panels, activations in rows, both filled up with zeros.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::Precision;
use super::elementwise::for_each_processor;

/// Outputs of a panel, and inputs to whose multiple rows and panels are filled up.
pub const PANEL: usize = 16;
pub const DEPTH: usize = 32;
/// Rows are filled up to a multiple of this.
pub const ROW_BLOCK: usize = 32;
/// Panels are filled up to a multiple of this: both units take two or three at once.
const PANELS: usize = 6;

/// A weight (outputs, inputs) as bf16 in panels of 16 outputs, in which the values of two neighbouring inputs stand
/// side by side: (panels, inputs / 2, 16, 2).
#[derive(Debug, Clone)]
pub struct Packed {
    pub outputs: usize,
    pub inputs: usize,
    pub(super) high: Vec<u16>,
    /// What is missing to the weight; absent where it is bf16 itself.
    pub(super) low: Option<Vec<u16>>,
}

impl Packed {
    pub fn new(weight: &Tensor) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let values = weight.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        let is_exact = values.par_iter().all(|value| value.to_bits() & 0xffff == 0);
        let high = pack(&values, outputs, inputs, round);
        let low = (!is_exact).then(|| pack(&values, outputs, inputs, |value| round(value - widen(round(value)))));
        Ok(Self { outputs, inputs, high, low })
    }

    /// The weight again: (outputs, inputs).
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

fn pack(values: &[f32], outputs: usize, inputs: usize, part: impl Fn(f32) -> u16 + Sync) -> Vec<u16> {
    let depth = inputs.next_multiple_of(DEPTH);
    let panels = outputs.div_ceil(PANEL).next_multiple_of(PANELS);
    let mut packed = vec![0u16; panels * PANEL * depth];
    packed.par_chunks_mut(PANEL * depth).enumerate().for_each(|(panel, packed)| {
        let rows = values.chunks_exact(inputs).skip(panel * PANEL).take(PANEL);
        for (column, row) in rows.enumerate() {
            for (input, &value) in row.iter().enumerate() {
                packed[input / 2 * (2 * PANEL) + column * 2 + input % 2] = part(value);
            }
        }
    });
    packed
}

/// Rows of activations as bf16: (rows, inputs), both filled up.
pub struct SplitRows {
    pub high: Vec<u16>,
    pub low: Option<Vec<u16>>,
}

impl SplitRows {
    pub fn new(x: &[f32], inputs: usize, precision: Precision) -> Self {
        let (rows, depth) = (x.len() / inputs, inputs.next_multiple_of(DEPTH));
        let empty = || vec![0u16; rows.next_multiple_of(ROW_BLOCK) * depth];
        let mut high = empty();
        let mut low = if precision == Precision::Two { Some(empty()) } else { None };
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            let place = row * depth..row * depth + inputs;
            split(x, &mut high[place.clone()], low.as_mut().map_or(&mut [], |low| &mut low[place]));
        }
        Self { high, low }
    }
}

for_each_processor! {
    /// The high and, if there is room for it, the low parts of a row.
    pub fn split(x: &[f32], high: &mut [u16], low: &mut [u16]) { split_inner }
}

#[inline(always)]
fn split_inner(x: &[f32], high: &mut [u16], low: &mut [u16]) {
    x.iter().zip(&mut *high).for_each(|(&value, high)| *high = round(value));
    x.iter().zip(high).zip(low).for_each(|((&value, &mut high), low)| *low = round(value - widen(high)));
}

/// The nearest bf16 value, ties to even. No value that occurs is near the largest, and NaN stays NaN.
#[inline(always)]
fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[inline(always)]
fn widen(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}
