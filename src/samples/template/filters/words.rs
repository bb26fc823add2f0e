//! Filters on text.

use super::super::calls::Args;
use super::super::format::percent;
use super::super::iteration::collect;
use super::super::operators;
use super::super::python::{self, is_space};
use super::super::renderer::Renderer;
use super::super::splits;
use super::super::texts;
use super::super::value::unsupported;
use super::super::value::{Evaluated, Value};
use super::selections::Path;

/// The text of a value, as most filters on text take it.
fn text(renderer: &Renderer, value: &Value) -> Evaluated<String> {
    let text = python::text(value, &renderer.fuel)?;
    renderer.fuel.spend_text(text.len())?;
    Ok(text.into_owned())
}

/// The text of a value for filters whose result would be another for a safe string.
fn plain_text(renderer: &Renderer, value: &Value, filter: &str) -> Evaluated<String> {
    if matches!(value, Value::Markup(_)) { Err(unsupported(filter, &[value])) } else { text(renderer, value) }
}

/// The text of a value that has to be a string.
fn string(value: &Value, filter: &str) -> Evaluated<String> {
    match value {
        Value::Str(text) => Ok(text.to_string()),
        other => Err(unsupported(filter, &[other])),
    }
}

pub fn upper(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("upper", [], 0)?;
    let text = text(renderer, &value)?;
    renderer.fuel.spend_text(text.len().saturating_mul(3))?;
    Ok(value.with_text(text.to_uppercase()))
}

pub fn lower(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("lower", [], 0)?;
    let text = text(renderer, &value)?;
    renderer.fuel.spend_text(text.len().saturating_mul(3))?;
    Ok(value.with_text(text.to_lowercase()))
}

pub fn capitalize(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("capitalize", [], 0)?;
    Ok(value.with_text(texts::capitalized(&text(renderer, &value)?)?))
}

/// Upper case behind hyphens, white space and opening brackets, lower case elsewhere.
pub fn title(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("title", [], 0)?;
    let text = text(renderer, &value)?;
    // Each word is copied, and letters may become three.
    renderer.fuel.spend(text.len() / 4)?;
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        let mut characters = word.chars();
        if let Some(first) = characters.next() {
            out.extend(first.to_uppercase());
            out.push_str(&characters.as_str().to_lowercase());
        }
        word.clear();
    };
    for character in text.chars() {
        if is_space(character) || "-({[<".contains(character) {
            flush(&mut word, &mut out);
            out.push(character);
        } else {
            word.push(character);
        }
    }
    flush(&mut word, &mut out);
    Ok(Value::str(out))
}

pub fn trim(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [characters] = args.bind("trim", ["chars"], 0)?;
    let text = text(renderer, &value)?;
    Ok(value.with_text(texts::strip(&text, "strip", characters.as_ref(), &renderer.fuel)?))
}

pub fn center(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [width] = args.bind("center", ["width"], 0)?;
    let text = plain_text(renderer, &value, "center")?;
    texts::pad(&text, "center", Some(width.unwrap_or(Value::Int(80))), None, &renderer.fuel)
}

pub fn replace(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [old, new, count] = args.bind("replace", ["old", "new", "count"], 2)?;
    let fuel = &renderer.fuel;
    let text = python::text(&value, fuel)?;
    let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
    let (old, new) = (python::text(&old, fuel)?, python::text(&new, fuel)?);
    let count = count.filter(|count| !matches!(count, Value::None));
    texts::replace(&text, &old, &new, count.as_ref(), fuel)
}

pub fn join(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [separator, attribute] = args.bind("join", ["d", "attribute"], 0)?;
    let separator = separator.unwrap_or_else(|| Value::str(""));
    let separator = python::text(&separator, &renderer.fuel)?.into_owned();
    let path = Path::of(&attribute.unwrap_or(Value::None), &renderer.fuel)?;
    let mut out = String::new();
    for (place, item) in collect(&value, &renderer.fuel)?.iter().enumerate() {
        let item = path.get(renderer, item, None)?;
        let item = python::text(&item, &renderer.fuel)?;
        renderer.fuel.spend_text(separator.len() + item.len())?;
        out.push_str(if place > 0 { &separator } else { "" });
        out.push_str(&item);
    }
    Ok(Value::str(out))
}

pub fn format(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let template = plain_text(renderer, &value, "format")?;
    let Args { positional, named } = args;
    let argument = match (positional.is_empty(), named.is_empty()) {
        (false, false) => return Err("`format` takes arguments with names or without, not both".into()),
        (true, false) => {
            let entries = named.into_iter().map(|(name, value)| (Value::Str(name), value)).collect();
            Value::Dict(std::rc::Rc::new(super::super::value::Dict::new(entries, &renderer.fuel)?))
        }
        _ => Value::tuple(positional, &renderer.fuel)?,
    };
    percent(&template, &argument, &renderer.fuel)
}

pub fn indent(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"], 0)?;
    let fuel = &renderer.fuel;
    let text = string(&value, "indent")?;
    fuel.spend_text(text.len().saturating_mul(2))?;
    let indentation = match width.unwrap_or(Value::Int(4)) {
        Value::Str(indentation) => indentation.to_string(),
        width => {
            let width = width.as_int().ok_or("the width of `indent` should be an integer or a string")?;
            let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
            fuel.spend_text(width)?;
            " ".repeat(width)
        }
    };
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (first, blank) = (is_true(first), is_true(blank));
    let text = format!("{text}\n");
    let mut out = if first { indentation.clone() } else { String::new() };
    for (place, line) in splits::lines(&text, false).enumerate() {
        if place > 0 {
            out.push('\n');
            if blank || !line.is_empty() {
                out.push_str(&indentation);
            }
        }
        fuel.spend_text(line.len() + indentation.len())?;
        out.push_str(line);
    }
    Ok(Value::str(out))
}

pub fn truncate(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [length, kill_words, end, leeway] = args.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let text = string(&value, "truncate")?;
    renderer.fuel.spend_text(text.len())?;
    let end = end.map_or(Ok("...".into()), |end| string(&end, "truncate"))?;
    let number = |value: Option<Value>, default: i128| match value {
        None | Some(Value::None) => Ok(default),
        Some(value) => value.as_int().ok_or("`truncate` takes integers"),
    };
    let (length, leeway) = (number(length, 255)?, number(leeway, 5)?);
    let end_length = i128::try_from(end.chars().count()).unwrap_or(i128::MAX);
    if length < end_length || leeway < 0 {
        return Err("the length of `truncate` is shorter than its end, or its leeway is negative".into());
    }
    if i128::try_from(text.chars().count()).unwrap_or(i128::MAX) <= length.saturating_add(leeway) {
        return Ok(value);
    }
    let kept: String = text.chars().take(usize::try_from(length - end_length).unwrap_or(usize::MAX)).collect();
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if !kill_words.is_some_and(|kill| kill.is_true()) => words,
        _ => &kept,
    };
    Ok(Value::str(format!("{kept}{end}")))
}

/// The number of words: runs of letters, digits and underscores.
pub fn wordcount(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("wordcount", [], 0)?;
    let text = text(renderer, &value)?;
    let words = text.split(|character: char| !(character.is_alphanumeric() || character == '_'));
    Ok(Value::int(words.filter(|word| !word.is_empty()).count()))
}

pub fn urlencode(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("urlencode", [], 0)?;
    let pairs = match &value {
        Value::Dict(dict) => dict.view(super::super::value::View::Items, &renderer.fuel)?,
        Value::List(_)
        | Value::Tuple(_)
        | Value::View(..)
        | Value::Iterator(_)
        | Value::Undefined(_)
        | Value::Range(_) => collect(&value, &renderer.fuel)?,
        other => {
            let text = text(renderer, other)?;
            renderer.fuel.spend_text(text.len().saturating_mul(3))?;
            return Ok(Value::str(quoted(&text, true)));
        }
    };
    let mut parts = Vec::new();
    for pair in pairs {
        let [key, value] = &collect(&pair, &renderer.fuel)?[..] else { return Err("`urlencode` takes pairs".into()) };
        let quote = |value: &Value| {
            let text = text(renderer, value)?;
            renderer.fuel.spend_text(text.len().saturating_mul(12))?;
            Ok::<_, String>(quoted(&text, false).replace("%20", "+"))
        };
        parts.push(format!("{}={}", quote(key)?, quote(value)?));
    }
    Ok(Value::str(parts.join("&")))
}

fn quoted(text: &str, keep_slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            b'/' if keep_slashes => out.push('/'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub fn safe(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("safe", [], 0)?;
    Ok(Value::Markup(python::text(&value, &renderer.fuel)?.into()))
}

pub fn escape(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("escape", [], 0)?;
    Ok(Value::Markup(operators::html(&value, &renderer.fuel)?.into()))
}

/// Escapes safe strings, too.
pub fn force_escape(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let text = text(renderer, &value)?;
    escape(renderer, Value::str(text), args)
}
