//! The tests of Jinja: `value is …`.

use super::calls::Args;
use super::filters;
use super::iteration::{has_length, is_iterable};
use super::operators;
use super::python;
use super::renderer::Renderer;
use super::syntax::{Comparator, Operator};
use super::texts::has_case;
use super::value::unsupported;
use super::value::{Evaluated, Value};

type Test = fn(&Value) -> bool;

/// Tests of a value alone.
const UNARY: [(&str, Test); 15] = [
    ("defined", |value| !value.is_undefined()),
    ("undefined", Value::is_undefined),
    ("none", |value| matches!(value, Value::None)),
    ("boolean", |value| matches!(value, Value::Bool(_))),
    ("false", |value| matches!(value, Value::Bool(false))),
    ("true", |value| matches!(value, Value::Bool(true))),
    ("integer", |value| matches!(value, Value::Int(_))),
    ("float", |value| matches!(value, Value::Float(_))),
    ("number", |value| matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_))),
    ("string", |value| matches!(value, Value::Str(_) | Value::Markup(_))),
    ("mapping", |value| matches!(value, Value::Dict(_))),
    ("sequence", |value| has_length(value) && !matches!(value, Value::View(..))),
    ("iterable", is_iterable),
    ("escaped", |value| matches!(value, Value::Markup(_))),
    ("callable", is_callable),
];

/// Tests that compare.
const COMPARISONS: [(&str, Comparator); 17] = [
    ("==", Comparator::Equal),
    ("eq", Comparator::Equal),
    ("equalto", Comparator::Equal),
    ("!=", Comparator::NotEqual),
    ("ne", Comparator::NotEqual),
    (">", Comparator::Greater),
    ("gt", Comparator::Greater),
    ("greaterthan", Comparator::Greater),
    (">=", Comparator::GreaterEqual),
    ("ge", Comparator::GreaterEqual),
    ("<", Comparator::Less),
    ("lt", Comparator::Less),
    ("lessthan", Comparator::Less),
    ("<=", Comparator::LessEqual),
    ("le", Comparator::LessEqual),
    ("in", Comparator::In),
    ("sameas", Comparator::Equal),
];

const OTHERS: [&str; 7] = ["odd", "even", "divisibleby", "filter", "test", "lower", "upper"];

pub fn is_known(name: &str) -> bool {
    UNARY.iter().any(|(known, _)| *known == name)
        || COMPARISONS.iter().any(|(known, _)| *known == name)
        || OTHERS.contains(&name)
}

fn is_callable(value: &Value) -> bool {
    matches!(
        value,
        Value::Builtin(_)
            | Value::Method(_)
            | Value::Macro(_)
            | Value::Loop(_)
            | Value::Joiner(_)
            // Its class has a method that is called, though the method always fails.
            | Value::Undefined(_)
    )
}

pub fn apply(renderer: &mut Renderer, name: &str, value: &Value, args: Args) -> Evaluated<bool> {
    renderer.fuel.spend(1)?;
    if let Some((_, test)) = UNARY.iter().find(|(known, _)| *known == name) {
        let [] = args.bind(name, [], 0)?;
        return Ok(test(value));
    }
    if let Some((_, comparison)) = COMPARISONS.iter().find(|(known, _)| *known == name) {
        let [other] = args.bind(name, ["other"], 1)?;
        let other = other.unwrap_or(Value::None);
        if name == "sameas" {
            return same(value, &other);
        }
        return operators::compare(*comparison, value, &other, &renderer.fuel);
    }
    match name {
        "odd" | "even" => {
            let [] = args.bind(name, [], 0)?;
            let rest = remainder(renderer, value, &Value::Int(2))?;
            let wanted = Value::Int(i128::from(name == "odd"));
            operators::equal(&rest, &wanted, &renderer.fuel)
        }
        "divisibleby" => {
            let [divisor] = args.bind(name, ["num"], 1)?;
            let rest = remainder(renderer, value, &divisor.unwrap_or(Value::None))?;
            operators::equal(&rest, &Value::Int(0), &renderer.fuel)
        }
        "filter" | "test" => {
            let [] = args.bind(name, [], 0)?;
            let known = if name == "filter" { filters::is_known } else { is_known };
            Ok(value.as_str().is_some_and(known))
        }
        "lower" | "upper" => {
            let [] = args.bind(name, [], 0)?;
            let text = python::text(value, &renderer.fuel)?;
            renderer.fuel.spend_text(text.len())?;
            let (lower, upper) = (char::is_lowercase as fn(char) -> bool, char::is_uppercase as fn(char) -> bool);
            Ok(if name == "lower" { has_case(&text, lower, upper) } else { has_case(&text, upper, lower) })
        }
        _ => Err(format!("the test `{name}` does not exist")),
    }
}

fn remainder(renderer: &Renderer, value: &Value, divisor: &Value) -> Evaluated<Value> {
    if matches!(value, Value::Str(_)) {
        return Err(unsupported("%", &[value, divisor]));
    }
    operators::binary(Operator::Modulo, value, divisor, &renderer.fuel)
}

/// Python's `is`. Which equal numbers and strings are one object is up to the interpreter.
fn same(value: &Value, other: &Value) -> Evaluated<bool> {
    match (value, other) {
        (Value::None, Value::None) => Ok(true),
        (Value::Bool(one), Value::Bool(two)) => Ok(one == two),
        (Value::None | Value::Bool(_), _) | (_, Value::None | Value::Bool(_)) => Ok(false),
        _ if std::mem::discriminant(value) != std::mem::discriminant(other) => Ok(false),
        (Value::Namespace(_) | Value::Macro(_) | Value::Loop(_) | Value::Builtin(_), _) => {
            Ok(operators::is_same_object(value, other))
        }
        _ => Err("`sameas` is supported for none, booleans and namespaces only".into()),
    }
}
