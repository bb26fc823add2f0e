//! Filters that look at attributes, or apply other filters and tests to items.

use std::sync::Arc;

use super::super::calls::Args;
use super::super::fuel::Fuel;
use super::super::iteration::collect;
use super::super::predicates;
use super::super::renderer::Renderer;
use super::super::value::{Evaluated, Value};

/// The attribute of an item that a filter looks at: names and places with dots between them.
#[derive(Clone)]
pub struct Path(Vec<Value>);

impl Path {
    pub fn of(attribute: &Value, fuel: &Fuel) -> Evaluated<Self> {
        let Value::Str(text) = attribute else {
            return Ok(Self(if matches!(attribute, Value::None) { Vec::new() } else { vec![attribute.clone()] }));
        };
        let part = |part: &str| {
            fuel.spend_text(part.len())?;
            fuel.spend(2)?;
            let is_place = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let place = if is_place { part.parse().ok().map(Value::Int) } else { None };
            Ok(place.unwrap_or_else(|| Value::str(part)))
        };
        Ok(Self(text.split('.').map(part).collect::<Evaluated<_>>()?))
    }

    pub fn get(&self, renderer: &mut Renderer, item: &Value, default: Option<&Value>) -> Evaluated<Value> {
        let mut item = item.clone();
        renderer.fuel.spend(self.0.len())?;
        for part in &self.0 {
            item = renderer.item(&item, part)?;
            if let Some(default) = default.filter(|_| item.is_undefined()) {
                item = default.clone();
            }
        }
        Ok(item)
    }
}

/// A default that is `None` is none.
pub fn no_none(value: Option<Value>) -> Option<Value> {
    value.filter(|value| !matches!(value, Value::None))
}

pub fn attribute(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let [name] = args.bind("attr", ["name"], 1)?;
    let Some(Value::Str(name)) = name else { return Err("`attr` takes a string".into()) };
    match &value {
        // Only attributes of Python count here, not the items of a dictionary.
        Value::Dict(dict) if dict.get_str(&name, &renderer.fuel)?.is_some() => {
            Err("`attr` of a dictionary is not supported".into())
        }
        value => renderer.attribute(value, &name),
    }
}

pub fn map(renderer: &mut Renderer, value: Value, mut args: Args) -> Evaluated<Value> {
    if !value.is_true() {
        return Value::iterator(Vec::new(), &renderer.fuel);
    }
    let items = collect(&value, &renderer.fuel)?;
    let is_attribute = args.positional.is_empty() && args.named.iter().any(|(name, _)| &**name == "attribute");
    if is_attribute {
        let [attribute, default] = args.bind("map", ["attribute", "default"], 1)?;
        let (path, default) = (Path::of(&attribute.unwrap_or(Value::None), &renderer.fuel)?, no_none(default));
        let values = items.iter().map(|item| path.get(renderer, item, default.as_ref())).collect::<Evaluated<_>>()?;
        return Value::iterator(values, &renderer.fuel);
    }
    let filter = take_name(&mut args, "map")?.ok_or("`map` needs a filter or an attribute")?;
    let mut values = Vec::new();
    for item in items {
        // The filter may be `map` again.
        let args = copied(&args, renderer)?;
        values.push(renderer.deeper(|renderer| super::apply(renderer, &filter, item, args))?);
    }
    Value::iterator(values, &renderer.fuel)
}

pub fn select(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    filter_items(renderer, value, args, Wanted { by_attribute: false, result: true })
}

pub fn reject(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    filter_items(renderer, value, args, Wanted { by_attribute: false, result: false })
}

pub fn select_attribute(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    filter_items(renderer, value, args, Wanted { by_attribute: true, result: true })
}

pub fn reject_attribute(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    filter_items(renderer, value, args, Wanted { by_attribute: true, result: false })
}

/// Which items a filter keeps.
struct Wanted {
    /// Whether an attribute of the items is tested, and not the items.
    by_attribute: bool,
    /// The result of the test.
    result: bool,
}

fn filter_items(renderer: &mut Renderer, value: Value, mut args: Args, wanted: Wanted) -> Evaluated<Value> {
    if !value.is_true() {
        return Value::iterator(Vec::new(), &renderer.fuel);
    }
    let path = match wanted.by_attribute {
        false => None,
        true if args.positional.is_empty() => return Err("the name of an attribute is missing".into()),
        true => Some(Path::of(&args.positional.remove(0), &renderer.fuel)?),
    };
    let test = take_name(&mut args, "select")?;
    let mut kept = Vec::new();
    for item in collect(&value, &renderer.fuel)? {
        let tested = match &path {
            Some(path) => path.get(renderer, &item, None)?,
            None => item.clone(),
        };
        let accepted = match &test {
            Some(test) => predicates::apply(renderer, test, &tested, copied(&args, renderer)?)?,
            None => tested.is_true(),
        };
        if accepted == wanted.result {
            kept.push(item);
        }
    }
    Value::iterator(kept, &renderer.fuel)
}

fn take_name(args: &mut Args, function: &str) -> Evaluated<Option<Arc<str>>> {
    if args.positional.is_empty() {
        return Ok(None);
    }
    match args.positional.remove(0) {
        Value::Str(name) => Ok(Some(name)),
        other => Err(format!("`{function}` was given a {} for a name", other.type_name())),
    }
}

fn copied(args: &Args, renderer: &Renderer) -> Evaluated<Args> {
    renderer.fuel.spend(args.positional.len() + args.named.len())?;
    Ok(Args { positional: args.positional.clone(), named: args.named.clone() })
}
