//! Flags and defaults, made into values that the pipeline takes as they are.

use crate::choice::rules;
use crate::choice::scale::Scaling;
use crate::choice::{ChoiceOptions, Limits};
use crate::cli::{EvaluateArgs, PrecisionArg, ReduceArgs, RuntimeArgs, VerifyArgs};
use crate::error::{ChoiceError, Result, SweepError};
use crate::format::parse_share;
use crate::kernel::{Arithmetic, Precision, Unit};
use crate::metrics::Metric;
use crate::model::device::DeviceName;
use crate::pipeline::request::{HeldOutSource, Scoring};
use crate::rewrite::steps::{FloatType, Step};

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

/// Which scores of generated answers are wanted, from the flags.
pub fn scoring(args: &EvaluateArgs) -> Option<Scoring> {
    let mut metrics: Vec<Metric> = Vec::new();
    for &metric in &args.metric {
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    let max_new_tokens =
        args.max_new_tokens.map_or(Scoring::DEFAULT_MAX_NEW_TOKENS, |most| most.try_into().unwrap_or(usize::MAX));
    (!metrics.is_empty()).then_some(Scoring { metrics, max_new_tokens })
}

/// How to choose, from the flags.
pub fn choice_options(args: &EvaluateArgs) -> Result<ChoiceOptions> {
    let rule = if args.boundary.is_some() { rules::BOUNDARY } else { args.choose };
    if args.one_standard_error && rule.name() != rules::BEST.name() {
        return Err(ChoiceError::OneStandardErrorWithoutBest { rule: rule.name() }.into());
    }
    Ok(ChoiceOptions {
        rule,
        boundary: args.boundary,
        margin: share("--margin", &args.margin, 0.0)?,
        confidence: share("--confidence", &args.confidence, 0.5)?,
        one_standard_error: args.one_standard_error,
        limits: Limits { max_layers: args.max_layers, max_bytes: args.max_bytes },
    })
}

/// Which samples check the choice, from the flags.
pub fn held_out(args: &EvaluateArgs) -> Result<Option<HeldOutSource>> {
    Ok(match (&args.holdout, &args.test) {
        (Some(text), _) => Some(HeldOutSource::Share(share("--holdout", text, 0.0)?)),
        (None, Some(path)) => Some(HeldOutSource::File(path.clone())),
        (None, None) => None,
    })
}

/// What is done with a cut adapter, in this order: wide numbers first and narrow ones last, so that as little is rounded as can be;
/// zeros before the rank that all have in common. Each step writes the types that it reads.
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

/// The change of a module that `verify` allows.
pub fn tolerance(args: &VerifyArgs) -> Result<Option<f64>> {
    Ok(args.tolerance.as_deref().map(|given| share("--tolerance", given, 0.0)).transpose()?)
}

/// Parses the value of a flag that is a share, from `least` to below 1: `0.02` or `2%`.
fn share(flag: &'static str, text: &str, least: f64) -> std::result::Result<f64, ChoiceError> {
    parse_share(text, least).map_err(|_| ChoiceError::NotAShare { flag, given: text.into(), least })
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
    fn sizes_are_read_as_written() {
        assert_eq!(parse_bytes("700MB"), Ok(700_000_000));
        assert_eq!(parse_bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("42"), Ok(42));
        for wrong in ["", "GB", "-1", "0", "1 parsec", "1e99", "NaN"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
