//! What the sweep spends its time with, written for CPUs: matrix products on the bf16 units of x86, at nearly the accuracy
//! of f32, attention over short sequences, and exponentials.
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
pub mod delta_rule;
pub mod device;
pub mod elementwise;
pub mod gradient;
pub mod machine;
mod pack;
pub mod recurrent;
pub mod state_space;

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, WithDType};
use rayon::prelude::*;

pub use pack::Packed;
use pack::{DEPTH, SplitRows};

/// Rows that are multiplied with one panel after the other while both stay in the processor's cache.
const ROWS: usize = 128;

/// What multiplies bf16 values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Tiles of 16 × 32 values (Intel from Sapphire Rapids on).
    Amx,
    /// Pairs of values in 512-bit registers (AVX512-BF16: Intel from Cooper Lake, AMD from Zen 4 on).
    Avx512,
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
        let unit = |unit: &Unit| match unit {
            Unit::Amx => "AMX",
            Unit::Avx512 => "AVX512-BF16",
        };
        match self {
            Self::F32 => write!(f, "f32"),
            Self::Bf16 { unit: by, precision: Precision::One } => write!(f, "bf16 ({})", unit(by)),
            Self::Bf16 { unit: by, precision: Precision::Two } => write!(f, "bf16x2 ({})", unit(by)),
            Self::Tf32x2 => write!(f, "tf32x2"),
        }
    }
}

/// Into how many bf16 parts activations are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// One, with an error of 2⁻⁹: good for a first look.
    One,
    /// Two, with an error of 2⁻¹⁷.
    Two,
}

impl Unit {
    /// The fastest unit that this processor has and the operating system permits. For comparisons the environment variable
    /// `LORA_SLIM_UNIT` restricts it: `none`, `avx512`; `gpu` makes the CPU stand in for a GPU ([`device`]).
    pub fn detect() -> Option<Unit> {
        static DETECTED: std::sync::OnceLock<Option<Unit>> = std::sync::OnceLock::new();
        *DETECTED.get_or_init(|| {
            let allowed = std::env::var("LORA_SLIM_UNIT").unwrap_or_default();
            Self::available().into_iter().find(|unit| match allowed.as_str() {
                "none" | "gpu" => false,
                "avx512" => *unit == Unit::Avx512,
                _ => true,
            })
        })
    }

    /// Whether three products by this unit, which weights that are not bf16 need, take less time than one in f32.
    pub fn outruns_f32_three_times(self) -> bool {
        self == Unit::Amx
    }

    /// Whether two products by this unit take less time than one in f32.
    pub fn outruns_f32(self) -> bool {
        match self {
            Unit::Amx => true,
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => avx512::is_full_rate(),
            #[cfg(not(target_arch = "x86_64"))]
            Unit::Avx512 => false,
        }
    }

    /// All units that this processor has, the fastest first.
    pub fn available() -> Vec<Unit> {
        #[cfg(target_arch = "x86_64")]
        {
            let units = [(Unit::Amx, amx::is_available()), (Unit::Avx512, avx512::is_available())];
            units.into_iter().filter(|(_, is_available)| *is_available).map(|(unit, _)| unit).collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        Vec::new()
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
pub fn product(x: &Tensor, weight: &Packed, precision: Precision, unit: Unit) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Product { weight, precision, unit })
}

/// A sum of products a·b, each of rows of activations and panels of a weight, `depth` values deep.
struct Terms<'a> {
    factors: Vec<(&'a [u16], &'a [u16])>,
    depth: usize,
}

struct Product<'a> {
    weight: &'a Packed,
    precision: Precision,
    unit: Unit,
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
        split.fill(x, weight.inputs, self.precision);
        let mut factors: Vec<(&[u16], &[u16])> = vec![(&split.high, &weight.high)];
        if !split.low.is_empty() {
            factors.push((&split.low, &weight.high));
        }
        // The product of both low parts is below the error of the rest.
        if let Some(low) = &weight.low {
            factors.push((&split.high, low));
        }
        let terms = Terms { factors, depth: weight.inputs.next_multiple_of(DEPTH) };
        #[cfg(target_arch = "x86_64")]
        match self.unit {
            Unit::Amx => amx::multiply(&terms, weight.outputs, y),
            Unit::Avx512 => avx512::multiply(&terms, weight.outputs, y),
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (self.unit, terms.factors, terms.depth, y);
            unreachable!("no unit is available, so none is chosen")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Sizes that are no multiples of any block, and values whose sums need the low parts.
    fn compare(rows: usize, inputs: usize, outputs: usize, exact: bool) -> Result<()> {
        let x = Tensor::randn(0f32, 1.0, (rows, inputs), &Device::Cpu)?;
        let mut weight = Tensor::randn(0f32, 1.0, (outputs, inputs), &Device::Cpu)?;
        if exact {
            weight = weight.to_dtype(candle_core::DType::BF16)?.to_dtype(candle_core::DType::F32)?;
        }
        let wide = |tensor: &Tensor| tensor.to_dtype(candle_core::DType::F64);
        let reference = wide(&x)?.matmul(&wide(&weight)?.t()?)?;
        let packed = Packed::new(&weight)?;
        assert_eq!(packed.low.is_none(), exact);
        for unit in Unit::available() {
            for (precision, bound) in [(Precision::One, 2e-2), (Precision::Two, 1e-4)] {
                let y = product(&x, &packed, precision, unit)?;
                let scale = (inputs as f64).sqrt();
                let error = ((wide(&y)? - &reference)?.abs()?.max_all()?.to_scalar::<f64>()?) / scale;
                assert!(error < bound, "{unit:?} {precision:?} {rows}×{inputs}×{outputs}: {error}");
            }
        }
        Ok(())
    }

    #[test]
    fn products_are_those_of_f64() -> Result<()> {
        for (rows, inputs, outputs) in [(1, 1, 1), (7, 33, 17), (32, 64, 32), (129, 70, 49), (200, 576, 96)] {
            compare(rows, inputs, outputs, true)?;
            compare(rows, inputs, outputs, false)?;
        }
        Ok(())
    }

    #[test]
    fn packing_loses_nothing_of_bf16() -> Result<()> {
        let weight = Tensor::randn(0f32, 1.0, (37, 45), &Device::Cpu)?;
        let exact = weight.to_dtype(candle_core::DType::BF16)?.to_dtype(candle_core::DType::F32)?;
        for dtype in [candle_core::DType::F32, candle_core::DType::BF16] {
            let packed = Packed::new(&exact.to_dtype(dtype)?)?;
            assert!(packed.is_exact());
            assert_eq!(packed.unpacked()?.to_vec2::<f32>()?, exact.to_vec2::<f32>()?);
        }
        let difference = (Packed::new(&weight)?.unpacked()? - weight)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(difference < 1e-4, "{difference}");
        Ok(())
    }
}
