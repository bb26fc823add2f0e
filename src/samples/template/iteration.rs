//! Walking over values, as Python's `iter`, `len` and slices do.

use std::cell::Cell;
use std::rc::Rc;

use super::fuel::Fuel;
use super::value::unsupported;
use super::value::{Evaluated, Items, Iterator, Value, View};

impl Iterator {
    pub fn next(&self) -> Option<Value> {
        let position = self.position.get();
        let item = self.items.values.get(position)?.clone();
        self.position.set(position + 1);
        Some(item)
    }

    /// All items that are left.
    pub fn rest(&self) -> Vec<Value> {
        let position = self.position.replace(self.items.values.len());
        self.items.values[position..].to_vec()
    }
}

/// Python's `iter`. A generator gives itself.
pub fn iterate(value: &Value, fuel: &Fuel) -> Evaluated<Rc<Iterator>> {
    let items = match value {
        Value::Iterator(iterator) => return Ok(iterator.clone()),
        Value::List(items) | Value::Tuple(items) | Value::Range(items) => items.clone(),
        Value::Dict(dict) => Rc::new(Items::new(dict.view(View::Keys, fuel)?, fuel)?),
        Value::View(view, dict) => Rc::new(Items::new(dict.view(*view, fuel)?, fuel)?),
        Value::Undefined(_) => Rc::new(Items::default()),
        Value::Str(text) => {
            fuel.spend(text.len().saturating_mul(2))?;
            let characters = text.chars().map(|character| Value::str(character.encode_utf8(&mut [0; 4]) as &str));
            Rc::new(Items::new(characters.collect(), fuel)?)
        }
        other => return Err(format!("a {} cannot be walked over", other.type_name())),
    };
    fuel.spend(items.values.len() / 16)?;
    Ok(Rc::new(Iterator { items, position: Cell::new(0) }))
}

/// All items of a value, as Python's `list` makes them.
pub fn collect(value: &Value, fuel: &Fuel) -> Evaluated<Vec<Value>> {
    let iterator = iterate(value, fuel)?;
    fuel.spend(iterator.items.values.len() - iterator.position.get())?;
    Ok(iterator.rest())
}

/// Whether Python's `iter` takes a value.
pub fn is_iterable(value: &Value) -> bool {
    matches!(
        value,
        Value::Iterator(_)
            | Value::List(_)
            | Value::Tuple(_)
            | Value::Range(_)
            | Value::Dict(_)
            | Value::View(..)
            | Value::Undefined(_)
            | Value::Str(_)
            | Value::Markup(_)
            | Value::Loop(_)
    )
}

/// Python's `len`; `None` for what has none.
pub fn length(value: &Value, fuel: &Fuel) -> Evaluated<Option<usize>> {
    Ok(match value {
        Value::Str(text) | Value::Markup(text) => {
            fuel.spend_reading(text.len())?;
            Some(text.chars().count())
        }
        Value::List(items) | Value::Tuple(items) | Value::Range(items) => Some(items.values.len()),
        Value::Dict(dict) | Value::View(_, dict) => Some(dict.entries.len()),
        Value::Undefined(_) => Some(0),
        _ => None,
    })
}

/// Whether a value has a length.
pub fn has_length(value: &Value) -> bool {
    matches!(
        value,
        Value::Str(_)
            | Value::Markup(_)
            | Value::List(_)
            | Value::Tuple(_)
            | Value::Range(_)
            | Value::Dict(_)
            | Value::View(..)
            | Value::Undefined(_)
    )
}

/// The place of a Python index among `length` items.
pub fn index(index: i128, length: usize) -> Option<usize> {
    let length = i128::try_from(length).ok()?;
    let place = if index < 0 { index + length } else { index };
    usize::try_from(place).ok().filter(|_| place < length)
}

/// Python's slices of strings, lists, tuples and ranges.
pub fn slice(value: &Value, bounds: [Option<Value>; 3], fuel: &Fuel) -> Evaluated<Value> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(&bounds) {
        *number = match bound {
            None | Some(Value::None) => None,
            Some(bound) => Some(bound.as_int().ok_or_else(|| unsupported("[:]", &[bound]))?),
        };
    }
    let pick = |length: usize| places(numbers, length);
    match value {
        Value::Str(text) | Value::Markup(text) => {
            // The characters, four bytes each, and their places, eight bytes each.
            fuel.spend_text(text.len().saturating_mul(12))?;
            let characters: Vec<char> = text.chars().collect();
            let picked: String = pick(characters.len())?.into_iter().map(|place| characters[place]).collect();
            Ok(value.with_text(picked))
        }
        Value::List(items) | Value::Tuple(items) | Value::Range(items) => {
            fuel.spend(items.values.len() / 4)?;
            let picked: Vec<Value> = pick(items.values.len())?.into_iter().map(|at| items.values[at].clone()).collect();
            match value {
                Value::Tuple(_) => Value::tuple(picked, fuel),
                Value::Range(_) => Ok(Value::Range(Rc::new(Items::new(picked, fuel)?))),
                _ => Value::list(picked, fuel),
            }
        }
        other => Err(unsupported("[:]", &[other])),
    }
}

/// The places that a slice picks, in order.
fn places([start, stop, step]: [Option<i128>; 3], length: usize) -> Evaluated<Vec<usize>> {
    let length = i128::try_from(length).map_err(|_| "a value is too long".to_string())?;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err("the step of a slice is zero".into());
    }
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |bound: Option<i128>, default: i128| match bound {
        None => default,
        Some(bound) if bound < 0 => bound.saturating_add(length).max(lowest),
        Some(bound) => bound.min(highest),
    };
    let (first, last) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let (mut place, stop) = (bound(start, first), bound(stop, last));
    let mut places = Vec::new();
    while (step > 0 && place < stop) || (step < 0 && place > stop) {
        places.extend(usize::try_from(place));
        place = place.saturating_add(step);
    }
    Ok(places)
}

/// The places between two bounds as `str.find` and `list.index` take them.
pub fn bounds(start: Option<Value>, stop: Option<Value>, length: usize) -> Evaluated<std::ops::Range<usize>> {
    let whole = i128::try_from(length).unwrap_or(i128::MAX);
    let place = |bound: Option<Value>, default: i128| match bound {
        None | Some(Value::None) => Ok(default),
        Some(bound) => {
            let place = bound.as_int().ok_or_else(|| unsupported("[:]", &[&bound]))?;
            Ok::<_, String>(if place < 0 { place.saturating_add(whole).max(0) } else { place })
        }
    };
    let (start, stop) = (place(start, 0)?, place(stop, whole)?.min(whole));
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let stop = usize::try_from(stop).unwrap_or_default();
    Ok(start..stop)
}
