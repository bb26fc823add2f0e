//! The first look at a scope: which names it defines, and what they hold when it is entered.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::resolver::ScopeFrame;
use super::syntax::{Expr, Load, Statement, Target};

/// The names of a scope.
#[derive(Debug, Clone, Default)]
pub struct Symbols {
    /// What each name holds when the scope is entered; `None` stands for a copy of the outer scope's variable.
    pub loads: BTreeMap<Arc<str>, Option<Load>>,
    stores: BTreeSet<Arc<str>>,
}

impl Symbols {
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.loads.keys()
    }

    pub fn parameter(&mut self, name: &Arc<str>) {
        self.stores.insert(name.clone());
        self.loads.insert(name.clone(), Some(Load::Parameter));
    }
}

/// How much a template's names may be looked at, in names. Every branch starts with a copy of all names so far, so that a megabyte of
/// branches would take hours.
const MOST_LOOKS: usize = 5_000_000;

/// How much the names of a template were looked at so far.
#[derive(Debug, Default)]
pub struct Looks(Cell<usize>);

impl Looks {
    fn add(&self, names: usize) {
        self.0.set(self.0.get().saturating_add(names));
    }

    /// Whether there were too many, so that no more is found out.
    pub fn are_spent(&self) -> bool {
        self.0.get() > MOST_LOOKS
    }
}

/// Collects the names of one scope. `outer` are the scopes around it.
pub struct Survey<'a> {
    pub outer: &'a [ScopeFrame],
    pub symbols: Symbols,
    pub looks: &'a Looks,
}

impl Survey<'_> {
    fn is_outer(&self, name: &str) -> bool {
        self.looks.add(1 + self.outer.len());
        self.outer.iter().any(|frame| frame.symbols.loads.contains_key(name))
    }

    fn load(&mut self, name: &Arc<str>) {
        if !self.symbols.loads.contains_key(name) && !self.is_outer(name) {
            self.symbols.loads.insert(name.clone(), Some(Load::Resolve));
        }
    }

    fn store(&mut self, name: &Arc<str>) {
        self.symbols.stores.insert(name.clone());
        if !self.symbols.loads.contains_key(name) {
            let load = if self.is_outer(name) { None } else { Some(Load::Undefined) };
            self.symbols.loads.insert(name.clone(), load);
        }
    }

    /// Declares the names of a target as parameters.
    pub fn parameters(&mut self, target: &Target) {
        match target {
            Target::Name(name) => self.symbols.parameter(&name.text),
            Target::Attribute(name, _) => self.load(&name.text),
            Target::Tuple(targets) => targets.iter().for_each(|target| self.parameters(target)),
        }
    }

    fn target(&mut self, target: &Target) {
        match target {
            Target::Name(name) => self.store(&name.text),
            Target::Attribute(name, _) => self.load(&name.text),
            Target::Tuple(targets) => targets.iter().for_each(|target| self.target(target)),
        }
    }

    pub fn nodes(&mut self, nodes: &[Statement]) {
        for node in nodes {
            if self.looks.are_spent() {
                return;
            }
            self.node(node);
        }
    }

    fn node(&mut self, node: &Statement) {
        match node {
            Statement::Text(_) | Statement::Break | Statement::Continue | Statement::Refused(_) => {}
            Statement::Print(value) => self.expr(value),
            Statement::If { branches, otherwise } => self.condition(branches, otherwise),
            Statement::For(node) => self.expr(&node.iter),
            Statement::Set { target, value } => {
                self.expr(value);
                self.target(target);
            }
            Statement::SetBlock { target, .. } => self.target(target),
            Statement::With { bindings, .. } => bindings.iter().for_each(|(_, value)| self.expr(value)),
            Statement::Macro { name, .. } => self.store(&name.text),
            Statement::Call { call, .. } => self.expr(call),
            Statement::Filter { filter, .. } => self.expr(filter),
            Statement::Generation(_) | Statement::Scoped { .. } => {}
        }
    }

    /// A chain `if … elif … else`. Jinja nests each `elif` in a list of its own, whose branches are merged first.
    fn condition(&mut self, branches: &[(Expr, Vec<Statement>)], otherwise: &[Statement]) {
        let Some(((test, body), others)) = branches.split_first() else { return };
        self.expr(test);
        let body = self.branch(|survey| survey.nodes(body));
        let others = self.branch(|survey| {
            for (test, body) in others {
                if survey.looks.are_spent() {
                    return;
                }
                survey.expr(test);
                let body = survey.branch(|survey| survey.nodes(body));
                survey.merge([body]);
            }
        });
        let otherwise = self.branch(|survey| survey.nodes(otherwise));
        self.merge([body, others, otherwise]);
    }

    fn branch(&self, visit: impl FnOnce(&mut Survey)) -> Symbols {
        // The names are copied here, and their copies are merged later.
        self.looks.add(6 * (self.symbols.loads.len() + self.symbols.stores.len()));
        let mut survey = Survey { outer: self.outer, symbols: self.symbols.clone(), looks: self.looks };
        visit(&mut survey);
        survey.symbols
    }

    /// A name that only some branches assign keeps its outer value in the others.
    fn merge<const N: usize>(&mut self, branches: [Symbols; N]) {
        if self.looks.are_spent() {
            return;
        }
        let stores: BTreeSet<Arc<str>> = branches.iter().flat_map(|branch| branch.stores.clone()).collect();
        let new: Vec<Arc<str>> = stores.difference(&self.symbols.stores).cloned().collect();
        for branch in branches {
            self.symbols.loads.extend(branch.loads);
            self.symbols.stores.extend(branch.stores);
        }
        for name in new {
            let load = if self.is_outer(&name) { None } else { Some(Load::Resolve) };
            self.symbols.loads.insert(name, load);
        }
    }

    pub fn expr(&mut self, expr: &Expr) {
        if let Expr::Name(name) = expr {
            self.load(&name.text);
        }
        for_each_child(expr, &mut |child| self.expr(child));
    }
}

/// Shows `visit` the expressions of which an expression is made.
fn for_each_child(expr: &Expr, visit: &mut dyn FnMut(&Expr)) {
    match expr {
        Expr::Literal(_) | Expr::Captured | Expr::Name(_) => {}
        Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => items.iter().for_each(visit),
        Expr::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
            visit(key);
            visit(value);
        }),
        Expr::Attribute(value, _) | Expr::Not(value) | Expr::Negative(value) | Expr::Positive(value) => visit(value),
        Expr::Item(left, right) | Expr::And(left, right) | Expr::Or(left, right) | Expr::Binary(_, left, right) => {
            visit(left);
            visit(right);
        }
        Expr::Slice(value, bounds) => {
            visit(value);
            bounds.iter().flatten().for_each(visit);
        }
        Expr::Call(value, arguments) | Expr::Filter(value, _, arguments) | Expr::Test(value, _, arguments) => {
            visit(value);
            arguments.expressions().for_each(visit);
        }
        Expr::If(conditional) => {
            visit(&conditional.condition);
            visit(&conditional.then);
            conditional.otherwise.iter().for_each(visit);
        }
        Expr::Compare(first, others) => {
            visit(first);
            others.iter().for_each(|(_, value)| visit(value));
        }
    }
}

/// Whether a statement, or one inside it, reads a name.
pub fn uses(node: &Statement, name: &str) -> bool {
    let nodes = |nodes: &[Statement]| nodes.iter().any(|node| uses(node, name));
    let reads = |value: &Expr| reads(value, name);
    match node {
        Statement::Text(_) | Statement::Break | Statement::Continue | Statement::Refused(_) => false,
        Statement::Print(value) | Statement::Set { value, .. } => reads(value),
        Statement::If { branches, otherwise } => {
            branches.iter().any(|(condition, body)| reads(condition) || nodes(body)) || nodes(otherwise)
        }
        Statement::For(node) => {
            reads(&node.iter)
                || node.test.as_ref().is_some_and(|test| reads(&test.condition))
                || nodes(&node.body)
                || nodes(&node.otherwise)
        }
        Statement::SetBlock { filter, body, .. } => filter.as_ref().is_some_and(reads) || nodes(body),
        Statement::With { bindings, body, .. } => bindings.iter().any(|(_, value)| reads(value)) || nodes(body),
        Statement::Macro { definition, .. } => definition.defaults.iter().any(reads) || nodes(&definition.body),
        Statement::Call { block, call } => reads(call) || block.defaults.iter().any(reads) || nodes(&block.body),
        Statement::Filter { filter, body, .. } => reads(filter) || nodes(body),
        Statement::Generation(block) => nodes(&block.body),
        Statement::Scoped { body, .. } => nodes(body),
    }
}

fn reads(expr: &Expr, name: &str) -> bool {
    if let Expr::Name(read) = expr {
        return &*read.text == name;
    }
    let mut found = false;
    for_each_child(expr, &mut |child| found |= reads(child, name));
    found
}

/// Whether a statement, or one inside it, is a `{% generation %}` block.
pub fn generates(node: &Statement) -> bool {
    let any = |nodes: &[Statement]| nodes.iter().any(generates);
    match node {
        Statement::Generation(_) => true,
        Statement::If { branches, otherwise } => branches.iter().any(|(_, body)| any(body)) || any(otherwise),
        Statement::For(node) => any(&node.body) || any(&node.otherwise),
        Statement::SetBlock { body, .. }
        | Statement::With { body, .. }
        | Statement::Filter { body, .. }
        | Statement::Scoped { body, .. } => any(body),
        Statement::Macro { definition, .. } => any(&definition.body),
        Statement::Call { block, .. } => any(&block.body),
        _ => false,
    }
}
