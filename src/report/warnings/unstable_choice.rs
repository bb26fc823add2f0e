//! `unstable-choice`: other samples of the same kind would mostly choose another boundary.

use super::Finding;
use crate::choice::stability::Share;
use crate::format::percent_text;
use crate::report::Report;

/// Below this share the most frequent boundary is one among many: the choice is spread, which the report shows, and not contradicted.
const LEAST_RIVAL: f64 = 0.25;

/// How many times as often as the choice. A boundary that only just passes its test passes it again on half of the resamplings, so
/// that a boundary with half the share of another one owes more to luck than that.
const TIMES_AS_OFTEN: f64 = 2.0;

pub fn find(report: &Report) -> Vec<Finding> {
    // The whole adapter is safe, whatever other samples would drop.
    let chosen = report.chosen.as_ref().filter(|_| !report.changes_nothing());
    chosen.and_then(|chosen| finding(&report.stability, chosen.boundary())).into_iter().collect()
}

fn finding(shares: &[Share], chosen: usize) -> Option<Finding> {
    let rival = shares.iter().max_by(|a, b| a.share.total_cmp(&b.share))?;
    let agreeing = shares.iter().find(|share| share.boundary == chosen).map_or(0.0, |share| share.share);
    let contradicts = rival.share >= LEAST_RIVAL && rival.share >= TIMES_AS_OFTEN * agreeing;
    (contradicts && rival.boundary != chosen).then(|| {
        let sentence = format!(
            "the choice hangs on these samples: of resampled ones {} choose boundary {chosen}, and {} choose {}; give more samples",
            percent_text(agreeing),
            percent_text(rival.share),
            rival.boundary
        );
        Finding::new(sentence)
            .with("agreeing", agreeing)
            .with("rival", rival.boundary as f64)
            .with("rival_share", rival.share)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resamplings_that_choose_otherwise_are_pointed_out() {
        let found = |shares: &[(usize, f64)], chosen| {
            let shares: Vec<Share> = shares.iter().map(|&(boundary, share)| Share { boundary, share }).collect();
            finding(&shares, chosen)
        };
        let told = found(&[(19, 0.04), (22, 0.2), (25, 0.48), (30, 0.28)], 19).unwrap_or_else(|| Finding::new(""));
        assert!(told.sentence.contains("4.0 % choose boundary 19, and 48.0 % choose 25"), "{told:?}");
        assert_eq!(told.figures["rival"], 25.0);
        assert_eq!(found(&[(19, 0.45), (25, 0.55)], 19), None, "about as often");
        assert_eq!(found(&[(19, 0.08), (20, 0.2), (21, 0.2), (22, 0.19)], 19), None, "spread, not contradicted");
        assert_eq!(found(&[(19, 0.9), (25, 0.1)], 19), None);
        assert_eq!(found(&[], 19), None);
        assert!(found(&[(25, 1.0)], 19).is_some());
    }
}
