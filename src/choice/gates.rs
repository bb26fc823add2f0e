//! Gates: what the user asks of a result before it may be written, and whether it holds.
//!
//! They judge the finished report and nothing else, so that what a pipeline acts on is what the report says.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::settings::Gates;
use crate::error::{GateError, Result};
use crate::format::percent;
use crate::report::Report;
use crate::report::metrics::SampleSet;

/// The names of the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The share of the bytes of tensors that is saved, at least.
    RequireSaving,
    /// (loss(written) − loss(whole)) / loss(whole), at most.
    MaxLossIncrease,
    /// The samples that choose, at least.
    MinSamples,
}

/// A gate, and what it found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct GateVerdict {
    pub gate: Gate,
    pub asked: f64,
    /// Absent where there is nothing to measure: the base model alone does best, so nothing is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
    /// The samples that a loss was measured on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<SampleSet>,
    pub passed: bool,
}

impl GateVerdict {
    fn at_least(gate: Gate, asked: f64, measured: Option<f64>) -> Self {
        let passed = measured.is_some_and(|measured| measured >= asked);
        Self { gate, asked, measured, on: None, passed }
    }

    fn at_most(gate: Gate, asked: f64, measured: Option<f64>, on: SampleSet) -> Self {
        let passed = measured.is_some_and(|measured| measured <= asked);
        Self { gate, asked, measured, on: Some(on), passed }
    }
}

/// The gate as it was given, and what was measured, for people.
impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let asked = self.asked;
        match self.gate {
            Gate::RequireSaving => write!(f, "`--require-saving {}%`", percent(asked))?,
            Gate::MaxLossIncrease => write!(f, "`--max-loss-increase {}%`", percent(asked))?,
            Gate::MinSamples => write!(f, "`--min-samples {asked}`")?,
        }
        let Some(measured) = self.measured else { return f.write_str(", but there is nothing to write") };
        let on = if self.on == Some(SampleSet::HeldOut) { " on held-out samples" } else { "" };
        // Down to what tells it from what was asked.
        let share = || {
            let digits = (2..6).find(|&digits| (measured.abs() - asked).abs() * 100.0 >= 0.1f64.powi(digits));
            format!("{:.*} %", digits.unwrap_or(2) as usize, measured.abs() * 100.0)
        };
        match self.gate {
            Gate::RequireSaving if measured < 0.0 => write!(f, ", {} are added", share()),
            Gate::RequireSaving => write!(f, ", {} are saved", share()),
            Gate::MaxLossIncrease if measured == 0.0 => write!(f, ", the loss{on} is the same"),
            Gate::MaxLossIncrease if measured > 0.0 => write!(f, ", the loss{on} rises by {}", share()),
            Gate::MaxLossIncrease => write!(f, ", the loss{on} falls by {}", share()),
            Gate::MinSamples => write!(f, ", {measured} choose"),
        }
    }
}

impl Gates {
    /// Fails where fewer samples choose than are asked for: as soon as their number is known.
    pub fn check_samples(&self, count: usize) -> Result<()> {
        check(&self.of_samples(count).into_iter().collect::<Vec<_>>())
    }

    fn of_samples(&self, count: usize) -> Option<GateVerdict> {
        self.samples.map(|least| GateVerdict::at_least(Gate::MinSamples, least as f64, Some(count as f64)))
    }

    fn judge(&self, report: &Report) -> Vec<GateVerdict> {
        let saving = || {
            let output = report.output.as_ref()?;
            let (before, after) = (output.bytes_before as f64, output.bytes_after as f64);
            Some((before - after) / before.max(1.0))
        };
        let of_saving = self.saving.map(|least| GateVerdict::at_least(Gate::RequireSaving, least, saving()));
        let of_loss = self.loss_increase.map(|most| {
            let (on, losses) = report.losses_of_written();
            GateVerdict::at_most(Gate::MaxLossIncrease, most, losses.and_then(increase), on)
        });
        let of_samples = report.samples.as_ref().and_then(|samples| self.of_samples(samples.count));
        [of_saving, of_loss, of_samples].into_iter().flatten().collect()
    }
}

/// By how much the first loss is above the second, as a share of it.
fn increase((written, whole): (f64, f64)) -> Option<f64> {
    if written == whole { Some(0.0) } else { Some((written - whole) / whole).filter(|share| share.is_finite()) }
}

fn check(verdicts: &[GateVerdict]) -> Result<()> {
    let failed: Vec<String> = verdicts.iter().filter(|gate| !gate.passed).map(GateVerdict::to_string).collect();
    if failed.is_empty() { Ok(()) } else { Err(GateError::Failed { failed }.into()) }
}

impl Report {
    /// The same, with what gates say of it.
    pub fn gated(self, gates: &Gates) -> Self {
        Self { gates: gates.judge(&self), ..self }
    }

    /// Whether all gates hold.
    pub fn check_gates(&self) -> Result<()> {
        check(&self.gates)
    }

    /// The losses of what is written, after all steps, and of the whole adapter: on held-out samples if there are any.
    fn losses_of_written(&self) -> (SampleSet, Option<(f64, f64)>) {
        let last = self.steps.last();
        if let Some(held_out) = &self.held_out {
            let after_steps = last.and_then(|step| step.held_out.as_ref()).map(|losses| losses.loss);
            let written = after_steps.unwrap_or(held_out.verdict.chosen.loss);
            return (SampleSet::HeldOut, Some((written, held_out.verdict.whole.loss)));
        }
        let after_steps = last.and_then(|step| step.losses.as_ref()).map(|losses| losses.loss);
        let row = self.alternatives.iter().find(|row| row.written).map(|row| row.samples.loss);
        let subset = self.subset.as_ref().map(|subset| subset.loss);
        let chosen = self.chosen.as_ref().map(|choice| choice.loss);
        let written = after_steps.or(row).or(subset).or(chosen);
        (SampleSet::Choosing, written.zip(self.curve.last().map(|whole| whole.loss)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{AdapterInput, Output};

    fn report(bytes_before: u64, bytes_after: u64) -> Report {
        let adapter = AdapterInput { path: "a".into(), files: vec![], rank: None, alpha: None, layers: vec![0, 1] };
        let output = Output {
            kept_layers: vec![0],
            tensors_before: 4,
            tensors_after: 2,
            bytes_before,
            bytes_after,
            format: None,
        };
        Report { output: Some(output), ..Report::of(adapter) }
    }

    fn saving(least: f64) -> Gates {
        Gates { saving: Some(least), ..Gates::default() }
    }

    #[test]
    fn a_gate_holds_at_its_very_bound() {
        for (before, after, least) in [(5, 4, 0.2), (10, 7, 0.3), (1000, 993, 0.007), (3, 3, 0.0)] {
            assert!(report(before, after).gated(&saving(least)).check_gates().is_ok(), "{before} {after}");
        }
        let failed = report(5000, 4001).gated(&saving(0.2)).check_gates().unwrap_err();
        assert_eq!(failed.to_string(), "a gate failed: `--require-saving 20%`, 19.98 % are saved");
        let failed = report(4, 5).gated(&saving(0.2)).check_gates().unwrap_err();
        assert_eq!(failed.to_string(), "a gate failed: `--require-saving 20%`, 25.00 % are added");
        let close = report(10_000_000, 8_000_001).gated(&saving(0.2)).check_gates().unwrap_err();
        assert!(close.to_string().contains("19.99999 %"), "{close}");
    }

    #[test]
    fn what_cannot_be_measured_does_not_pass() {
        let nothing = Report { output: None, ..report(4, 2) }.gated(&saving(0.0));
        assert_eq!(nothing.gates[0].measured, None);
        assert!(nothing.check_gates().is_err());
        assert!(report(4, 2).gated(&Gates::default()).gates.is_empty());
    }

    #[test]
    fn losses_are_compared_as_shares() {
        assert_eq!(increase((1.5, 1.0)), Some(0.5));
        assert_eq!(increase((0.75, 1.0)), Some(-0.25));
        assert_eq!(increase((0.0, 0.0)), Some(0.0));
        assert_eq!(increase((1.0, 0.0)), None);
    }

    #[test]
    fn samples_are_counted_before_the_sweep() {
        let gates = Gates { samples: Some(64), ..Gates::default() };
        assert!(gates.check_samples(64).is_ok());
        let failed = gates.check_samples(63).unwrap_err().to_string();
        assert_eq!(failed, "a gate failed: `--min-samples 64`, 63 choose");
    }
}
