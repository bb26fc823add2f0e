//! The order in which the units read values: in panels of some rows, padded with zeros.

use candle_core::{DType, Device, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::elementwise::for_each_processor;
use super::{Precision, Unit, with_values};

/// The inputs to whose multiple rows are padded.
pub const DEPTH: usize = 32;

/// Neighbouring inputs of a row that stand side by side, because a unit sums their products at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Pair = 2,
    Four = 4,
}

/// How a unit reads the rows of a matrix: in panels (inputs / group, rows, group). A panel of one row is that row as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PanelShape {
    pub rows: usize,
    pub group: Group,
    /// The number of panels is padded to a multiple of this: so many are read at once.
    pub at_once: usize,
}

impl PanelShape {
    /// So many rows, and those that padding adds.
    fn padded(self, rows: usize) -> usize {
        rows.next_multiple_of(self.rows * self.at_once)
    }

    /// Where the value of an input of a row is.
    fn place(self, row: usize, input: usize, depth: usize) -> usize {
        let (rows, group) = (self.rows, self.group as usize);
        row / rows * (rows * depth) + input / group * (rows * group) + row % rows * group + input % group
    }

    /// Puts the values of a row in their places in its panel.
    fn fill(self, panel: &mut [u16], row: usize, values: &[u16]) {
        match self.group {
            Group::Pair => self.fill_groups::<2>(panel, row, values),
            Group::Four => self.fill_groups::<4>(panel, row, values),
        }
    }

    fn fill_groups<const GROUP: usize>(self, panel: &mut [u16], row: usize, values: &[u16]) {
        let (places, _) = panel.as_chunks_mut::<GROUP>();
        let (groups, _) = values.as_chunks::<GROUP>();
        places[row..].iter_mut().step_by(self.rows).zip(groups).for_each(|(place, group)| *place = *group);
    }
}

/// How a unit reads both operands of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operands {
    pub activations: PanelShape,
    pub weights: PanelShape,
}

/// AMX takes two panels of 16 outputs and 32 rows at once, AVX512-BF16 three panels and 8 rows.
pub const X86: Operands = Operands {
    activations: PanelShape { rows: 1, group: Group::Pair, at_once: 32 },
    weights: PanelShape { rows: 16, group: Group::Pair, at_once: 6 },
};

/// 8 rows times 12 outputs: 24 of the 32 registers hold sums, enough to hide how long one takes.
pub const NEON: Operands = Operands {
    activations: PanelShape { rows: 8, group: Group::Four, at_once: 1 },
    weights: PanelShape { rows: 12, group: Group::Four, at_once: 1 },
};

/// A weight (outputs, inputs) as bf16 in the panels of a unit.
#[derive(Debug, Clone)]
pub struct Packed {
    pub outputs: usize,
    pub inputs: usize,
    /// What multiplies it: a unit that this processor has.
    pub(super) unit: Unit,
    pub(super) high: Vec<u16>,
    /// What `high` lacks of the weight; `None` for a bf16 weight.
    pub(super) low: Option<Vec<u16>>,
}

impl Packed {
    /// Packs a weight (outputs, inputs) in bf16 or f32 for a unit of this processor.
    pub fn new(weight: &Tensor, unit: Unit) -> Result<Self> {
        if !Unit::available().contains(&unit) {
            candle_core::bail!("this processor has no {unit}")
        }
        Self::packed_for(weight, unit)
    }

    /// Packs for a unit whether the processor has it or not.
    fn packed_for(weight: &Tensor, unit: Unit) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let panels = unit.operands().weights;
        if weight.dtype() == DType::BF16 {
            let high = with_values(weight, |values| pack(values, inputs, panels, bf16::to_bits))?;
            return Ok(Self { outputs, inputs, unit, high, low: None });
        }
        with_values(weight, |values: &[f32]| {
            let low_bits = |values: &[f32]| values.iter().fold(0, |bits, value| bits | value.to_bits()) & 0xffff;
            let is_exact = values.par_chunks(1 << 16).all(|values| low_bits(values) == 0);
            let high = pack(values, inputs, panels, round);
            let rest = |value| round(value - widen(round(value)));
            let low = (!is_exact).then(|| pack(values, inputs, panels, rest));
            Self { outputs, inputs, unit, high, low }
        })
    }

    /// Whether the weight was bf16.
    pub fn is_exact(&self) -> bool {
        self.low.is_none()
    }

    /// The weight as a tensor: (outputs, inputs).
    pub fn unpacked(&self) -> Result<Tensor> {
        let (depth, panels) = (self.inputs.next_multiple_of(DEPTH), self.unit.operands().weights);
        let value = |output: usize, input: usize| {
            let place = panels.place(output, input, depth);
            widen(self.high[place]) + self.low.as_ref().map_or(0.0, |low| widen(low[place]))
        };
        let values: Vec<f32> = (0..self.outputs)
            .into_par_iter()
            .flat_map_iter(|output| (0..self.inputs).map(move |input| value(output, input)))
            .collect();
        Tensor::from_vec(values, (self.outputs, self.inputs), &Device::Cpu)
    }
}

fn pack<T: Copy + Sync>(values: &[T], inputs: usize, panels: PanelShape, part: impl Fn(T) -> u16 + Sync) -> Vec<u16> {
    let depth = inputs.next_multiple_of(DEPTH);
    let mut packed = vec![0u16; panels.padded(values.len() / inputs) * depth];
    let filled = packed.par_chunks_mut(panels.rows * depth).zip(values.par_chunks(panels.rows * inputs));
    // Each row is converted first, in vectors; then its groups go to their places, which is a transposition.
    filled.for_each_init(
        || vec![0u16; depth],
        |buffer, (panel, values)| {
            for (row, values) in values.chunks_exact(inputs).enumerate() {
                buffer.iter_mut().zip(values).for_each(|(to, &value)| *to = part(value));
                panels.fill(panel, row, buffer);
            }
        },
    );
    packed
}

/// Activations (rows, inputs) as one or two bf16 matrices in the panels of a unit.
#[derive(Default)]
pub struct SplitRows {
    pub high: Vec<u16>,
    /// Empty for [`Precision::One`].
    pub low: Vec<u16>,
    /// Both parts of one row, padded: (2, depth).
    row: Vec<u16>,
}

impl SplitRows {
    /// Replaces the rows by x (rows, inputs).
    pub fn fill(&mut self, x: &[f32], inputs: usize, precision: Precision, panels: PanelShape) {
        let (rows, depth) = (x.len() / inputs, inputs.next_multiple_of(DEPTH));
        let size = panels.padded(rows) * depth;
        self.high.resize(size, 0);
        self.low.resize(if precision == Precision::Two { size } else { 0 }, 0);
        let whole = rows / panels.rows * panels.rows * depth;
        for part in [&mut self.high, &mut self.low] {
            part.get_mut(whole..).unwrap_or_default().fill(0);
        }
        if panels.rows == 1 {
            self.fill_rows(x, inputs, depth);
        } else {
            self.fill_panels(x, inputs, depth, panels);
        }
    }

    /// Panels of one row need no copy.
    fn fill_rows(&mut self, x: &[f32], inputs: usize, depth: usize) {
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            let (start, end) = (row * depth, row * depth + inputs);
            split(x, &mut self.high[start..end], self.low.get_mut(start..end).unwrap_or(&mut []));
            for part in [&mut self.high, &mut self.low].into_iter().filter(|part| !part.is_empty()) {
                part[end..start + depth].fill(0);
            }
        }
    }

    fn fill_panels(&mut self, x: &[f32], inputs: usize, depth: usize, panels: PanelShape) {
        self.row.clear();
        self.row.resize(2 * depth, 0);
        let (high, low) = self.row.split_at_mut(depth);
        let low_inputs = if self.low.is_empty() { 0 } else { inputs };
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            split(x, &mut high[..inputs], &mut low[..low_inputs]);
            let start = row / panels.rows * panels.rows * depth;
            for (part, values) in [(&mut self.high, &*high), (&mut self.low, &*low)] {
                if let Some(panel) = part.get_mut(start..start + panels.rows * depth) {
                    panels.fill(panel, row % panels.rows, values);
                }
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
    const UNITS: [Unit; 3] = [Unit::Amx, Unit::Avx512, Unit::Neon];

    #[test]
    fn packing_loses_nothing_of_bf16() -> Result<()> {
        let weight = Tensor::randn(0f32, 1.0, (37, 45), &Device::Cpu)?;
        let exact = weight.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        for unit in UNITS {
            for dtype in [DType::F32, DType::BF16] {
                let packed = Packed::packed_for(&exact.to_dtype(dtype)?, unit)?;
                assert!(packed.is_exact());
                assert_eq!(packed.unpacked()?.to_vec2::<f32>()?, exact.to_vec2::<f32>()?);
            }
            let difference = (Packed::packed_for(&weight, unit)?.unpacked()? - &weight)?.abs()?.max_all()?;
            assert!(difference.to_scalar::<f32>()? < 1e-4, "{unit}: {difference}");
        }
        Ok(())
    }

    /// Activations go the same way as weights, in the panels of their own, however many were there before.
    #[test]
    fn rows_are_where_units_look_for_them() {
        for panels in UNITS.map(|unit| unit.operands().activations) {
            let mut split = SplitRows::default();
            for (rows, inputs) in [(21, 70), (3, 45), (8, 32)] {
                let x: Vec<f32> = (0..rows * inputs).map(|i| i as f32 + 0.001).collect();
                for precision in [Precision::Two, Precision::One] {
                    split.fill(&x, inputs, precision, panels);
                    let depth = inputs.next_multiple_of(DEPTH);
                    let value =
                        |part: &[u16], row, input| part.get(panels.place(row, input, depth)).map_or(0.0, |&v| widen(v));
                    for (i, &x) in x.iter().enumerate() {
                        let (row, input) = (i / inputs, i % inputs);
                        let sum = value(&split.high, row, input) + value(&split.low, row, input);
                        let share = if precision == Precision::Two { 1e-5 } else { 4e-3 };
                        assert!((sum - x).abs() <= share * x, "{panels:?}: {sum} for {x}");
                    }
                    let filled = split.high.iter().filter(|&&value| value != 0).count();
                    assert_eq!((filled, split.high.len()), (x.len(), panels.padded(rows) * depth));
                }
            }
        }
    }

    #[test]
    fn weights_are_packed_only_for_units_that_are_there() -> Result<()> {
        let weight = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        for unit in UNITS {
            assert_eq!(Packed::new(&weight, unit).is_ok(), Unit::available().contains(&unit));
        }
        Ok(())
    }
}
