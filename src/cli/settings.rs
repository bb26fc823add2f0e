//! Flags and defaults, made into values that the pipeline takes as they are.

use std::path::PathBuf;

use crate::choice::{self, Rule};
use crate::cli::{ChooseArg, EvaluateArgs, GateArgs, PrecisionArg, RuntimeArgs, SavingArgs, SizeStepArgs, VerifyArgs};
use crate::error::{ChoiceError, Result, SweepError};
use crate::kernel::{Arithmetic, Precision, Unit};
use crate::metrics::Metric;
use crate::model::device::DeviceName;
use crate::rewrite::steps::{self, SharedStep};

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

/// Parses `tune` or a scale.
pub fn parse_scaling(text: &str) -> std::result::Result<Scaling, String> {
    match text {
        "tune" => Ok(Scaling::Tune),
        number => parse_scale(number).map(Scaling::By).map_err(|error| format!("{error}, nor `tune`")),
    }
}

/// Parses a scale: far from 1, an adapter is nothing or noise.
pub fn parse_scale(text: &str) -> std::result::Result<f64, String> {
    let scale = text.parse::<f64>().ok().filter(|scale| (0.001..=1000.0).contains(scale));
    scale.ok_or_else(|| format!("`{text}` is no number from 0.001 to 1000"))
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

/// Which scores of generated answers are wanted, from the flags.
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

/// How to choose, from the flags.
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

/// Which samples check the choice, from the flags.
pub fn held_out(args: &EvaluateArgs) -> Result<Option<HeldOutFrom>> {
    Ok(match (&args.holdout, &args.test) {
        (Some(given), _) => Some(HeldOutFrom::Share(share("--holdout", given, 0.0)?)),
        (None, Some(path)) => Some(HeldOutFrom::File(path.clone())),
        (None, None) => None,
    })
}

/// The gates, from the flags.
pub fn gates(args: &GateArgs) -> Result<Gates> {
    let loss_increase = args.max_loss_increase.as_deref();
    Ok(Gates {
        loss_increase: loss_increase.map(|given| share("--max-loss-increase", given, 0.0)).transpose()?,
        samples: args.min_samples.map(|least| least.try_into().unwrap_or(usize::MAX)),
        ..saving_gate(&args.saving)?
    })
}

/// The gate of a cut, from the flags.
pub fn saving_gate(args: &SavingArgs) -> Result<Gates> {
    let saving = args.require_saving.as_deref();
    let saving = saving.map(|given| share("--require-saving", given, 0.0)).transpose()?;
    Ok(Gates { saving, ..Gates::default() })
}

/// The steps after the cut, in the order in which they run.
pub fn steps(reduce: &SizeStepArgs, runtime: &RuntimeArgs) -> Vec<SharedStep> {
    steps::in_order(reduce.steps.iter().chain(&runtime.steps.steps).cloned().collect())
}

/// The change of a module that `verify` allows.
pub fn tolerance(args: &VerifyArgs) -> Result<Option<f64>> {
    Ok(args.tolerance.as_deref().map(|given| share("--tolerance", given, 0.0)).transpose()?)
}

/// Parses the value of a flag that is a share, from `least` to below 1: `0.02` or `2%`.
fn share(flag: &'static str, given: &str, least: f64) -> std::result::Result<f64, ChoiceError> {
    // Moving the point rather than dividing, so that 99.9 % is the same number as 0.999.
    let number = match given.strip_suffix('%') {
        Some(percent) => format!("{}e-2", percent.trim_end()),
        None => given.into(),
    };
    let share = number.parse::<f64>().ok();
    let fits = share.filter(|share| (least..1.0).contains(share));
    fits.ok_or_else(|| ChoiceError::NotAShare { flag, given: given.into(), least })
}

/// The arithmetic that `--precision` names, on the device that `--device` names.
pub fn arithmetic(precision: PrecisionArg, device: DeviceName) -> Result<Arithmetic> {
    if device != DeviceName::Cpu {
        return match precision {
            PrecisionArg::Auto | PrecisionArg::F32 => Ok(Arithmetic::F32),
            PrecisionArg::Bf16x2 | PrecisionArg::Bf16 => {
                Err(SweepError::Bf16OnDevice { device: device.to_string() }.into())
            }
        };
    }
    let by = |precision| {
        let unit = Unit::detect().ok_or(SweepError::NoBf16)?;
        Ok(Arithmetic::Bf16 { unit, precision })
    };
    match precision {
        PrecisionArg::F32 => Ok(Arithmetic::F32),
        PrecisionArg::Bf16x2 => by(Precision::Two),
        PrecisionArg::Bf16 => by(Precision::One),
        // By what the processor is, not by a measurement: the same machine gives the same digits every time.
        PrecisionArg::Auto if Unit::detect().is_some_and(Unit::outruns_f32) => by(Precision::Two),
        PrecisionArg::Auto => Ok(Arithmetic::F32),
    }
}

/// Parses `700MB`, `4GiB`, `1000000`.
pub fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let wrong = || format!("`{text}` is not a size such as 700MB or 4GiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let factor: f64 = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024f64.powi(2),
        "gi" | "gib" => 1024f64.powi(3),
        "ti" | "tib" => 1024f64.powi(4),
        _ => return Err(wrong()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let bytes = number * factor;
    if bytes >= 1.0 && bytes < 2f64.powi(60) { Ok(bytes as u64) } else { Err(wrong()) }
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

    #[test]
    fn shares_are_read_as_written() {
        for (given, expected) in
            [("0.02", 0.02), ("2%", 0.02), ("2 %", 0.02), ("0", 0.0), ("99.9%", 0.999), ("1e-3", 1e-3)]
        {
            assert_eq!(share("--margin", given, 0.0).ok(), Some(expected), "{given}");
        }
        for wrong in ["", "%", "2", "1", "100%", "-1%", "two", "NaN", "inf", "2%%"] {
            assert!(share("--margin", wrong, 0.0).is_err(), "{wrong}");
        }
        assert!(share("--confidence", "49%", 0.5).is_err());
        assert_eq!(share("--confidence", "50%", 0.5).ok(), Some(0.5));
    }

    #[test]
    fn sizes_are_read_as_written() {
        assert_eq!(parse_bytes("700MB"), Ok(700_000_000));
        assert_eq!(parse_bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("42"), Ok(42));
        for wrong in ["", "GB", "-1", "0", "1 parsec", "1e99", "NaN"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
