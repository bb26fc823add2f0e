//! Flags and their defaults, turned into the typed values that the pipeline takes.

use std::path::PathBuf;

use super::parse::share;
use crate::choice::{self, Rule};
use crate::cli::{ChooseArg, EvaluateArgs, GateArgs, PrecisionArg, ReduceArgs, RuntimeArgs, SavingArgs, VerifyArgs};
use crate::error::{ChoiceError, ComputeError, Result};
use crate::kernel::{Arithmetic, Precision, Unit};
use crate::metrics::Metric;
use crate::model::device::DeviceName;
use crate::rewrite::steps::{FloatType, Step};

/// The memory that a sweep may take where nothing is said. A fixed number, not a share of the machine's: the same
/// command gives the same passes everywhere.
pub const DEFAULT_MEMORY: u64 = 4 << 30;

/// Limits that the user sets on the result.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    pub max_layers: Option<usize>,
    pub max_bytes: Option<u64>,
}

/// What must hold of the result.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gates {
    /// The share of the bytes of tensors that is saved, at least.
    pub saving: Option<f64>,
    /// (loss(written) − loss(whole)) / loss(whole), at most.
    pub loss_increase: Option<f64>,
    /// The samples that choose, at least.
    pub samples: Option<usize>,
}

/// Where samples come from that have no part in the choice.
#[derive(Debug, Clone, PartialEq)]
pub enum HeldOutFrom {
    /// This share of the samples, drawn at random.
    Share(f64),
    /// Another file.
    File(PathBuf),
}

/// What the search for parts that can go takes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    Layers,
    /// Attention or MLP of a layer.
    Blocks,
}

/// What multiplies the changes of the layers that are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// What the samples find best.
    Tune,
    By(f64),
}

/// Enough for most answers: a paragraph. It is what models that do not end their answers cost.
pub const DEFAULT_MAX_NEW_TOKENS: usize = 128;

/// How generated answers are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scoring {
    /// At least one, each once.
    pub metrics: Vec<Metric>,
    pub max_new_tokens: usize,
}

/// The scores of generated answers, if the flags name any.
pub fn scoring(args: &EvaluateArgs) -> Option<Scoring> {
    let mut metrics: Vec<Metric> = Vec::new();
    for &metric in &args.metric {
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    let max_new_tokens =
        args.max_new_tokens.map_or(DEFAULT_MAX_NEW_TOKENS, |most| most.try_into().unwrap_or(usize::MAX));
    (!metrics.is_empty()).then_some(Scoring { metrics, max_new_tokens })
}

/// How to choose the boundary.
pub fn choice_options(args: &EvaluateArgs) -> Result<choice::ChoiceOptions> {
    let rule = match (args.boundary, args.choose) {
        (Some(_), _) => Rule::Boundary,
        (None, ChooseArg::Smallest) => Rule::Smallest,
        (None, ChooseArg::Best) => Rule::Best,
        (None, ChooseArg::Curve) => Rule::Curve,
    };
    if args.one_standard_error && rule != Rule::Best {
        return Err(ChoiceError::OneStandardErrorWithoutBest { rule: rule.name() }.into());
    }
    Ok(choice::ChoiceOptions {
        rule,
        boundary: args.boundary,
        margin: share("--margin", &args.margin, 0.0)?,
        confidence: share("--confidence", &args.confidence, 0.5)?,
        one_standard_error: args.one_standard_error,
    })
}

/// The samples that check the choice.
pub fn held_out(args: &EvaluateArgs) -> Result<Option<HeldOutFrom>> {
    Ok(match (&args.holdout, &args.test) {
        (Some(given), _) => Some(HeldOutFrom::Share(share("--holdout", given, 0.0)?)),
        (None, Some(path)) => Some(HeldOutFrom::File(path.clone())),
        (None, None) => None,
    })
}

/// The gates of `slim`.
pub fn gates(args: &GateArgs) -> Result<Gates> {
    let loss_increase = args.max_loss_increase.as_deref();
    Ok(Gates {
        loss_increase: loss_increase.map(|given| share("--max-loss-increase", given, 0.0)).transpose()?,
        samples: args.min_samples.map(|least| least.try_into().unwrap_or(usize::MAX)),
        ..saving_gate(&args.saving)?
    })
}

/// The gate of `cut`.
pub fn saving_gate(args: &SavingArgs) -> Result<Gates> {
    let saving = args.require_saving.as_deref();
    let saving = saving.map(|given| share("--require-saving", given, 0.0)).transpose()?;
    Ok(Gates { saving, ..Gates::default() })
}

/// The steps that rewrite a cut adapter, in order: wide types first and narrow ones last, so that little is rounded; zeros before
/// `--portable`, which gives all modules one rank. Each step writes the types that it reads.
pub fn steps(reduce: &ReduceArgs, runtime: &RuntimeArgs) -> Vec<Step> {
    let (wide, narrow) = match reduce.dtype {
        Some(FloatType::F32) => (Some(Step::Dtype(FloatType::F32)), None),
        dtype => (None, dtype.map(Step::Dtype)),
    };
    let rank = reduce.rank.clone().map(Step::Rank);
    let zeros = runtime.pad_zeros.map(|layers| Step::PadZeros(layers.map(|layers| layers as usize)));
    let portable = runtime.portable.then_some(Step::Portable);
    [wide, rank, zeros, portable, narrow].into_iter().flatten().collect()
}

/// The change of a module that `verify` tolerates.
pub fn tolerance(args: &VerifyArgs) -> Result<Option<f64>> {
    Ok(args.tolerance.as_deref().map(|given| share("--tolerance", given, 0.0)).transpose()?)
}

/// The arithmetic of `--precision` on a device.
pub fn arithmetic(precision: PrecisionArg, device: DeviceName) -> Result<Arithmetic> {
    if device != DeviceName::Cpu {
        return match precision {
            PrecisionArg::Auto | PrecisionArg::F32 => Ok(Arithmetic::F32),
            PrecisionArg::Bf16x2 | PrecisionArg::Bf16 => {
                Err(ComputeError::Bf16OnDevice { device: device.to_string() }.into())
            }
        };
    }
    let by = |precision| {
        let unit = Unit::detect().ok_or(ComputeError::NoBf16)?;
        Ok(Arithmetic::Bf16 { unit, precision })
    };
    match precision {
        PrecisionArg::F32 => Ok(Arithmetic::F32),
        PrecisionArg::Bf16x2 => by(Precision::Two),
        PrecisionArg::Bf16 => by(Precision::One),
        // Depends on the processor's model, not on a measurement, so that a machine always gives the same digits.
        PrecisionArg::Auto if Unit::detect().is_some_and(Unit::outruns_f32) => by(Precision::Two),
        PrecisionArg::Auto => Ok(Arithmetic::F32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_devices_compute_in_f32() {
        let cuda = DeviceName::Cuda(0);
        for precision in [PrecisionArg::Auto, PrecisionArg::F32] {
            assert_eq!(arithmetic(precision, cuda).unwrap(), Arithmetic::F32);
        }
        assert!(arithmetic(PrecisionArg::Bf16x2, cuda).is_err());
        assert!(arithmetic(PrecisionArg::Bf16, cuda).is_err());
    }
}
