//! Evaluates the expressions of a template.

use std::rc::Rc;
use std::sync::Arc;

use super::calls::Args;
use super::filters;
use super::iteration::{collect, slice};
use super::operators;
use super::predicates;
use super::python;
use super::renderer::Renderer;
use super::syntax::{Arguments, Comparator, Expr, Name};
use super::value::{Dict, Evaluated, Value, shortened};

impl Renderer<'_> {
    pub fn eval(&mut self, expr: &Expr) -> Evaluated<Value> {
        match expr {
            Expr::Literal(literal) => Ok(Value::literal(literal)),
            Expr::Name(name) => Ok(self.name(name)),
            Expr::Captured => Ok(self.captured.last().cloned().unwrap_or(Value::None)),
            other => {
                self.fuel.spend(1)?;
                self.deeper(|renderer| renderer.eval_compound(other))
            }
        }
    }

    fn name(&self, name: &Name) -> Value {
        self.variables.get(name.place).unwrap_or_else(|| Value::unknown_name(&name.text))
    }

    fn eval_compound(&mut self, expr: &Expr) -> Evaluated<Value> {
        match expr {
            Expr::Literal(_) | Expr::Name(_) | Expr::Captured => self.eval(expr),
            Expr::Tuple(items) => Value::tuple(self.eval_all(items)?, &self.fuel),
            Expr::List(items) => Value::list(self.eval_all(items)?, &self.fuel),
            Expr::Dict(pairs) => self.eval_dict(pairs),
            Expr::Attribute(value, name) => {
                let value = self.eval(value)?;
                self.attribute(&value, name)
            }
            Expr::Item(value, key) => {
                let (value, key) = (self.eval(value)?, self.eval(key)?);
                self.item(&value, &key)
            }
            Expr::Slice(value, bounds) => self.eval_slice(value, bounds),
            Expr::Call(callee, arguments) => {
                let callee = self.eval(callee)?;
                let args = self.args(arguments)?;
                self.call(&callee, args)
            }
            Expr::Filter(value, name, arguments) => {
                let value = self.eval(value)?;
                let args = self.args(arguments)?;
                filters::apply(self, name, value, args)
            }
            Expr::Test(value, name, arguments) => {
                let value = self.eval(value)?;
                let args = self.args(arguments)?;
                Ok(Value::Bool(predicates::apply(self, name, &value, args)?))
            }
            Expr::Not(value) => Ok(Value::Bool(!self.eval(value)?.is_true())),
            Expr::Negative(value) => operators::negative(&self.eval(value)?),
            Expr::Positive(value) => operators::positive(&self.eval(value)?),
            Expr::And(left, right) => {
                let left = self.eval(left)?;
                if left.is_true() { self.eval(right) } else { Ok(left) }
            }
            Expr::Or(left, right) => {
                let left = self.eval(left)?;
                if left.is_true() { Ok(left) } else { self.eval(right) }
            }
            Expr::If(conditional) => {
                if self.eval(&conditional.condition)?.is_true() {
                    return self.eval(&conditional.then);
                }
                match &conditional.otherwise {
                    Some(otherwise) => self.eval(otherwise),
                    None => Ok(Value::undefined("an inline `if` without `else` has no value")),
                }
            }
            Expr::Compare(first, others) => self.eval_comparison(first, others),
            Expr::Binary(operator, left, right) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                operators::binary(*operator, &left, &right, &self.fuel)
            }
            Expr::Concat(items) => self.eval_concatenation(items),
        }
    }

    fn eval_all(&mut self, items: &[Expr]) -> Evaluated<Vec<Value>> {
        self.fuel.spend(items.len())?;
        items.iter().map(|item| self.eval(item)).collect()
    }

    fn eval_dict(&mut self, pairs: &[(Expr, Expr)]) -> Evaluated<Value> {
        let mut dict = Dict::default();
        for (key, value) in pairs {
            let (key, value) = (self.eval(key)?, self.eval(value)?);
            dict.insert(key, value, &self.fuel)?;
        }
        Ok(Value::Dict(Rc::new(dict)))
    }

    fn eval_slice(&mut self, value: &Expr, [start, stop, step]: &[Option<Expr>; 3]) -> Evaluated<Value> {
        let value = self.eval(value)?;
        let mut bound = |bound: &Option<Expr>| bound.as_ref().map(|bound| self.eval(bound)).transpose();
        let bounds = [bound(start)?, bound(stop)?, bound(step)?];
        slice(&value, bounds, &self.fuel)
    }

    /// A chain of comparisons, which ends at the first that is false.
    fn eval_comparison(&mut self, first: &Expr, others: &[(Comparator, Expr)]) -> Evaluated<Value> {
        let mut left = self.eval(first)?;
        for (comparison, right) in others {
            let right = self.eval(right)?;
            if !operators::compare(*comparison, &left, &right, &self.fuel)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn eval_concatenation(&mut self, items: &[Expr]) -> Evaluated<Value> {
        let mut text = String::new();
        for item in self.eval_all(items)? {
            let item = python::text(&item, &self.fuel)?;
            self.fuel.spend_text(item.len())?;
            text.push_str(&item);
        }
        Ok(Value::str(text))
    }

    pub fn args(&mut self, arguments: &Arguments) -> Evaluated<Args> {
        let mut args = Args { positional: self.eval_all(&arguments.positional)?, named: Vec::new() };
        self.fuel.spend(arguments.named.len())?;
        for (name, value) in &arguments.named {
            let value = self.eval(value)?;
            args.named.push((name.clone(), value));
        }
        if let Some(star) = &arguments.star {
            let values = self.eval(star)?;
            args.positional.extend(collect(&values, &self.fuel)?);
        }
        if let Some(double_star) = &arguments.double_star {
            let Value::Dict(dict) = self.eval(double_star)? else { return Err("`**` takes a dictionary".into()) };
            // The names in a dictionary are different ones.
            let named = args.named.len();
            self.fuel.spend(dict.entries.len().saturating_mul(1 + named))?;
            for (name, value) in &dict.entries {
                let name: Arc<str> = name.as_str().ok_or("`**` takes a dictionary whose keys are strings")?.into();
                if args.named[..named].iter().any(|(known, _)| *known == name) {
                    return Err(format!("a call was given `{}` twice", shortened(&name)));
                }
                args.named.push((name, value.clone()));
            }
        }
        Ok(args)
    }
}
