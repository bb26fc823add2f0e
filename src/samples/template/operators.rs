//! Python's operators: arithmetic, comparisons and membership. What Python refuses is refused.

use std::cmp::Ordering;
use std::rc::Rc;

use super::format;
use super::fuel::Fuel;
use super::syntax::{Comparator, Operator};
use super::value::{Evaluated, Items, Value, View, unsupported};

/// A number of Python's arithmetic.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Float(value) => Some(Self::Float(*value)),
            other => other.as_int().map(Self::Int),
        }
    }

    /// As a float. Python refuses integers that no float holds, and so does this for those that it rounds.
    fn float(self) -> Evaluated<f64> {
        match self {
            Self::Float(value) => Ok(value),
            Self::Int(value) if value.unsigned_abs() <= 1 << 53 => Ok(value as f64),
            Self::Int(_) => Err("an integer is too large for arithmetic with floats".into()),
        }
    }
}

fn too_large() -> String {
    "an integer is too large".into()
}

pub fn binary(operator: Operator, left: &Value, right: &Value, fuel: &Fuel) -> Evaluated<Value> {
    let text = match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::FloorDivide => "//",
        Operator::Modulo => "%",
        Operator::Power => "**",
    };
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        return arithmetic(operator, left, right);
    }
    match (operator, left, right) {
        (Operator::Add, Value::Str(left), Value::Str(right)) => {
            fuel.spend_text(left.len() + right.len())?;
            Ok(Value::str(format!("{left}{right}")))
        }
        (Operator::Add, Value::List(left), Value::List(right)) => Value::list(joined(left, right, fuel)?, fuel),
        (Operator::Add, Value::Tuple(left), Value::Tuple(right)) => Value::tuple(joined(left, right, fuel)?, fuel),
        (Operator::Add, Value::Str(_) | Value::Markup(_), Value::Str(_) | Value::Markup(_)) => {
            let (left, right) = (html(left, fuel)?, html(right, fuel)?);
            fuel.spend_text(left.len() + right.len())?;
            Ok(Value::Markup(format!("{left}{right}").into()))
        }
        (Operator::Multiply, count, sequence) | (Operator::Multiply, sequence, count)
            if count.as_int().is_some() && is_repeatable(sequence) =>
        {
            repeated(sequence, count.as_int().unwrap_or_default(), fuel)
        }
        (Operator::Modulo, Value::Str(template), argument) => format::percent(template, argument, fuel),
        _ => Err(unsupported(text, &[left, right])),
    }
}

/// The HTML of a string: what combines with a safe string is escaped.
pub fn html(value: &Value, fuel: &Fuel) -> Evaluated<String> {
    let text = match value {
        Value::Markup(text) => text.to_string(),
        other => {
            let text = super::python::text(other, fuel)?;
            // Each character may become five or six, and there are two copies on the way.
            fuel.spend_text(text.len().saturating_mul(8))?;
            let text = text.replace('&', "&amp;").replace('>', "&gt;").replace('<', "&lt;");
            text.replace('\'', "&#39;").replace('"', "&#34;")
        }
    };
    fuel.spend_text(text.len())?;
    Ok(text)
}

fn joined(left: &Items, right: &Items, fuel: &Fuel) -> Evaluated<Vec<Value>> {
    fuel.spend(left.values.len() + right.values.len())?;
    Ok(left.values.iter().chain(&right.values).cloned().collect())
}

fn is_repeatable(value: &Value) -> bool {
    matches!(value, Value::Str(_) | Value::Markup(_) | Value::List(_) | Value::Tuple(_))
}

fn repeated(sequence: &Value, count: i128, fuel: &Fuel) -> Evaluated<Value> {
    let count = usize::try_from(count.max(0)).map_err(|_| too_large())?;
    let items = |items: &Items| {
        fuel.spend(items.values.len().saturating_mul(count))?;
        Ok::<_, String>(items.values.iter().cycle().take(items.values.len() * count).cloned().collect())
    };
    match sequence {
        Value::Str(text) | Value::Markup(text) => {
            fuel.spend_text(text.len().saturating_mul(count))?;
            Ok(sequence.with_text(text.repeat(count)))
        }
        Value::List(list) => Value::list(items(list)?, fuel),
        Value::Tuple(tuple) => Value::tuple(items(tuple)?, fuel),
        other => Err(unsupported("*", &[other])),
    }
}

fn arithmetic(operator: Operator, left: Number, right: Number) -> Evaluated<Value> {
    if let (Number::Int(left), Number::Int(right)) = (left, right) {
        return integers(operator, left, right);
    }
    let (left, right) = (left.float()?, right.float()?);
    if right == 0.0 && matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Modulo) {
        return Err("a division by zero".into());
    }
    Ok(Value::Float(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::FloorDivide | Operator::Modulo => {
            let (quotient, remainder) = floor_division(left, right);
            if operator == Operator::Modulo { remainder } else { quotient }
        }
        Operator::Power => return power(left, right).map(Value::Float),
    }))
}

/// Python's power of floats: C's, with errors instead of infinities.
fn power(left: f64, right: f64) -> Evaluated<f64> {
    let result = left.powf(right);
    let is_real = left >= 0.0 || right.fract() == 0.0;
    let is_finite = result.is_finite() || !left.is_finite() || !right.is_finite();
    if is_real && is_finite { Ok(result) } else { Err("a power has no finite real value".into()) }
}

/// CPython's `float_divmod`.
fn floor_division(left: f64, right: f64) -> (f64, f64) {
    let mut remainder = left % right;
    let mut quotient = (left - remainder) / right;
    if remainder == 0.0 {
        remainder = 0.0_f64.copysign(right);
    } else if (right < 0.0) != (remainder < 0.0) {
        remainder += right;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0_f64.copysign(left / right), remainder);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, remainder)
}

fn integers(operator: Operator, left: i128, right: i128) -> Evaluated<Value> {
    if right == 0 && matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Modulo) {
        return Err("a division by zero".into());
    }
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide => {
            return Ok(Value::Float(Number::Int(left).float()? / Number::Int(right).float()?));
        }
        Operator::FloorDivide => left.checked_div(right).map(|quotient| {
            let is_inexact = left % right != 0 && (left < 0) != (right < 0);
            quotient - i128::from(is_inexact)
        }),
        Operator::Modulo => left.checked_rem(right).map(|remainder| {
            if remainder != 0 && (remainder < 0) != (right < 0) { remainder + right } else { remainder }
        }),
        Operator::Power if right < 0 => {
            return power(Number::Int(left).float()?, Number::Int(right).float()?).map(Value::Float);
        }
        Operator::Power => u32::try_from(right).ok().and_then(|right| left.checked_pow(right)),
    };
    result.map(Value::Int).ok_or_else(too_large)
}

pub fn negative(value: &Value) -> Evaluated<Value> {
    match Number::of(value) {
        Some(Number::Int(value)) => value.checked_neg().map(Value::Int).ok_or_else(too_large),
        Some(Number::Float(value)) => Ok(Value::Float(-value)),
        None => Err(unsupported("-", &[value])),
    }
}

pub fn positive(value: &Value) -> Evaluated<Value> {
    match Number::of(value) {
        Some(Number::Int(value)) => Ok(Value::Int(value)),
        Some(Number::Float(value)) => Ok(Value::Float(value)),
        None => Err(unsupported("+", &[value])),
    }
}

/// Whether two values that hold no others are equal; `None` for those that do.
pub fn scalars_equal(left: &Value, right: &Value, fuel: &Fuel) -> Evaluated<Option<bool>> {
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        return Ok(Some(compare_numbers(left, right) == Some(Ordering::Equal)));
    }
    Ok(match (left, right) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => Some(true),
        (Value::Str(left) | Value::Markup(left), Value::Str(right) | Value::Markup(right)) => {
            fuel.spend_reading(left.len().min(right.len()))?;
            Some(left == right)
        }
        (Value::List(_), Value::List(_))
        | (Value::Tuple(_), Value::Tuple(_))
        | (Value::Range(_), Value::Range(_))
        | (Value::Dict(_), Value::Dict(_))
        | (Value::View(..), Value::View(..)) => None,
        _ => Some(is_same_object(left, right)),
    })
}

/// Python's `is` for values that are compared by identity.
pub fn is_same_object(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Namespace(left), Value::Namespace(right)) => Rc::ptr_eq(left, right),
        (Value::Iterator(left), Value::Iterator(right)) => Rc::ptr_eq(left, right),
        (Value::Macro(left), Value::Macro(right)) => Rc::ptr_eq(left, right),
        (Value::Loop(left), Value::Loop(right)) => Rc::ptr_eq(left, right),
        (Value::Cycler(left), Value::Cycler(right)) => Rc::ptr_eq(left, right),
        (Value::Joiner(left), Value::Joiner(right)) => Rc::ptr_eq(left, right),
        (Value::Builtin(left), Value::Builtin(right)) => left == right,
        _ => false,
    }
}

pub fn equal(left: &Value, right: &Value, fuel: &Fuel) -> Evaluated<bool> {
    fuel.spend(1)?;
    if let Some(equal) = scalars_equal(left, right, fuel)? {
        return Ok(equal);
    }
    match (left, right) {
        (Value::List(left), Value::List(right))
        | (Value::Tuple(left), Value::Tuple(right))
        | (Value::Range(left), Value::Range(right)) => {
            if left.values.len() != right.values.len() {
                return Ok(false);
            }
            all(left.values.iter().zip(&right.values), |(left, right)| equal(left, right, fuel))
        }
        (Value::Dict(left), Value::Dict(right)) => {
            fuel.spend(left.entries.len() * right.entries.len() / 16)?;
            if left.entries.len() != right.entries.len() {
                return Ok(false);
            }
            all(left.entries.iter(), |(key, value)| match right.get(key, fuel)? {
                Some(other) => equal(value, &other, fuel),
                None => Ok(false),
            })
        }
        _ => Err("views of dictionaries cannot be compared".into()),
    }
}

fn all<T>(items: impl Iterator<Item = T>, mut is_true: impl FnMut(T) -> Evaluated<bool>) -> Evaluated<bool> {
    for item in items {
        if !is_true(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn compare_numbers(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
        (Number::Float(left), Number::Float(right)) => left.partial_cmp(&right),
        (Number::Int(left), Number::Float(right)) => compare_mixed(left, right),
        (Number::Float(left), Number::Int(right)) => compare_mixed(right, left).map(Ordering::reverse),
    }
}

/// Compares without rounding the integer.
fn compare_mixed(left: i128, right: f64) -> Option<Ordering> {
    if right.is_nan() {
        return None;
    }
    if right.abs() >= 1e38 {
        return Some(if right > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let floor = right.floor();
    let order = left.cmp(&(floor as i128));
    Some(if order == Ordering::Equal && right > floor { Ordering::Less } else { order })
}

/// The order of two values that Python can order; `None` if one is not a number.
pub fn order(left: &Value, right: &Value, fuel: &Fuel) -> Evaluated<Option<Ordering>> {
    fuel.spend(1)?;
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        return Ok(compare_numbers(left, right));
    }
    match (left, right) {
        (Value::Str(left), Value::Str(right)) => {
            fuel.spend_reading(left.len().min(right.len()))?;
            Ok(Some(left.cmp(right)))
        }
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            for (left, right) in left.values.iter().zip(&right.values) {
                if !equal(left, right, fuel)? {
                    return order(left, right, fuel);
                }
            }
            Ok(Some(left.values.len().cmp(&right.values.len())))
        }
        _ => Err(unsupported("<", &[left, right])),
    }
}

pub fn compare(comparison: Comparator, left: &Value, right: &Value, fuel: &Fuel) -> Evaluated<bool> {
    let ordered = |accept: fn(Ordering) -> bool| Ok(order(left, right, fuel)?.is_some_and(accept));
    match comparison {
        Comparator::Equal => equal(left, right, fuel),
        Comparator::NotEqual => Ok(!equal(left, right, fuel)?),
        Comparator::Less => ordered(Ordering::is_lt),
        Comparator::LessEqual => ordered(Ordering::is_le),
        Comparator::Greater => ordered(Ordering::is_gt),
        Comparator::GreaterEqual => ordered(Ordering::is_ge),
        Comparator::In => contains(right, left, fuel),
        Comparator::NotIn => Ok(!contains(right, left, fuel)?),
    }
}

/// Python's `item in container`.
pub fn contains(container: &Value, item: &Value, fuel: &Fuel) -> Evaluated<bool> {
    let among = |values: &[Value]| {
        let mut others = values.iter();
        Ok(!all(&mut others, |value| Ok(!equal(value, item, fuel)?))?)
    };
    match container {
        Value::Str(text) | Value::Markup(text) => match item {
            Value::Str(part) | Value::Markup(part) => {
                fuel.spend_text(text.len() + part.len())?;
                Ok(text.contains(&**part))
            }
            other => Err(unsupported("in", &[other, container])),
        },
        Value::List(items) | Value::Tuple(items) | Value::Range(items) => among(&items.values),
        Value::Dict(dict) | Value::View(View::Keys, dict) => {
            fuel.spend(1)?;
            Ok(dict.get(item, fuel)?.is_some())
        }
        Value::View(view, dict) => among(&dict.view(*view, fuel)?),
        Value::Undefined(_) => Ok(false),
        Value::Iterator(iterator) => {
            while let Some(value) = iterator.items.values.get(iterator.position.get()) {
                iterator.position.set(iterator.position.get() + 1);
                if equal(value, item, fuel)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => Err(unsupported("in", &[item, other])),
    }
}
