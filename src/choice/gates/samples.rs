//! `--min-samples`: the least number of different samples that choose.

use super::{Figures, Gate, GateVerdict};

pub const SAMPLES: &dyn Gate = &SampleCount;

#[derive(Debug)]
struct SampleCount;

impl Gate for SampleCount {
    fn name(&self) -> &'static str {
        "min-samples"
    }

    fn value_name(&self) -> &'static str {
        "N"
    }

    fn help(&self) -> &'static str {
        "Gate: at least N different samples choose; held-out ones are not counted, and those that repeat others count once"
    }

    fn parse(&self, text: &str) -> Result<f64, String> {
        let count = text.parse::<u32>().ok().filter(|&count| count > 0);
        count.map(f64::from).ok_or_else(|| format!("`{text}` is not a number of samples from 1"))
    }

    fn measure(&self, figures: &Figures) -> Option<f64> {
        figures.samples.map(|samples| samples as f64)
    }

    fn passes(&self, measured: f64, asked: f64) -> bool {
        measured >= asked
    }

    fn value_text(&self, asked: f64) -> String {
        asked.to_string()
    }

    fn finding(&self, _: &GateVerdict, measured: f64) -> String {
        format!("{measured} different ones choose")
    }
}
