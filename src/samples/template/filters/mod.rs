//! The filters of Jinja.

mod selections;
mod sequences;
mod words;

use super::calls::Args;
use super::iteration::length;
use super::json;
use super::numbers;
use super::python;
use super::renderer::Renderer;
use super::value::unsupported;
use super::value::{Evaluated, Value};

type Filter = fn(&mut Renderer, Value, Args) -> Evaluated<Value>;

/// The filters by name. Those of [`UNSUPPORTED`] fail where they are reached.
const FILTERS: [(&str, Filter); 47] = [
    ("abs", absolute),
    ("attr", selections::attribute),
    ("batch", sequences::batch),
    ("capitalize", words::capitalize),
    ("center", words::center),
    ("count", count),
    ("d", default),
    ("default", default),
    ("dictsort", sequences::sort_dict),
    ("e", words::escape),
    ("escape", words::escape),
    ("first", sequences::first),
    ("float", float),
    ("forceescape", words::force_escape),
    ("format", words::format),
    ("groupby", sequences::group),
    ("indent", words::indent),
    ("int", int),
    ("items", sequences::items),
    ("join", words::join),
    ("last", sequences::last),
    ("length", count),
    ("list", sequences::list),
    ("lower", words::lower),
    ("map", selections::map),
    ("max", sequences::maximum),
    ("min", sequences::minimum),
    ("reject", selections::reject),
    ("rejectattr", selections::reject_attribute),
    ("replace", words::replace),
    ("reverse", sequences::reverse),
    ("round", round),
    ("safe", words::safe),
    ("select", selections::select),
    ("selectattr", selections::select_attribute),
    ("slice", sequences::slices),
    ("sort", sequences::sort),
    ("string", string),
    ("sum", sequences::sum),
    ("title", words::title),
    ("tojson", json::filter),
    ("trim", words::trim),
    ("truncate", words::truncate),
    ("unique", sequences::unique),
    ("upper", words::upper),
    ("urlencode", words::urlencode),
    ("wordcount", words::wordcount),
];

/// Filters of Jinja that make HTML, depend on a width of the screen, or are random.
const UNSUPPORTED: [&str; 7] = ["filesizeformat", "pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"];

pub fn is_known(name: &str) -> bool {
    UNSUPPORTED.contains(&name) || FILTERS.iter().any(|(known, _)| *known == name)
}

pub fn apply(renderer: &mut Renderer, name: &str, value: Value, args: Args) -> Evaluated<Value> {
    let Some((_, filter)) = FILTERS.iter().find(|(known, _)| *known == name) else {
        let problem = if is_known(name) { "is not supported" } else { "does not exist" };
        return Err(format!("the filter `{name}` {problem}"));
    };
    renderer.fuel.spend(1)?;
    filter(renderer, value, args)
}

fn absolute(_: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("abs", [], 0)?;
    match &value {
        Value::Float(number) => Ok(Value::Float(number.abs())),
        other => match other.as_int().and_then(i128::checked_abs) {
            Some(number) => Ok(Value::Int(number)),
            None => Err(unsupported("abs", &[other])),
        },
    }
}

fn count(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("length", [], 0)?;
    if let Value::Loop(state) = &value {
        return Ok(Value::int(renderer.loop_length(state)?));
    }
    length(&value, &renderer.fuel)?.map(Value::int).ok_or_else(|| unsupported("length", &[&value]))
}

fn default(_: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [default, boolean] = args.bind("default", ["default_value", "boolean"], 0)?;
    let is_boolean = boolean.is_some_and(|boolean| boolean.is_true());
    if value.is_undefined() || (is_boolean && !value.is_true()) {
        return Ok(default.unwrap_or_else(|| Value::str("")));
    }
    Ok(value)
}

fn string(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("string", [], 0)?;
    match value {
        Value::Str(_) | Value::Markup(_) => Ok(value),
        other => Ok(Value::str(python::text(&other, &renderer.fuel)?.into_owned())),
    }
}

/// Python's `int`, or a default for what is no number.
fn int(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [default, base] = args.bind("int", ["default", "base"], 0)?;
    let default = default.unwrap_or(Value::Int(0));
    pay_for_digits(renderer, &value)?;
    let base = base.map_or(Some(10), |base| base.as_int()).filter(|base| [2, 8, 10, 16].contains(base));
    let base = base.ok_or("the base of `int` should be 2, 8, 10 or 16")? as u32;
    let whole = |number: f64| match numbers::truncated(number) {
        Err(_) if number.is_finite() => Err("an integer is too large".to_string()),
        whole => Ok(whole.map_or(default.clone(), Value::Int)),
    };
    match &value {
        Value::Undefined(message) => Err(message.to_string()),
        Value::Str(text) => match (numbers::parse_integer(text, base), numbers::parse_float(text)) {
            (Some(number), _) => Ok(Value::Int(number)),
            (None, Some(number)) => whole(number),
            (None, None) if !text.is_ascii() && text.chars().any(char::is_numeric) => {
                Err("`int` of digits that are not ASCII is not supported".into())
            }
            (None, None) => Ok(default),
        },
        Value::Markup(_) => Err(unsupported("int", &[&value])),
        Value::Float(number) if number.is_infinite() => Ok(default),
        Value::Float(number) => whole(*number),
        other => Ok(other.as_int().map_or(default, Value::Int)),
    }
}

/// Pays for reading a number out of a text, which copies it some times.
fn pay_for_digits(renderer: &Renderer, value: &Value) -> Evaluated<()> {
    value.as_str().map_or(Ok(()), |text| renderer.fuel.spend_text(text.len().saturating_mul(4)))
}

fn float(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [default] = args.bind("float", ["default"], 0)?;
    let default = default.unwrap_or(Value::Float(0.0));
    pay_for_digits(renderer, &value)?;
    match &value {
        Value::Undefined(message) => Err(message.to_string()),
        Value::Markup(_) => Err(unsupported("float", &[&value])),
        Value::Str(text) => match numbers::parse_float(text) {
            Some(number) => Ok(Value::Float(number)),
            None if !text.is_ascii() && text.chars().any(char::is_numeric) => {
                Err("`float` of digits that are not ASCII is not supported".into())
            }
            None => Ok(default),
        },
        Value::Int(_) | Value::Bool(_) | Value::Float(_) => numbers::to_float(&value).map(Value::Float),
        _ => Ok(default),
    }
}

fn round(_: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"], 0)?;
    let precision =
        precision.unwrap_or(Value::Int(0)).as_int().ok_or("the precision of `round` should be an integer")?;
    let method = method.as_ref().map_or(Some("common"), Value::as_str).unwrap_or_default();
    let precision = usize::try_from(precision).ok().filter(|precision| *precision <= 20);
    let precision = precision.ok_or("the precision of `round` should be between 0 and 20")?;
    if method == "common" {
        return match &value {
            Value::Float(number) if number.is_finite() => {
                let rounded = format!("{number:.precision$}").parse();
                rounded.map(Value::Float).map_err(|_| "a number cannot be rounded".into())
            }
            Value::Float(_) => Ok(value),
            other => other.as_int().map(Value::Int).ok_or_else(|| unsupported("round", &[other])),
        };
    }
    let power = 10_i64.checked_pow(precision as u32).ok_or("the precision of `round` is too large")? as f64;
    let scaled = numbers::to_float(&value)? * power;
    let rounded = match method {
        "ceil" => scaled.ceil(),
        "floor" => scaled.floor(),
        _ => return Err("the method of `round` should be `common`, `ceil` or `floor`".into()),
    };
    // Python's `ceil` and `floor` give integers, which have no negative zero.
    Ok(Value::Float((numbers::truncated(rounded)? as f64) / power))
}
