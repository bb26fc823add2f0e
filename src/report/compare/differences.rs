//! In what reports differ. Figures that come of other samples, another base model or other settings must not be compared.

use schemars::JsonSchema;
use serde::Serialize;

use super::stored::{StoredFile, StoredMetrics, StoredReport, StoredSamples};
use crate::format::{percent, plural};

/// Something in which reports differ.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ReportDifference {
    /// `samples`, `base model` …
    pub what: &'static str,
    /// The figures that it makes incomparable; empty if it does not.
    pub incomparable: &'static [&'static str],
    /// What it is in each report, for people.
    pub values: Vec<String>,
}

/// What may differ, and what of it then cannot be compared.
struct ComparedPart {
    what: &'static str,
    incomparable: &'static [&'static str],
    /// What has to be the same, and how people read it; `None` where the report does not have it.
    of: fn(&StoredReport) -> Option<(String, String)>,
}

const ADAPTER: &str = "adapter";

/// Those first that make most incomparable.
const PARTS: [ComparedPart; 8] = [
    ComparedPart { what: "base model", incomparable: &["losses", "probabilities", "scores"], of: base },
    ComparedPart { what: "samples", incomparable: &["losses", "probabilities"], of: samples },
    ComparedPart { what: "held-out samples", incomparable: &["losses on held-out samples"], of: held_out },
    ComparedPart { what: "generated answers", incomparable: &["scores"], of: answers },
    ComparedPart { what: "arithmetic", incomparable: &["small differences of losses"], of: arithmetic },
    ComparedPart { what: ADAPTER, incomparable: &[], of: adapter },
    ComparedPart { what: "rule", incomparable: &[], of: rule },
    ComparedPart { what: "version of lora-slim", incomparable: &[], of: version },
];

/// How far losses of one base model on the same samples lie apart, relatively: with the same arithmetic, and with others.
const SAME_ARITHMETIC: f64 = 1e-6;
const OTHER_ARITHMETIC: f64 = 0.02;

/// The differences between reports. What only one of them has is no difference.
pub fn between(reports: &[StoredReport]) -> Vec<ReportDifference> {
    let mut of_parts: Vec<_> = PARTS.iter().filter_map(|part| difference(part, reports)).collect();
    if let Some(adapters) = of_parts.iter_mut().find(|difference| difference.what == ADAPTER) {
        *adapters = or_only_hashes(adapters.clone(), reports);
    }
    let is_named = of_parts.iter().any(|difference| difference.what == PARTS[0].what);
    let hidden = if is_named { None } else { other_losses_of_base(reports) };
    hidden.into_iter().chain(of_parts).collect()
}

/// The weights of base models are not hashed: files of the same names and sizes may hold others. Their losses tell.
fn other_losses_of_base(reports: &[StoredReport]) -> Option<ReportDifference> {
    let key = |report: &StoredReport| samples(report).map(|(key, _)| key);
    let differ = |one: &StoredReport, other: &StoredReport| {
        let (Some(loss), Some(other_loss)) = (one.loss_base(), other.loss_base()) else { return false };
        let is_same_arithmetic = arithmetic(one) == arithmetic(other);
        let tolerance = if is_same_arithmetic { SAME_ARITHMETIC } else { OTHER_ARITHMETIC };
        let is_near = (loss - other_loss).abs() <= tolerance * loss.abs().max(other_loss.abs());
        key(one).is_some() && key(one) == key(other) && !is_near
    };
    let differs =
        reports.iter().enumerate().any(|(place, one)| reports[..place].iter().any(|other| differ(one, other)));
    let shown = |report: &StoredReport| {
        report.loss_base().map_or("none".into(), |loss| format!("loss {loss:.7} without the adapter"))
    };
    differs.then(|| ReportDifference {
        what: "base model, or other arithmetic",
        incomparable: PARTS[0].incomparable,
        values: reports.iter().map(shown).collect(),
    })
}

fn difference(part: &ComparedPart, reports: &[StoredReport]) -> Option<ReportDifference> {
    let found: Vec<Option<(String, String)>> = reports.iter().map(part.of).collect();
    let mut keys = found.iter().flatten().map(|(key, _)| key);
    let first = keys.next()?;
    keys.any(|key| key != first).then(|| ReportDifference {
        what: part.what,
        incomparable: part.incomparable,
        values: found.into_iter().map(|one| one.map_or("none".into(), |(_, shown)| shown)).collect(),
    })
}

/// Names and sizes, and hashes where there are any.
fn identity(files: &[StoredFile]) -> String {
    let hash = |file: &StoredFile| file.blake3.clone().or(file.sha256.clone()).unwrap_or_default();
    let one = |file: &StoredFile| format!("{} {} {}", file.name, file.bytes, hash(file));
    files.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Adapters with files of the same names and sizes may be one adapter with hashes of two functions.
fn or_only_hashes(adapters: ReportDifference, reports: &[StoredReport]) -> ReportDifference {
    let mut pairs =
        reports.iter().enumerate().flat_map(|(place, one)| reports[..place].iter().map(move |it| (one, it)));
    if pairs.any(|(one, other)| are_others(&one.adapter.files, &other.adapter.files)) {
        return adapters;
    }
    let shown = |report: &StoredReport| {
        let has =
            |hash: fn(&StoredFile) -> &Option<String>| report.adapter.files.iter().any(|file| hash(file).is_some());
        let hashes = match (has(|file| &file.blake3), has(|file| &file.sha256)) {
            (true, _) => "BLAKE3",
            (false, true) => "SHA-256",
            (false, false) => "no",
        };
        format!("{}, with {hashes} hashes", report.adapter.path)
    };
    ReportDifference { what: "adapter, or hash of it", values: reports.iter().map(shown).collect(), ..adapters }
}

/// Whether files are surely not the same.
fn are_others(files: &[StoredFile], others: &[StoredFile]) -> bool {
    let differ = |one: &Option<String>, other: &Option<String>| one.is_some() && other.is_some() && one != other;
    let is_other = |(one, other): (&StoredFile, &StoredFile)| {
        (&one.name, one.bytes) != (&other.name, other.bytes)
            || differ(&one.blake3, &other.blake3)
            || differ(&one.sha256, &other.sha256)
    };
    files.len() != others.len() || files.iter().zip(others).any(is_other)
}

fn base(report: &StoredReport) -> Option<(String, String)> {
    let base = report.base.as_ref()?;
    let quantised = base.quantisation.as_ref().map_or(String::new(), |how| format!(", {how}"));
    // Where no files are listed, the path has to do.
    let files = if base.files.is_empty() { base.path.clone() } else { identity(&base.files) };
    Some((files + &quantised, format!("{}{quantised}", base.path)))
}

fn arithmetic(report: &StoredReport) -> Option<(String, String)> {
    let arithmetic = report.base.as_ref()?.arithmetic.clone();
    Some((arithmetic.clone(), arithmetic))
}

fn samples(report: &StoredReport) -> Option<(String, String)> {
    report.samples.as_ref().map(of_samples)
}

fn held_out(report: &StoredReport) -> Option<(String, String)> {
    report.held_out.as_ref().map(|held_out| of_samples(&held_out.samples))
}

fn of_samples(samples: &StoredSamples) -> (String, String) {
    let marks = [
        (samples.chat, "through the chat template"),
        (samples.own_answers, "with the adapter's own answers"),
        (samples.ignores_ends, "without the ends of answers"),
    ];
    let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, how)| format!(", {how}")).collect();
    let scored = samples.scored.as_deref().unwrap_or_default();
    let count = plural(samples.count, "sample");
    let shown = format!("{}, {count} with {} scored tokens{marks}", samples.path, samples.answer_tokens);
    (format!("{} {count} {} {scored}{marks}", samples.sha256, samples.answer_tokens), shown)
}

fn answers(report: &StoredReport) -> Option<(String, String)> {
    let StoredMetrics { on, samples, max_new_tokens, stop, .. } = report.answers()?;
    let set = if *on == crate::choice::held_out::SampleSet::HeldOut { "held-out sample" } else { "sample" };
    let stop: String = stop.iter().map(|text| format!(", up to {text:?}")).collect();
    let shown = format!("{}, at most {} each{stop}", plural(*samples, set), plural(*max_new_tokens, "token"));
    // The same number of other samples gives other scores.
    let hash = match set {
        "sample" => report.samples.as_ref().map(|samples| &samples.sha256),
        _ => report.held_out.as_ref().map(|held_out| &held_out.samples.sha256),
    };
    Some((format!("{shown} {}", hash.map_or("", String::as_str)), shown))
}

fn adapter(report: &StoredReport) -> Option<(String, String)> {
    Some((identity(&report.adapter.files), report.adapter.path.clone()))
}

fn rule(report: &StoredReport) -> Option<(String, String)> {
    let options = report.options.as_ref()?;
    let text = |name: &str| options[name].as_str().unwrap_or("none");
    let share = |name: &str| options[name].as_f64().map_or("no".into(), |share| percent(share).to_string());
    let by = options["score"].as_str().unwrap_or(text("measure"));
    let shown = format!(
        "{} by {by}, guard {}, margin {} %, confidence {} %",
        text("rule"),
        text("guard"),
        share("margin"),
        share("confidence")
    );
    Some((options.to_string(), shown))
}

fn version(report: &StoredReport) -> Option<(String, String)> {
    Some((report.tool.version.clone(), report.tool.version.clone()))
}
