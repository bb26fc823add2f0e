//! Joining strings and taking them apart, as Python does.

use super::attributes::positional;
use super::calls::Args;
use super::fuel::Fuel;
use super::iteration::collect;
use super::python::is_space;
use super::value::unsupported;
use super::value::{Evaluated, Value};

pub fn join(separator: &str, args: Args, fuel: &Fuel) -> Evaluated<Value> {
    let [items] = positional(args, "join", ["iterable"], 1)?;
    let mut out = String::new();
    for (place, item) in collect(&items.unwrap_or(Value::None), fuel)?.iter().enumerate() {
        let Value::Str(item) = item else { return Err(unsupported("join", &[item])) };
        fuel.spend_text(separator.len() + item.len())?;
        out.push_str(if place > 0 { separator } else { "" });
        out.push_str(item);
    }
    Ok(Value::str(out))
}

pub fn split(text: &str, from_right: bool, args: Args, fuel: &Fuel) -> Evaluated<Value> {
    let [separator, most] = args.bind("split", ["sep", "maxsplit"], 0)?;
    let most = match most {
        None => usize::MAX,
        Some(most) => {
            let most = most.as_int().ok_or("the second argument of `split` should be an integer")?;
            usize::try_from(most).unwrap_or(usize::MAX)
        }
    };
    let pieces = most.saturating_add(1);
    let mut parts = match &separator {
        None | Some(Value::None) => split_at_spaces(text, from_right, most, fuel)?,
        Some(Value::Str(separator)) if separator.is_empty() => return Err("`split` with an empty separator".into()),
        Some(Value::Str(separator)) if from_right => Value::strs(text.rsplitn(pieces, &**separator), fuel)?,
        Some(Value::Str(separator)) => Value::strs(text.splitn(pieces, &**separator), fuel)?,
        Some(other) => return Err(unsupported("split", &[other])),
    };
    if from_right {
        parts.reverse();
    }
    Value::list(parts, fuel)
}

/// Splits at runs of white space; from the right, the parts come in reverse.
fn split_at_spaces(text: &str, from_right: bool, most: usize, fuel: &Fuel) -> Evaluated<Vec<Value>> {
    let mut parts = Vec::new();
    let mut push = |part| {
        parts.extend(Value::strs(std::iter::once(part), fuel)?);
        Ok::<usize, String>(parts.len())
    };
    let mut count = 0;
    let mut rest = text;
    loop {
        rest = if from_right { rest.trim_end_matches(is_space) } else { rest.trim_start_matches(is_space) };
        if rest.is_empty() {
            return Ok(parts);
        }
        if count == most {
            // White space at the other end stays in the last part.
            push(rest)?;
            return Ok(parts);
        }
        let (part, others) = if from_right {
            let start = rest.rfind(is_space).map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
            (&rest[start..], &rest[..start])
        } else {
            let end = rest.find(is_space).unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        };
        count = push(part)?;
        rest = others;
    }
}

/// Python's `str.splitlines`.
pub fn lines(text: &str, keep_ends: bool) -> impl Iterator<Item = &str> {
    let is_break =
        |character: char| matches!(character, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut rest = text;
    std::iter::from_fn(move || {
        let Some(at) = rest.find(is_break) else {
            return Some(std::mem::take(&mut rest)).filter(|last| !last.is_empty());
        };
        let length =
            if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(1, char::len_utf8) };
        let line = &rest[..if keep_ends { at + length } else { at }];
        rest = &rest[at + length..];
        Some(line)
    })
}
