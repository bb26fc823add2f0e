//! From the curve to a boundary. Pure functions over numbers: nothing here reads, runs or prints.

pub mod compare;
pub mod controls;
pub mod gates;
pub mod held_out;
pub mod probability;
pub mod scale;
pub mod stability;
pub mod subset;

use schemars::JsonSchema;
use serde::Serialize;

use crate::format::percent;
use crate::measure::{Curve, Point};
use compare::{Comparison, gain_kept, mean};

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The smallest boundary whose loss is, with confidence, not worse than the whole adapter's by more than a margin.
    Smallest,
    /// The lowest mean loss: the paper's automated boundary search.
    Best,
    /// Where the probability of the true tokens begins to rise: the paper's probability curve ([`probability`]).
    Curve,
    /// The user named the boundary.
    Boundary,
}

impl Rule {
    pub fn name(self) -> &'static str {
        match self {
            Rule::Smallest => "smallest",
            Rule::Best => "best",
            Rule::Curve => "curve",
            Rule::Boundary => "boundary",
        }
    }

    /// Whether the losses of boundaries have no part in the choice.
    pub fn needs_no_losses(self) -> bool {
        matches!(self, Rule::Curve | Rule::Boundary)
    }
}

/// How to choose.
#[derive(Debug, Clone, PartialEq)]
pub struct ChoiceOptions {
    pub rule: Rule,
    /// The boundary of [`Rule::Boundary`], and of [`Rule::Curve`] once it is read off.
    pub boundary: Option<usize>,
    /// What `smallest` allows, as a share of the adapter's gain over the base model.
    pub margin: f64,
    /// One-sided.
    pub confidence: f64,
    /// Whether `best` takes the smallest boundary that is as good as the lowest within one standard error.
    pub one_standard_error: bool,
}

impl Default for ChoiceOptions {
    fn default() -> Self {
        Self { rule: Rule::Smallest, boundary: None, margin: 0.02, confidence: 0.95, one_standard_error: false }
    }
}

impl ChoiceOptions {
    /// The margin in nats per answer token, given the losses of the base model and of the whole adapter; 0 where that gains
    /// nothing.
    pub fn margin_between(&self, base: f64, whole: f64) -> f64 {
        self.margin * (base - whole).max(0.0)
    }
}

/// A boundary, measured against the whole adapter.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Verdict {
    pub boundary: usize,
    /// Nats per answer token.
    pub loss: f64,
    /// (loss(0) − loss(b)) / (loss(0) − loss(L)); absent where the whole adapter gains nothing.
    pub gain_kept: Option<f64>,
    /// loss(b) − loss(L), in nats per answer token.
    pub difference: f64,
    /// The one-sided upper confidence bound of `difference`; absent with fewer than two samples.
    pub difference_at_most: Option<f64>,
}

/// A decision and its reason.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Choice {
    pub boundary: usize,
    pub rule: Rule,
    /// One sentence for people.
    pub reason: String,
    pub loss: f64,
    pub gain_kept: Option<f64>,
}

impl Curve {
    /// The answer tokens of all samples.
    pub fn answer_tokens(&self) -> usize {
        self.answers.iter().sum()
    }

    /// The mean loss of a point in nats per answer token.
    pub fn loss(&self, point: &Point) -> f64 {
        mean(&point.per_sample, &self.answers)
    }

    /// The share of answer tokens that are right.
    pub fn token_accuracy(&self, point: &Point) -> f64 {
        compare::token_accuracy(&point.right, &self.answers)
    }

    /// The share of samples all of whose answer tokens are right.
    pub fn exact_match(&self, point: &Point) -> f64 {
        compare::exact_match(&point.right, &self.answers)
    }

    /// The standard error of the difference of two points, paired over samples; `None` with fewer than two samples.
    fn error_of_difference(&self, one: &Point, other: &Point) -> Option<f64> {
        let differences: Vec<f64> = one.per_sample.iter().zip(&other.per_sample).map(|(a, b)| a - b).collect();
        compare::standard_error(&differences, &self.answers)
    }

    fn point(&self, boundary: usize) -> Option<&Point> {
        self.points.iter().find(|point| point.boundary == boundary)
    }

    /// The base model alone and the whole adapter.
    fn ends(&self) -> (&Point, &Point) {
        (&self.points[0], &self.points[self.points.len() - 1])
    }
}

/// Measures every point of the curve against the whole adapter, its last point.
pub fn verdicts(curve: &Curve, options: &ChoiceOptions) -> Vec<Verdict> {
    let (base, whole) = curve.ends();
    let (base_loss, whole_loss) = (curve.loss(base), curve.loss(whole));
    curve
        .points
        .iter()
        .map(|point| {
            let compared = Comparison::new(&point.per_sample, &whole.per_sample, &curve.answers, options.confidence);
            Verdict {
                boundary: point.boundary,
                loss: curve.loss(point),
                gain_kept: gain_kept(curve.loss(point), base_loss, whole_loss),
                difference: compared.difference,
                difference_at_most: compared.at_most,
            }
        })
        .collect()
}

/// What `smallest` may give up, in nats per answer token.
pub fn margin(verdicts: &[Verdict], options: &ChoiceOptions) -> f64 {
    options.margin_between(verdicts[0].loss, verdicts[verdicts.len() - 1].loss)
}

/// The boundary that `smallest` arrives at among those that `allowed` admits: it goes from the top down and stops above the
/// first that does not hold. Each test is made only if all before it were passed, so that the confidence of one is that of
/// the choice. The whole adapter, the last verdict, always holds.
pub fn lowest_that_holds<'a>(
    verdicts: &'a [Verdict],
    options: &ChoiceOptions,
    allowed: impl Fn(usize) -> bool,
) -> Option<&'a Verdict> {
    let (margin, whole) = (margin(verdicts, options), verdicts[verdicts.len() - 1].boundary);
    let holds =
        |verdict: &&Verdict| verdict.boundary == whole || verdict.difference_at_most.is_some_and(|most| most <= margin);
    verdicts.iter().rev().filter(|verdict| allowed(verdict.boundary)).take_while(holds).last()
}

/// Chooses among the boundaries that `allowed` admits (limits on layers or bytes).
///
/// A rule may arrive at boundary 0, an adapter without layers: then the adapter does not help, and there is nothing to
/// write.
pub fn choose(curve: &Curve, options: &ChoiceOptions, allowed: impl Fn(usize) -> bool) -> Choice {
    let verdicts = verdicts(curve, options);
    let whole = &verdicts[verdicts.len() - 1];
    let candidates: Vec<&Verdict> = verdicts.iter().filter(|verdict| allowed(verdict.boundary)).collect();
    let lowest = candidates.iter().copied().min_by(|a, b| a.loss.total_cmp(&b.loss)).unwrap_or(whole);
    let (verdict, reason) = match options.rule {
        Rule::Curve | Rule::Boundary => {
            let wanted = options.boundary.unwrap_or(whole.boundary);
            // A boundary between two candidates keeps the same layers as the candidate below it.
            let found = verdicts.iter().rev().find(|verdict| verdict.boundary <= wanted).unwrap_or(whole);
            (found, "the boundary was given".to_string())
        }
        Rule::Best if options.one_standard_error => as_good_as(lowest, &candidates, curve),
        Rule::Best => (lowest, "it has the lowest loss on the samples".to_string()),
        Rule::Smallest => {
            let margin = margin(&verdicts, options);
            match lowest_that_holds(&verdicts, options, &allowed) {
                Some(verdict) if verdict.boundary == whole.boundary => {
                    (verdict, "no smaller boundary can be shown to be as good".to_string())
                }
                Some(verdict) => (verdict, not_worse(verdict, options, margin)),
                None => {
                    // The adapter does help, if not as far as it may be kept.
                    let helps = whole.loss < verdicts[0].loss;
                    let kept = candidates.iter().copied().filter(|verdict| !helps || verdict.boundary > 0);
                    let lowest = kept.min_by(|a, b| a.loss.total_cmp(&b.loss)).unwrap_or(lowest);
                    let reason = "the highest boundary within the limit cannot be shown to be as good as the whole adapter; this one \
                                  has the lowest loss within it";
                    (lowest, reason.to_string())
                }
            }
        }
    };
    Choice { boundary: verdict.boundary, rule: options.rule, reason, loss: verdict.loss, gain_kept: verdict.gain_kept }
}

/// The smallest of the candidates that is within one standard error of the lowest, as is usual in choosing among models
/// of growing size (Breiman et al., Classification and Regression Trees, 3.4.3), but with the error of the paired difference:
/// boundaries are better or worse together on the same samples.
fn as_good_as<'a>(lowest: &'a Verdict, candidates: &[&'a Verdict], curve: &Curve) -> (&'a Verdict, String) {
    let within = |verdict: &&Verdict| {
        let pair = curve.point(verdict.boundary).zip(curve.point(lowest.boundary));
        let error = pair.and_then(|(point, lowest)| curve.error_of_difference(point, lowest));
        verdict.boundary == lowest.boundary || error.is_some_and(|error| verdict.loss - lowest.loss <= error)
    };
    let smallest = candidates.iter().copied().find(within).unwrap_or(lowest);
    let reason = format!(
        "smallest boundary whose loss is within one standard error of the lowest, {:.4} at boundary {}",
        lowest.loss, lowest.boundary
    );
    (smallest, reason)
}

fn not_worse(verdict: &Verdict, options: &ChoiceOptions, margin: f64) -> String {
    format!(
        "smallest boundary whose loss is with {} % confidence at most {margin:.4} nats above the whole adapter's ({} % of \
         its gain); its upper bound is {:+.4}",
        percent(options.confidence),
        percent(options.margin),
        verdict.difference_at_most.unwrap_or(f64::NAN),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(usize, [f64; 4])]) -> Curve {
        let points =
            points.iter().map(|&(boundary, losses)| Point { boundary, per_sample: losses.into(), ..Point::default() });
        Curve { points: points.collect(), answers: vec![1, 2, 3, 4], work: Default::default() }
    }

    fn chosen(curve: &Curve, rule: Rule) -> usize {
        choose(curve, &ChoiceOptions { rule, ..ChoiceOptions::default() }, |_| true).boundary
    }

    #[test]
    fn smallest_wants_proof_and_best_the_lowest() {
        let curve = curve(&[
            (0, [4.0, 8.0, 12.0, 16.0]),
            (1, [2.0, 4.0, 6.0, 8.0]),
            // As good as the whole adapter on average, but not surely.
            (2, [0.0, 4.0, 1.0, 5.0]),
            // As good as the whole adapter on every sample.
            (3, [1.0, 2.0, 3.0, 4.0]),
            (4, [0.9, 1.8, 2.7, 3.6]),
            (5, [1.0, 2.0, 3.0, 4.0]),
        ]);
        assert_eq!(chosen(&curve, Rule::Smallest), 3);
        assert_eq!(chosen(&curve, Rule::Best), 4);
    }

    #[test]
    fn one_standard_error_of_the_difference_to_the_lowest() {
        // At equal weights the differences to boundary 3 are, at 1, ones and, at 2, of mean 0.25 and standard error 0.25.
        let mut curve = curve(&[(0, [9.0; 4]), (1, [2.0; 4]), (2, [1.0, 1.0, 1.0, 2.0]), (3, [1.0; 4]), (4, [1.5; 4])]);
        curve.answers = vec![1; 4];
        let options = ChoiceOptions { rule: Rule::Best, one_standard_error: true, ..ChoiceOptions::default() };
        assert_eq!(choose(&curve, &options, |_| true).boundary, 2);
        assert_eq!(choose(&curve, &options, |boundary| boundary != 2).boundary, 3);
        // One sample has no standard error, so the lowest it is.
        curve.points.iter_mut().for_each(|point| point.per_sample.truncate(1));
        curve.points[3].per_sample[0] = 0.9;
        curve.answers.truncate(1);
        assert_eq!(choose(&curve, &options, |_| true).boundary, 3);
    }

    #[test]
    fn margin_and_confidence_decide_what_is_proof() {
        // At boundary 1 the difference is 0.1 of a gain of 2 on average, with a standard error of 0.04.
        let mut curve = curve(&[(0, [3.0; 4]), (1, [1.0, 1.1, 1.2, 1.1]), (2, [1.0; 4])]);
        curve.answers = vec![1; 4];
        let chosen = |margin, confidence| {
            choose(&curve, &ChoiceOptions { margin, confidence, ..ChoiceOptions::default() }, |_| true).boundary
        };
        assert_eq!(chosen(0.02, 0.95), 2);
        assert_eq!(chosen(0.06, 0.95), 2);
        assert_eq!(chosen(0.06, 0.5), 1);
        assert_eq!(chosen(0.12, 0.95), 1);
    }

    #[test]
    fn accuracy_counts_tokens_and_exact_match_samples() {
        let mut curve = curve(&[(0, [1.0; 4])]);
        curve.points[0].right = vec![1, 1, 3, 2];
        assert_eq!(curve.token_accuracy(&curve.points[0]), 0.7);
        assert_eq!(curve.exact_match(&curve.points[0]), 0.5);
    }

    #[test]
    fn one_sample_proves_nothing() {
        let points = [(0, 3.0), (1, 1.0), (2, 1.0)];
        let points = points.map(|(boundary, loss)| Point { boundary, per_sample: vec![loss], ..Point::default() });
        let curve = Curve { points: points.into(), answers: vec![1], work: Default::default() };
        assert_eq!(chosen(&curve, Rule::Smallest), 2);
    }

    #[test]
    fn without_a_gain_nothing_is_kept() {
        let curve = curve(&[(0, [1.0, 2.0, 3.0, 4.0]), (1, [2.0, 4.0, 6.0, 8.0])]);
        for rule in [Rule::Smallest, Rule::Best] {
            assert_eq!(chosen(&curve, rule), 0);
        }
    }

    #[test]
    fn a_limit_is_kept() {
        let curve = curve(&[(0, [4.0; 4]), (1, [3.0; 4]), (2, [2.0; 4]), (3, [1.0; 4])]);
        let choice = choose(&curve, &ChoiceOptions::default(), |boundary| boundary <= 2);
        assert_eq!(choice.boundary, 2);
    }
}
