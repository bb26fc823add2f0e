//! The rungs of one adapter's ladder: measured and judged on its samples, and remembered for the report.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::evaluator::Evaluator;
use super::ladder::Ladder;
use crate::choice::ChoiceOptions;
use crate::choice::rules::SMALLEST;
use crate::choice::subset::{Judge, Split};
use crate::error::{ChoiceError, Result};
use crate::measure::{Measurement, OnProgress, SampleSize, Work};
use crate::samples::Sample;
use crate::search::minimize::{Judged, Stage};

/// What became of a rung.
#[derive(Debug, Clone, Default)]
pub struct Rung {
    pub ranking: Option<Measurement>,
    pub testing: Option<Measurement>,
    pub verdict: Option<Verdict>,
}

/// What a test of a rung said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    pub confidence: f64,
    pub holds: bool,
}

/// An adapter's ladder and samples, with what was measured.
pub struct Trials<'a> {
    pub evaluator: &'a Evaluator<'a>,
    pub ladder: Ladder<'a>,
    pub split: Split,
    /// By rung, those that were measured.
    pub rungs: BTreeMap<usize, Rung>,
    pub work: Work,
}

impl<'a> Trials<'a> {
    /// Splits the samples, and finds out on those that rank what each rank of the adapter is worth. The ladder has no rungs yet.
    pub fn new(evaluator: &'a Evaluator<'a>, on_progress: OnProgress) -> Result<Self> {
        let sizes = evaluator.curve.sizes();
        let split = Split::draw(sizes).ok_or(ChoiceError::TooFewToSplit { samples: sizes.len() })?;
        let ranking: Vec<Sample> = split.ranking.iter().map(|&place| evaluator.samples[place].clone()).collect();
        let (ladder, work) = Ladder::new(evaluator, &ranking, on_progress)?;
        Ok(Self { evaluator, ladder, split, rungs: BTreeMap::new(), work })
    }

    /// Measures a rung on the samples of a stage, unless that is done, and judges it.
    pub fn judge(&mut self, stage: Stage, rung: usize, on_progress: OnProgress) -> Result<Judged> {
        let measured = self.measured(stage, rung, on_progress)?;
        let confidence = match stage {
            Stage::Ranking => self.evaluator.request.choice.confidence,
            Stage::Testing { confidence } => confidence,
        };
        let options = ChoiceOptions { rule: SMALLEST, confidence, ..self.evaluator.request.choice.clone() };
        let (samples, reference) = (self.samples(stage), self.evaluator.reference());
        let judge = Judge::on(samples, &reference, &options);
        let whole = reference.whole.select(samples);
        let holds = match stage {
            Stage::Ranking => judge.seems_to_hold(&measured, &whole),
            Stage::Testing { .. } => judge.accepts(&measured, &whole),
        };
        let judged = Judged { cost: judge.cost(&measured), holds };
        if let Stage::Testing { .. } = stage {
            self.rungs.entry(rung).or_default().verdict = Some(Verdict { confidence, holds });
        }
        Ok(judged)
    }

    /// A rung on the samples of a stage.
    pub fn measured(&mut self, stage: Stage, rung: usize, on_progress: OnProgress) -> Result<Measurement> {
        let known = self.rungs.entry(rung).or_default();
        let known = match stage {
            Stage::Ranking => &mut known.ranking,
            Stage::Testing { .. } => &mut known.testing,
        };
        if let Some(measured) = known {
            return Ok(measured.clone());
        }
        let samples = match stage {
            Stage::Ranking => &self.split.ranking,
            Stage::Testing { .. } => &self.split.testing,
        };
        let (measured, work) = self.ladder.measure(samples, rung, on_progress)?;
        self.work += work;
        Ok(known.insert(measured).clone())
    }

    /// A rung on all samples.
    pub fn measured_on_all(&mut self, rung: usize, on_progress: OnProgress) -> Result<Measurement> {
        let sizes: Arc<[SampleSize]> = self.evaluator.curve.sizes().clone();
        let mut joined = Measurement::zero(sizes);
        for stage in [Stage::Ranking, Stage::Testing { confidence: self.evaluator.request.choice.confidence }] {
            let measured = self.measured(stage, rung, &mut *on_progress)?;
            self.samples(stage).iter().zip(measured.scores).for_each(|(&place, score)| joined.scores[place] = score);
        }
        Ok(joined)
    }

    fn samples(&self, stage: Stage) -> &[usize] {
        match stage {
            Stage::Ranking => &self.split.ranking,
            Stage::Testing { .. } => &self.split.testing,
        }
    }
}
