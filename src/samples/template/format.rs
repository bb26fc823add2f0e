//! Python's two ways to put values into a text: `'%s' % value` and `'{}'.format(value)`.

use std::borrow::Cow;

use super::calls::Args;
use super::fuel::Fuel;
use super::numbers::{self, Style};
use super::python;
use super::renderer::Renderer;
use super::value::unsupported;
use super::value::{Evaluated, Value, shortened};

/// The number of digits in a width or a precision.
const LONGEST_WIDTH: usize = 4;

/// Reads a number at the beginning of a text.
fn leading_number<'a>(text: &'a str, rest: &mut &'a str) -> Evaluated<Option<usize>> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    *rest = &text[end..];
    if end > LONGEST_WIDTH {
        return Err("the width of a format is too large".into());
    }
    Ok(text[..end].parse().ok())
}

/// `template % argument`.
pub fn percent(template: &str, argument: &Value, fuel: &Fuel) -> Evaluated<Value> {
    let (positional, is_tuple) = match argument {
        Value::Tuple(items) => (&items.values[..], true),
        other => (std::slice::from_ref(other), false),
    };
    let mut unused = positional.iter();
    let mut named_only = false;
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut named = None;
        if let Some(after) = rest.strip_prefix('(') {
            let Value::Dict(dict) = argument else { return Err("a format with names needs a dictionary".into()) };
            let (name, after) = after.split_once(')').ok_or("a format lacks a `)`")?;
            if name.contains('(') {
                return Err("a format's name holds a parenthesis".into());
            }
            let value = dict.get_str(name, fuel)?;
            named = Some(value.ok_or_else(|| format!("a format has no value for `{}`", shortened(name)))?);
            named_only = true;
            rest = after;
        }
        let end = rest.find(|character| !"-+ #0".contains(character)).unwrap_or(rest.len());
        let flags = &rest[..end];
        let mut style = Style {
            fill: if flags.contains('0') { '0' } else { ' ' },
            align: if flags.contains('-') { '<' } else { '\0' },
            sign: if flags.contains('+') {
                '+'
            } else if flags.contains(' ') {
                ' '
            } else {
                '-'
            },
            alternate: flags.contains('#'),
            ..Style::default()
        };
        if rest[end..].starts_with('*') {
            return Err("a width of `*` is not supported".into());
        }
        style.width = leading_number(&rest[end..], &mut rest)?.unwrap_or(0);
        if let Some(after) = rest.strip_prefix('.') {
            style.precision = Some(leading_number(after, &mut rest)?.unwrap_or(0));
        }
        rest = rest.trim_start_matches(['h', 'l', 'L']);
        let kind = rest.chars().next().ok_or("a format is incomplete")?;
        rest = &rest[kind.len_utf8()..];
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => unused.next().ok_or("a format has too few arguments")?.clone(),
        };
        let text = percent_part(kind, &value, style, fuel)?;
        fuel.spend_text(text.len())?;
        out.push_str(&text);
    }
    out.push_str(rest);
    let takes_rest = named_only || (!is_tuple && matches!(argument, Value::Dict(_) | Value::List(_)));
    if unused.next().is_some() && !takes_rest {
        return Err("a format has too many arguments".into());
    }
    fuel.spend_text(out.len())?;
    Ok(Value::str(out))
}

fn percent_part(kind: char, value: &Value, mut style: Style, fuel: &Fuel) -> Evaluated<String> {
    pay_for_part(value, style, fuel)?;
    let text = match kind {
        's' => python::text(value, fuel)?.into_owned(),
        'r' => python::repr(value, fuel)?,
        'a' => python::ascii(value, fuel)?,
        'c' => match value {
            Value::Str(text) if text.chars().count() == 1 => text.to_string(),
            other => return Err(unsupported("%c", &[other])),
        },
        'd' | 'i' | 'u' => {
            let number = match value {
                Value::Float(number) => numbers::truncated(*number)?,
                other => other.as_int().ok_or_else(|| unsupported("%d", &[other]))?,
            };
            return numbers::printf_integer(number, 'd', style);
        }
        'x' | 'X' | 'o' => {
            let number = value.as_int().ok_or_else(|| unsupported("%x", &[value]))?;
            return numbers::printf_integer(number, kind, style);
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = numbers::to_float(value)?;
            style.precision = Some(style.precision.unwrap_or(6));
            return numbers::float(number, kind, style);
        }
        other => return Err(format!("the format `%{other}` is not known")),
    };
    let text = match style.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text,
    };
    style.fill = ' ';
    Ok(numbers::padded(&text, style, '>'))
}

/// Pays for a part before it is made: for a copy of a text, and for its width.
fn pay_for_part(value: &Value, style: Style, fuel: &Fuel) -> Evaluated<()> {
    let text = if let Value::Str(text) | Value::Markup(text) = value { text.len() } else { 0 };
    let digits = style.precision.unwrap_or(0);
    fuel.spend_text(text.saturating_mul(2) + style.width.saturating_mul(4) + digits.saturating_mul(4))
}

/// `template.format(…)`.
pub fn braces(renderer: &mut Renderer, template: &str, args: Args) -> Evaluated<Value> {
    let mut fields = FormatFields { renderer, args, next: Some(0) };
    let text = fields.fill(template, 2)?;
    Ok(Value::str(text))
}

/// The values of a format, and the place of the next field without a name; `None` once a field has named its place.
struct FormatFields<'a, 'b> {
    renderer: &'a mut Renderer<'b>,
    args: Args,
    next: Option<usize>,
}

impl FormatFields<'_, '_> {
    /// Fills the fields of a template, in whose specifications there may be fields again.
    fn fill(&mut self, template: &str, depth: usize) -> Evaluated<String> {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let is_open = rest[at..].starts_with('{');
            let after = &rest[at + 1..];
            if after.starts_with(if is_open { '{' } else { '}' }) {
                out.push(if is_open { '{' } else { '}' });
                rest = &after[1..];
                continue;
            }
            if !is_open {
                return Err("a format has a `}` without `{`".into());
            }
            let end = field_end(after).ok_or("a format lacks a `}`")?;
            let text = self.field(&after[..end], depth)?;
            self.renderer.fuel.spend_text(text.len())?;
            out.push_str(&text);
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn field(&mut self, field: &str, depth: usize) -> Evaluated<String> {
        if depth == 0 {
            return Err("the fields of a format nest too deep".into());
        }
        let name_end = name_end(field);
        let (name, tail) = field.split_at(name_end);
        let (conversion, specification) = match tail.strip_prefix('!') {
            Some(tail) => {
                let conversion = tail.chars().next().ok_or("a format lacks its conversion")?;
                let tail = &tail[conversion.len_utf8()..];
                let specification = tail.strip_prefix(':').or(tail.is_empty().then_some(""));
                (Some(conversion), specification.ok_or("a format's conversion is malformed")?)
            }
            None => (None, tail.strip_prefix(':').unwrap_or("")),
        };
        let value = self.value(name)?;
        let specification = self.fill(specification, depth - 1)?;
        let fuel = &self.renderer.fuel;
        if let (Some(_), Value::Str(text)) = (conversion, &value) {
            fuel.spend_text(text.len())?;
        }
        let value = match conversion {
            None => value,
            Some('s') => Value::str(python::text(&value, fuel)?.into_owned()),
            Some('r') => Value::str(python::repr(&value, fuel)?),
            Some('a') => Value::str(python::ascii(&value, fuel)?),
            Some(other) => return Err(format!("the conversion `!{other}` is not known")),
        };
        formatted(&value, &specification, fuel).map(Cow::into_owned)
    }

    /// The value of a field: an argument, with attributes and items of it.
    fn value(&mut self, name: &str) -> Evaluated<Value> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(end);
        let place = match (first.parse::<usize>(), self.next) {
            (Ok(place), next) if next.is_none_or(|next| next == 0) => {
                self.next = None;
                Some(place)
            }
            (Err(_), Some(next)) if first.is_empty() => {
                self.next = Some(next + 1);
                Some(next)
            }
            (Err(_), _) if !first.is_empty() => None,
            _ => return Err("a format has fields with and without numbers".into()),
        };
        let value = match place {
            Some(place) => self.args.positional.get(place).cloned(),
            None => {
                self.renderer.fuel.spend(self.args.named.len())?;
                self.args.named.iter().find(|(known, _)| &**known == first).map(|(_, value)| value.clone())
            }
        };
        let mut value = value.ok_or_else(|| format!("a format has no value for `{}`", shortened(first)))?;
        while !rest.is_empty() {
            self.renderer.fuel.spend(1)?;
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                value = self.renderer.attribute(&value, &after[..end])?;
                rest = &after[end..];
            } else {
                let (key, after) = rest[1..].split_once(']').ok_or("a format lacks a `]`")?;
                let key = key.parse().map_or_else(|_| Value::str(key), Value::Int);
                value = self.renderer.item(&value, &key)?;
                rest = after;
            }
        }
        Ok(value)
    }
}

/// The end of a field, whose specification may hold fields.
fn field_end(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The end of a field's name: a colon or an exclamation mark outside brackets.
fn name_end(field: &str) -> usize {
    let mut in_brackets = false;
    for (at, character) in field.char_indices() {
        match character {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            ':' | '!' if !in_brackets => return at,
            _ => {}
        }
    }
    field.len()
}

/// Python's `format(value, specification)`.
fn formatted<'a>(value: &'a Value, specification: &str, fuel: &Fuel) -> Evaluated<Cow<'a, str>> {
    if specification.is_empty() {
        return python::text(value, fuel);
    }
    let (style, kind) = parse_specification(specification)?;
    pay_for_part(value, style, fuel)?;
    let text = match (value, kind) {
        (Value::Str(text), None | Some('s')) => {
            if style.sign != '\0' || style.alternate || style.grouping != '\0' || style.align == '=' {
                return Err("a format for numbers was given a string".into());
            }
            let text: String = text.chars().take(style.precision.unwrap_or(usize::MAX)).collect();
            numbers::padded(&text, style, '<')
        }
        (Value::Int(_) | Value::Bool(_), Some('d' | 'x' | 'X' | 'o' | 'b')) | (Value::Int(_), None) => {
            numbers::format_integer(value.as_int().unwrap_or_default(), kind.unwrap_or('d'), style)?
        }
        (Value::Int(_) | Value::Float(_) | Value::Bool(_), Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%')) => {
            let kind = kind.unwrap_or('f');
            let style = Style { precision: Some(style.precision.unwrap_or(6)), ..style };
            numbers::float(numbers::to_float(value)?, kind, style)?
        }
        (Value::Float(number), None) if style.precision.is_none() && style.grouping == '\0' => {
            numbers::signed(&python::float(number.abs()), number.is_sign_negative() && !number.is_nan(), style)
        }
        _ => {
            let specification = shortened(specification);
            return Err(format!("the format `{specification}` of a {} is not supported", value.type_name()));
        }
    };
    Ok(Cow::Owned(text))
}

/// `[[fill]align][sign][#][0][width][,][.precision][type]`.
fn parse_specification(specification: &str) -> Evaluated<(Style, Option<char>)> {
    let mut style = Style { sign: '\0', ..Style::default() };
    let characters: Vec<char> = specification.chars().take(2).collect();
    let is_align = |character: Option<&char>| character.is_some_and(|character| "<>=^".contains(*character));
    let mut rest = specification;
    if is_align(characters.get(1)) {
        (style.fill, style.align) = (characters[0], characters[1]);
        rest = &rest[characters[0].len_utf8() + 1..];
    } else if is_align(characters.first()) {
        style.align = characters[0];
        rest = &rest[1..];
    }
    if let Some(sign) = rest.chars().next().filter(|sign| "+- ".contains(*sign)) {
        style.sign = sign;
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('#') {
        style.alternate = true;
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('0') {
        if style.align == '\0' {
            (style.fill, style.align) = ('0', '=');
        }
        rest = after;
    }
    style.width = leading_number(rest, &mut rest)?.unwrap_or(0);
    if let Some(grouping) = rest.chars().next().filter(|grouping| ",_".contains(*grouping)) {
        style.grouping = grouping;
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('.') {
        style.precision = Some(leading_number(after, &mut rest)?.ok_or("a format lacks its precision")?);
    }
    let mut kinds = rest.chars();
    match (kinds.next(), kinds.next()) {
        (kind, None) => Ok((style, kind)),
        _ => Err(format!("the format `{}` is not supported", shortened(specification))),
    }
}
