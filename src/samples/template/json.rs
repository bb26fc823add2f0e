//! `tojson`, as transformers defines it: Python's `json.dumps`.

use super::calls::Args;
use super::fuel::Fuel;
use super::operators;
use super::python;
use super::renderer::Renderer;
use super::value::{Evaluated, Value};

/// How JSON is laid out.
struct JsonLayout {
    ensure_ascii: bool,
    /// The text of one level of indentation; nothing is broken into lines without it.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

pub fn filter(renderer: &mut Renderer, value: Value, args: Args) -> Evaluated<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = args.bind("tojson", names, 0)?;
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(indent)) => Some(indent.to_string()),
        Some(width) => {
            let width = width.as_int().ok_or("the indentation of `tojson` should be a number or a string")?;
            let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
            renderer.fuel.spend_text(width)?;
            Some(" ".repeat(width))
        }
    };
    let (item_separator, key_separator) = match separators {
        None | Some(Value::None) => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
        Some(pair) => match &super::iteration::collect(&pair, &renderer.fuel)?[..] {
            [Value::Str(item), Value::Str(key)] => (item.to_string(), key.to_string()),
            _ => return Err("the separators of `tojson` should be two strings".into()),
        },
    };
    let (ensure_ascii, sort_keys) = (is_true(ensure_ascii), is_true(sort_keys));
    let layout = JsonLayout { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    let mut writer = Writer { out: String::new(), layout, level: 0, fuel: &renderer.fuel };
    writer.value(&value)?;
    Ok(Value::str(writer.out))
}

struct Writer<'a> {
    out: String,
    layout: JsonLayout,
    level: usize,
    fuel: &'a Fuel,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Evaluated<()> {
        self.fuel.spend(1)?;
        match value {
            Value::Str(text) | Value::Markup(text) => self.string(text)?,
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => self.out.push_str(&scalar(value)),
            Value::List(items) | Value::Tuple(items) => {
                self.items('[', ']', items.values.iter(), |writer, item| writer.value(item))?;
            }
            Value::Dict(dict) => {
                let mut entries: Vec<&(Value, Value)> = dict.entries.iter().collect();
                if self.layout.sort_keys {
                    self.sort(&mut entries)?;
                }
                self.items('{', '}', entries.into_iter(), |writer, (key, value)| {
                    writer.key(key)?;
                    let separator = writer.layout.key_separator.clone();
                    writer.fuel.spend_text(separator.len())?;
                    writer.out.push_str(&separator);
                    writer.value(value)
                })?;
            }
            Value::Undefined(message) => return Err(format!("an undefined value is no JSON: {message}")),
            other => return Err(format!("a {} is no JSON", other.type_name())),
        }
        Ok(())
    }

    fn sort(&self, entries: &mut [&(Value, Value)]) -> Evaluated<()> {
        let mut failed = None;
        entries.sort_by(|one, two| {
            if failed.is_some() {
                return std::cmp::Ordering::Equal;
            }
            match operators::order(&one.0, &two.0, self.fuel) {
                Ok(order) => order.unwrap_or(std::cmp::Ordering::Equal),
                Err(reason) => {
                    failed = Some(reason);
                    std::cmp::Ordering::Equal
                }
            }
        });
        failed.map_or(Ok(()), Err)
    }

    fn key(&mut self, key: &Value) -> Evaluated<()> {
        match key {
            Value::Str(text) => self.string(text),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => self.string(&scalar(key)),
            other => Err(format!("a {} is no key of JSON", other.type_name())),
        }
    }

    fn items<T>(
        &mut self,
        open: char,
        close: char,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Evaluated<()>,
    ) -> Evaluated<()> {
        self.out.push(open);
        if items.len() == 0 {
            self.out.push(close);
            return Ok(());
        }
        self.level += 1;
        for (place, item) in items.enumerate() {
            if place > 0 {
                let separator = self.layout.item_separator.clone();
                self.fuel.spend_text(separator.len())?;
                self.out.push_str(&separator);
            }
            self.line()?;
            write(self, item)?;
        }
        self.level -= 1;
        self.line()?;
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self) -> Evaluated<()> {
        if let Some(indent) = &self.layout.indent {
            self.fuel.spend_text(indent.len().saturating_mul(self.level))?;
            self.out.push('\n');
            self.out.push_str(&indent.repeat(self.level));
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Evaluated<()> {
        self.out.push('"');
        let mut paid = self.out.len();
        for character in text.chars() {
            if self.out.len() - paid >= PIECE {
                self.fuel.spend_text(self.out.len() - paid)?;
                paid = self.out.len();
            }
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                character if is_escaped(character, self.layout.ensure_ascii) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                character => self.out.push(character),
            }
        }
        self.out.push('"');
        self.fuel.spend_text(self.out.len() - paid)
    }
}

/// How much of a string is written before it is paid for, in bytes: its escapes are longer than its characters.
const PIECE: usize = 4096;

fn is_escaped(character: char, ensure_ascii: bool) -> bool {
    character < ' ' || (ensure_ascii && !(' '..='~').contains(&character))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::None => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) if value.is_nan() => "NaN".into(),
        Value::Float(value) if value.is_infinite() => if *value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Value::Float(value) => python::float(*value),
        _ => String::new(),
    }
}
