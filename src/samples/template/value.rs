//! The values that a template works with: Python's, as far as the sandbox of chat templates lets them be reached.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::frames::Variables;
pub use super::fuel::Evaluated;
use super::fuel::Fuel;
use super::loop_state::Loop;
use super::syntax::{Literal, Macro};

/// Units for what holds values, beside the values themselves.
const CONTAINER: usize = 2;

/// Bytes that a string takes beside its text.
const SHARED: usize = 48;

/// How deep values may nest: they are walked, and freed, by recursion.
const DEEPEST: usize = 250;

#[derive(Debug, Clone)]
pub enum Value {
    /// The value of something that does not exist, with the message for whoever needs it to.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    /// A string that is safe HTML. Such strings escape what they are combined with, so few operations take them.
    Markup(Arc<str>),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    Range(Rc<Items>),
    Dict(Rc<Dict>),
    View(View, Rc<Dict>),
    /// A generator or another iterator: it can be walked once.
    Iterator(Rc<Iterator>),
    Namespace(Rc<RefCell<Dict>>),
    Builtin(Builtin),
    Method(Rc<(Value, &'static str)>),
    Macro(Rc<Closure>),
    Loop(Rc<Loop>),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    Keys,
    Values,
    Items,
}

/// The items of a list, tuple or range.
#[derive(Debug, Default)]
pub struct Items {
    pub values: Vec<Value>,
    /// The names of the items, for the tuples of `groupby`.
    pub names: &'static [&'static str],
    nesting: Nesting,
}

/// A dictionary in the order of its insertions.
#[derive(Debug, Clone, Default)]
pub struct Dict {
    pub entries: Vec<(Value, Value)>,
    nesting: Nesting,
}

/// How deep a value nests, and what it holds somewhere inside: something whose content can change, or something that is no key of a
/// dictionary. A value may hold another many times, so none of this is looked for.
#[derive(Debug, Clone, Copy, Default)]
struct Nesting {
    depth: usize,
    has_state: bool,
    holds_unhashable: bool,
}

#[derive(Debug)]
pub struct Iterator {
    pub items: Rc<Items>,
    pub position: Cell<usize>,
}

/// What `cycler` makes: it gives its items in turn.
#[derive(Debug)]
pub struct Cycler {
    pub items: Items,
    pub position: Cell<usize>,
}

/// What `joiner` makes: it gives its one item, except the first time.
#[derive(Debug)]
pub struct Joiner {
    pub separator: Items,
    pub used: Cell<bool>,
}

/// A macro with the variables of the place where it is defined.
#[derive(Debug)]
pub struct Closure {
    pub definition: Arc<Macro>,
    pub outer: Weak<Variables>,
}

impl Nesting {
    fn of(values: impl std::iter::Iterator<Item = Nesting>) -> Evaluated<Self> {
        let all = values.fold(Self::default(), |all, one| Self {
            depth: all.depth.max(one.depth),
            has_state: all.has_state || one.has_state,
            holds_unhashable: all.holds_unhashable || one.holds_unhashable,
        });
        if all.depth >= DEEPEST {
            return Err("a value nests too deep".into());
        }
        Ok(Self { depth: all.depth + 1, ..all })
    }
}

impl Items {
    pub fn new(values: Vec<Value>, fuel: &Fuel) -> Evaluated<Self> {
        fuel.spend(values.len() + CONTAINER)?;
        Self::given(values)
    }

    /// Items of what the template was given, which it does not pay for.
    pub fn given(values: Vec<Value>) -> Evaluated<Self> {
        let inside = |value: &Value| Nesting { holds_unhashable: !value.is_hashable(), ..value.nesting() };
        let nesting = Nesting::of(values.iter().map(inside))?;
        Ok(Self { values, names: &[], nesting })
    }
}

impl Dict {
    pub fn new(entries: Vec<(Value, Value)>, fuel: &Fuel) -> Evaluated<Self> {
        let mut dict = Self::default();
        for (key, value) in entries {
            dict.insert(key, value, fuel)?;
        }
        Ok(dict)
    }

    /// A dictionary of what the template was given, whose keys are known to be different strings.
    pub fn given(entries: Vec<(Value, Value)>) -> Evaluated<Self> {
        let nesting = Nesting::of(entries.iter().map(|(_, value)| value.nesting()))?;
        Ok(Self { entries, nesting })
    }

    pub fn insert(&mut self, key: Value, value: Value, fuel: &Fuel) -> Evaluated<()> {
        let place = self.find(&key, fuel)?;
        fuel.spend(CONTAINER)?;
        self.nesting = Nesting::of([self.shallower(), value.nesting(), key.nesting()].into_iter())?;
        match place {
            Some(place) => self.entries[place].1 = value,
            None => self.entries.push((key, value)),
        }
        Ok(())
    }

    fn shallower(&self) -> Nesting {
        Nesting { depth: self.nesting.depth.saturating_sub(1), ..self.nesting }
    }

    fn find(&self, key: &Value, fuel: &Fuel) -> Evaluated<Option<usize>> {
        if !key.is_hashable() {
            return Err(format!("a {} cannot be a key", key.type_name()));
        }
        if let Value::Str(key) = key {
            return self.find_str(key, fuel);
        }
        fuel.spend(self.entries.len() / 16)?;
        for (place, (known, _)) in self.entries.iter().enumerate() {
            if known.is_same_key(key, fuel)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    fn find_str(&self, key: &str, fuel: &Fuel) -> Evaluated<Option<usize>> {
        fuel.spend(self.entries.len() / 16)?;
        fuel.spend_reading(self.entries.len().saturating_mul(key.len()))?;
        Ok(self.entries.iter().position(|(known, _)| known.as_text() == Some(key)))
    }

    pub fn get(&self, key: &Value, fuel: &Fuel) -> Evaluated<Option<Value>> {
        Ok(self.find(key, fuel)?.map(|place| self.entries[place].1.clone()))
    }

    pub fn get_str(&self, key: &str, fuel: &Fuel) -> Evaluated<Option<Value>> {
        Ok(self.find_str(key, fuel)?.map(|place| self.entries[place].1.clone()))
    }

    pub fn view(&self, view: View, fuel: &Fuel) -> Evaluated<Vec<Value>> {
        fuel.spend(self.entries.len())?;
        self.entries
            .iter()
            .map(|(key, value)| match view {
                View::Keys => Ok(key.clone()),
                View::Values => Ok(value.clone()),
                View::Items => Value::tuple(vec![key.clone(), value.clone()], fuel),
            })
            .collect()
    }
}

impl Value {
    pub fn undefined(message: impl Into<String>) -> Self {
        Self::Undefined(message.into().into())
    }

    /// The value of a name that has none.
    pub fn unknown_name(name: &str) -> Self {
        Self::undefined(format!("`{}` is undefined", shortened(name)))
    }

    /// A string. Whoever makes one of more than some bytes pays for it ([`Fuel::spend_text`]).
    pub fn str(text: impl Into<Arc<str>>) -> Self {
        Self::Str(text.into())
    }

    /// Strings of parts of a text, each of which is paid for.
    pub fn strs<'a>(parts: impl std::iter::Iterator<Item = &'a str>, fuel: &Fuel) -> Evaluated<Vec<Self>> {
        parts.map(|part| fuel.spend_text(part.len() + SHARED).map(|()| Self::str(part))).collect()
    }

    /// Another text of the same kind: safe if this one is.
    pub fn with_text(&self, text: impl Into<Arc<str>>) -> Self {
        if matches!(self, Self::Markup(_)) { Self::Markup(text.into()) } else { Self::Str(text.into()) }
    }

    pub fn int(value: impl TryInto<i128>) -> Self {
        Self::Int(value.try_into().unwrap_or_default())
    }

    pub fn list(values: Vec<Value>, fuel: &Fuel) -> Evaluated<Self> {
        Ok(Self::List(Rc::new(Items::new(values, fuel)?)))
    }

    pub fn tuple(values: Vec<Value>, fuel: &Fuel) -> Evaluated<Self> {
        Ok(Self::Tuple(Rc::new(Items::new(values, fuel)?)))
    }

    pub fn named_tuple(values: Vec<Value>, names: &'static [&'static str], fuel: &Fuel) -> Evaluated<Self> {
        Ok(Self::Tuple(Rc::new(Items { names, ..Items::new(values, fuel)? })))
    }

    pub fn iterator(values: Vec<Value>, fuel: &Fuel) -> Evaluated<Self> {
        let items = Rc::new(Items::new(values, fuel)?);
        Ok(Self::Iterator(Rc::new(Iterator { items, position: Cell::new(0) })))
    }

    pub fn literal(literal: &Literal) -> Self {
        match literal {
            Literal::None => Self::None,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Int(value) => Self::Int(*value),
            Literal::Float(value) => Self::Float(*value),
            Literal::Str(value) => Self::Str(value.clone()),
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The characters of a string, safe or not.
    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// The number that a value is in Python's arithmetic with integers: a boolean is one.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "undefined value",
            Self::None => "none",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "float",
            Self::Str(_) => "string",
            Self::Markup(_) => "safe string",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Range(_) => "range",
            Self::Dict(_) => "dictionary",
            Self::View(..) => "view of a dictionary",
            Self::Iterator(_) => "generator",
            Self::Namespace(_) => "namespace",
            Self::Builtin(_) | Self::Method(_) => "function",
            Self::Macro(_) => "macro",
            Self::Loop(_) => "loop",
            Self::Cycler(_) => "cycler",
            Self::Joiner(_) => "joiner",
        }
    }

    fn nesting(&self) -> Nesting {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Range(items) => items.nesting,
            Self::Iterator(iterator) => iterator.items.nesting,
            Self::Dict(dict) | Self::View(_, dict) => dict.nesting,
            Self::Method(method) => method.0.nesting(),
            Self::Cycler(cycler) => Nesting { has_state: true, ..cycler.items.nesting },
            Self::Joiner(joiner) => Nesting { has_state: true, ..joiner.separator.nesting },
            Self::Namespace(_) | Self::Loop(_) => Nesting { has_state: true, ..Nesting::default() },
            _ => Nesting::default(),
        }
    }

    /// Whether the value is, or holds, one whose content can change. A namespace that held one might hold itself.
    pub fn has_state(&self) -> bool {
        self.nesting().has_state
    }

    pub fn is_hashable(&self) -> bool {
        match self {
            Self::List(_) | Self::Dict(_) | Self::View(..) => false,
            Self::Tuple(items) => !items.nesting.holds_unhashable,
            _ => true,
        }
    }

    /// Whether two values are the same key of a dictionary.
    fn is_same_key(&self, other: &Self, fuel: &Fuel) -> Evaluated<bool> {
        match (self, other) {
            (Self::Tuple(_), Self::Tuple(_)) => super::operators::equal(self, other, fuel),
            _ => Ok(super::operators::scalars_equal(self, other, fuel)?.unwrap_or(false)),
        }
    }

    /// Python's truth of a value.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) | Self::Markup(text) => !text.is_empty(),
            Self::List(items) | Self::Tuple(items) | Self::Range(items) => !items.values.is_empty(),
            Self::Dict(dict) | Self::View(_, dict) => !dict.entries.is_empty(),
            _ => true,
        }
    }
}

/// A function that every template is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    Lipsum,
    RaiseException,
    StrftimeNow,
}

/// A name for a message; it may be a text of megabytes.
pub fn shortened(name: &str) -> Cow<'_, str> {
    const LONGEST: usize = 100;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

/// Why an operation on undefined values fails, or why one on these types does.
pub fn unsupported(operation: &str, values: &[&Value]) -> String {
    for value in values {
        if let Value::Undefined(message) = value {
            return message.to_string();
        }
    }
    let types: Vec<&str> = values.iter().map(|value| value.type_name()).collect();
    format!("`{operation}` does not work on {}", types.join(" and "))
}
