//! The syntax tree of a template, with every name resolved to the place of its value.

use std::sync::Arc;

/// A parsed template.
#[derive(Debug)]
pub struct Program {
    pub body: Vec<Statement>,
    pub scope: Scope,
    /// The number of slots of the outermost function.
    pub slots: usize,
}

/// Where the value of a name is stored: `hops` functions outwards, in slot `slot`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VariablePlace {
    pub hops: usize,
    pub slot: usize,
}

/// What a name holds when its scope is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// An argument or a loop variable: set by whoever enters the scope.
    Parameter,
    /// The variable of this name that the template was given.
    Resolve,
    /// A copy of an outer scope's variable.
    Alias(VariablePlace),
    Undefined,
}

/// The names that a scope defines.
#[derive(Debug, Default)]
pub struct Scope {
    pub loads: Vec<(Name, Load)>,
}

#[derive(Debug, Clone)]
pub struct Name {
    pub text: Arc<str>,
    pub place: VariablePlace,
}

#[derive(Debug)]
pub enum Statement {
    Text(Arc<str>),
    Print(Expr),
    If {
        branches: Vec<(Expr, Vec<Statement>)>,
        otherwise: Vec<Statement>,
    },
    For(Arc<For>),
    Set {
        target: Target,
        value: Expr,
    },
    SetBlock {
        target: Target,
        filter: Option<Expr>,
        body: Vec<Statement>,
        scope: Scope,
    },
    With {
        bindings: Vec<(Target, Expr)>,
        body: Vec<Statement>,
        scope: Scope,
    },
    Macro {
        definition: Arc<Macro>,
        name: Name,
    },
    Call {
        block: Arc<Macro>,
        call: Expr,
    },
    Filter {
        filter: Expr,
        body: Vec<Statement>,
        scope: Scope,
    },
    Generation(Arc<Macro>),
    /// A block with a scope of its own and no other effect.
    Scoped {
        body: Vec<Statement>,
        scope: Scope,
    },
    Break,
    Continue,
    /// A statement that fails whenever it is reached.
    Refused(&'static str),
}

#[derive(Debug)]
pub struct For {
    pub target: Target,
    pub iter: Expr,
    pub test: Option<LoopTest>,
    pub recursive: bool,
    /// Where the variable `loop` is stored, if the body uses it.
    pub variable: Option<Name>,
    pub body: Vec<Statement>,
    pub scope: Scope,
    pub otherwise: Vec<Statement>,
    pub otherwise_scope: Scope,
    /// The number of slots of the body's own function, for a recursive loop.
    pub slots: usize,
}

/// The condition behind `for … in … if`, with its own copy of the loop's target.
#[derive(Debug)]
pub struct LoopTest {
    pub target: Target,
    pub condition: Expr,
    pub scope: Scope,
}

/// A macro, or the body of a block that is called like one.
#[derive(Debug)]
pub struct Macro {
    pub name: Arc<str>,
    pub parameters: Vec<Name>,
    /// The defaults of the last parameters.
    pub defaults: Vec<Expr>,
    /// Where `caller`, `kwargs` and `varargs` are stored, if the body uses them.
    pub caller: Option<Name>,
    pub kwargs: Option<Name>,
    pub varargs: Option<Name>,
    pub body: Vec<Statement>,
    pub scope: Scope,
    pub slots: usize,
}

#[derive(Debug, Clone)]
pub enum Target {
    Name(Name),
    Tuple(Vec<Target>),
    /// An attribute of a namespace.
    Attribute(Name, Arc<str>),
}

#[derive(Debug, Clone)]
pub enum Literal {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
}

#[derive(Debug)]
pub enum Expr {
    Literal(Literal),
    Name(Name),
    /// The text that a block captured, on which its filters work.
    Captured,
    Tuple(Vec<Expr>),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, Arc<str>),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Arguments>),
    Filter(Box<Expr>, Arc<str>, Box<Arguments>),
    Test(Box<Expr>, Arc<str>, Box<Arguments>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    If(Box<Conditional>),
    Compare(Box<Expr>, Vec<(Comparator, Expr)>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Concat(Vec<Expr>),
}

#[derive(Debug)]
pub struct Conditional {
    pub condition: Expr,
    pub then: Expr,
    pub otherwise: Option<Expr>,
}

#[derive(Debug, Default)]
pub struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(Arc<str>, Expr)>,
    pub star: Option<Expr>,
    pub double_star: Option<Expr>,
}

impl Arguments {
    /// All expressions in the order in which they are evaluated.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let named = self.named.iter().map(|(_, value)| value);
        self.positional.iter().chain(named).chain(&self.star).chain(&self.double_star)
    }

    pub fn expressions_mut(&mut self) -> impl Iterator<Item = &mut Expr> {
        let named = self.named.iter_mut().map(|(_, value)| value);
        self.positional.iter_mut().chain(named).chain(&mut self.star).chain(&mut self.double_star)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}
