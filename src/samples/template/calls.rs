//! Arguments, and the functions that every template can call.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::iteration::collect;
use super::python;
use super::renderer::Renderer;
use super::value::{Builtin, Closure, Cycler, Dict, Evaluated, Items, Joiner, Value, shortened};

/// The largest number of items that a range may have, as in Jinja's sandbox.
const LARGEST_RANGE: i128 = 100_000;

/// The number of characters that are kept of a template's own error message.
const LONGEST_MESSAGE: usize = 1000;

/// The functions by name.
pub const BUILTINS: [(&str, Builtin); 8] = [
    ("range", Builtin::Range),
    ("dict", Builtin::Dict),
    ("namespace", Builtin::Namespace),
    ("cycler", Builtin::Cycler),
    ("joiner", Builtin::Joiner),
    ("lipsum", Builtin::Lipsum),
    ("raise_exception", Builtin::RaiseException),
    ("strftime_now", Builtin::StrftimeNow),
];

/// The arguments of a call.
#[derive(Debug, Default)]
pub struct Args {
    pub positional: Vec<Value>,
    pub named: Vec<(Arc<str>, Value)>,
}

impl Args {
    /// Assigns arguments to parameters, the first `required` of which need a value.
    pub fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
        required: usize,
    ) -> Evaluated<[Option<Value>; N]> {
        if self.positional.len() > N {
            return Err(format!("`{function}` takes at most {N} arguments"));
        }
        let mut bound = [const { None }; N];
        for (place, value) in bound.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            match names.iter().position(|known| *known == &*name) {
                Some(place) if bound[place].is_none() => bound[place] = Some(value),
                Some(_) => return Err(format!("`{function}` was given `{}` twice", shortened(&name))),
                None => return Err(format!("`{function}` has no argument `{}`", shortened(&name))),
            }
        }
        match bound.iter().take(required).position(Option::is_none) {
            Some(missing) => Err(format!("`{function}` needs the argument `{}`", names[missing])),
            None => Ok(bound),
        }
    }

    pub fn only_positional(self, function: &str) -> Evaluated<Vec<Value>> {
        if !self.named.is_empty() {
            return Err(format!("`{function}` takes no named arguments"));
        }
        Ok(self.positional)
    }
}

impl Renderer<'_> {
    pub fn call(&mut self, callee: &Value, args: Args) -> Evaluated<Value> {
        self.fuel.spend(1)?;
        match callee {
            Value::Builtin(builtin) => self.builtin(*builtin, args),
            Value::Method(method) => self.method(&method.0, method.1, args),
            Value::Macro(closure) => self.deeper(|renderer| renderer.call_macro(closure, args)),
            Value::Loop(state) => self.recurse(state, args),
            Value::Joiner(joiner) => {
                let [] = args.bind("joiner", [], 0)?;
                let separator = joiner.separator.values.first().filter(|_| joiner.used.replace(true));
                Ok(separator.cloned().unwrap_or_else(|| Value::str("")))
            }
            Value::Undefined(message) => Err(message.to_string()),
            other => Err(format!("a {} cannot be called", other.type_name())),
        }
    }

    fn builtin(&mut self, builtin: Builtin, args: Args) -> Evaluated<Value> {
        match builtin {
            Builtin::Range => self.range(args),
            Builtin::Dict => Ok(Value::Dict(Rc::new(self.dict("dict", args)?))),
            Builtin::Namespace => {
                let dict = self.dict("namespace", args)?;
                for (name, value) in &dict.entries {
                    check_attribute(name.as_str().unwrap_or_default(), value)?;
                }
                Ok(Value::Namespace(Rc::new(RefCell::new(dict))))
            }
            Builtin::Cycler => {
                let items = args.only_positional("cycler")?;
                if items.is_empty() {
                    return Err("`cycler` needs at least one item".into());
                }
                let items = Items::new(items, &self.fuel)?;
                Ok(Value::Cycler(Rc::new(Cycler { items, position: Cell::new(0) })))
            }
            Builtin::Joiner => {
                let [separator] = args.bind("joiner", ["sep"], 0)?;
                let separator = Items::new(vec![separator.unwrap_or_else(|| Value::str(", "))], &self.fuel)?;
                Ok(Value::Joiner(Rc::new(Joiner { separator, used: Cell::new(false) })))
            }
            Builtin::Lipsum => Err("`lipsum` makes random text, which no two renderings share".into()),
            Builtin::RaiseException => {
                let [message] = args.bind("raise_exception", ["message"], 1)?;
                let message = message.unwrap_or(Value::None);
                let message = python::text(&message, &self.fuel)?;
                Err(message.chars().take(LONGEST_MESSAGE).collect())
            }
            Builtin::StrftimeNow => {
                let [format] = args.bind("strftime_now", ["format"], 1)?;
                match format {
                    Some(Value::Str(format)) => Ok(Value::str(self.date.format(&format, &self.fuel)?)),
                    _ => Err("the format of `strftime_now` should be a string".into()),
                }
            }
        }
    }

    fn range(&mut self, args: Args) -> Evaluated<Value> {
        let mut numbers = Vec::new();
        for value in args.only_positional("range")? {
            numbers.push(value.as_int().ok_or("`range` takes integers")?);
        }
        let (start, stop, step) = match numbers[..] {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] => (start, stop, step),
            _ => return Err("`range` takes one to three arguments".into()),
        };
        let span = if step > 0 { stop.checked_sub(start) } else { start.checked_sub(stop) }.unwrap_or(i128::MAX).max(0);
        let width = i128::try_from(step.unsigned_abs()).unwrap_or(i128::MAX);
        if width == 0 {
            return Err("the step of a range is zero".into());
        }
        let count = span / width + i128::from(span % width != 0);
        if count > LARGEST_RANGE {
            return Err(format!("a range has more than {LARGEST_RANGE} items"));
        }
        self.fuel.spend(usize::try_from(count).unwrap_or_default())?;
        let values = (0..count).map(|place| Value::Int(start + place * step)).collect();
        Ok(Value::Range(Rc::new(Items::new(values, &self.fuel)?)))
    }

    /// Python's `dict`.
    fn dict(&mut self, function: &str, args: Args) -> Evaluated<Dict> {
        let mut dict = Dict::default();
        let Args { positional, named } = args;
        self.fuel.spend(named.len())?;
        match &positional[..] {
            [] => {}
            [Value::Dict(entries)] => {
                self.fuel.spend(entries.entries.len().saturating_mul(2))?;
                dict = (**entries).clone();
            }
            [pairs] => {
                for pair in collect(pairs, &self.fuel)? {
                    match &collect(&pair, &self.fuel)?[..] {
                        [key, value] => dict.insert(key.clone(), value.clone(), &self.fuel)?,
                        _ => return Err(format!("`{function}` takes pairs")),
                    }
                }
            }
            _ => return Err(format!("`{function}` takes at most one argument without a name")),
        }
        for (name, value) in named {
            dict.insert(Value::Str(name), value, &self.fuel)?;
        }
        Ok(dict)
    }

    /// Runs a macro and returns its text.
    pub fn call_macro(&mut self, closure: &Closure, args: Args) -> Evaluated<Value> {
        let definition = &closure.definition;
        let outer = closure.outer.upgrade().ok_or_else(|| {
            format!("the macro `{}` is called outside the place where it is defined", definition.name)
        })?;
        self.fuel.spend(definition.slots)?;
        let variables = super::frames::Variables::new(definition.slots, Some(outer));
        self.fuel.spend(definition.parameters.len() * (1 + args.named.len()) / 16)?;
        let Args { positional, mut named } = args;
        let mut take = |name: &str| {
            let place = named.iter().position(|(known, _)| &**known == name)?;
            Some(named.remove(place).1)
        };
        let given = positional.len();
        let mut positional = positional.into_iter();
        for (place, parameter) in definition.parameters.iter().enumerate() {
            let value = if place < given { positional.next() } else { take(&parameter.text) };
            variables.set(parameter.place, value);
        }
        if let Some(caller) = &definition.caller {
            let value = take("caller").filter(|value| !matches!(value, Value::None));
            variables.set(caller.place, Some(value.unwrap_or_else(|| Value::undefined("no caller defined"))));
        }
        match &definition.kwargs {
            Some(kwargs) => {
                let entries = named.into_iter().map(|(name, value)| (Value::Str(name), value)).collect();
                variables.set(kwargs.place, Some(Value::Dict(Rc::new(Dict::new(entries, &self.fuel)?))));
            }
            None => {
                if let Some((name, _)) = named.first() {
                    return Err(format!("the macro `{}` has no argument `{}`", definition.name, shortened(name)));
                }
            }
        }
        let rest: Vec<Value> = positional.collect();
        match &definition.varargs {
            Some(varargs) => variables.set(varargs.place, Some(Value::tuple(rest, &self.fuel)?)),
            None if !rest.is_empty() => {
                let most = definition.parameters.len();
                return Err(format!("the macro `{}` takes at most {most} arguments", definition.name));
            }
            None => {}
        }
        self.within(variables, |renderer| renderer.macro_text(definition))
    }
}

/// Whether a namespace may store a value under a name.
pub fn check_attribute(name: &str, value: &Value) -> Evaluated<()> {
    if name.starts_with('_') {
        return Err(format!("a namespace cannot store `{}`, which begins with an underscore", shortened(name)));
    }
    if value.has_state() {
        return Err("a namespace cannot store a value that can change".into());
    }
    Ok(())
}
