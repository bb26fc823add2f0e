//! Runs the statements of a template.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::calls::{Args, check_attribute};
use super::dates::Date;
use super::frames::Variables;
use super::fuel::Fuel;
use super::iteration::collect;
use super::python;
use super::syntax::{Expr, Load, Macro, Program, Scope, Statement, Target};
use super::value::{Closure, Evaluated, Value};

/// How deep statements, expressions and calls may nest while a template runs. A level takes up to 5 KiB of the stack in a build
/// without optimizations, and a thread of Rust has 2 MiB.
const DEEPEST: usize = 300;

/// What follows a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Next,
    Break,
    Continue,
}

/// A template while it runs.
pub struct Renderer<'a> {
    /// The variables that the template was given.
    pub given: &'a HashMap<Arc<str>, Value>,
    pub date: Date,
    pub fuel: Fuel,
    pub variables: Rc<Variables>,
    /// The text that blocks captured, for their filters.
    pub captured: Vec<Value>,
    /// The text so far: of the template, and of the blocks and macros that are being captured.
    buffers: Vec<String>,
    /// The spans of `{% generation %}` blocks, in characters of the template's text.
    spans: Vec<(usize, usize)>,
    /// How much of the template's text was counted: bytes and characters.
    counted: (usize, usize),
    depth: usize,
}

/// What a template made.
pub struct Output {
    pub text: String,
    /// The spans of `{% generation %}` blocks, in characters.
    pub spans: Vec<(usize, usize)>,
    /// What it spent.
    pub steps: usize,
}

/// Runs a template.
pub fn run(program: &Program, given: &HashMap<Arc<str>, Value>, date: Date) -> Evaluated<Output> {
    let mut renderer = Renderer {
        given,
        date,
        fuel: Fuel::default(),
        variables: Variables::new(program.slots, None),
        captured: Vec::new(),
        buffers: vec![String::new()],
        spans: Vec::new(),
        counted: (0, 0),
        depth: 0,
    };
    renderer.enter(&program.scope)?;
    renderer.nodes(&program.body)?;
    // Macros refer to the variables, and variables hold macros.
    renderer.leave(&program.scope);
    let text = renderer.buffers.swap_remove(0);
    Ok(Output { text, spans: renderer.spans, steps: renderer.fuel.spent() })
}

impl Renderer<'_> {
    /// Runs a part one level deeper.
    pub fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Evaluated<T>) -> Evaluated<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("the template recurses too deep".into());
        }
        let result = run(self);
        self.depth -= 1;
        result
    }

    /// Runs a part with the variables of another function.
    pub fn within<T>(&mut self, variables: Rc<Variables>, run: impl FnOnce(&mut Self) -> Evaluated<T>) -> Evaluated<T> {
        let outer = std::mem::replace(&mut self.variables, variables);
        let result = run(self);
        self.variables = outer;
        result
    }

    pub fn write(&mut self, text: &str) -> Evaluated<()> {
        self.fuel.spend_text(text.len())?;
        if let Some(buffer) = self.buffers.last_mut() {
            buffer.push_str(text);
        }
        Ok(())
    }

    /// Runs a part and returns the text that it writes.
    pub fn captured_text<T>(&mut self, run: impl FnOnce(&mut Self) -> Evaluated<T>) -> Evaluated<(String, T)> {
        self.buffers.push(String::new());
        let result = run(self)?;
        Ok((self.buffers.pop().unwrap_or_default(), result))
    }

    /// Gives the names of a scope what they hold at its beginning.
    pub fn enter(&mut self, scope: &Scope) -> Evaluated<()> {
        self.fuel.spend(scope.loads.len() / 4)?;
        for (name, load) in &scope.loads {
            let value = match load {
                Load::Parameter => continue,
                Load::Resolve => self.given.get(&name.text).cloned(),
                Load::Alias(place) => self.variables.get(*place),
                Load::Undefined => None,
            };
            self.variables.set(name.place, value);
        }
        Ok(())
    }

    pub fn leave(&mut self, scope: &Scope) {
        for (name, _) in &scope.loads {
            self.variables.set(name.place, None);
        }
    }

    /// Runs statements up to the first that leaves its loop.
    pub fn nodes(&mut self, nodes: &[Statement]) -> Evaluated<Flow> {
        self.deeper(|renderer| {
            for node in nodes {
                let flow = renderer.node(node)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn node(&mut self, node: &Statement) -> Evaluated<Flow> {
        self.fuel.spend(1)?;
        match node {
            Statement::Text(text) => self.write(text)?,
            Statement::Print(value) => self.print(value)?,
            Statement::If { branches, otherwise } => return self.condition(branches, otherwise),
            Statement::For(node) => return self.for_loop(node),
            Statement::Set { target, value } => {
                let value = self.eval(value)?;
                self.assign(target, value)?;
            }
            Statement::SetBlock { target, filter, body, scope } => {
                let (value, flow) = self.filtered(filter.as_ref(), body, scope)?;
                let Some(value) = value else { return Ok(flow) };
                self.assign(target, value)?;
            }
            Statement::With { bindings, body, scope } => {
                let values = bindings.iter().map(|(_, value)| self.eval(value)).collect::<Evaluated<Vec<_>>>()?;
                for ((target, _), value) in bindings.iter().zip(values) {
                    self.assign(target, value)?;
                }
                return self.scoped(body, scope);
            }
            Statement::Macro { definition, name } => {
                let closure = self.closure(definition);
                self.variables.set(name.place, Some(closure));
            }
            Statement::Call { block, call } => self.call_block(block, call)?,
            Statement::Filter { filter, body, scope } => {
                let (value, flow) = self.filtered(Some(filter), body, scope)?;
                let Some(value) = value else { return Ok(flow) };
                self.print_value(&value)?;
            }
            Statement::Generation(block) => self.generation(block)?,
            Statement::Scoped { body, scope } => return self.scoped(body, scope),
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
            Statement::Refused(reason) => return Err((*reason).into()),
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, value: &Expr) -> Evaluated<()> {
        let value = self.eval(value)?;
        self.print_value(&value)
    }

    fn print_value(&mut self, value: &Value) -> Evaluated<()> {
        if let Value::Str(text) = value {
            return self.write(text);
        }
        let text = python::text(value, &self.fuel)?.into_owned();
        self.write(&text)
    }

    fn condition(&mut self, branches: &[(Expr, Vec<Statement>)], otherwise: &[Statement]) -> Evaluated<Flow> {
        for (condition, body) in branches {
            if self.eval(condition)?.is_true() {
                return self.nodes(body);
            }
        }
        self.nodes(otherwise)
    }

    fn scoped(&mut self, body: &[Statement], scope: &Scope) -> Evaluated<Flow> {
        self.enter(scope)?;
        let flow = self.nodes(body)?;
        self.leave(scope);
        Ok(flow)
    }

    /// The text of a block, run through its filter; no value if the block leaves its loop.
    fn filtered(
        &mut self,
        filter: Option<&Expr>,
        body: &[Statement],
        scope: &Scope,
    ) -> Evaluated<(Option<Value>, Flow)> {
        self.enter(scope)?;
        let (text, flow) = self.captured_text(|renderer| renderer.nodes(body))?;
        let value = Value::str(text);
        let value = match filter {
            _ if flow != Flow::Next => None,
            None => Some(value),
            Some(filter) => {
                self.captured.push(value);
                let value = self.eval(filter)?;
                self.captured.pop();
                Some(value)
            }
        };
        self.leave(scope);
        Ok((value, flow))
    }

    fn closure(&self, definition: &Arc<Macro>) -> Value {
        let outer = Rc::downgrade(&self.variables);
        Value::Macro(Rc::new(Closure { definition: definition.clone(), outer }))
    }

    fn call_block(&mut self, block: &Arc<Macro>, call: &Expr) -> Evaluated<()> {
        let Expr::Call(callee, arguments) = call else { return Err("`call` should be followed by a call".into()) };
        let callee = self.eval(callee)?;
        let mut args = self.args(arguments)?;
        if args.named.iter().any(|(name, _)| &**name == "caller") {
            return Err("a call block was given a caller".into());
        }
        args.named.push(("caller".into(), self.closure(block)));
        let value = self.call(&callee, args)?;
        self.print_value(&value)
    }

    /// The text of a macro whose parameters are set.
    pub fn macro_text(&mut self, definition: &Macro) -> Evaluated<Value> {
        self.enter(&definition.scope)?;
        let (text, _) = self.captured_text(|renderer| {
            let first = definition.parameters.len() - definition.defaults.len();
            for (place, parameter) in definition.parameters.iter().enumerate() {
                if renderer.variables.get(parameter.place).is_some() {
                    continue;
                }
                let value = match place.checked_sub(first).map(|place| &definition.defaults[place]) {
                    Some(default) => renderer.eval(default)?,
                    None => Value::undefined(format!("parameter `{}` was not provided", parameter.text)),
                };
                renderer.variables.set(parameter.place, Some(value));
            }
            renderer.nodes(&definition.body)
        })?;
        Ok(Value::str(text))
    }

    /// Notes where the text of a `{% generation %}` block begins. transformers takes the text that the template has written so
    /// far, which is too early for a block inside a macro; this follows it.
    fn generation(&mut self, block: &Arc<Macro>) -> Evaluated<()> {
        let Value::Macro(closure) = self.closure(block) else { return Ok(()) };
        let text = self.deeper(|renderer| renderer.call_macro(&closure, Args::default()))?;
        let text = python::text(&text, &self.fuel)?;
        let start = self.characters();
        self.spans.push((start, start + text.chars().count()));
        self.write(&text)
    }

    /// The number of characters that the template has written.
    fn characters(&mut self) -> usize {
        let text = self.buffers.first().map_or("", |text| &text[self.counted.0..]);
        self.counted = (self.counted.0 + text.len(), self.counted.1 + text.chars().count());
        self.counted.1
    }

    pub fn assign(&mut self, target: &Target, value: Value) -> Evaluated<()> {
        match target {
            Target::Name(name) => self.variables.set(name.place, Some(value)),
            Target::Attribute(name, attribute) => match self.variables.get(name.place) {
                Some(Value::Namespace(namespace)) => {
                    check_attribute(attribute, &value)?;
                    namespace.borrow_mut().insert(Value::Str(attribute.clone()), value, &self.fuel)?;
                }
                _ => return Err(format!("`{}` is no namespace: its attributes cannot be set", name.text)),
            },
            Target::Tuple(targets) => {
                let values = collect(&value, &self.fuel)?;
                if values.len() != targets.len() {
                    return Err(format!("{} values cannot be assigned to {} names", values.len(), targets.len()));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value)?;
                }
            }
        }
        Ok(())
    }
}
