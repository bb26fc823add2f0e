//! Checking a choice on samples that had no part in it.

use super::Request;
use super::prepare::Prepared;
use super::steps::Samples;
use crate::choice::held_out::{Judged, judge};
use crate::cli::settings::HeldOutFrom;
use crate::error::Result;
use crate::measure::{self, OnProgress, Profile, Scores};
use crate::model::AdaptedModel;
use crate::report::HeldOut;
use crate::samples::Sample;

/// What held-out samples say.
pub struct Checked {
    pub report: HeldOut,
    /// The answer tokens of each sample.
    pub answers: Vec<usize>,
    /// By profile.
    pub scores: Vec<Scores>,
    base: Scores,
    whole: Scores,
}

impl Checked {
    /// The samples, with what is known of them.
    pub fn as_samples<'a>(&'a self, held_out: &'a Prepared) -> Samples<'a> {
        let cut = &self.scores[0];
        Samples { samples: &held_out.samples, answers: &self.answers, base: &self.base, cut, whole: &self.whole }
    }
}

/// Evaluates `profiles`, of which the first is what was chosen, by `boundary`, the base model and the whole adapter, and nothing else, on
/// held-out samples.
pub fn check(
    held_out: &Prepared,
    (boundary, profiles): (usize, Vec<Profile>),
    ends: &AdaptedModel,
    request: &Request,
    on_progress: OnProgress,
) -> Result<Checked> {
    let samples = &held_out.samples;
    let layers = ends.model().config.layers;
    let whole = measure::candidates(ends.adapter()).last().copied().unwrap_or(0);
    let all = profiles.into_iter().chain([0, whole].map(|boundary| Profile::below(boundary, layers))).collect();
    let mut scores = measure::profiles(ends, samples, all, &request.sweep, on_progress)?;
    let whole_scores = scores.pop().unwrap_or_default();
    let base = scores.pop().unwrap_or_default();
    let answers: Vec<usize> = samples.iter().map(Sample::answers).collect();
    let judged = Judged { base: &base, chosen: (boundary, &scores[0]), whole: (whole, &whole_scores) };
    let report = HeldOut {
        samples: held_out.description.clone(),
        share: match request.held_out {
            Some(HeldOutFrom::Share(share)) => Some(share),
            _ => None,
        },
        verdict: judge(&judged, &answers, &request.choice),
    };
    Ok(Checked { report, answers, scores, base, whole: whole_scores })
}
