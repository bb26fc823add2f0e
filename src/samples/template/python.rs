//! How Python spells values: `str`, `repr`, and the shortest digits of a float.

use std::borrow::Cow;

use super::fuel::Fuel;
use super::value::{Evaluated, Value, View};

/// Python's `str.isspace` for one character.
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// What Python prints for a value.
pub fn text<'a>(value: &'a Value, fuel: &Fuel) -> Evaluated<Cow<'a, str>> {
    Ok(match value {
        Value::Str(text) | Value::Markup(text) => Cow::Borrowed(text),
        Value::Undefined(_) => Cow::Borrowed(""),
        Value::None => Cow::Borrowed("None"),
        Value::Bool(true) => Cow::Borrowed("True"),
        Value::Bool(false) => Cow::Borrowed("False"),
        Value::Int(value) => Cow::Owned(value.to_string()),
        Value::Float(value) => Cow::Owned(float(*value)),
        other => Cow::Owned(repr(other, fuel)?),
    })
}

/// Python's `repr`.
pub fn repr(value: &Value, fuel: &Fuel) -> Evaluated<String> {
    let mut out = String::new();
    write(&mut out, value, fuel)?;
    Ok(out)
}

fn write(out: &mut String, value: &Value, fuel: &Fuel) -> Evaluated<()> {
    fuel.spend(1)?;
    match value {
        Value::Str(text) => {
            quote(out, text, fuel)?;
        }
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => out.push_str(&text(value, fuel)?),
        Value::List(items) => write_items(out, "[", "]", &items.values, fuel)?,
        Value::Tuple(items) if items.values.len() == 1 => write_items(out, "(", ",)", &items.values, fuel)?,
        Value::Tuple(items) => write_items(out, "(", ")", &items.values, fuel)?,
        Value::Dict(dict) => {
            out.push('{');
            for (place, (key, value)) in dict.entries.iter().enumerate() {
                out.push_str(if place > 0 { ", " } else { "" });
                write(out, key, fuel)?;
                out.push_str(": ");
                write(out, value, fuel)?;
            }
            out.push('}');
        }
        Value::View(view, dict) => {
            let name = match view {
                View::Keys => "dict_keys([",
                View::Values => "dict_values([",
                View::Items => "dict_items([",
            };
            write_items(out, name, "])", &dict.view(*view, fuel)?, fuel)?;
        }
        other => return Err(format!("a {} cannot be printed", other.type_name())),
    }
    Ok(())
}

fn write_items(out: &mut String, open: &str, close: &str, items: &[Value], fuel: &Fuel) -> Evaluated<()> {
    out.push_str(open);
    for (place, item) in items.iter().enumerate() {
        out.push_str(if place > 0 { ", " } else { "" });
        write(out, item, fuel)?;
    }
    out.push_str(close);
    Ok(())
}

/// A string in quotes: single ones unless only those are in it.
fn quote(out: &mut String, text: &str, fuel: &Fuel) -> Evaluated<()> {
    fuel.spend_reading(text.len())?;
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    let mut paid = out.len();
    for character in text.chars() {
        // The escapes are longer than the characters.
        if out.len() - paid >= PIECE {
            fuel.spend_text(out.len() - paid)?;
            paid = out.len();
        }
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if character == quote => {
                out.push('\\');
                out.push(quote);
            }
            character if is_printable(character) => out.push(character),
            character => out.push_str(&escaped(character)),
        }
    }
    out.push(quote);
    fuel.spend_text(out.len() - paid)
}

/// How much of a string is written before it is paid for, in bytes.
const PIECE: usize = 4096;

fn escaped(character: char) -> String {
    match u32::from(character) {
        code @ ..=0xff => format!("\\x{code:02x}"),
        code @ ..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

/// Python's `str.isprintable` for one character. Rust's `Debug` escapes the same categories; behind another character, no others.
pub fn is_printable(character: char) -> bool {
    match character {
        ' '..='~' => true,
        '\0'..='\x7f' => false,
        _ => !format!("{:?}", format!("a{character}")).contains("\\u{"),
    }
}

/// Python's `ascii`.
pub fn ascii(value: &Value, fuel: &Fuel) -> Evaluated<String> {
    let escape = |character: char| if character.is_ascii() { character.to_string() } else { escaped(character) };
    let text = repr(value, fuel)?;
    fuel.spend_text(text.len().saturating_mul(4))?;
    Ok(text.chars().map(escape).collect())
}

/// The shortest digits that read back as the same float, with an exponent below 1e-4 and from 1e16 on.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
