//! The loss over the boundaries, drawn: what was measured, how sure it is, and what a part of the samples decided.

mod data;
mod drawing;

use super::element::{Element, el};
use super::{Report, paragraph, part};
use data::Data;
use drawing::Frame;

pub fn section(report: &Report) -> Option<Element> {
    let data = Data::of(report)?;
    let figure = el("figure")
        .class("chart")
        .add(drawing::draw(&data, &Frame::WIDE))
        .add(drawing::draw(&data, &Frame::NARROW))
        .add(paragraph("readout", data.chosen_text()).attr("aria-live", "polite"))
        .add(legend(&data));
    Some(
        part("curve", "Loss at every boundary")
            .add(paragraph("", "At boundary b the adapter is on in the layers below b and off in all others."))
            .add(figure),
    )
}

/// The signs that the drawing uses, and only those.
fn legend(data: &Data) -> Element {
    let key = |class: &'static str, text: String| {
        el("li").add(el("span").attr("class", format!("key {class}")).attr("aria-hidden", "true")).text(text)
    };
    let mut keys = vec![key("key-line", format!("loss on {}", data.samples_text()))];
    if data.has_band() {
        let confidence =
            data.confidence.map_or(String::new(), |confidence| format!(", {} % to each side", confidence * 100.0));
        keys.push(key("key-band", format!("bounds of the difference to the whole adapter{confidence}")));
    }
    if data.dropped.iter().any(|point| point.loss.is_some()) {
        keys.push(key("key-dropped", "decided on a part of the samples: an estimate from these".into()));
    }
    if data.dropped.iter().any(|point| point.loss.is_none()) {
        keys.push(key("key-unseen", "decided by its neighbours, not evaluated".into()));
    }
    el("ul").class("legend").all(keys)
}
