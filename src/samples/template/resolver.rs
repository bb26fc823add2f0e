//! Which variable a name means, as Jinja's compiler decides it (`idtracking.py` and the frames of `compiler.py`).
//!
//! A scope first looks at all its statements, but not into the scopes below it, to find the names that it defines. A name that is
//! assigned there is the scope's own, from the first line on; any other is that of an outer scope or one that the template was
//! given. Macros and recursive loops are functions: each of their calls has variables of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::filters;
use super::predicates;
use super::survey::{Looks, Survey, Symbols};
use super::syntax::{
    Arguments, Expr, For, Load, LoopTest, Macro, Name, Program, Scope, Statement, Target, VariablePlace,
};

pub type Resolved<T> = Result<T, String>;

/// Resolves all names of a template.
pub fn resolve(mut body: Vec<Statement>) -> Resolved<Program> {
    let mut resolver =
        Resolver { frames: Vec::new(), functions: vec![Function::default()], soft: false, looks: Looks::default() };
    resolver.enter(|survey| survey.nodes(&body), &[]);
    resolver.nodes(&mut body)?;
    let scope = resolver.leave();
    Ok(Program { body, scope, slots: resolver.functions[0].slots })
}

/// A scope while its names are resolved.
pub struct ScopeFrame {
    pub symbols: Symbols,
    function: usize,
    slots: BTreeMap<Arc<str>, usize>,
}

#[derive(Default)]
struct Function {
    slots: usize,
    /// How many loops surround the current statement within the function.
    loops: usize,
}

struct Resolver {
    frames: Vec<ScopeFrame>,
    functions: Vec<Function>,
    /// Whether a condition surrounds the current expression: then an unknown filter fails only when it is reached.
    soft: bool,
    looks: Looks,
}

impl Resolver {
    /// Opens a scope: declares `parameters`, and surveys what `visit` shows it.
    fn enter(&mut self, visit: impl FnOnce(&mut Survey), parameters: &[&str]) {
        let mut survey = Survey { outer: &self.frames, symbols: Symbols::default(), looks: &self.looks };
        for parameter in parameters {
            survey.symbols.parameter(&Arc::from(*parameter));
        }
        visit(&mut survey);
        let symbols = survey.symbols;
        let function = self.functions.len() - 1;
        let counter = &mut self.functions[function].slots;
        let slots = symbols.names().map(|name| (name.clone(), post_increment(counter))).collect();
        self.frames.push(ScopeFrame { symbols, function, slots });
    }

    /// Closes a scope.
    fn leave(&mut self) -> Scope {
        let Some(frame) = self.frames.pop() else { return Scope::default() };
        let function = self.functions.len() - 1;
        let loads = frame.symbols.loads.iter().map(|(text, load)| {
            let place = VariablePlace { hops: function - frame.function, slot: frame.slots[text] };
            let load = match load {
                None => Load::Alias(self.place(text).unwrap_or_default()),
                Some(load) => load.clone(),
            };
            (Name { text: text.clone(), place }, load)
        });
        Scope { loads: loads.collect() }
    }

    fn place(&self, text: &str) -> Option<VariablePlace> {
        let function = self.functions.len() - 1;
        self.frames.iter().rev().find_map(|frame| {
            let slot = *frame.slots.get(text)?;
            Some(VariablePlace { hops: function - frame.function, slot })
        })
    }

    fn name(&self, name: &mut Name) -> Resolved<()> {
        self.refuse_many_looks()?;
        let place = self.place(&name.text);
        name.place = place.ok_or_else(|| format!("the name `{}` cannot be resolved at its place", name.text))?;
        Ok(())
    }

    /// Refuses a template with too many names in too many branches.
    fn refuse_many_looks(&self) -> Resolved<()> {
        if self.looks.are_spent() { Err("it assigns too many names in too many branches".into()) } else { Ok(()) }
    }

    fn nodes(&mut self, nodes: &mut [Statement]) -> Resolved<()> {
        self.refuse_many_looks()?;
        nodes.iter_mut().try_for_each(|node| self.node(node))
    }

    /// A body in a scope that `visit` surveys.
    fn scoped(&mut self, body: &mut [Statement], filter: Option<&mut Expr>) -> Resolved<Scope> {
        let soft = std::mem::take(&mut self.soft);
        self.nodes(body)?;
        filter.map_or(Ok(()), |filter| self.expr(filter))?;
        self.soft = soft;
        Ok(self.leave())
    }

    fn node(&mut self, node: &mut Statement) -> Resolved<()> {
        match node {
            Statement::Text(_) | Statement::Refused(_) => {}
            Statement::Print(value) => self.expr(value)?,
            Statement::If { branches, otherwise } => {
                let soft = std::mem::replace(&mut self.soft, true);
                for (condition, body) in branches {
                    self.expr(condition)?;
                    self.nodes(body)?;
                }
                self.nodes(otherwise)?;
                self.soft = soft;
            }
            Statement::For(node) => self.for_loop(unique(node)?)?,
            Statement::Set { target, value } => {
                self.expr(value)?;
                self.target(target)?;
            }
            Statement::SetBlock { target, filter, body, scope } => {
                self.target(target)?;
                self.enter(|survey| survey.nodes(body), &[]);
                *scope = self.scoped(body, filter.as_mut())?;
            }
            Statement::With { bindings, body, scope } => {
                bindings.iter_mut().try_for_each(|(_, value)| self.expr(value))?;
                self.enter(
                    |survey| {
                        bindings.iter().for_each(|(target, _)| survey.parameters(target));
                        survey.nodes(body);
                    },
                    &[],
                );
                bindings.iter_mut().try_for_each(|(target, _)| self.target(target))?;
                *scope = self.scoped(body, None)?;
            }
            Statement::Macro { definition, name } => {
                self.name(name)?;
                self.macro_body(unique(definition)?)?;
            }
            Statement::Call { block, call } => {
                self.macro_body(unique(block)?)?;
                self.expr(call)?;
            }
            Statement::Generation(block) => self.macro_body(unique(block)?)?,
            Statement::Filter { filter, body, scope } => {
                self.enter(
                    |survey| {
                        survey.nodes(body);
                        survey.expr(filter);
                    },
                    &[],
                );
                *scope = self.scoped(body, Some(filter))?;
            }
            Statement::Scoped { body, scope } => {
                self.enter(|survey| survey.nodes(body), &[]);
                *scope = self.scoped(body, None)?;
            }
            Statement::Break | Statement::Continue => {
                if self.functions.last().is_none_or(|function| function.loops == 0) {
                    return Err("`break` or `continue` outside a loop".into());
                }
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, node: &mut For) -> Resolved<()> {
        if assigns_loop(&node.target) || node.body.iter().chain(&node.otherwise).any(stores_loop) {
            return Err("a loop cannot assign to `loop`".into());
        }
        self.expr(&mut node.iter)?;
        if let Some(LoopTest { target, condition, scope }) = &mut node.test {
            self.enter(
                |survey| {
                    survey.parameters(target);
                    survey.expr(condition);
                },
                &[],
            );
            self.target(target)?;
            let soft = std::mem::take(&mut self.soft);
            self.expr(condition)?;
            self.soft = soft;
            *scope = self.leave();
        }
        if node.recursive {
            self.functions.push(Function::default());
        }
        let uses_loop = node.recursive || node.body.iter().any(|node| super::survey::uses(node, "loop"));
        let parameters: &[&str] = if uses_loop { &["loop"] } else { &[] };
        self.enter(
            |survey| {
                survey.parameters(&node.target);
                survey.nodes(&node.body);
            },
            parameters,
        );
        self.target(&mut node.target)?;
        if uses_loop {
            let mut name = Name { text: "loop".into(), place: VariablePlace::default() };
            self.name(&mut name)?;
            node.variable = Some(name);
        }
        if let Some(function) = self.functions.last_mut() {
            function.loops += 1;
        }
        node.scope = self.scoped(&mut node.body, None)?;
        if let Some(function) = self.functions.last_mut() {
            function.loops -= 1;
        }
        self.enter(|survey| survey.nodes(&node.otherwise), &[]);
        node.otherwise_scope = self.scoped(&mut node.otherwise, None)?;
        if node.recursive {
            node.slots = self.functions.pop().map_or(0, |function| function.slots);
        }
        Ok(())
    }

    fn macro_body(&mut self, definition: &mut Macro) -> Resolved<()> {
        self.functions.push(Function::default());
        let has = |name: &str| definition.parameters.iter().any(|parameter| &*parameter.text == name);
        let uses = |name: &str| definition.body.iter().any(|node| super::survey::uses(node, name));
        if uses("caller") && has("caller") && !has_default(definition, "caller") {
            return Err("the parameter `caller` of a macro needs a default".into());
        }
        let special = ["caller", "kwargs", "varargs"].map(|name| (name, uses(name) && !has(name)));
        let declared: Vec<&str> = special.iter().filter(|(_, used)| *used).map(|(name, _)| *name).collect();
        self.enter(
            |survey| {
                definition.parameters.iter().for_each(|parameter| survey.symbols.parameter(&parameter.text));
                definition.defaults.iter().for_each(|default| survey.expr(default));
                survey.nodes(&definition.body);
            },
            &declared,
        );
        definition.parameters.iter_mut().try_for_each(|parameter| self.name(parameter))?;
        let [caller, kwargs, varargs] = special.map(|(name, used)| {
            let place = if used { self.place(name)? } else { return None };
            Some(Name { text: name.into(), place })
        });
        (definition.caller, definition.kwargs, definition.varargs) = (caller, kwargs, varargs);
        let soft = std::mem::take(&mut self.soft);
        definition.defaults.iter_mut().try_for_each(|default| self.expr(default))?;
        self.soft = soft;
        definition.scope = self.scoped(&mut definition.body, None)?;
        definition.slots = self.functions.pop().map_or(0, |function| function.slots);
        Ok(())
    }

    fn target(&mut self, target: &mut Target) -> Resolved<()> {
        match target {
            Target::Name(name) | Target::Attribute(name, _) => self.name(name),
            Target::Tuple(targets) => targets.iter_mut().try_for_each(|target| self.target(target)),
        }
    }

    fn exprs<'a>(&mut self, exprs: impl IntoIterator<Item = &'a mut Expr>) -> Resolved<()> {
        exprs.into_iter().try_for_each(|expr| self.expr(expr))
    }

    fn expr(&mut self, expr: &mut Expr) -> Resolved<()> {
        match expr {
            Expr::Literal(_) | Expr::Captured => Ok(()),
            Expr::Name(name) if &*name.text == "self" => Err("`self`, the template itself, is not supported".into()),
            Expr::Name(name) => self.name(name),
            Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => self.exprs(items),
            Expr::Dict(pairs) => pairs.iter_mut().try_for_each(|(key, value)| self.exprs([key, value])),
            Expr::Attribute(value, _) | Expr::Not(value) | Expr::Negative(value) | Expr::Positive(value) => {
                self.expr(value)
            }
            Expr::Item(left, right) | Expr::And(left, right) | Expr::Or(left, right) | Expr::Binary(_, left, right) => {
                self.exprs([&mut **left, &mut **right])
            }
            Expr::Slice(value, bounds) => {
                self.expr(value)?;
                self.exprs(bounds.iter_mut().flatten())
            }
            Expr::Call(callee, arguments) => {
                self.expr(callee)?;
                self.exprs(arguments.expressions_mut())
            }
            Expr::Filter(value, name, arguments) => {
                self.refuse_unknown("filter", name, filters::is_known)?;
                self.applied(value, arguments)
            }
            Expr::Test(value, name, arguments) => {
                self.refuse_unknown("test", name, predicates::is_known)?;
                self.applied(value, arguments)
            }
            Expr::If(conditional) => {
                let soft = std::mem::replace(&mut self.soft, true);
                self.exprs([&mut conditional.condition, &mut conditional.then])?;
                self.exprs(&mut conditional.otherwise)?;
                self.soft = soft;
                Ok(())
            }
            Expr::Compare(first, others) => {
                self.expr(first)?;
                self.exprs(others.iter_mut().map(|(_, value)| value))
            }
        }
    }

    /// Refuses a filter or a test that does not exist.
    fn refuse_unknown(&self, kind: &str, name: &str, is_known: fn(&str) -> bool) -> Resolved<()> {
        if self.soft || is_known(name) { Ok(()) } else { Err(format!("there is no {kind} `{name}`")) }
    }

    /// A filter or a test on a value.
    fn applied(&mut self, value: &mut Expr, arguments: &mut Arguments) -> Resolved<()> {
        self.expr(value)?;
        self.exprs(arguments.expressions_mut())
    }
}

fn post_increment(counter: &mut usize) -> usize {
    *counter += 1;
    *counter - 1
}

/// A part of the tree that nothing else refers to yet.
fn unique<T>(node: &mut Arc<T>) -> Resolved<&mut T> {
    Arc::get_mut(node).ok_or_else(|| "a part of the template is shared".to_string())
}

fn has_default(definition: &Macro, parameter: &str) -> bool {
    let first = definition.parameters.len() - definition.defaults.len();
    definition.parameters[first..].iter().any(|name| &*name.text == parameter)
}

fn assigns_loop(target: &Target) -> bool {
    match target {
        Target::Name(name) => &*name.text == "loop",
        Target::Attribute(..) => false,
        Target::Tuple(targets) => targets.iter().any(assigns_loop),
    }
}

/// Whether a statement, or one inside it, assigns to `loop`.
fn stores_loop(node: &Statement) -> bool {
    let any = |nodes: &[Statement]| nodes.iter().any(stores_loop);
    match node {
        Statement::Set { target, .. } => assigns_loop(target),
        Statement::SetBlock { target, body, .. } => assigns_loop(target) || any(body),
        Statement::If { branches, otherwise } => branches.iter().any(|(_, body)| any(body)) || any(otherwise),
        Statement::For(node) => assigns_loop(&node.target) || any(&node.body) || any(&node.otherwise),
        Statement::With { body, .. } | Statement::Filter { body, .. } | Statement::Scoped { body, .. } => any(body),
        Statement::Macro { definition, .. } => any(&definition.body),
        Statement::Call { block, .. } | Statement::Generation(block) => any(&block.body),
        _ => false,
    }
}
