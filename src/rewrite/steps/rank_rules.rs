//! The rules of `--rank`: how many singular values a module keeps.

use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq)]
enum RankRule {
    /// At most this many values.
    Most(usize),
    /// The fewest that keep this share of ‖ΔW‖², the sum of the squares of all values.
    ///
    /// kohya's `sv_fro` (sd-scripts, `networks/resize_lora.py`) takes the share of ‖ΔW‖ instead, the square root of this
    /// one, and keeps one value more.
    Energy(f64),
    /// Those above the largest divided by this (kohya's `sv_ratio` keeps one more here, too).
    Ratio(f64),
}

impl RankRule {
    /// How many of `values`, which begin with the largest, stay: at least one, because PEFT has no pairs of rank 0.
    fn rank(self, values: &[f64]) -> usize {
        let rank = match self {
            RankRule::Most(most) => most.min(values.len()),
            RankRule::Energy(share) => {
                // From the smallest up, so that small squares are not lost in a large sum.
                let dropped_from = |rank: usize| values[rank..].iter().rev().map(|value| value * value).sum::<f64>();
                let allowed = (1.0 - share) * dropped_from(0);
                (0..values.len()).find(|&rank| dropped_from(rank) <= allowed).unwrap_or(values.len())
            }
            RankRule::Ratio(ratio) => {
                let largest = values.first().copied().unwrap_or(0.0);
                values.iter().take_while(|&&value| value > largest / ratio).count()
            }
        };
        rank.max(1)
    }
}

/// The value of `--rank`: one rule or several; the one that keeps the least decides.
#[derive(Debug, Clone, PartialEq)]
pub struct RankRules(Vec<RankRule>);

impl RankRules {
    /// The rank of all modules that have at least this many values, if the rules name one.
    pub fn same_for_all(&self) -> Option<usize> {
        let most = |rule: &RankRule| match rule {
            RankRule::Most(most) => Some(*most),
            _ => None,
        };
        self.0.iter().map(most).collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    pub fn rank(&self, values: &[f64]) -> usize {
        self.0.iter().map(|rule| rule.rank(values)).min().unwrap_or(values.len())
    }
}

impl FromStr for RankRules {
    type Err = String;

    /// Parses `8`, `energy:0.99` (or `energy:99%`), `ratio:10`, or several of them, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let rule = |part: &str| match part.trim().split_once(':') {
            None => part.trim().parse().ok().filter(|&most| most > 0).map(RankRule::Most),
            Some(("energy", share)) => {
                // Moving the point rather than dividing, so that 99.9 % is the same number as 0.999.
                let number =
                    share.strip_suffix('%').map_or(share.into(), |percent| format!("{}e-2", percent.trim_end()));
                number.parse().ok().filter(|share| (0.0..1.0).contains(share)).map(RankRule::Energy)
            }
            Some(("ratio", ratio)) => {
                ratio.parse().ok().filter(|&ratio| (1.0..1e30).contains(&ratio)).map(RankRule::Ratio)
            }
            Some(_) => None,
        };
        let wrong = |part: &str| format!("`{part}` is neither a rank such as 8 nor `energy:0.99` nor `ratio:10`");
        text.split(',').map(|part| rule(part).ok_or_else(|| wrong(part))).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for RankRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = |rule: &RankRule| match rule {
            RankRule::Most(most) => most.to_string(),
            RankRule::Energy(share) => format!("energy:{share}"),
            RankRule::Ratio(ratio) => format!("ratio:{ratio}"),
        };
        f.write_str(&self.0.iter().map(rule).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_keep_what_they_say() {
        let values = [4.0, 2.0, 1.0, 0.5, 0.0]; // squares 16, 4, 1, 0.25: 21.25 in all
        for (rules, rank) in [
            ("3", 3),
            ("9", 5),
            ("energy:0", 1),
            ("energy:0.75", 1),
            ("energy:0.76", 2),
            ("energy:94.1%", 2),
            ("energy:0.9999", 4),
            ("ratio:2", 1),
            ("ratio:2.1", 2),
            ("ratio:100", 4),
            ("ratio:1", 1),
            ("energy:0.9999,3", 3),
            ("energy:0.9,ratio:100, 8", 2),
        ] {
            assert_eq!(rules.parse::<RankRules>().unwrap().rank(&values), rank, "{rules}");
        }
        for zero in ["4", "energy:0.9", "ratio:10"] {
            let rank = zero.parse::<RankRules>().unwrap().rank(&[0.0; 3]);
            assert_eq!(rank, if zero == "4" { 3 } else { 1 }, "{zero}");
        }
    }

    #[test]
    fn rules_are_read_as_written() {
        for text in ["8", "energy:0.99", "ratio:10", "energy:0.5,16"] {
            assert_eq!(text.parse::<RankRules>().unwrap().to_string(), text);
        }
        assert_eq!("energy:99 %".parse::<RankRules>().unwrap().to_string(), "energy:0.99");
        for wrong in [
            "",
            "0",
            "-1",
            "a",
            "8.5",
            "energy",
            "energy:1",
            "energy:-0.1",
            "energy:NaN",
            "ratio:0.5",
            "ratio:inf",
            "8,",
            "sv_fro:0.9",
        ] {
            assert!(wrong.parse::<RankRules>().is_err(), "{wrong}");
        }
    }
}
