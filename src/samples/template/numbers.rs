//! Numbers in formats, with sign, width, precision and groups.

use super::python;
use super::value::unsupported;
use super::value::{Evaluated, Value};

/// How a value is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub fill: char,
    /// `<`, `>`, `^`, `=`, or `\0` for the default of the type.
    pub align: char,
    /// `+` and a space show the sign of positive numbers.
    pub sign: char,
    pub alternate: bool,
    pub width: usize,
    /// What separates groups of digits, or `\0`.
    pub grouping: char,
    pub precision: Option<usize>,
}

impl Default for Style {
    fn default() -> Self {
        Self { fill: ' ', align: '\0', sign: '-', alternate: false, width: 0, grouping: '\0', precision: None }
    }
}

/// A text at its width; `default` is where it stands unless the style says otherwise.
pub fn padded(text: &str, style: Style, default: char) -> String {
    let missing = style.width.saturating_sub(text.chars().count());
    let left = match if style.align == '\0' { default } else { style.align } {
        '<' => 0,
        '^' => missing / 2,
        _ => missing,
    };
    let fill = |count: usize| style.fill.to_string().repeat(count);
    format!("{}{text}{}", fill(left), fill(missing - left))
}

/// Digits with their sign, at their width.
pub fn signed(digits: &str, is_negative: bool, style: Style) -> String {
    let sign = match style.sign {
        _ if is_negative => "-",
        '+' => "+",
        ' ' => " ",
        _ => "",
    };
    if style.align != '=' {
        return padded(&format!("{sign}{digits}"), style, '>');
    }
    let missing = style.width.saturating_sub(sign.len() + digits.chars().count());
    format!("{sign}{}{digits}", style.fill.to_string().repeat(missing))
}

/// The digits of an integer in the base of a format, without sign.
fn digits(number: i128, kind: char) -> String {
    let number = number.unsigned_abs();
    match kind {
        'x' => format!("{number:x}"),
        'X' => format!("{number:X}"),
        'o' => format!("{number:o}"),
        'b' => format!("{number:b}"),
        _ => number.to_string(),
    }
}

/// `'%d' % number` and its kin. A precision is the least number of digits.
pub fn printf_integer(number: i128, kind: char, style: Style) -> Evaluated<String> {
    if style.alternate {
        return Err("the flag `#` of a format is not supported".into());
    }
    let digits = digits(number, kind);
    let zeros = style.precision.unwrap_or(0).saturating_sub(digits.len());
    let digits = format!("{}{digits}", "0".repeat(zeros));
    Ok(signed(&digits, number < 0, zero_padded(style)))
}

/// `format(number, …)`.
pub fn format_integer(number: i128, kind: char, style: Style) -> Evaluated<String> {
    if style.precision.is_some() {
        return Err("an integer has no precision".into());
    }
    let mut text = digits(number, kind);
    let prefix = match (style.alternate, kind) {
        (true, 'x' | 'X' | 'o' | 'b') => format!("0{kind}"),
        _ => String::new(),
    };
    if style.grouping != '\0' {
        if kind != 'd' || style.align == '=' {
            return Err("groups of digits are supported for decimals without leading zeros only".into());
        }
        text = grouped(&text, style.grouping);
    }
    if !prefix.is_empty() && style.align == '=' {
        return Err("a prefix with leading zeros is not supported".into());
    }
    Ok(signed(&format!("{prefix}{text}"), number < 0, style))
}

fn grouped(digits: &str, separator: char) -> String {
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(separator);
        }
        out.push(digit);
    }
    out
}

/// In `%` formats, zeros go between sign and digits, unless the number stands on the left.
fn zero_padded(style: Style) -> Style {
    match (style.fill, style.align) {
        ('0', '\0') => Style { align: '=', ..style },
        (_, '<') => Style { fill: ' ', ..style },
        _ => style,
    }
}

/// A float in one of the formats `e`, `f`, `g` and `%`, with a precision.
pub fn float(number: f64, kind: char, style: Style) -> Evaluated<String> {
    if style.alternate {
        return Err("the flag `#` of a format is not supported".into());
    }
    let precision = style.precision.unwrap_or(6);
    let style = if kind == '%' { style } else { zero_padded(style) };
    let (number, suffix) = if kind == '%' { (number * 100.0, "%") } else { (number, "") };
    let absolute = number.abs();
    let mut text = if !number.is_finite() {
        python::float(absolute)
    } else {
        match kind.to_ascii_lowercase() {
            'e' => scientific(absolute, precision),
            'g' => general(absolute, precision),
            _ => format!("{absolute:.precision$}"),
        }
    };
    if style.grouping != '\0' {
        if style.align == '=' {
            return Err("groups of digits with leading zeros are not supported".into());
        }
        let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        text = format!("{}{}", grouped(&text[..end], style.grouping), &text[end..]);
    }
    if kind.is_ascii_uppercase() {
        text.make_ascii_uppercase();
    }
    Ok(signed(&format!("{text}{suffix}"), number.is_sign_negative() && !number.is_nan(), style))
}

fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn general(number: f64, precision: usize) -> String {
    let precision = precision.max(1);
    let text = scientific(number, precision - 1);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = exponent.parse().unwrap_or_default();
    let trim = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text.into() }
    };
    if power < -4 || power >= i32::try_from(precision).unwrap_or(i32::MAX) {
        return format!("{}e{exponent}", trim(digits));
    }
    let places = usize::try_from(i32::try_from(precision).unwrap_or(i32::MAX) - 1 - power).unwrap_or(0);
    trim(&format!("{number:.places$}"))
}

/// Python's `float` of a number.
pub fn to_float(value: &Value) -> Evaluated<f64> {
    match value {
        Value::Float(number) => Ok(*number),
        other => match other.as_int() {
            Some(number) if number.unsigned_abs() <= 1 << 53 => Ok(number as f64),
            Some(_) => Err("an integer is too large for a float".into()),
            None => Err(unsupported("float", &[other])),
        },
    }
}

/// Python's `int` of a float.
pub fn truncated(number: f64) -> Evaluated<i128> {
    if number.is_finite() && number.abs() < 1e38 {
        return Ok(number.trunc() as i128);
    }
    Err("a float is no integer".into())
}

/// The number in a text as Python's `int` reads it in a base.
pub fn parse_integer(text: &str, base: u32) -> Option<i128> {
    let text = text.trim_matches(python::is_space);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let bare = digits.get(..2).filter(|start| !prefix.is_empty() && start.eq_ignore_ascii_case(prefix));
    let digits = if bare.is_some() { digits[2..].strip_prefix('_').unwrap_or(&digits[2..]) } else { digits };
    let is_joined = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    if digits.starts_with(['+', '-']) || !is_joined {
        return None;
    }
    i128::from_str_radix(&digits.replace('_', ""), base).ok().map(|number| sign * number)
}

/// The number in a text as Python's `float` reads it.
pub fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(python::is_space);
    let bare = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let is_word = matches!(&*bare, "inf" | "infinity" | "nan");
    let is_number = bare.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-' | b'_'));
    let between_digits = |at: usize| {
        let digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
        digit(at.checked_sub(1)) && digit(Some(at + 1))
    };
    if !(is_word || is_number) || !text.match_indices('_').all(|(at, _)| between_digits(at)) {
        return None;
    }
    text.replace('_', "").parse().ok()
}
