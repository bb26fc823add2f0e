//! The filters of the templates: numbers rounded for people, with the full value in an attribute for programs.

use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error, State};

use super::environment::{escape, plain};
use crate::format;

pub fn add_to(environment: &mut Environment) {
    environment.add_filter("data", data);
    environment.add_filter("shown", shown);
    environment.add_filter("loss", |value: f64| format!("{value:.4}"));
    environment.add_filter("decimal", |value: f64, decimals: usize| format!("{value:.decimals$}"));
    environment.add_filter("signed", signed);
    environment.add_filter("integer", |value: u64| value);
    environment.add_filter("score", |value: f64| format!("{value:.1}"));
    environment.add_filter("signed_score", |value: f64| signed(value, Some(1)));
    environment.add_filter("signed_points", |share: f64| format!("{} pp", signed(share * 100.0, Some(1))));
    environment.add_filter("signed_percent", |share: f64| format!("{} %", signed(share * 100.0, Some(1))));
    environment.add_filter("percent", percent);
    environment.add_filter("short_percent", |share: f64| format!("{} %", format::percent(share)));
    environment.add_filter("scale", format::scale);
    // As a float, which takes any number of a record.
    environment.add_filter("bytes", |bytes: f64| format::bytes(bytes as u64));
    environment.add_filter("thousands", thousands);
    environment.add_filter("plural", plural);
    environment.add_filter("ranges", |layers: Vec<usize>| format::ranges(&layers).replace('-', "–"));
    environment.add_filter("place", |place: f64| format!("{place:.1}"));
    environment.add_filter("address", address);
}

/// `<data>` with a number in full, and as `filter` shows it; a dash for a number that is not there.
fn data(state: &mut State, number: &Value, filter: &str, arguments: Rest<Value>) -> Result<Value, Error> {
    if number.is_undefined() || number.is_none() {
        return Ok("—".into());
    }
    let text = state.apply_filter(filter, &[std::slice::from_ref(number), &arguments].concat())?;
    let (full, shown) = (escape(&plain(number)), escape(&plain(&text)));
    Ok(Value::from_safe_string(format!("<data value=\"{full}\">{shown}</data>")))
}

/// A number as `filter` shows it.
fn shown(state: &mut State, number: &Value, filter: &str) -> Result<Value, Error> {
    state.apply_filter(filter, std::slice::from_ref(number))
}

/// With a real minus sign, which is as wide as the plus, and no sign where rounding leaves zero.
fn signed(value: f64, decimals: Option<usize>) -> String {
    let rounded = format!("{:.*}", decimals.unwrap_or(4), value.abs());
    match rounded.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
        true => rounded,
        false if value < 0.0 => format!("−{rounded}"),
        false => format!("+{rounded}"),
    }
}

fn percent(share: f64, decimals: Option<usize>) -> String {
    format!("{:.*} %", decimals.unwrap_or(1), share * 100.0).replace('-', "−")
}

/// A number with thin spaces between its thousands.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join("\u{202f}")
}

/// `1 layer`, `2 layers`; `plural` where an `s` is not enough.
pub fn plural(count: usize, singular: &str, plural: Option<&str>) -> String {
    match (count, plural) {
        (1, _) => format!("1 {singular}"),
        (_, Some(plural)) => format!("{count} {plural}"),
        (_, None) => format!("{count} {singular}s"),
    }
}

/// A relative path as a URL, percent-encoded.
pub fn address(path: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    // Without `./`, a name such as `a:b` would have a scheme.
    std::iter::once("./".to_string()).chain(path.bytes().map(escape)).collect()
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;
    use crate::report::page::environment;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(signed(-0.34904, None), "−0.3490");
        assert_eq!(signed(0.00001, None), "0.0000");
        assert_eq!(signed(3.04, Some(1)), "+3.0");
        assert_eq!(percent(-1.5, None), "−150.0 %");
        assert_eq!(thousands(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(thousands(999), "999");
        assert_eq!(plural(1, "layer", None), "1 layer");
        assert_eq!(plural(0, "boundary", Some("boundaries")), "0 boundaries");
        assert_eq!(address("a:b/<ä>"), "./a%3Ab/%3C%C3%A4%3E");
    }

    #[test]
    fn data_has_the_full_value() {
        let template = "{{ 1.5 | data('loss') }} {{ none | data('loss') }} {{ 2048 | data('bytes') }} {{ 0.5 | data('signed', 1) }}";
        let shown = environment::new().unwrap().render_str(template, context! {}).unwrap();
        let data = [
            "<data value=\"1.5\">1.5000</data>",
            "—",
            "<data value=\"2048\">2.0 KiB</data>",
            "<data value=\"0.5\">+0.5</data>",
        ];
        assert_eq!(shown, data.join(" "));
    }
}
