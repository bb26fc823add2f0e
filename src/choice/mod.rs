//! From measurements to a decision. Pure functions over numbers: nothing here reads, runs or prints.
//!
//! [`rules`] choose a boundary, [`gates`] decide whether the result may be written; the other modules say how good and how
//! stable a choice is, and search for a scale, a subset of layers, and controls.

pub mod answer_scores;
pub mod benefit;
pub mod by;
pub mod comparison;
pub mod controls;
pub mod criterion;
pub mod evidence;
pub mod gates;
pub mod held_out;
pub mod rules;
pub mod scale;
pub mod stability;
pub mod subset;
pub mod trained_on;

use std::cell::OnceCell;

use schemars::JsonSchema;
use serde::Serialize;

use crate::measure::{Curve, Point};
use crate::metrics::Score;
pub use answer_scores::AnswerScores;
pub use benefit::Benefit;
pub use by::By;
pub use comparison::{Assessment, Comparison, Reference};
pub use criterion::Criterion;
pub use rules::{Basis, Rule};

/// How to choose.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChoiceOptions {
    #[schemars(schema_with = "rules::schema")]
    pub rule: &'static dyn Rule,
    /// The boundary that the user named, or that was read off the probability curve.
    #[serde(skip)]
    pub boundary: Option<usize>,
    /// What the rule judges boundaries by.
    pub measure: Criterion,
    /// The score of generated answers that the rule judges them by instead; `measure` then only decides which boundaries answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// What a rule must not give up for it, at the same margin and confidence; `None` where the measure alone decides.
    pub guard: Option<Criterion>,
    /// The field of the samples that slices them: what is kept has to hold in each slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice_by: Option<String>,
    /// Share of the adapter's gain over the base model that may be given up, of the measure (by `smallest`) and of the guard.
    pub margin: f64,
    /// One-sided confidence of `smallest`, of the guard, and of every upper bound.
    pub confidence: f64,
    /// Whether `best` takes the smallest boundary within one standard error of the lowest loss.
    pub one_standard_error: bool,
    #[serde(flatten)]
    pub limits: Limits,
}

impl Default for ChoiceOptions {
    fn default() -> Self {
        Self {
            rule: rules::SMALLEST,
            boundary: None,
            measure: Criterion::Loss,
            score: None,
            guard: Some(Criterion::TokenProbability),
            slice_by: None,
            margin: 0.02,
            confidence: 0.95,
            one_standard_error: false,
            limits: Limits::default(),
        }
    }
}

/// How much of the adapter's gain in token accuracy a boundary may have lost, in the mean, to answer at all where nothing is guarded.
const SCREENING_MARGIN: f64 = 0.2;

impl ChoiceOptions {
    /// The options that choose the lowest boundary which is worth generating answers for: of those that hold the guard or, where
    /// nothing is guarded, that have not lost much token accuracy.
    pub fn screening(&self) -> Self {
        let screening =
            Self { rule: rules::SMALLEST, guard: None, score: None, one_standard_error: false, ..self.clone() };
        match self.guard {
            Some(guard) => Self { measure: guard, ..screening },
            None => Self {
                measure: Criterion::TokenAccuracy,
                margin: self.margin.max(SCREENING_MARGIN),
                confidence: 0.5,
                ..screening
            },
        }
    }

    /// The options to judge by something else.
    pub fn judged(self, by: By) -> Self {
        let (measure, score) = match by {
            By::Tokens(measure) => (measure, None),
            By::Answers(score) => (self.guard.unwrap_or(Criterion::TokenAccuracy), Some(score)),
        };
        Self { measure, score, ..self }
    }

    /// What a rule judges by, for people.
    pub fn judged_by(&self) -> String {
        let measure = match self.score {
            Some(Score::Scorer) => "the scorer's numbers for the answers".into(),
            Some(Score::Metric(metric)) => format!("{} of the answers", metric.name()),
            None => self.measure.name().to_string(),
        };
        let guard = self.guard.filter(|&guard| self.score.is_some() || guard != self.measure);
        let guard = guard.map_or(String::new(), |guard| format!(" and {}", guard.name()));
        let slices = self.slice_by.as_ref().map_or(String::new(), |field| format!(", in each slice by `{field}`"));
        measure + &guard + &slices
    }
}

/// Limits that the user sets on what is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_layers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// A boundary and its figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct AssessedBoundary {
    /// The adapter is kept in layers below this one.
    pub boundary: usize,
    #[serde(flatten)]
    pub assessment: Assessment,
}

/// A decision and its reason.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Choice {
    #[serde(flatten)]
    pub chosen: AssessedBoundary,
    #[schemars(schema_with = "rules::schema")]
    pub rule: &'static dyn Rule,
    /// Whether the guard admits the boundary, or nothing is guarded. Nothing that a rule has chosen is written otherwise.
    pub admitted: bool,
    /// One sentence for people.
    pub reason: String,
}

impl Choice {
    pub fn boundary(&self) -> usize {
        self.chosen.boundary
    }

    pub fn loss(&self) -> f64 {
        self.chosen.assessment.loss
    }

    pub fn gain_kept(&self) -> Option<f64> {
        self.chosen.assessment.gain_kept
    }
}

/// The boundaries that a rule chooses among.
pub struct Candidates<'a> {
    pub curve: &'a Curve,
    pub options: &'a ChoiceOptions,
    /// Every boundary of the curve against the whole adapter, lowest first.
    pub all: Vec<AssessedBoundary>,
    /// Whether each of them holds the guard.
    guarded: Vec<bool>,
    /// The scores that the rule judges by, if it judges by scores.
    pub scores: Option<&'a AnswerScores>,
    /// The place in `all` of the boundary that helps where the whole adapter does not, once somebody asks.
    helpful: OnceCell<Option<usize>>,
    is_allowed: &'a dyn Fn(usize) -> bool,
}

impl<'a> Candidates<'a> {
    /// Assesses every point of a curve. `is_allowed` admits boundaries (limits on layers or bytes).
    pub fn new(curve: &'a Curve, options: &'a ChoiceOptions, is_allowed: &'a dyn Fn(usize) -> bool) -> Self {
        let all = assess(curve, options.confidence);
        Self {
            curve,
            options,
            guarded: guarded(curve, options),
            all,
            scores: None,
            helpful: OnceCell::new(),
            is_allowed,
        }
    }

    /// The base model alone.
    pub fn base(&self) -> &AssessedBoundary {
        &self.all[0]
    }

    /// The whole adapter.
    pub fn whole(&self) -> &AssessedBoundary {
        &self.all[self.all.len() - 1]
    }

    /// Those within the limits, lowest first.
    pub fn allowed(&self) -> impl DoubleEndedIterator<Item = &AssessedBoundary> {
        self.all.iter().filter(|candidate| (self.is_allowed)(candidate.boundary))
    }

    /// Those within the limits that the guard admits, lowest first: all above the highest that fails it.
    pub fn admitted(&self) -> impl DoubleEndedIterator<Item = &AssessedBoundary> {
        self.allowed().filter(|candidate| self.admits(candidate))
    }

    /// Whether the guard admits a boundary. The base model alone is no cut: it is admitted if the adapter gains nothing that the
    /// guard could hold. Where the whole adapter does not help, the best boundary that does is admitted, whatever lies above it.
    pub fn admits(&self, candidate: &AssessedBoundary) -> bool {
        if candidate.boundary == self.base().boundary {
            let gain = |guard: Criterion| {
                guard.mean(&self.curve.base().measurement) - guard.mean(&self.curve.whole().measurement)
            };
            return self.options.guard.is_none_or(|guard| gain(guard) <= 0.0);
        }
        let is_helpful = |prefix: &AssessedBoundary| prefix.boundary == candidate.boundary;
        self.is_guarded(candidate) || self.helpful_prefix().is_some_and(is_helpful)
    }

    /// Whether a boundary and all above it hold the guard.
    fn is_guarded(&self, candidate: &AssessedBoundary) -> bool {
        let above = self.all.iter().zip(&self.guarded).rev();
        above.take_while(|(other, _)| other.boundary >= candidate.boundary).all(|(_, &guarded)| guarded)
    }

    /// The best of those that the guard admits; where it admits none within the limits, the best within these.
    pub fn best(&self) -> &AssessedBoundary {
        let cost = |a: &&AssessedBoundary, b: &&AssessedBoundary| self.cost(a).total_cmp(&self.cost(b));
        self.admitted().min_by(cost).or(self.allowed().min_by(cost)).unwrap_or(self.whole())
    }

    /// What a boundary costs: by the measure, per answer token, or the score that it lacks.
    pub fn cost(&self, candidate: &AssessedBoundary) -> f64 {
        if let Some(scores) = self.scores {
            return scores.at(candidate.boundary).map_or(f64::INFINITY, |score| -score);
        }
        self.curve.at(candidate.boundary).map_or(f64::INFINITY, |measured| self.options.measure.mean(measured))
    }

    /// Whether a boundary and all above it are, by the guard and by the measure, as good as the whole adapter, with confidence and
    /// within the margin.
    pub fn holds(&self, candidate: &AssessedBoundary) -> bool {
        let ChoiceOptions { measure, margin, confidence, .. } = *self.options;
        let reference = reference(self.curve, confidence);
        let is_as_good = || match self.scores {
            Some(scores) => scores.holds_at(candidate.boundary, margin, confidence),
            None => {
                self.curve.at(candidate.boundary).is_some_and(|measured| reference.holds(measure, measured, margin))
            }
        };
        self.is_guarded(candidate) && (candidate.boundary == self.whole().boundary || is_as_good())
    }

    /// The boundary of the options. One between two candidates keeps the same layers as the candidate below it.
    pub fn named(&self) -> &AssessedBoundary {
        let named = self.options.boundary.unwrap_or(self.whole().boundary);
        self.all.iter().rev().find(|candidate| candidate.boundary <= named).unwrap_or(self.whole())
    }

    /// What `smallest` may give up by the measure, per answer token.
    pub fn margin(&self) -> f64 {
        reference(self.curve, self.options.confidence).margin(self.options.measure, self.options.margin)
    }
}

/// Whether each point of a curve holds the guard. The whole adapter does.
fn guarded(curve: &Curve, options: &ChoiceOptions) -> Vec<bool> {
    let (reference, whole) = (reference(curve, options.confidence), curve.whole().boundary);
    let holds =
        |point: &Point, guard| point.boundary == whole || reference.holds(guard, &point.measurement, options.margin);
    curve.points.iter().map(|point| options.guard.is_none_or(|guard| holds(point, guard))).collect()
}

/// The reference that the points of a curve are compared with.
pub fn reference(curve: &Curve, confidence: f64) -> Reference<'_> {
    Reference { base: &curve.base().measurement, whole: &curve.whole().measurement, confidence }
}

/// Compares every point of a curve with the whole adapter.
pub fn assess(curve: &Curve, confidence: f64) -> Vec<AssessedBoundary> {
    let reference = reference(curve, confidence);
    let assess =
        |point: &Point| AssessedBoundary { boundary: point.boundary, assessment: reference.assess(&point.measurement) };
    curve.points.iter().map(assess).collect()
}

/// Chooses among the boundaries that `is_allowed` admits.
///
/// A rule may choose boundary 0, an adapter without layers. Then the adapter does not help, and nothing is written.
pub fn choose(curve: &Curve, options: &ChoiceOptions, is_allowed: impl Fn(usize) -> bool) -> Choice {
    choose_by(None, curve, options, is_allowed)
}

/// As [`choose`], by the scores of answers if there are any.
pub fn choose_by(
    scores: Option<&AnswerScores>,
    curve: &Curve,
    options: &ChoiceOptions,
    is_allowed: impl Fn(usize) -> bool,
) -> Choice {
    let candidates = Candidates { scores, ..Candidates::new(curve, options, &is_allowed) };
    let (&chosen, reason) = options.rule.choose(&candidates);
    let admitted = options.rule.basis() == Basis::User || candidates.admits(&chosen);
    Choice { chosen, rule: options.rule, admitted, reason }
}

#[cfg(test)]
mod tests {
    use super::rules::{BEST, SMALLEST};
    use super::*;
    use crate::measure::Measurement;

    /// A curve on samples with so many tokens, as losses by boundary.
    fn curve(tokens: &[usize], points: &[(usize, &[f64])]) -> Curve {
        let measured = |losses| Measurement::of_losses(losses, tokens);
        let points = points.iter().map(|&(boundary, losses)| Point { boundary, measurement: measured(losses) });
        Curve { points: points.collect(), work: Default::default() }
    }

    fn chosen(curve: &Curve, rule: &'static dyn Rule) -> usize {
        choose(curve, &ChoiceOptions { rule, ..ChoiceOptions::default() }, |_| true).boundary()
    }

    #[test]
    fn smallest_wants_proof_and_best_the_lowest() {
        let curve = curve(
            &[1, 2, 3, 4],
            &[
                (0, &[4.0, 8.0, 12.0, 16.0]),
                (1, &[2.0, 4.0, 6.0, 8.0]),
                // As good as the whole adapter on average, but not surely.
                (2, &[0.0, 4.0, 1.0, 5.0]),
                // As good as the whole adapter on every sample.
                (3, &[1.0, 2.0, 3.0, 4.0]),
                (4, &[0.9, 1.8, 2.7, 3.6]),
                (5, &[1.0, 2.0, 3.0, 4.0]),
            ],
        );
        assert_eq!(chosen(&curve, SMALLEST), 3);
        assert_eq!(chosen(&curve, BEST), 4);
    }

    #[test]
    fn one_standard_error_of_the_difference_to_the_lowest() {
        // At equal weights the differences to boundary 3 are, at 1, ones and, at 2, of mean 0.25 and standard error 0.25.
        let points: [(usize, &[f64]); 5] =
            [(0, &[9.0; 4]), (1, &[2.0; 4]), (2, &[1.0, 1.0, 1.0, 2.0]), (3, &[1.0; 4]), (4, &[1.5; 4])];
        let all = curve(&[1; 4], &points);
        let options = ChoiceOptions { rule: BEST, one_standard_error: true, ..ChoiceOptions::default() };
        assert_eq!(choose(&all, &options, |_| true).boundary(), 2);
        assert_eq!(choose(&all, &options, |boundary| boundary != 2).boundary(), 3);
        // One sample has no standard error, so the lowest it is, or, with a guard, the whole adapter.
        let one = curve(&[1], &[(0, &[9.0]), (1, &[2.0]), (2, &[1.0]), (3, &[0.9]), (4, &[1.5])]);
        assert_eq!(choose(&one, &options, |_| true).boundary(), 4);
        assert_eq!(choose(&one, &ChoiceOptions { guard: None, ..options }, |_| true).boundary(), 3);
    }

    #[test]
    fn the_guard_holds_what_the_loss_does_not_see() {
        // The loss falls down to boundary 1, but from 2 on the true tokens become unlikely.
        let losses = [(0, 3.0), (1, 0.8), (2, 0.9), (3, 1.0), (4, 1.0)].map(|(boundary, loss)| (boundary, [loss; 4]));
        let points: Vec<(usize, &[f64])> = losses.iter().map(|(boundary, losses)| (*boundary, &losses[..])).collect();
        let mut curve = curve(&[1; 4], &points);
        for (point, probability) in curve.points.iter_mut().zip([0.1, 0.4, 0.5, 0.6, 0.6]) {
            point.measurement.scores.iter_mut().for_each(|score| score.probability = probability);
        }
        let loss_only = |rule| ChoiceOptions { rule, guard: None, ..ChoiceOptions::default() };
        for rule in [SMALLEST, BEST] {
            assert_eq!(choose(&curve, &loss_only(rule), |_| true).boundary(), 1);
            let guarded = ChoiceOptions { rule, ..ChoiceOptions::default() };
            let choice = choose(&curve, &guarded, |_| true);
            assert!(choice.boundary() == 3 && choice.admitted, "{choice:?}");
            // Within a limit that leaves nothing, the best is named, but it is not admitted.
            let limited = choose(&curve, &guarded, |boundary| boundary < 3);
            assert!(limited.boundary() == 1 && !limited.admitted, "{limited:?}");
        }
    }

    #[test]
    fn margin_and_confidence_decide_what_is_proof() {
        // At boundary 1 the difference is 0.1 of a gain of 2 on average, with a standard error of 0.04.
        let curve = curve(&[1; 4], &[(0, &[3.0; 4]), (1, &[1.0, 1.1, 1.2, 1.1]), (2, &[1.0; 4])]);
        let chosen = |margin, confidence| {
            choose(&curve, &ChoiceOptions { margin, confidence, ..ChoiceOptions::default() }, |_| true).boundary()
        };
        assert_eq!(chosen(0.02, 0.95), 2);
        assert_eq!(chosen(0.06, 0.95), 2);
        assert_eq!(chosen(0.06, 0.5), 1);
        assert_eq!(chosen(0.12, 0.95), 1);
    }

    #[test]
    fn one_sample_proves_nothing() {
        let curve = curve(&[1], &[(0, &[3.0]), (1, &[1.0]), (2, &[1.0])]);
        assert_eq!(chosen(&curve, SMALLEST), 2);
    }

    #[test]
    fn without_a_gain_nothing_is_kept() {
        let curve = curve(&[1, 2, 3, 4], &[(0, &[1.0, 2.0, 3.0, 4.0]), (1, &[2.0, 4.0, 6.0, 8.0])]);
        for rule in [SMALLEST, BEST] {
            assert_eq!(chosen(&curve, rule), 0);
        }
    }

    #[test]
    fn the_rule_does_not_step_over_what_fails_the_guard() {
        // The adapter gains nothing: the base model is as good by the loss, and likelier on average. But boundary 1 is worse.
        let points: [(usize, &[f64]); 3] = [(0, &[1.0; 4]), (1, &[1.0; 4]), (2, &[1.0; 4])];
        let mut curve = curve(&[1; 4], &points);
        for (point, probability) in curve.points.iter_mut().zip([0.7, 0.3, 0.6]) {
            point.measurement.scores.iter_mut().for_each(|score| score.probability = probability);
        }
        assert_eq!(chosen(&curve, SMALLEST), 2);
    }

    #[test]
    fn a_limit_is_kept() {
        let curve = curve(&[1, 2, 3, 4], &[(0, &[4.0; 4]), (1, &[3.0; 4]), (2, &[2.0; 4]), (3, &[1.0; 4])]);
        let choice = choose(&curve, &ChoiceOptions::default(), |boundary| boundary <= 2);
        assert_eq!(choice.boundary(), 2);
    }
}
