//! Filters on sequences and dictionaries.

use std::cmp::Ordering;

use super::super::calls::Args;
use super::super::fuel::Fuel;
use super::super::iteration::collect;
use super::super::operators;
use super::super::renderer::Renderer;
use super::super::syntax::Operator;
use super::super::value::unsupported;
use super::super::value::{Evaluated, Value, View};
use super::selections::{Path, no_none};

fn is_true(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.is_true())
}

/// What values are sorted by: strings without regard to case, unless it matters.
fn sort_key(value: Value, case_sensitive: bool, fuel: &Fuel) -> Evaluated<Value> {
    match value {
        Value::Str(text) if !case_sensitive => {
            fuel.spend_text(text.len().saturating_mul(3))?;
            Ok(Value::str(text.to_lowercase()))
        }
        other => Ok(other),
    }
}

/// Sorts pairs of key and value, as Python's stable sort does.
fn sort_by_key(renderer: &Renderer, pairs: &mut [(Value, Value)], reverse: bool) -> Evaluated<()> {
    let mut failed = None;
    let mut order = |one: &Value, two: &Value| {
        if failed.is_some() {
            return Ordering::Equal;
        }
        match operators::order(one, two, &renderer.fuel) {
            Ok(order) => order.unwrap_or(Ordering::Equal),
            Err(reason) => {
                failed = Some(reason);
                Ordering::Equal
            }
        }
    };
    if reverse {
        pairs.sort_by(|one, two| order(&two.0, &one.0));
    } else {
        pairs.sort_by(|one, two| order(&one.0, &two.0));
    }
    failed.map_or(Ok(()), Err)
}

fn values(pairs: Vec<(Value, Value)>) -> Vec<Value> {
    pairs.into_iter().map(|(_, value)| value).collect()
}

pub fn list(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("list", [], 0)?;
    Value::list(collect(&value, &renderer.fuel)?, &renderer.fuel)
}

pub fn items(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("items", [], 0)?;
    match &value {
        Value::Undefined(_) => Value::iterator(Vec::new(), &renderer.fuel),
        Value::Dict(dict) => Value::iterator(dict.view(View::Items, &renderer.fuel)?, &renderer.fuel),
        other => Err(unsupported("items", &[other])),
    }
}

pub fn first(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("first", [], 0)?;
    let item = super::super::iteration::iterate(&value, &renderer.fuel)?.next();
    Ok(item.unwrap_or_else(|| Value::undefined("no first item, the sequence was empty")))
}

pub fn last(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("last", [], 0)?;
    match &value {
        Value::Iterator(_) | Value::Undefined(_) => Err(unsupported("last", &[&value])),
        _ => {
            let item = collect(&value, &renderer.fuel)?.pop();
            Ok(item.unwrap_or_else(|| Value::undefined("no last item, the sequence was empty")))
        }
    }
}

pub fn reverse(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [] = args.bind("reverse", [], 0)?;
    if let Value::Str(text) = &value {
        renderer.fuel.spend_text(text.len())?;
        return Ok(Value::str(text.chars().rev().collect::<String>()));
    }
    let mut items = collect(&value, &renderer.fuel)?;
    items.reverse();
    if matches!(value, Value::Iterator(_) | Value::Undefined(_)) {
        Value::list(items, &renderer.fuel)
    } else {
        Value::iterator(items, &renderer.fuel)
    }
}

pub fn sort(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [reverse, case_sensitive, attribute] = args.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let case_sensitive = is_true(case_sensitive);
    let paths: Vec<Path> = match &attribute {
        Some(Value::Str(names)) => {
            let names = Value::strs(names.split(','), &renderer.fuel)?;
            names.iter().map(|name| Path::of(name, &renderer.fuel)).collect::<Evaluated<_>>()?
        }
        other => vec![Path::of(other.as_ref().unwrap_or(&Value::None), &renderer.fuel)?],
    };
    let mut pairs = Vec::new();
    for item in collect(&value, &renderer.fuel)? {
        renderer.fuel.spend(paths.len())?;
        let mut keys = Vec::new();
        for path in &paths {
            keys.push(sort_key(path.get(renderer, &item, None)?, case_sensitive, &renderer.fuel)?);
        }
        pairs.push((Value::list(keys, &renderer.fuel)?, item));
    }
    sort_by_key(renderer, &mut pairs, is_true(reverse))?;
    Value::list(values(pairs), &renderer.fuel)
}

pub fn sort_dict(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [case_sensitive, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let case_sensitive = is_true(case_sensitive);
    let by_value = match by.as_ref().map(Value::as_str) {
        None | Some(Some("key")) => false,
        Some(Some("value")) => true,
        _ => return Err("`dictsort` sorts by `key` or `value`".into()),
    };
    let Value::Dict(dict) = &value else { return Err(unsupported("dictsort", &[&value])) };
    renderer.fuel.spend(dict.entries.len())?;
    let mut pairs = Vec::new();
    for (key, value) in &dict.entries {
        let sorted_by = if by_value { value } else { key };
        let pair = Value::tuple(vec![key.clone(), value.clone()], &renderer.fuel)?;
        pairs.push((sort_key(sorted_by.clone(), case_sensitive, &renderer.fuel)?, pair));
    }
    sort_by_key(renderer, &mut pairs, is_true(reverse))?;
    Value::list(values(pairs), &renderer.fuel)
}

pub fn group(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [attribute, default, case_sensitive] = args.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let (path, default) = (Path::of(&attribute.unwrap_or(Value::None), &renderer.fuel)?, no_none(default));
    let case_sensitive = is_true(case_sensitive);
    let mut pairs = Vec::new();
    for item in collect(&value, &renderer.fuel)? {
        let key = path.get(renderer, &item, default.as_ref())?;
        pairs.push((sort_key(key, case_sensitive, &renderer.fuel)?, item));
    }
    sort_by_key(renderer, &mut pairs, false)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in pairs {
        match groups.last_mut() {
            Some((known, items)) if operators::equal(known, &key, &renderer.fuel)? => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut tuples = Vec::new();
    for (key, items) in groups {
        let key = if case_sensitive { key } else { path.get(renderer, &items[0], default.as_ref())? };
        tuples.push(Value::named_tuple(
            vec![key, Value::list(items, &renderer.fuel)?],
            &["grouper", "list"],
            &renderer.fuel,
        )?);
    }
    Value::list(tuples, &renderer.fuel)
}

pub fn unique(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [case_sensitive, attribute] = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let (case_sensitive, path) =
        (is_true(case_sensitive), Path::of(&attribute.unwrap_or(Value::None), &renderer.fuel)?);
    let (mut seen, mut kept) = (Vec::new(), Vec::new());
    for item in collect(&value, &renderer.fuel)? {
        let key = sort_key(path.get(renderer, &item, None)?, case_sensitive, &renderer.fuel)?;
        if !key.is_hashable() {
            return Err(unsupported("unique", &[&key]));
        }
        let mut is_new = true;
        for known in &seen {
            if operators::equal(known, &key, &renderer.fuel)? {
                is_new = false;
                break;
            }
        }
        if is_new {
            seen.push(key);
            kept.push(item);
        }
    }
    Value::iterator(kept, &renderer.fuel)
}

pub fn minimum(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    extreme(renderer, &value, args, Ordering::is_lt)
}

pub fn maximum(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    extreme(renderer, &value, args, Ordering::is_gt)
}

/// The first item that no other is better than.
fn extreme(renderer: &mut Renderer, value: &Value, args: Args, is_better: fn(Ordering) -> bool) -> Evaluated<Value> {
    let [case_sensitive, attribute] = args.bind("min", ["case_sensitive", "attribute"], 0)?;
    let (case_sensitive, path) =
        (is_true(case_sensitive), Path::of(&attribute.unwrap_or(Value::None), &renderer.fuel)?);
    let mut best: Option<(Value, Value)> = None;
    for item in collect(value, &renderer.fuel)? {
        let key = sort_key(path.get(renderer, &item, None)?, case_sensitive, &renderer.fuel)?;
        let replaces = match &best {
            Some((known, _)) => operators::order(&key, known, &renderer.fuel)?.is_some_and(is_better),
            None => true,
        };
        if replaces {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined("no aggregated item, the sequence was empty"), |(_, item)| item))
}

pub fn sum(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [attribute, start] = args.bind("sum", ["attribute", "start"], 0)?;
    let path = Path::of(&attribute.unwrap_or(Value::None), &renderer.fuel)?;
    let mut total = start.unwrap_or(Value::Int(0));
    if matches!(total, Value::Str(_)) {
        return Err("`sum` cannot add strings".into());
    }
    for item in collect(&value, &renderer.fuel)? {
        let item = path.get(renderer, &item, None)?;
        total = operators::binary(Operator::Add, &total, &item, &renderer.fuel)?;
    }
    Ok(total)
}

/// A count of items, which is at least one.
fn positive(value: Option<Value>, function: &str) -> Evaluated<usize> {
    let count = value.and_then(|value| value.as_int()).and_then(|count| usize::try_from(count).ok());
    count.filter(|count| *count > 0).ok_or_else(|| format!("`{function}` takes a positive integer"))
}

pub fn batch(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [count, fill] = args.bind("batch", ["linecount", "fill_with"], 1)?;
    let (count, fill) = (positive(count, "batch")?, no_none(fill));
    let mut batches = Vec::new();
    for batch in collect(&value, &renderer.fuel)?.chunks(count) {
        let mut batch = batch.to_vec();
        if let Some(fill) = &fill {
            renderer.fuel.spend(count - batch.len())?;
            batch.resize(count, fill.clone());
        }
        batches.push(Value::list(batch, &renderer.fuel)?);
    }
    Value::iterator(batches, &renderer.fuel)
}

pub fn slices(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [count, fill] = args.bind("slice", ["slices", "fill_with"], 1)?;
    let (count, fill) = (positive(count, "slice")?, no_none(fill));
    renderer.fuel.spend(count)?;
    let items = collect(&value, &renderer.fuel)?;
    let (each, longer) = (items.len() / count, items.len() % count);
    let (mut rest, mut slices) = (&items[..], Vec::new());
    for place in 0..count {
        let (slice, others) = rest.split_at(each + usize::from(place < longer));
        let mut slice = slice.to_vec();
        slice.extend(fill.clone().filter(|_| place >= longer));
        slices.push(Value::list(slice, &renderer.fuel)?);
        rest = others;
    }
    Value::iterator(slices, &renderer.fuel)
}
