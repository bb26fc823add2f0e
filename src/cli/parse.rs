//! Parsers of the values of flags. Each says in one sentence what it expects.

use crate::choice::scale::Scaling;
use crate::error::ChoiceError;
use crate::format::parse_share;

/// The first line of clap's message. The rest is the usage of a command that the user did not type.
pub fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).into()
}

/// What clap's message advises, if anything.
pub fn tip(error: &clap::Error) -> Option<String> {
    error.to_string().lines().find_map(|line| line.trim().strip_prefix("tip: ").map(String::from))
}

/// Parses the boundary of `slim` and `scan`. Whether the model has that many layers is checked later.
pub fn boundary(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of layers such as 14 (only `cut` takes `all`)"))
}

/// Parses `tune` or a scale.
pub fn scaling(text: &str) -> Result<Scaling, String> {
    match text {
        "tune" => Ok(Scaling::Tune),
        number => scale(number).map(Scaling::By).map_err(|error| format!("{error} or `tune`")),
    }
}

/// Parses a scale. Far from 1, an adapter does nothing or adds noise.
pub fn scale(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.001..=1000.0).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number from 0.001 to 1000"))
}

/// Parses a time in seconds.
pub fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.001..=86400.0).contains(number));
    number
        .map(std::time::Duration::from_secs_f64)
        .ok_or_else(|| format!("`{text}` is not a number of seconds, up to a day"))
}

/// Parses a text with the escapes `\\n`, `\\t` and `\\\\`.
pub fn escaped(text: &str) -> Result<String, String> {
    let text = text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace('\0', "\\");
    if text.is_empty() { Err("it is empty".into()) } else { Ok(text) }
}

/// Parses an alpha.
pub fn alpha(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("`{text}` is not a positive number"))
}

/// Parses the value of a flag that is a share, from `least` to below 1: `0.02` or `2%`.
pub fn share(flag: &'static str, text: &str, least: f64) -> Result<f64, ChoiceError> {
    parse_share(text, least).map_err(|_| ChoiceError::NotAShare { flag, given: text.into(), least })
}

/// Parses a size: `700MB`, `4GiB`, `1000000`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size such as 700MB or 4GiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text[digits.len()..].trim().to_ascii_lowercase();
    let factor: f64 = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024f64.powi(2),
        "gi" | "gib" => 1024f64.powi(3),
        "ti" | "tib" => 1024f64.powi(4),
        _ => return Err(wrong()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let bytes = number * factor;
    if bytes >= 1.0 && bytes < 2f64.powi(60) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// The name that is most similar to `given`, if one is.
pub fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    // The threshold of clap's own suggestions.
    const ALIKE: f64 = 0.7;
    let likeness = names.map(|name| (strsim::jaro(given, name), name)).filter(|(likeness, _)| *likeness > ALIKE);
    likeness.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_written() {
        for (given, expected) in
            [("0.02", 0.02), ("2%", 0.02), ("2 %", 0.02), ("0", 0.0), ("99.9%", 0.999), ("1e-3", 1e-3)]
        {
            assert_eq!(share("--margin", given, 0.0).ok(), Some(expected), "{given}");
        }
        for wrong in ["", "%", "2", "1", "100%", "-1%", "two", "NaN", "inf", "2%%"] {
            assert!(share("--margin", wrong, 0.0).is_err(), "{wrong}");
        }
        assert!(share("--confidence", "49%", 0.5).is_err());
        assert_eq!(share("--confidence", "50%", 0.5).ok(), Some(0.5));
    }

    #[test]
    fn sizes_are_read_as_written() {
        assert_eq!(bytes("700MB"), Ok(700_000_000));
        assert_eq!(bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(bytes("42"), Ok(42));
        for wrong in ["", "GB", "-1", "0", "1 parsec", "1e99", "NaN"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_boundary_is_a_number() {
        assert_eq!(boundary("14"), Ok(14));
        for wrong in ["", "all", "-1", "1.5"] {
            assert!(boundary(wrong).is_err_and(|message| message.contains("number of layers")), "{wrong}");
        }
    }
}
