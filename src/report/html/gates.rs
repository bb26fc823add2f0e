//! The gates of the run, where there are any.

use super::element::{Element, el};
use super::{Report, part};

pub fn section(report: &Report) -> Option<Element> {
    let line = |passed: bool, text: String| {
        el("li").add(el("strong").text(if passed { "Passed" } else { "Failed" })).text(format!(": {text}"))
    };
    let lines = report.gates.iter().map(|gate| line(gate.passed, gate.to_string().replace('`', "")));
    (!report.gates.is_empty()).then(|| part("gates", "Gates").add(el("ul").all(lines)))
}
