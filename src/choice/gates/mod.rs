//! Gates: the conditions that the user sets for writing a result. A gate is one file and one line in [`GATES`].
//!
//! Gates judge the figures of the finished report and nothing else, so that a pipeline acts on what the report says.

mod better_than_base;
mod loss_increase;
mod min_gain;
mod samples;
mod saving;

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::Assessment;
use super::held_out::SampleSet;
use crate::error::{GateError, Result};

/// All gates.
pub const GATES: [&dyn Gate; 5] = [
    saving::SAVING,
    loss_increase::LOSS_INCREASE,
    samples::SAMPLES,
    min_gain::MIN_GAIN,
    better_than_base::BETTER_THAN_BASE,
];

/// One condition on a result.
pub trait Gate: fmt::Debug + Sync {
    /// The flag without its dashes, and the name in reports.
    fn name(&self) -> &'static str;

    /// The placeholder of the value in `--help`.
    fn value_name(&self) -> &'static str;

    /// The value where the flag is given without one; `None` if it needs one.
    fn default_value(&self) -> Option<&'static str> {
        None
    }

    /// What `--help` says of it.
    fn help(&self) -> &'static str;

    /// Reads the value of the flag.
    fn parse(&self, text: &str) -> std::result::Result<f64, String>;

    /// Whether it can be measured only if the adapter was evaluated on samples.
    fn needs_samples(&self) -> bool {
        true
    }

    /// Its figure; `None` if there is nothing to measure.
    fn measure(&self, figures: &Figures) -> Option<f64>;

    /// Which samples the figure was measured on, if it was measured on samples.
    fn measured_on(&self, _figures: &Figures) -> Option<SampleSet> {
        None
    }

    /// Whether the figure is good enough.
    fn passes(&self, measured: f64, asked: f64) -> bool;

    /// The value as the flag takes it.
    fn value_text(&self, asked: f64) -> String;

    /// What was measured, in a few words.
    fn finding(&self, verdict: &GateVerdict, measured: f64) -> String;
}

/// The figures of a result that gates judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// The bytes of tensors before and after, if anything is to be written.
    pub bytes: Option<(u64, u64)>,
    /// The figures of what is written and of the whole adapter.
    pub measured: Option<Written>,
    /// How many different samples choose, if any: copies and near duplicates count once.
    pub samples: Option<usize>,
}

/// The figures of what is written and of the whole adapter, on the same samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Written {
    pub on: SampleSet,
    pub assessment: Assessment,
    pub whole: Assessment,
}

/// The gates of a run, each with the value that the user asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gates(pub Vec<(&'static dyn Gate, f64)>);

/// A gate, what it measured, and whether it passed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct GateVerdict {
    #[schemars(schema_with = "names_schema")]
    pub gate: &'static dyn Gate,
    pub asked: f64,
    /// Absent if there is nothing to measure: the base model alone does best, so nothing is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
    /// The samples that a loss was measured on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<SampleSet>,
    pub passed: bool,
}

/// The gate as it was given, and what was measured, for people.
impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = self.gate.name();
        write!(f, "`--{name} {}`, ", self.gate.value_text(self.asked))?;
        match self.measured {
            Some(measured) => f.write_str(&self.gate.finding(self, measured)),
            None => f.write_str("but there is nothing to write"),
        }
    }
}

impl Gates {
    /// Judges a result.
    pub fn judge(&self, figures: &Figures) -> Vec<GateVerdict> {
        let judge = |&(gate, asked): &(&'static dyn Gate, f64)| {
            let measured = gate.measure(figures);
            let passed = measured.is_some_and(|measured| gate.passes(measured, asked));
            GateVerdict { gate, asked, measured, on: gate.measured_on(figures), passed }
        };
        self.0.iter().map(judge).collect()
    }

    /// Fails if fewer samples choose than are asked for, as soon as their number is known.
    pub fn check_samples(&self, count: usize) -> Result<()> {
        let of_samples = self.0.iter().filter(|(gate, _)| gate.name() == samples::SAMPLES.name()).copied().collect();
        check(&Self(of_samples).judge(&Figures { samples: Some(count), ..Figures::default() }))
    }
}

/// Fails if any gate did.
pub fn check(verdicts: &[GateVerdict]) -> Result<()> {
    let failed: Vec<String> = verdicts.iter().filter(|gate| !gate.passed).map(GateVerdict::to_string).collect();
    if failed.is_empty() { Ok(()) } else { Err(GateError::Failed { failed }.into()) }
}

/// A measured share, with enough digits to differ visibly from the one that was asked for.
fn share_text(measured: f64, asked: f64) -> String {
    let digits = (2..6).find(|&digits| (measured.abs() - asked).abs() * 100.0 >= 0.1f64.powi(digits));
    format!("{:.*} %", digits.unwrap_or(2) as usize, measured.abs() * 100.0)
}

impl PartialEq for dyn Gate {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Serialize for dyn Gate {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

fn names_schema(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = GATES.iter().map(|gate| gate.name()).collect();
    json_schema!({ "type": "string", "enum": names })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saving(before: u64, after: u64, least: f64) -> Result<()> {
        let figures = Figures { bytes: Some((before, after)), ..Figures::default() };
        check(&Gates(vec![(saving::SAVING, least)]).judge(&figures))
    }

    #[test]
    fn a_gate_holds_at_its_very_bound() {
        for (before, after, least) in [(5, 4, 0.2), (10, 7, 0.3), (1000, 993, 0.007), (3, 3, 0.0)] {
            assert!(saving(before, after, least).is_ok(), "{before} {after}");
        }
        let failed = saving(5000, 4001, 0.2).unwrap_err();
        assert_eq!(failed.to_string(), "a gate failed: `--require-saving 20%`, 19.98 % are saved");
        let failed = saving(4, 5, 0.2).unwrap_err();
        assert_eq!(failed.to_string(), "a gate failed: `--require-saving 20%`, 25.00 % are added");
        let close = saving(10_000_000, 8_000_001, 0.2).unwrap_err();
        assert!(close.to_string().contains("19.99999 %"), "{close}");
    }

    #[test]
    fn what_cannot_be_measured_does_not_pass() {
        let nothing = Gates(vec![(saving::SAVING, 0.0)]).judge(&Figures::default());
        assert_eq!(nothing[0].measured, None);
        assert!(check(&nothing).is_err());
        assert!(Gates::default().judge(&Figures::default()).is_empty());
    }

    #[test]
    fn losses_are_compared_as_shares() {
        let assessment = |loss| Assessment { loss, ..Assessment::default() };
        let increase = |written, whole| {
            let (assessment, whole) = (assessment(written), assessment(whole));
            let measured = Some(Written { on: SampleSet::Choosing, assessment, whole });
            loss_increase::LOSS_INCREASE.measure(&Figures { measured, ..Figures::default() })
        };
        assert_eq!(increase(1.5, 1.0), Some(0.5));
        assert_eq!(increase(0.75, 1.0), Some(-0.25));
        assert_eq!(increase(0.0, 0.0), Some(0.0));
        assert_eq!(increase(1.0, 0.0), None);
    }

    #[test]
    fn gains_are_compared_with_the_base_model() {
        let gains = |gain, gain_at_least| {
            let assessment = Assessment { loss: 1.8, gain, gain_at_least, ..Assessment::default() };
            let measured = Some(Written { on: SampleSet::Choosing, assessment, whole: assessment });
            Figures { measured, ..Figures::default() }
        };
        let judged = |figures: &Figures| {
            let gates = Gates(vec![(min_gain::MIN_GAIN, 0.1), (better_than_base::BETTER_THAN_BASE, 0.0)]);
            gates.judge(figures).iter().map(|verdict| verdict.passed).collect::<Vec<_>>()
        };
        assert_eq!(judged(&gains(0.2, Some(0.01))), [true, true]);
        assert_eq!(judged(&gains(0.19, Some(0.0))), [false, false]);
        assert_eq!(judged(&gains(0.5, None)), [true, false], "one sample proves nothing");
        assert_eq!(judged(&Figures::default()), [false, false]);
    }

    #[test]
    fn samples_are_counted_before_the_sweep() {
        let gates = Gates(vec![(saving::SAVING, 0.5), (samples::SAMPLES, 64.0)]);
        assert!(gates.check_samples(64).is_ok());
        let failed = gates.check_samples(63).unwrap_err().to_string();
        assert_eq!(failed, "a gate failed: `--min-samples 64`, 63 different ones choose");
    }

    #[test]
    fn values_are_read_as_written() {
        assert_eq!(saving::SAVING.parse("20%"), Ok(0.2));
        for (gate, wrong) in
            [(GATES[0], "100%"), (GATES[1], "NaN"), (GATES[2], "0"), (GATES[2], "1.5"), (GATES[4], "-1")]
        {
            assert!(gate.parse(wrong).is_err(), "{gate:?} {wrong}");
        }
    }
}
