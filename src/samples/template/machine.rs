//! Runs the statements of a template.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::budget::Budget;
use super::calls::{Args, check_attribute};
use super::dates::Date;
use super::frames::Variables;
use super::iteration::collect;
use super::python;
use super::syntax::{Expr, Load, Macro, Node, Program, Scope, Target};
use super::value::{Closure, Outcome, Value};

/// How deep statements, expressions and calls may nest while a template runs.
const DEEPEST: usize = 600;

/// What follows a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Next,
    Break,
    Continue,
}

/// A template while it runs.
pub struct Machine<'a> {
    /// The variables that the template was given.
    pub given: &'a HashMap<Arc<str>, Value>,
    pub date: Date,
    pub budget: Budget,
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

/// The text of a template, and the spans of its `{% generation %}` blocks in characters.
pub type Output = (String, Vec<(usize, usize)>);

/// Runs a template.
pub fn run(program: &Program, given: &HashMap<Arc<str>, Value>, date: Date) -> Outcome<Output> {
    let mut machine = Machine {
        given,
        date,
        budget: Budget::default(),
        variables: Variables::new(program.slots, None),
        captured: Vec::new(),
        buffers: vec![String::new()],
        spans: Vec::new(),
        counted: (0, 0),
        depth: 0,
    };
    machine.enter(&program.scope);
    machine.nodes(&program.body)?;
    // Macros refer to the variables, and variables hold macros.
    machine.leave(&program.scope);
    Ok((machine.buffers.swap_remove(0), machine.spans))
}

impl Machine<'_> {
    /// Runs a part one level deeper.
    pub fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("the template recurses too deep".into());
        }
        let result = run(self);
        self.depth -= 1;
        result
    }

    /// Runs a part with the variables of another function.
    pub fn within<T>(&mut self, variables: Rc<Variables>, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let outer = std::mem::replace(&mut self.variables, variables);
        let result = run(self);
        self.variables = outer;
        result
    }

    pub fn write(&mut self, text: &str) -> Outcome<()> {
        self.budget.spend_text(text.len())?;
        if let Some(buffer) = self.buffers.last_mut() {
            buffer.push_str(text);
        }
        Ok(())
    }

    /// Runs a part and returns the text that it writes.
    pub fn captured_text<T>(&mut self, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<(String, T)> {
        self.buffers.push(String::new());
        let result = run(self)?;
        Ok((self.buffers.pop().unwrap_or_default(), result))
    }

    /// Gives the names of a scope what they hold at its beginning.
    pub fn enter(&mut self, scope: &Scope) {
        for (name, load) in &scope.loads {
            let value = match load {
                Load::Parameter => continue,
                Load::Resolve => self.given.get(&name.text).cloned(),
                Load::Alias(place) => self.variables.get(*place),
                Load::Undefined => None,
            };
            self.variables.set(name.place, value);
        }
    }

    pub fn leave(&mut self, scope: &Scope) {
        for (name, _) in &scope.loads {
            self.variables.set(name.place, None);
        }
    }

    /// Runs statements up to the first that leaves its loop.
    pub fn nodes(&mut self, nodes: &[Node]) -> Outcome<Flow> {
        self.deeper(|machine| {
            for node in nodes {
                let flow = machine.node(node)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn node(&mut self, node: &Node) -> Outcome<Flow> {
        self.budget.spend(1)?;
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Print(value) => self.print(value)?,
            Node::If { branches, otherwise } => return self.condition(branches, otherwise),
            Node::For(node) => return self.for_loop(node),
            Node::Set { target, value } => {
                let value = self.eval(value)?;
                self.assign(target, value)?;
            }
            Node::SetBlock { target, filter, body, scope } => {
                let (value, flow) = self.filtered((filter.as_ref(), body, scope))?;
                let Some(value) = value else { return Ok(flow) };
                self.assign(target, value)?;
            }
            Node::With { bindings, body, scope } => {
                let values = bindings.iter().map(|(_, value)| self.eval(value)).collect::<Outcome<Vec<_>>>()?;
                for ((target, _), value) in bindings.iter().zip(values) {
                    self.assign(target, value)?;
                }
                return self.scoped(body, scope);
            }
            Node::Macro { definition, name } => {
                let closure = self.closure(definition);
                self.variables.set(name.place, Some(closure));
            }
            Node::Call { block, call } => self.call_block(block, call)?,
            Node::Filter { filter, body, scope } => {
                let (value, flow) = self.filtered((Some(filter), body, scope))?;
                let Some(value) = value else { return Ok(flow) };
                self.print_value(&value)?;
            }
            Node::Generation(block) => self.generation(block)?,
            Node::Scoped { body, scope } => return self.scoped(body, scope),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Refused(reason) => return Err((*reason).into()),
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, value: &Expr) -> Outcome<()> {
        let value = self.eval(value)?;
        self.print_value(&value)
    }

    fn print_value(&mut self, value: &Value) -> Outcome<()> {
        if let Value::Str(text) = value {
            return self.write(text);
        }
        let text = python::text(value, &self.budget)?.into_owned();
        self.write(&text)
    }

    fn condition(&mut self, branches: &[(Expr, Vec<Node>)], otherwise: &[Node]) -> Outcome<Flow> {
        for (condition, body) in branches {
            if self.eval(condition)?.is_true() {
                return self.nodes(body);
            }
        }
        self.nodes(otherwise)
    }

    fn scoped(&mut self, body: &[Node], scope: &Scope) -> Outcome<Flow> {
        self.enter(scope);
        let flow = self.nodes(body)?;
        self.leave(scope);
        Ok(flow)
    }

    /// The text of a block, run through its filter; no value if the block leaves its loop.
    fn filtered(&mut self, (filter, body, scope): (Option<&Expr>, &[Node], &Scope)) -> Outcome<(Option<Value>, Flow)> {
        self.enter(scope);
        let (text, flow) = self.captured_text(|machine| machine.nodes(body))?;
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

    fn call_block(&mut self, block: &Arc<Macro>, call: &Expr) -> Outcome<()> {
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
    pub fn macro_text(&mut self, definition: &Macro) -> Outcome<Value> {
        self.enter(&definition.scope);
        let (text, _) = self.captured_text(|machine| {
            let first = definition.parameters.len() - definition.defaults.len();
            for (place, parameter) in definition.parameters.iter().enumerate() {
                if machine.variables.get(parameter.place).is_some() {
                    continue;
                }
                let value = match place.checked_sub(first).map(|place| &definition.defaults[place]) {
                    Some(default) => machine.eval(default)?,
                    None => Value::undefined(format!("parameter `{}` was not provided", parameter.text)),
                };
                machine.variables.set(parameter.place, Some(value));
            }
            machine.nodes(&definition.body)
        })?;
        Ok(Value::str(text))
    }

    /// Notes where the text of a `{% generation %}` block begins. transformers takes the text that the template has written so
    /// far, which is too early for a block inside a macro; this follows it.
    fn generation(&mut self, block: &Arc<Macro>) -> Outcome<()> {
        let Value::Macro(closure) = self.closure(block) else { return Ok(()) };
        let text = self.deeper(|machine| machine.call_macro(&closure, Args::default()))?;
        let text = python::text(&text, &self.budget)?;
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

    pub fn assign(&mut self, target: &Target, value: Value) -> Outcome<()> {
        match target {
            Target::Name(name) => self.variables.set(name.place, Some(value)),
            Target::Attribute(name, attribute) => match self.variables.get(name.place) {
                Some(Value::Namespace(namespace)) => {
                    check_attribute(attribute, &value)?;
                    namespace.borrow_mut().insert(Value::Str(attribute.clone()), value)?;
                }
                _ => return Err(format!("`{}` is no namespace: its attributes cannot be set", name.text)),
            },
            Target::Tuple(targets) => {
                let values = collect(&value, &self.budget)?;
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
