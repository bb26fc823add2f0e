//! What speaks for the choice and against it: right answers, other samples, and samples that had no part in it.

use super::element::{Element, el};
use super::words;
use super::{Report, column, paragraph, part, scrolling};
use crate::choice::stability::Share;
use crate::report::CurvePoint;
use crate::report::alternatives::Right;
use crate::report::text::finding;

/// Boundaries that fewer resamplings choose are summed up.
const WORTH_A_WORD: f64 = 0.02;

pub fn section(report: &Report) -> Option<Element> {
    let choice = report.chosen.as_ref()?;
    let (base, whole) = (report.curve.first()?, report.curve.last()?);
    let written = report.written_right()?;
    let explained = "A token is right if no other word is likelier, given all true tokens before it; an answer is right if \
                     all of its tokens are. No rule looks at this.";
    let mut section = part("trust", "How far to trust it").add(paragraph("", explained)).add(right(
        base,
        (choice.boundary, written),
        whole,
        report.changes_nothing(),
    ));
    if let Some(text) = stability(&report.stability, choice.boundary) {
        section = section.add(paragraph("", text));
    }
    if let Some(held_out) = &report.held_out {
        let (verdict, samples) = (&held_out.verdict, &held_out.samples);
        let losses = el("p")
            .text(format_args!("On {} samples that had no part in the choice the loss is ", samples.count))
            .add(words::loss(verdict.chosen.loss))
            .text(", that of the base model ")
            .add(words::loss(verdict.base.loss))
            .text(", that of the whole adapter ")
            .add(words::loss(verdict.whole.loss))
            .text(format_args!(": {}.", finding(verdict, report)));
        section = section.add(losses);
    }
    Some(section)
}

fn right(base: &CurvePoint, (boundary, written): (usize, Right), whole: &CurvePoint, is_whole: bool) -> Element {
    let head =
        el("tr").add(column("", "")).add(column("number", "tokens right")).add(column("number", "answers right"));
    let row = |(name, class, right): (String, &'static str, Right)| {
        el("tr")
            .class(class)
            .add(el("th").attr("scope", "row").text(name))
            .add(el("td").class("number").add(words::percent(right.token_accuracy)))
            .add(el("td").class("number").add(words::percent(right.exact_match)))
    };
    let mut rows =
        vec![("base model".to_string(), "", Right::of(base)), (format!("boundary {boundary}"), "chosen", written)];
    if !is_whole {
        rows.push(("whole adapter".into(), "", Right::of(whole)));
    }
    scrolling("right answers", el("table").add(el("thead").add(head)).add(el("tbody").all(rows.into_iter().map(row))))
}

/// Which boundaries other samples would choose.
fn stability(shares: &[Share], chosen: usize) -> Option<String> {
    let of = |boundary: usize| shares.iter().find(|share| share.boundary == boundary).map_or(0.0, |share| share.share);
    shares.first()?;
    let others: Vec<String> = shares
        .iter()
        .filter(|share| share.boundary != chosen && share.share >= WORTH_A_WORD)
        .map(|share| format!("{} ({:.0} %)", share.boundary, share.share * 100.0))
        .collect();
    let agreeing = format!("Drawn anew, the samples choose boundary {chosen} in {:.0} % of cases", of(chosen) * 100.0);
    Some(match others.as_slice() {
        [] => format!("{agreeing}."),
        others => format!("{agreeing}; besides {}.", others.join(", ")),
    })
}
