//! The methods of Python's strings.

use super::attributes::positional;
use super::calls::Args;
use super::format;
use super::fuel::Fuel;
use super::iteration::bounds;
use super::python::{is_printable, is_space};
use super::renderer::Renderer;
use super::splits::{join, lines, split};
use super::value::unsupported;
use super::value::{Evaluated, Value};

/// The methods that are rendered as Python runs them.
pub const METHODS: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// Calls a method of a string.
pub fn call(renderer: &mut Renderer, text: &str, method: &str, args: Args) -> Evaluated<Value> {
    let fuel = &renderer.fuel;
    fuel.spend_text(text.len())?;
    let value = match method {
        "format" => return format::braces(renderer, text, args),
        "join" => return join(text, args, fuel),
        "split" | "rsplit" => return split(text, method == "rsplit", args, fuel),
        "splitlines" => {
            let [keep] = args.bind(method, ["keepends"], 0)?;
            let lines = Value::strs(lines(text, keep.is_some_and(|keep| keep.is_true())), fuel)?;
            return Value::list(lines, fuel);
        }
        "partition" | "rpartition" => return partition(text, method == "rpartition", args, fuel),
        "replace" => {
            let [old, new, count] = positional(args, method, ["old", "new", "count"], 2)?;
            let (old, new) = (string(&old, method)?, string(&new, method)?);
            return replace(text, old, new, count.as_ref(), fuel);
        }
        "startswith" | "endswith" => return Ok(Value::Bool(affix(text, method == "startswith", args, fuel)?)),
        "count" | "find" | "rfind" | "index" | "rindex" => return search(text, method, args),
        "strip" | "lstrip" | "rstrip" => {
            let [characters] = positional(args, method, ["chars"], 0)?;
            Value::str(strip(text, method, characters.as_ref(), fuel)?)
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = positional(args, method, ["affix"], 1)?;
            let affix = string(&affix, method)?;
            let rest = if method == "removeprefix" { text.strip_prefix(affix) } else { text.strip_suffix(affix) };
            Value::str(rest.unwrap_or(text))
        }
        "center" | "ljust" | "rjust" => {
            let [width, fill] = positional(args, method, ["width", "fillchar"], 1)?;
            return pad(text, method, width, fill, fuel);
        }
        "zfill" => {
            let [width] = positional(args, method, ["width"], 1)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let missing = padding(width.as_ref(), text, fuel)?;
            Value::str(format!("{sign}{}{digits}", "0".repeat(missing)))
        }
        _ => {
            let [] = args.bind(method, [], 0)?;
            // Most look at each character, and letters may become three.
            fuel.spend(text.len() / 8)?;
            if method == "isprintable" {
                fuel.spend(text.len())?;
            }
            return without_arguments(text, method);
        }
    };
    Ok(value)
}

/// A string argument.
fn string<'a>(value: &'a Option<Value>, method: &str) -> Evaluated<&'a str> {
    match value {
        Some(Value::Str(text)) => Ok(text),
        Some(other) => Err(unsupported(method, &[other])),
        None => Err(format!("`{method}` needs an argument")),
    }
}

fn without_arguments(text: &str, method: &str) -> Evaluated<Value> {
    let all = |accept: fn(char) -> bool| Value::Bool(!text.is_empty() && text.chars().all(accept));
    // Python tells decimals, digits and numbers apart by properties that Rust does not have.
    let ascii_only = |value: Value| {
        let is_sure = text.chars().all(|character| character.is_ascii() || !character.is_numeric());
        if is_sure { Ok(value) } else { Err(format!("`{method}` of numbers that are not ASCII is not supported")) }
    };
    Ok(match method {
        "upper" => Value::str(text.to_uppercase()),
        "lower" => Value::str(text.to_lowercase()),
        "casefold" if text.is_ascii() => Value::str(text.to_ascii_lowercase()),
        "capitalize" => Value::str(capitalized(text)?),
        "title" => Value::str(titled(text)?),
        "swapcase" if text.is_ascii() => Value::str(text.chars().map(swapped).collect::<String>()),
        "isascii" => Value::Bool(text.is_ascii()),
        "isspace" => all(is_space),
        "isalpha" if text.is_ascii() => all(|character| character.is_ascii_alphabetic()),
        "isalnum" if text.is_ascii() => all(|character| character.is_ascii_alphanumeric()),
        "isdigit" | "isdecimal" | "isnumeric" => ascii_only(all(|character| character.is_ascii_digit()))?,
        "isprintable" => Value::Bool(text.chars().all(is_printable)),
        "islower" => Value::Bool(has_case(text, char::is_lowercase, char::is_uppercase)),
        "isupper" => Value::Bool(has_case(text, char::is_uppercase, char::is_lowercase)),
        "istitle" if text.is_ascii() => Value::Bool(is_title(text)),
        _ => return Err(format!("`{method}` of text that is not ASCII is not supported")),
    })
}

pub fn has_case(text: &str, wanted: fn(char) -> bool, other: fn(char) -> bool) -> bool {
    text.chars().any(wanted) && !text.chars().any(other)
}

fn swapped(character: char) -> char {
    if character.is_ascii_uppercase() { character.to_ascii_lowercase() } else { character.to_ascii_uppercase() }
}

fn is_title(text: &str) -> bool {
    let (mut found, mut in_word) = (false, false);
    for character in text.chars() {
        if character.is_ascii_alphabetic() {
            if character.is_ascii_uppercase() == in_word {
                return false;
            }
            found = true;
        }
        in_word = character.is_ascii_alphabetic();
    }
    found
}

/// A character's title case. Where it is not the upper case, Rust does not know it.
fn title_case(character: char) -> Evaluated<char> {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) if !matches!(character, '\u{1c4}'..='\u{1cc}' | '\u{1f1}'..='\u{1f3}' | '\u{10d0}'..='\u{10ff}') => {
            Ok(upper)
        }
        _ => Err(format!("the title case of `{character}` is not supported")),
    }
}

/// Python's `str.capitalize`.
pub fn capitalized(text: &str) -> Evaluated<String> {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return Ok(String::new()) };
    let rest = characters.as_str();
    if rest.contains('Σ') {
        return Err("the lower case of a capital sigma is not supported here".into());
    }
    Ok(format!("{}{}", title_case(first)?, rest.to_lowercase()))
}

/// Python's `str.title`: a word is a run of letters with case.
fn titled(text: &str) -> Evaluated<String> {
    if text.contains('Σ') {
        return Err("the lower case of a capital sigma is not supported here".into());
    }
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for character in text.chars() {
        if in_word {
            out.extend(character.to_lowercase());
        } else {
            out.push(title_case(character)?);
        }
        in_word = character.is_lowercase() || character.is_uppercase();
    }
    Ok(out)
}

fn partition(text: &str, from_right: bool, args: Args, fuel: &Fuel) -> Evaluated<Value> {
    let [separator] = positional(args, "partition", ["sep"], 1)?;
    let separator = string(&separator, "partition")?;
    if separator.is_empty() {
        return Err("`partition` with an empty separator".into());
    }
    let found = if from_right { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Value::tuple(Value::strs(parts.into_iter(), fuel)?, fuel)
}

/// Python's `str.replace`.
pub fn replace(text: &str, old: &str, new: &str, count: Option<&Value>, fuel: &Fuel) -> Evaluated<Value> {
    let count = match count {
        None => usize::MAX,
        Some(count) => {
            let count = count.as_int().ok_or("the count of `replace` should be an integer")?;
            usize::try_from(count).unwrap_or(usize::MAX)
        }
    };
    let matches = text.matches(old).take(count).count();
    fuel.spend_text(text.len().saturating_add(matches.saturating_mul(new.len())))?;
    Ok(Value::str(text.replacen(old, new, count)))
}

/// `startswith` and `endswith`, of one string or any of several.
fn affix(text: &str, at_start: bool, args: Args, fuel: &Fuel) -> Evaluated<bool> {
    let method = if at_start { "startswith" } else { "endswith" };
    let [affix, start, stop] = positional(args, method, ["affix", "start", "end"], 1)?;
    let text = match (start, stop) {
        (None, None) => text,
        (start, stop) => match part(text, start, stop)? {
            Some((part, _)) => part,
            None => return Ok(false),
        },
    };
    let has = |affix: &str| if at_start { text.starts_with(affix) } else { text.ends_with(affix) };
    match &affix {
        Some(Value::Str(affix)) => Ok(has(affix)),
        Some(Value::Tuple(affixes)) => {
            for affix in &affixes.values {
                let Value::Str(affix) = affix else { return Err(unsupported(method, &[affix])) };
                fuel.spend(1 + affix.len().min(text.len()) / 1024)?;
                if has(affix) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => string(other, method).map(|_| false),
    }
}

/// The part of a string between two bounds in characters, and where it starts.
fn part(text: &str, start: Option<Value>, stop: Option<Value>) -> Evaluated<Option<(&str, usize)>> {
    let length = text.chars().count();
    let span = bounds(start, stop, length)?;
    if span.start > length || span.start > span.end {
        return Ok(None);
    }
    let place = |character: usize| text.char_indices().nth(character).map_or(text.len(), |(at, _)| at);
    Ok(Some((&text[place(span.start)..place(span.end)], span.start)))
}

fn search(text: &str, method: &str, args: Args) -> Evaluated<Value> {
    let [wanted, start, stop] = positional(args, method, ["sub", "start", "end"], 1)?;
    let wanted = string(&wanted, method)?;
    let part = part(text, start, stop)?;
    if method == "count" {
        return Ok(Value::int(part.map_or(0, |(part, _)| part.matches(wanted).count())));
    }
    let found = part.and_then(|(part, start)| {
        let at = if method.starts_with('r') { part.rfind(wanted) } else { part.find(wanted) }?;
        Some(start + part[..at].chars().count())
    });
    match found {
        Some(place) => Ok(Value::int(place)),
        None if method.ends_with("index") => Err(format!("`{method}` did not find its argument")),
        None => Ok(Value::Int(-1)),
    }
}

/// `strip`, `lstrip` and `rstrip`.
pub fn strip<'a>(text: &'a str, method: &str, characters: Option<&Value>, fuel: &Fuel) -> Evaluated<&'a str> {
    let characters = match characters {
        None | Some(Value::None) => None,
        Some(Value::Str(characters)) => {
            fuel.spend_reading(text.len().saturating_mul(characters.len()))?;
            Some(characters)
        }
        Some(other) => return Err(unsupported(method, &[other])),
    };
    let is_stripped = |character: char| match characters {
        Some(characters) => characters.contains(character),
        None => is_space(character),
    };
    let text = if method == "rstrip" { text } else { text.trim_start_matches(is_stripped) };
    Ok(if method == "lstrip" { text } else { text.trim_end_matches(is_stripped) })
}

/// The number of characters that are missing to a width.
fn padding(width: Option<&Value>, text: &str, fuel: &Fuel) -> Evaluated<usize> {
    let width = width.and_then(Value::as_int).ok_or("a width should be an integer")?;
    let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
    let missing = width.saturating_sub(text.chars().count());
    fuel.spend_text(missing.saturating_mul(4))?;
    Ok(missing)
}

/// `center`, `ljust` and `rjust`.
pub fn pad(text: &str, method: &str, width: Option<Value>, fill: Option<Value>, fuel: &Fuel) -> Evaluated<Value> {
    let missing = padding(width.as_ref(), text, fuel)?;
    let fill = match &fill {
        None => " ",
        fill => string(fill, method)?,
    };
    if fill.chars().count() != 1 {
        return Err(format!("`{method}` fills with one character"));
    }
    let left = match method {
        "ljust" => 0,
        "rjust" => missing,
        // CPython puts the odd character to the left if the width is odd.
        _ => missing / 2 + (missing & (missing + text.chars().count()) & 1),
    };
    Ok(Value::str(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))))
}
