//! What the sweep spends its time with, written for CPUs: matrix products on the bf16 units of x86 and ARM, at nearly the
//! accuracy of f32, attention over short sequences, and exponentials.
//!
//! The weights of most models are bf16, so they are exact here. Activations are split into a high and a low bf16 part,
//! x = high + low with an error of 2⁻¹⁷, and each part is multiplied; the unit sums in f32. That makes two products on a unit
//! that is many times as fast as f32 arithmetic. Weights that are not bf16 are split as well, which makes three.
//!
//! Why own code: candle multiplies bf16 on the CPU by widening both operands at each call, its attention starts a product
//! for each short sequence, and its exponentials are not vectorised. docs/performance.md has the measurements.
//! [`Unit::detect`] tells at run time which unit there is; without one, candle's f32 products do the work. They are also the
//! reference of the tests. docs/reliability.md lists all `unsafe` code.

#[cfg(target_arch = "x86_64")]
mod amx;
pub mod attention;
mod attention_block;
mod attention_keys;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
pub mod delta_rule;
pub mod device;
pub mod elementwise;
pub mod gradient;
pub mod machine;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
pub mod recurrent;
pub mod state_space;

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, WithDType};
use rayon::prelude::*;

use blocks::Terms;
pub use pack::Packed;
use pack::{DEPTH, Operands, SplitRows};

/// Rows that are multiplied with one panel after the other while both stay in the processor's cache.
const ROWS: usize = 128;

/// What multiplies bf16 values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Tiles of 16 × 32 values (Intel from Sapphire Rapids on).
    Amx,
    /// Pairs of values in 512-bit registers (AVX512-BF16: Intel from Cooper Lake, AMD from Zen 4 on).
    Avx512,
    /// Two by four times four by two values in 128-bit registers (FEAT_BF16 of ARM: Neoverse from V1 and N2, Apple from M2 on).
    Neon,
}

/// How matrix products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// By candle, in f32.
    F32,
    Bf16 {
        unit: Unit,
        precision: Precision,
    },
    /// By candle on an NVIDIA GPU: activations in two parts where weights are bf16 ([`device::split_product`]), else in f32.
    Tf32x2,
}

impl Arithmetic {
    /// bf16x2 where the processor's unit makes that faster than f32, else f32. It depends on the processor's model, not on a
    /// measurement, so that a machine always gives the same digits.
    pub fn auto() -> Self {
        let unit = Unit::detect().filter(|unit| unit.outruns_f32());
        unit.map_or(Self::F32, |unit| Self::Bf16 { unit, precision: Precision::Two })
    }

    /// Whether products take bf16 weights as they are stored.
    pub fn takes_bf16(self) -> bool {
        self != Self::F32
    }
}

impl std::fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::F32 => write!(f, "f32"),
            Self::Bf16 { unit, precision: Precision::One } => write!(f, "bf16 ({unit})"),
            Self::Bf16 { unit, precision: Precision::Two } => write!(f, "bf16x2 ({unit})"),
            Self::Tf32x2 => write!(f, "tf32x2"),
        }
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Unit::Amx => "AMX",
            Unit::Avx512 => "AVX512-BF16",
            Unit::Neon => "NEON BF16",
        })
    }
}

/// Into how many bf16 parts activations are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// One, with an error of 2⁻⁸: good for a first look.
    One,
    /// Two, with an error of 2⁻¹⁷.
    Two,
}

impl Unit {
    /// The fastest unit that this processor has and the operating system permits. For comparisons the environment variable
    /// `LORA_SLIM_UNIT` restricts it: `none`, `avx512`, `neon`; `gpu` makes the CPU stand in for a GPU ([`device`]).
    pub fn detect() -> Option<Unit> {
        static DETECTED: std::sync::OnceLock<Option<Unit>> = std::sync::OnceLock::new();
        *DETECTED.get_or_init(|| {
            let allowed = std::env::var("LORA_SLIM_UNIT").unwrap_or_default();
            Self::available().into_iter().find(|unit| match allowed.as_str() {
                "none" | "gpu" => false,
                "avx512" => *unit == Unit::Avx512,
                "neon" => *unit == Unit::Neon,
                _ => true,
            })
        })
    }

    /// Whether three products by this unit, which weights that are not bf16 need, take less time than one in f32.
    pub fn outruns_f32_three_times(self) -> bool {
        match self {
            Unit::Amx => true,
            Unit::Avx512 => false,
            // Where it outruns f32 at all, it has four times its rate.
            Unit::Neon => self.outruns_f32(),
        }
    }

    /// Whether two products by this unit take less time than one in f32.
    pub fn outruns_f32(self) -> bool {
        match self {
            Unit::Amx => true,
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => avx512::is_full_rate(),
            #[cfg(target_arch = "aarch64")]
            Unit::Neon => neon::is_full_rate(),
            // A unit that this processor cannot have.
            _ => false,
        }
    }

    /// All units that this processor has, the fastest first.
    pub fn available() -> Vec<Unit> {
        #[cfg(target_arch = "x86_64")]
        let units = [(Unit::Amx, amx::is_available()), (Unit::Avx512, avx512::is_available())];
        #[cfg(target_arch = "aarch64")]
        let units = [(Unit::Neon, neon::is_available())];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let units = [];
        units.into_iter().filter(|(_, is_available)| *is_available).map(|(unit, _)| unit).collect()
    }

    fn operands(self) -> Operands {
        match self {
            Unit::Amx | Unit::Avx512 => pack::X86,
            Unit::Neon => pack::NEON,
        }
    }
}

/// Shows the values of a tensor on the CPU, in their order, without a copy.
pub fn with_values<T: WithDType, R>(tensor: &Tensor, read: impl FnOnce(&[T]) -> R) -> Result<R> {
    device::require_cpu("reading values without a copy")?;
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Ok(read(&storage.as_slice::<T>()?[start..end])),
        _ => candle_core::bail!("the values of a tensor that is not on the CPU"),
    }
}

/// x·Wᵀ for x (rows, inputs) and a packed W (outputs, inputs): (rows, outputs).
pub fn product(x: &Tensor, weight: &Packed, precision: Precision) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Product { weight, precision })
}

struct Product<'a> {
    weight: &'a Packed,
    precision: Precision,
}

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "bf16-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        device::require_cpu(self.name())?;
        let (rows, inputs) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the input of a product is not contiguous")
        };
        if inputs != self.weight.inputs {
            candle_core::bail!("{inputs} inputs instead of {}", self.weight.inputs)
        }
        let outputs = self.weight.outputs;
        let mut y: Vec<f32> = Vec::with_capacity(rows * outputs);
        let x = &storage.as_slice::<f32>()?[start..end];
        y.spare_capacity_mut()[..rows * outputs]
            .par_chunks_mut(ROWS * outputs)
            .zip(x.par_chunks(ROWS * inputs))
            .for_each_init(SplitRows::default, |split, (y, x)| self.block(x, split, y));
        // SAFETY: every block writes all of its values.
        unsafe { y.set_len(rows * outputs) };
        Ok((CpuStorage::F32(y), (rows, outputs).into()))
    }
}

impl Product<'_> {
    /// Multiplies at most [`ROWS`] rows and writes all of `y`.
    fn block(&self, x: &[f32], split: &mut SplitRows, y: &mut [MaybeUninit<f32>]) {
        let weight = self.weight;
        split.fill(x, weight.inputs, self.precision, weight.unit.operands().activations);
        let mut factors: Vec<(&[u16], &[u16])> = vec![(&split.high, &weight.high)];
        if !split.low.is_empty() {
            factors.push((&split.low, &weight.high));
        }
        // The product of both low parts is below the error of the rest.
        if let Some(low) = &weight.low {
            factors.push((&split.high, low));
        }
        let terms = Terms { factors, depth: weight.inputs.next_multiple_of(DEPTH) };
        match weight.unit {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => amx::multiply(&terms, weight.outputs, y),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => avx512::multiply(&terms, weight.outputs, y),
            #[cfg(target_arch = "aarch64")]
            Unit::Neon => neon::multiply(&terms, weight.outputs, y),
            unit => {
                let _ = (terms.factors, terms.depth, y);
                unreachable!("weights are packed only for units of this processor, not for {unit}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn wide(tensor: &Tensor) -> Result<Tensor> {
        tensor.to_dtype(candle_core::DType::F64)
    }

    fn as_bf16(tensor: &Tensor) -> Result<Tensor> {
        tensor.to_dtype(candle_core::DType::BF16)?.to_dtype(candle_core::DType::F32)
    }

    /// By how much a sum of products may be off, as a share of the sum of their sizes. Splitting leaves an error of 2⁻⁸ or 2⁻¹⁷ of
    /// each operand, and without the product of both low parts 2⁻¹⁶. Units sum pairs, each rounded twice; to odd on ARM, which is off
    /// by up to 2⁻²³.
    fn bound(precision: Precision, packed: &Packed) -> f64 {
        let factors = 1 + usize::from(precision == Precision::Two) + usize::from(!packed.is_exact());
        let sums = (factors * packed.inputs.next_multiple_of(DEPTH)) as f64;
        let activations = if precision == Precision::One { 2f64.powi(-8) } else { 2f64.powi(-17) };
        let weights = if packed.is_exact() { 0.0 } else { 2f64.powi(-17) + 2f64.powi(-16) };
        1.01 * (activations + weights) + (sums / 2.0 + 1.0) * 2f64.powi(-23)
    }

    /// Compares each product of each unit with that of f64.
    fn compare(x: &Tensor, weight: &Tensor) -> Result<()> {
        let reference = wide(x)?.matmul(&wide(weight)?.t()?)?.flatten_all()?.to_vec1::<f64>()?;
        let sizes = wide(x)?.abs()?.matmul(&wide(weight)?.abs()?.t()?)?.flatten_all()?.to_vec1::<f64>()?;
        for unit in Unit::available() {
            let packed = Packed::new(weight, unit)?;
            for precision in [Precision::One, Precision::Two] {
                let y = product(x, &packed, precision)?.flatten_all()?.to_vec1::<f32>()?;
                let bound = bound(precision, &packed);
                // Numbers below 2⁻¹²⁶ count as zero.
                let zeroed = packed.inputs as f64 * 2f64.powi(-122);
                for (i, (&y, (expected, size))) in y.iter().zip(reference.iter().zip(&sizes)).enumerate() {
                    let (error, most) = ((f64::from(y) - expected).abs(), bound * size + zeroed);
                    assert!(
                        error <= most,
                        "{unit:?} {precision:?} {:?} {:?} at {i}: {error:e} > {most:e}",
                        x.dims(),
                        weight.dims()
                    );
                }
            }
        }
        Ok(())
    }

    /// Sizes that are no multiples of any block, and values whose sums need the low parts.
    #[test]
    fn products_are_those_of_f64() -> Result<()> {
        for (rows, inputs, outputs) in [(1, 1, 1), (7, 33, 17), (32, 64, 32), (129, 70, 49), (200, 576, 96)] {
            let x = Tensor::randn(0f32, 1.0, (rows, inputs), &Device::Cpu)?;
            let weight = Tensor::randn(0f32, 1.0, (outputs, inputs), &Device::Cpu)?;
            compare(&x, &as_bf16(&weight)?)?;
            compare(&x, &weight)?;
        }
        Ok(())
    }

    #[test]
    fn products_of_very_small_and_very_large_values_are_those_of_f64() -> Result<()> {
        let powers: Vec<f32> = (0..64).map(|row| 2f32.powi(-148 + 4 * row)).collect();
        let x = Tensor::randn(0f32, 1.0, (64, 96), &Device::Cpu)?;
        let x = x.broadcast_mul(&Tensor::from_vec(powers, (64, 1), &Device::Cpu)?)?;
        let weight = Tensor::randn(0f32, 1.0, (40, 96), &Device::Cpu)?;
        compare(&x, &as_bf16(&weight)?)?;
        compare(&x, &weight)
    }

    /// Integers whose sums f32 holds: neither a split nor a sum rounds, so that any value in a wrong place shows.
    #[test]
    fn products_of_small_integers_are_exact() -> Result<()> {
        let integers = |rows: usize, columns: usize| {
            let values = (0..rows * columns).map(|i| (i * i % 251) as f32 - 125.0);
            Tensor::from_vec(values.collect(), (rows, columns), &Device::Cpu)
        };
        let (x, weight) = (integers(133, 131)?, integers(101, 131)?);
        let expected = x.matmul(&weight.t()?)?.to_vec2::<f32>()?;
        for unit in Unit::available() {
            for precision in [Precision::One, Precision::Two] {
                assert_eq!(
                    product(&x, &Packed::new(&weight, unit)?, precision)?.to_vec2::<f32>()?,
                    expected,
                    "{unit:?}"
                );
            }
        }
        Ok(())
    }
}
