//! `value.name` and `value[key]`, with the sandbox's limits: an attribute of Python comes before an item of the same name, and one
//! that would change a value is undefined.

use std::rc::Rc;

use super::calls::Args;
use super::iteration::{collect, index};
use super::operators;
use super::renderer::Renderer;
use super::texts;
use super::value::Builtin;
use super::value::{Dict, Evaluated, Value, View, shortened};

/// The attributes of one of Python's types.
struct Attributes {
    /// Methods that are rendered as Python runs them.
    methods: &'static [&'static str],
    /// Methods that the sandbox hides, because they change the value.
    hidden: &'static [&'static str],
    /// What else Python's type has.
    unsupported: &'static [&'static str],
}

const DICT: Attributes = Attributes {
    methods: &["get", "items", "keys", "values", "copy"],
    hidden: &["clear", "pop", "popitem", "setdefault", "update"],
    unsupported: &["fromkeys"],
};

const LIST: Attributes = Attributes {
    methods: &["count", "index", "copy"],
    hidden: &["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"],
    unsupported: &[],
};

const TUPLE: Attributes = Attributes { methods: &["count", "index"], hidden: &[], unsupported: &[] };

const RANGE: Attributes =
    Attributes { methods: &["count", "index"], hidden: &[], unsupported: &["start", "stop", "step"] };

const TEXT: Attributes = Attributes {
    methods: texts::METHODS,
    hidden: &[],
    unsupported: &["encode", "expandtabs", "format_map", "maketrans", "translate", "isidentifier"],
};

const NUMBER: Attributes = Attributes {
    methods: &["is_integer"],
    hidden: &[],
    unsupported: &[
        "as_integer_ratio",
        "bit_count",
        "bit_length",
        "conjugate",
        "denominator",
        "from_bytes",
        "fromhex",
        "hex",
        "imag",
        "numerator",
        "real",
        "to_bytes",
    ],
};

const VIEW: Attributes = Attributes { methods: &[], hidden: &[], unsupported: &["isdisjoint", "mapping"] };

const GENERATOR: Attributes = Attributes { methods: &[], hidden: &[], unsupported: &["close", "send", "throw"] };

const CYCLER: Attributes = Attributes { methods: &["next", "reset"], hidden: &[], unsupported: &["items", "pos"] };

const NOTHING: Attributes = Attributes { methods: &[], hidden: &[], unsupported: &[] };

fn attributes_of(value: &Value) -> &'static Attributes {
    match value {
        Value::Dict(_) => &DICT,
        Value::List(_) => &LIST,
        Value::Tuple(_) => &TUPLE,
        Value::Range(_) => &RANGE,
        Value::Str(_) => &TEXT,
        Value::Int(_) | Value::Bool(_) | Value::Float(_) => &NUMBER,
        Value::View(..) => &VIEW,
        Value::Iterator(_) => &GENERATOR,
        Value::Cycler(_) => &CYCLER,
        _ => &NOTHING,
    }
}

impl Renderer<'_> {
    pub fn attribute(&mut self, value: &Value, name: &str) -> Evaluated<Value> {
        if let Some(value) = self.python_attribute(value, name)? {
            return Ok(value);
        }
        match value {
            Value::Dict(dict) => Ok(dict.get_str(name, &self.fuel)?.unwrap_or_else(|| missing(value, name))),
            _ => Ok(missing(value, name)),
        }
    }

    pub fn item(&mut self, value: &Value, key: &Value) -> Evaluated<Value> {
        let found = match (value, key) {
            (Value::Undefined(message), _) => return Err(message.to_string()),
            (Value::Dict(dict), _) => {
                if key.is_hashable() {
                    dict.get(key, &self.fuel)?
                } else {
                    None
                }
            }
            (Value::List(items) | Value::Tuple(items) | Value::Range(items), _) => {
                let place = key.as_int().and_then(|place| index(place, items.values.len()));
                place.map(|place| items.values[place].clone())
            }
            (Value::Str(text) | Value::Markup(text), _) => match key.as_int() {
                Some(place) => self.character(text, place)?.map(|text| value.with_text(text)),
                None => None,
            },
            _ => None,
        };
        match (found, key) {
            (Some(found), _) => Ok(found),
            (None, Value::Str(name)) => {
                let attribute = self.python_attribute(value, name)?;
                Ok(attribute.unwrap_or_else(|| missing(value, name)))
            }
            (None, _) => Ok(Value::undefined(format!("a {} has no such item", value.type_name()))),
        }
    }

    fn character(&self, text: &str, place: i128) -> Evaluated<Option<String>> {
        self.fuel.spend_text(text.len())?;
        let place = index(place, text.chars().count());
        let character = place.and_then(|place| text.chars().nth(place));
        Ok(character.map(String::from))
    }

    /// What Python's `getattr` gives, as the sandbox lets it through.
    fn python_attribute(&mut self, value: &Value, name: &str) -> Evaluated<Option<Value>> {
        let attributes = match value {
            Value::Undefined(message) => return Err(message.to_string()),
            Value::Namespace(namespace) => return namespace.borrow().get_str(name, &self.fuel),
            Value::Loop(state) => {
                let value = self.loop_attribute(state, name)?;
                return Ok(if value.is_undefined() && name.starts_with('_') { None } else { Some(value) });
            }
            Value::Cycler(cycler) if name == "current" => {
                return Ok(cycler.items.values.get(cycler.position.get()).cloned());
            }
            Value::Tuple(items) if items.names.contains(&name) => {
                let place = items.names.iter().position(|known| *known == name);
                return Ok(place.map(|place| items.values[place].clone()));
            }
            Value::Builtin(Builtin::Dict)
            | Value::Markup(_)
            | Value::Macro(_)
            | Value::Method(_)
            | Value::Joiner(_) => {
                let (name, kind) = (shortened(name), value.type_name());
                return Err(format!("the attribute `{name}` of a {kind} is not supported"));
            }
            other => attributes_of(other),
        };
        if name.starts_with("__") {
            return Ok(Some(Value::undefined(format!("access to `{}` is unsafe", shortened(name)))));
        }
        if let Some(method) = attributes.methods.iter().find(|method| **method == name) {
            if *method == "is_integer" && !matches!(value, Value::Float(_)) {
                return Ok(None);
            }
            return Ok(Some(Value::Method(Rc::new((value.clone(), method)))));
        }
        if attributes.hidden.contains(&name) {
            return Ok(Some(Value::undefined(format!("access to `{name}` of a {} is unsafe", value.type_name()))));
        }
        if attributes.unsupported.contains(&name) {
            return Err(format!("`{name}` of a {} is not supported", value.type_name()));
        }
        Ok(None)
    }

    /// Calls a method.
    pub fn method(&mut self, value: &Value, method: &'static str, args: Args) -> Evaluated<Value> {
        match value {
            Value::Str(text) => texts::call(self, text, method, args),
            Value::Dict(dict) => self.dict_method(dict, method, args),
            Value::Loop(state) => self.loop_method(state, method, args),
            Value::Cycler(cycler) => {
                let [] = args.bind(method, [], 0)?;
                if method == "reset" {
                    cycler.position.set(0);
                    return Ok(Value::None);
                }
                let place = cycler.position.get();
                cycler.position.set((place + 1) % cycler.items.values.len().max(1));
                Ok(cycler.items.values.get(place).cloned().unwrap_or(Value::None))
            }
            Value::Float(number) => {
                let [] = args.bind(method, [], 0)?;
                Ok(Value::Bool(number.fract() == 0.0))
            }
            _ => self.sequence_method(value, method, args),
        }
    }

    fn dict_method(&mut self, dict: &Rc<Dict>, method: &str, args: Args) -> Evaluated<Value> {
        let view = match method {
            "get" => {
                let [key, default] = positional(args, method, ["key", "default"], 1)?;
                let found = dict.get(&key.unwrap_or(Value::None), &self.fuel)?;
                return Ok(found.or(default).unwrap_or(Value::None));
            }
            "keys" => Some(View::Keys),
            "values" => Some(View::Values),
            "items" => Some(View::Items),
            _ => None,
        };
        let [] = args.bind(method, [], 0)?;
        Ok(view.map_or_else(|| Value::Dict(dict.clone()), |view| Value::View(view, dict.clone())))
    }

    fn sequence_method(&mut self, value: &Value, method: &str, args: Args) -> Evaluated<Value> {
        if method == "copy" {
            let [] = args.bind(method, [], 0)?;
            return Ok(value.clone());
        }
        let values = collect(value, &self.fuel)?;
        let [item, start, stop] = positional(args, method, ["value", "start", "stop"], 1)?;
        let item = item.unwrap_or(Value::None);
        let equal = |value: &Value| operators::equal(value, &item, &self.fuel);
        if method == "count" {
            let count = values.iter().map(equal).collect::<Evaluated<Vec<bool>>>()?;
            return Ok(Value::int(count.into_iter().filter(|equal| *equal).count()));
        }
        let bounds = super::iteration::bounds(start, stop, values.len())?;
        for place in bounds {
            if equal(&values[place])? {
                return Ok(Value::int(place));
            }
        }
        Err("`index` did not find its value".into())
    }
}

/// The arguments of a function that takes no names.
pub fn positional<const N: usize>(
    args: Args,
    function: &str,
    names: [&str; N],
    required: usize,
) -> Evaluated<[Option<Value>; N]> {
    Args { positional: args.only_positional(function)?, named: Vec::new() }.bind(function, names, required)
}

fn missing(value: &Value, name: &str) -> Value {
    Value::undefined(format!("a {} has no `{}`", value.type_name(), shortened(name)))
}
