//! Numbers as people read them, with their full value beside them for programs.

use super::element::{Element, el};
use crate::report::DroppedPoint;

/// A loss, in nats per answer token.
pub fn loss(value: f64) -> Element {
    data(value, format!("{value:.4}"))
}

/// A number whose sign matters.
pub fn signed(value: f64) -> Element {
    data(value, signed_text(value))
}

pub fn percent(share: f64) -> Element {
    data(share, percent_text(share))
}

pub fn bytes(value: u64) -> Element {
    el("data").attr("value", value).text(crate::format::bytes(value))
}

/// A difference of scores.
pub fn points(value: f64) -> String {
    with_sign(value, format!("{:.1}", value.abs()))
}

pub fn signed_text(value: f64) -> String {
    with_sign(value, format!("{:.4}", value.abs()))
}

/// With a real minus sign, which is as wide as the plus, and no sign where rounding leaves nothing.
fn with_sign(value: f64, rounded: String) -> String {
    match rounded.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
        true => rounded,
        false if value < 0.0 => format!("−{rounded}"),
        false => format!("+{rounded}"),
    }
}

pub fn percent_text(share: f64) -> String {
    format!("{:.1} %", share * 100.0).replace('-', "−")
}

/// A number with thin spaces between its thousands.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 layer`, `2 layers`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn data(value: f64, text: String) -> Element {
    el("data").attr("value", value).text(text)
}

/// What was found of a boundary on a part of the samples.
pub fn verdict(dropped: &DroppedPoint) -> &'static str {
    if dropped.holds { "found good enough" } else { "ruled out" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(signed_text(-0.34904), "−0.3490");
        assert_eq!(signed_text(0.00001), "0.0000");
        assert_eq!(percent_text(-1.5), "−150.0 %");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(999), "999");
        assert_eq!(plural(1, "layer"), "1 layer");
        assert_eq!(loss(1.5).to_string(), "<data value=\"1.5\">1.5000</data>");
    }
}
