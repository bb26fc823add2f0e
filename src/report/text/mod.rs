//! Reports for the terminal: plain text, readable without colour.
//!
//! A section is a function of the report and a line in `SECTIONS`. A section that has nothing to say is empty.

pub mod alternatives;
pub mod batch;
pub mod compare;
pub mod held_out;
mod metrics;
pub mod minimized;
mod probability;
pub mod runtimes;
pub mod serving;
mod slices;
pub mod steps;
pub mod subset;
mod window;

use std::fmt::Write;

use super::Report;
use crate::choice::Assessment;
use crate::choice::gates::GateVerdict;
use crate::choice::stability::Share;
use crate::format::percent;
use crate::format::{bar, bytes, percent_text, plural, ranges};
use crate::printable::OneLine;

/// The widest line of long texts.
pub const WIDTH: usize = 100;

/// The sections in their order.
const SECTIONS: &[Section] = &[
    quantisation,
    samples,
    curve,
    saved_work,
    probability::table,
    choice,
    window::line,
    subset::lines,
    minimized::table,
    alternatives::scale,
    correct_answers,
    stability,
    slices::table,
    held_out::figures,
    steps::table,
    metrics::scores,
    size,
    serving::saved,
    gates,
    alternatives::table,
];

/// What of them is known without samples.
const SECTIONS_OF_CUT: &[Section] = &[steps::table, size, serving::saved, gates];

type Section = fn(&Report) -> String;

/// The whole report of `scan` or `slim`.
pub fn report(report: &Report) -> String {
    SECTIONS.iter().map(|section| section(report)).collect()
}

/// The report of `cut`.
pub fn report_of_cut(report: &Report) -> String {
    SECTIONS_OF_CUT.iter().map(|section| section(report)).collect()
}

/// What the inputs hold that was not used, or not as it is written: part of the result where no warnings are printed.
pub fn remarks(report: &Report) -> String {
    report.remarks.iter().map(|remark| format!("note: {}\n", OneLine(remark))).collect()
}

fn samples(report: &Report) -> String {
    let Some(samples) = &report.samples else { return String::new() };
    let truncated = if samples.truncated == 0 { String::new() } else { format!(", {} cut", samples.truncated) };
    format!(
        "{}{truncated}, {}, {} of them scored{}{}\n\n",
        plural(samples.count, "sample"),
        plural(samples.tokens, "token"),
        samples.answer_tokens,
        if samples.own_answers { ", the whole adapter's own answers" } else { "" },
        if samples.ignores_ends { ", without the tokens that end answers" } else { "" },
    )
}

/// The numbers that count are those that the codes stand for.
fn quantisation(report: &Report) -> String {
    let quantisation = report.base.as_ref().and_then(|base| base.quantisation.as_ref());
    quantisation.map(|how| format!("quantised base: {how}\n")).unwrap_or_default()
}

fn choice(report: &Report) -> String {
    let Some(choice) = &report.chosen else { return String::new() };
    let mut text = format!("\nboundary {} ({}): {}\n", choice.boundary(), choice.rule.name(), OneLine(&choice.reason));
    let (Some(base), Some(whole)) = (report.curve.first(), report.curve.last()) else { return text };
    let _ = write!(text, "loss {:.4} (base {:.4}, whole adapter {:.4})", choice.loss(), base.loss(), whole.loss());
    if let Some(gain) = choice.gain_kept() {
        let _ = write!(text, ", {:.1} % of the adapter's gain kept", gain * 100.0);
    }
    text + "\n"
}

/// A line for each gate.
fn gates(report: &Report) -> String {
    let line =
        |gate: &GateVerdict| format!("gate {}: {}\n", if gate.passed { "passed" } else { "FAILED" }, OneLine(gate));
    report.gates.iter().map(line).collect()
}

/// How likely the true tokens are, and how many of them, and of whole answers, greedy decoding would get correct.
fn correct_answers(report: &Report) -> String {
    let (Some(written), Some(base)) = (report.written_on_choosing(), report.curve.first()) else {
        return String::new();
    };
    let line = |of: fn(&Assessment) -> f64| {
        let [written, base, whole] = [&written.assessment, &base.assessed.assessment, &written.whole].map(of);
        format!("{} (base {}, whole adapter {})", percent_text(written), percent_text(base), percent_text(whole))
    };
    let probability = line(|one| one.token_probability);
    let correct = format!("correct tokens {}, answers {}", line(|one| one.token_accuracy), line(|one| one.exact_match));
    format!("probability of a true token {probability}\n{correct}\n")
}

/// A choice with at least the first share of resamplings needs no histogram; a boundary with less than the second gets no line.
const STABLE: f64 = 0.9;
const WORTH_A_LINE: f64 = 0.02;

/// How often resampled samples choose the same boundary, and, if that is not nearly always, which others they choose.
fn stability(report: &Report) -> String {
    let Some(choice) = &report.chosen else { return String::new() };
    resampled(&report.stability, choice.boundary(), !report.dropped.is_empty())
}

fn resampled(shares: &[Share], chosen: usize, searched: bool) -> String {
    if shares.is_empty() {
        return String::new();
    }
    let agreeing = shares.iter().find(|share| share.boundary == chosen).map_or(0.0, |share| share.share);
    let among = if searched { ", among those evaluated" } else { "" };
    let mut text = format!("stability: {:.0} % of resampled samples choose {chosen} too{among}\n", agreeing * 100.0);
    if agreeing >= STABLE {
        return text;
    }
    let largest = shares.iter().map(|share| share.share).fold(f64::MIN_POSITIVE, f64::max);
    let (shown, rest): (Vec<_>, Vec<_>) = shares.iter().partition(|share| share.share >= WORTH_A_LINE);
    for share in shown {
        let _ = writeln!(text, "{:>9}  {:>5.1} %  {}", share.boundary, share.share * 100.0, bar(share.share / largest));
    }
    let others: f64 = rest.iter().map(|share| share.share).sum();
    if others > 0.0 {
        let _ = writeln!(text, "{:>9}  {:>5.1} %", "others", others * 100.0);
    }
    text
}

/// How many boundaries an adaptive search dropped early, and how much work remained.
fn saved_work(report: &Report) -> String {
    let dropped = report.dropped.len();
    let Some((work, error)) = report.work.as_ref().and_then(|work| Some((work, work.error_probability?))) else {
        return String::new();
    };
    if dropped == 0 {
        return String::new();
    }
    let share = 100.0 * work.layer_tokens as f64 / work.exhaustive_layer_tokens.max(1) as f64;
    format!(
        "{dropped} more boundaries were decided on a part of the samples, wrongly with a probability of at most {} %; \
         {share:.0} % of the work of evaluating all\n",
        percent(error)
    )
}

/// The sizes before and after, on one line.
fn size(report: &Report) -> String {
    let Some(output) = &report.output else { return String::new() };
    let kept = format!("{} → {}", bytes(output.bytes_before), bytes(output.bytes_after));
    let saved = 100.0 * (1.0 - output.bytes_after as f64 / output.bytes_before.max(1) as f64);
    let tensors = format!("{} of {} tensors", output.tensors_after, output.tensors_before);
    let is_whole = output.kept_layers == report.adapter.layers;
    if output.bytes_after == output.bytes_before && is_whole {
        format!("{}: nothing is dropped\n", bytes(output.bytes_before))
    } else {
        format!(
            "{kept} ({:.*} % {}), {tensors}, layers {}{}\n",
            if saved.abs() < 10.0 { 1 } else { 0 },
            saved.abs(),
            if saved < 0.0 { "more" } else { "less" },
            ranges(&output.kept_layers),
            stacks(output)
        )
    }
}

/// Which of two stacks the kept layers are of.
fn stacks(output: &super::Output) -> String {
    let Some(stacks) = &output.stacks else { return String::new() };
    format!(" of `{}` and all of `{}`", OneLine(&stacks.cut), OneLine(&stacks.whole))
}

/// The curve as a table whose last column is a chart of the loss.
fn curve(report: &Report) -> String {
    let (points, chosen) = (&report.curve, report.chosen.as_ref().map(|choice| choice.boundary()));
    let lowest = points.iter().map(|point| point.loss()).fold(f64::INFINITY, f64::min);
    let highest = points.iter().map(|point| point.loss()).fold(f64::NEG_INFINITY, f64::max);
    let span = (highest - lowest).max(f64::MIN_POSITIVE);
    // A loss is never near zero: bars from there would all look the same.
    let axis = format!("bars from {lowest:.4}");
    let mut text = format!("{:>9}  {:>8}  {:>9}  {:>10}  {axis}\n", "boundary", "loss", "gain kept", "size");
    for point in points {
        let gain = point.assessed.assessment.gain_kept.map_or("—".into(), |gain| format!("{:.1} %", gain * 100.0));
        // Bars start with a small stub, so that the lowest loss has a bar too.
        let share = 0.04 + 0.96 * (point.loss() - lowest) / span;
        let notes: Vec<&str> = [(point.loss() == lowest, "lowest"), (Some(point.boundary()) == chosen, "◀ chosen")]
            .into_iter()
            .filter_map(|(holds, note)| holds.then_some(note))
            .collect();
        let line = format!(
            "{:>9}  {:>8.4}  {gain:>9}  {:>10}  {} {}",
            point.boundary(),
            point.loss(),
            bytes(point.bytes),
            bar(share),
            notes.join(" ")
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_choice_is_shown_as_a_histogram() {
        let shares = |shares: &[(usize, f64)]| -> Vec<Share> {
            shares.iter().map(|&(boundary, share)| Share { boundary, share }).collect()
        };
        let stable = resampled(&shares(&[(3, 0.05), (4, 0.95)]), 4, false);
        assert_eq!(stable, "stability: 95 % of resampled samples choose 4 too\n");
        let spread = resampled(&shares(&[(3, 0.01), (17, 0.33), (18, 0.66)]), 18, true);
        let lines: Vec<&str> = spread.lines().collect();
        assert_eq!(lines[0], "stability: 66 % of resampled samples choose 18 too, among those evaluated");
        assert_eq!(lines[1], format!("{:>9}   33.0 %  {}", 17, "█".repeat(crate::format::BAR / 2)));
        assert_eq!(lines[3], "   others    1.0 %");
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        assert_eq!(resampled(&[], 4, false), "");
    }
}
