//! What held-out samples say of the choice, for the terminal.

use std::fmt::Write;

use crate::choice::Criterion;
use crate::choice::held_out::{HeldOutScore, HeldOutVerdict};
use crate::format::{percent, percent_text, plural};
use crate::report::Report;

/// The figures on held-out samples, and whether they confirm the choice.
pub fn figures(report: &Report) -> String {
    let Some(held_out) = &report.held_out else { return String::new() };
    let (verdict, samples) = (&held_out.verdict, &held_out.samples);
    let mut text = format!(
        "held out: {}, {} scored: loss {:.4} (base {:.4}, whole adapter {:.4})",
        plural(samples.count, "sample"),
        plural(samples.answer_tokens, "token"),
        verdict.chosen.assessment.loss,
        verdict.base.assessment.loss,
        verdict.whole.assessment.loss
    );
    if let Some(gain) = verdict.gain_kept {
        let _ = write!(text, ", {:.1} % of the adapter's gain kept", gain * 100.0);
    }
    format!("{text}\n          {}\n", finding(verdict, report))
}

/// Whether held-out samples confirm the choice, in one clause.
pub fn finding(verdict: &HeldOutVerdict, report: &Report) -> String {
    let confidence = percent(report.options.as_ref().map_or(0.95, |options| options.confidence));
    if report.changes_nothing() {
        return "the whole adapter is kept, so there is nothing to confirm".into();
    }
    if let Some(margin) = verdict.guard_margin.filter(|_| verdict.fails_by_guard()) {
        let lost = -verdict.chosen.assessment.probability_difference;
        let head = if lost > margin { "NOT CONFIRMED" } else { "not confirmed, because there are too few samples" };
        let (lost, margin) = (percent_text(lost), percent_text(margin));
        return format!("{head}: {lost} of the probability of a true token is given up; {margin} are allowed");
    }
    let given_up = match &verdict.score {
        Some(score) => GivenUp::of_score(score),
        None => {
            GivenUp::of_measure(verdict, report.options.as_ref().map_or(Criterion::Loss, |options| options.measure))
        }
    };
    given_up.finding(verdict, confidence)
}

/// What the choice gives up, its bound, and what is allowed, in words.
struct GivenUp {
    difference: String,
    bound: String,
    margin: String,
}

impl GivenUp {
    fn of_measure(verdict: &HeldOutVerdict, measure: Criterion) -> Self {
        let text = |cost: f64| match measure {
            Criterion::Loss => format!("{cost:+.4} nats"),
            Criterion::TokenProbability | Criterion::TokenAccuracy => format!("{:+.2} points", -100.0 * cost),
        };
        Self {
            difference: text(verdict.difference),
            bound: verdict.difference_at_most.map_or("unknown".into(), text),
            margin: text(verdict.margin),
        }
    }

    fn of_score(score: &HeldOutScore) -> Self {
        let name = score.name.name();
        Self {
            difference: format!("{:+.2} {name}", score.to_whole.difference),
            bound: score.to_whole.difference_at_least.map_or("unknown".into(), |least| format!("{least:+.2} {name}")),
            margin: format!("{:+.2}", -score.margin),
        }
    }

    fn finding(&self, verdict: &HeldOutVerdict, confidence: f64) -> String {
        let Self { difference, bound, margin } = self;
        if verdict.confirmed {
            format!(
                "confirmed: with {confidence} % confidence no worse than {bound} from the whole adapter's; {margin} are allowed"
            )
        } else if verdict.within_margin {
            format!(
                "not confirmed, because there are too few samples: {difference} from the whole adapter's is within the {margin} allowed, but its \
                 bound with {confidence} % confidence is {bound}"
            )
        } else {
            format!("NOT CONFIRMED: {difference} from the whole adapter's, more than the {margin} allowed")
        }
    }
}
