//! From tokens to statements: the grammar of Jinja with loop controls and transformers' `{% generation %}`.

mod expressions;

use std::sync::Arc;

use super::lexer::{self, Token};
use super::syntax::{Arguments, Expr, For, Literal, LoopTest, Macro, Name, Scope, Statement, Target, VariablePlace};

type Syntax<T> = Result<T, String>;

/// How deep the syntax tree may be. Jinja itself gives up earlier, at Python's limit of recursion.
const DEEPEST: usize = 200;

/// The most named arguments of a call, and parameters of a macro: each is looked up among the others.
const MOST_NAMES: usize = 1000;

/// Parses a template. Its names are not resolved yet.
pub fn parse(source: &str) -> Syntax<Vec<Statement>> {
    let mut parser = Parser { tokens: lexer::tokens(source)?, position: 0, depth: 0 };
    let (body, end) = parser.nodes(&[])?;
    match end {
        None => Ok(body),
        Some(tag) => parser.fail(format!("unknown tag `{tag}`")),
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    position: usize,
    depth: usize,
}

/// Statements, and the tag that ended them.
type Body = (Vec<Statement>, Option<Arc<str>>);

fn name(text: Arc<str>) -> Name {
    Name { text, place: VariablePlace::default() }
}

impl Parser {
    fn current(&self) -> &Token {
        self.peek(0)
    }

    fn peek(&self, ahead: usize) -> &Token {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.position + ahead).min(last)].0
    }

    fn next(&mut self) -> Token {
        let token = self.current().clone();
        self.position += 1;
        token
    }

    fn fail<T>(&self, problem: impl std::fmt::Display) -> Syntax<T> {
        let last = self.tokens.len() - 1;
        Err(format!("{problem} (line {})", self.tokens[self.position.min(last)].1))
    }

    fn unexpected<T>(&self) -> Syntax<T> {
        let found = match self.current() {
            Token::Name(name) => format!("`{name}`"),
            Token::Operator(operator) => format!("`{operator}`"),
            Token::Str(_) => "a string".into(),
            Token::Int(_) | Token::Float(_) => "a number".into(),
            _ => "the end of a tag".into(),
        };
        self.fail(format!("unexpected {found}"))
    }

    fn is_name(&self, text: &str) -> bool {
        matches!(self.current(), Token::Name(name) if &**name == text)
    }

    fn is_operator(&self, text: &str) -> bool {
        matches!(self.current(), Token::Operator(operator) if *operator == text)
    }

    fn skip_name(&mut self, text: &str) -> bool {
        let found = self.is_name(text);
        self.position += usize::from(found);
        found
    }

    fn skip_operator(&mut self, text: &str) -> bool {
        let found = self.is_operator(text);
        self.position += usize::from(found);
        found
    }

    fn expect_operator(&mut self, text: &'static str) -> Syntax<()> {
        if self.skip_operator(text) { Ok(()) } else { self.unexpected() }
    }

    fn expect_name(&mut self) -> Syntax<Arc<str>> {
        match self.current().clone() {
            Token::Name(name) => {
                self.position += 1;
                Ok(name)
            }
            _ => self.unexpected(),
        }
    }

    fn expect(&mut self, token: Token) -> Syntax<()> {
        if *self.current() == token {
            self.position += 1;
            return Ok(());
        }
        self.unexpected()
    }

    /// Runs a part of the grammar one level deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Syntax<T>) -> Syntax<T> {
        let depth = self.depth;
        self.descend()?;
        let result = parse(self);
        self.depth = depth;
        result
    }

    /// Counts one level of the tree, up to the end of the part that [`Self::deeper`] runs.
    fn descend(&mut self) -> Syntax<()> {
        self.depth += 1;
        if self.depth > DEEPEST { self.fail("the template nests too deep") } else { Ok(()) }
    }

    /// Statements up to one of the tags `ends`, which is consumed, or to the end of the template.
    fn nodes(&mut self, ends: &[&str]) -> Syntax<Body> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                Token::Data(text) => nodes.push(Statement::Text(text)),
                Token::VariableBegin => {
                    nodes.push(Statement::Print(self.tuple(true, &[])?));
                    self.expect(Token::VariableEnd)?;
                }
                Token::BlockBegin => {
                    let tag = self.expect_name()?;
                    if ends.contains(&&*tag) {
                        return Ok((nodes, Some(tag)));
                    }
                    let node = self.deeper(|parser| parser.statement(&tag))?;
                    nodes.extend(node);
                    self.expect(Token::BlockEnd)?;
                }
                Token::End if ends.is_empty() => return Ok((nodes, None)),
                Token::End => return self.fail(format!("the template ends before `{}`", ends.join("` or `"))),
                _ => return self.unexpected(),
            }
        }
    }

    /// The body of a statement, whose head is parsed already.
    fn body(&mut self, ends: &[&str]) -> Syntax<Body> {
        self.skip_operator(":");
        self.expect(Token::BlockEnd)?;
        self.nodes(ends)
    }

    fn body_to(&mut self, end: &str) -> Syntax<Vec<Statement>> {
        Ok(self.body(&[end])?.0)
    }

    fn statement(&mut self, tag: &str) -> Syntax<Vec<Statement>> {
        let node = match tag {
            "for" => self.for_loop()?,
            "if" => self.condition()?,
            "set" => self.set()?,
            "with" => self.with()?,
            "macro" => self.macro_definition()?,
            "call" => self.call_block()?,
            "filter" => {
                let filter = self.inline_filter()?;
                Statement::Filter { filter, body: self.body_to("endfilter")?, scope: Scope::default() }
            }
            "generation" => {
                Statement::Generation(Arc::new(self.block_macro("endgeneration", Vec::new(), Vec::new())?))
            }
            "break" => Statement::Break,
            "continue" => Statement::Continue,
            "print" => return self.print(),
            "autoescape" => match self.expression(true)? {
                Expr::Literal(Literal::Bool(false)) => {
                    Statement::Scoped { body: self.body_to("endautoescape")?, scope: Scope::default() }
                }
                _ => return self.fail("`autoescape` is not supported"),
            },
            "include" | "import" | "from" | "extends" => {
                while *self.current() != Token::BlockEnd {
                    if *self.current() == Token::End {
                        return self.unexpected();
                    }
                    self.position += 1;
                }
                Statement::Refused("a chat template cannot read other templates")
            }
            "block" => return self.fail("`block` is not supported"),
            _ => return self.fail(format!("unknown tag `{tag}`")),
        };
        Ok(vec![node])
    }

    fn print(&mut self) -> Syntax<Vec<Statement>> {
        let mut nodes = Vec::new();
        while *self.current() != Token::BlockEnd {
            if !nodes.is_empty() {
                self.expect_operator(",")?;
            }
            nodes.push(Statement::Print(self.expression(true)?));
        }
        Ok(nodes)
    }

    fn for_loop(&mut self) -> Syntax<Statement> {
        let first = self.position;
        let target = self.plain_target(&["in"])?;
        let last = std::mem::replace(&mut self.position, first);
        // The condition works on variables of its own.
        let test_target = self.plain_target(&["in"])?;
        debug_assert_eq!(last, self.position);
        if !self.skip_name("in") {
            return self.unexpected();
        }
        let iter = self.tuple(false, &["recursive"])?;
        let condition = if self.skip_name("if") { Some(self.expression(true)?) } else { None };
        let test = condition.map(|condition| LoopTest { target: test_target, condition, scope: Scope::default() });
        let recursive = self.skip_name("recursive");
        let (body, end) = self.body(&["endfor", "else"])?;
        let otherwise = if end.as_deref() == Some("else") { self.body_to("endfor")? } else { Vec::new() };
        let (scope, otherwise_scope) = (Scope::default(), Scope::default());
        let node =
            For { target, iter, test, recursive, variable: None, body, scope, otherwise, otherwise_scope, slots: 0 };
        Ok(Statement::For(Arc::new(node)))
    }

    fn condition(&mut self) -> Syntax<Statement> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(false, &[])?;
            let (body, end) = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            match end.as_deref() {
                Some("elif") => {}
                Some("else") => {
                    let otherwise = self.body_to("endif")?;
                    return Ok(Statement::If { branches, otherwise });
                }
                _ => return Ok(Statement::If { branches, otherwise: Vec::new() }),
            }
        }
    }

    fn set(&mut self) -> Syntax<Statement> {
        let target = self.target(&[])?;
        if self.skip_operator("=") {
            return Ok(Statement::Set { target, value: self.tuple(true, &[])? });
        }
        let filter = if self.is_operator("|") { Some(self.filters(Expr::Captured)?) } else { None };
        Ok(Statement::SetBlock { target, filter, body: self.body_to("endset")?, scope: Scope::default() })
    }

    fn with(&mut self) -> Syntax<Statement> {
        let mut bindings = Vec::new();
        while *self.current() != Token::BlockEnd {
            if !bindings.is_empty() {
                self.expect_operator(",")?;
            }
            let target = self.plain_target(&[])?;
            self.expect_operator("=")?;
            bindings.push((target, self.expression(true)?));
        }
        Ok(Statement::With { bindings, body: self.body_to("endwith")?, scope: Scope::default() })
    }

    fn macro_definition(&mut self) -> Syntax<Statement> {
        let text = self.assignable()?;
        let (parameters, defaults) = self.signature()?;
        let mut definition = self.block_macro("endmacro", parameters, defaults)?;
        definition.name = text.clone();
        Ok(Statement::Macro { definition: Arc::new(definition), name: name(text) })
    }

    fn call_block(&mut self) -> Syntax<Statement> {
        let (parameters, defaults) = if self.is_operator("(") { self.signature()? } else { Default::default() };
        let call = self.expression(true)?;
        if !matches!(call, Expr::Call(..)) {
            return self.fail("`call` should be followed by a call");
        }
        Ok(Statement::Call { block: Arc::new(self.block_macro("endcall", parameters, defaults)?), call })
    }

    fn block_macro(&mut self, end: &str, parameters: Vec<Name>, defaults: Vec<Expr>) -> Syntax<Macro> {
        let body = self.body_to(end)?;
        let (caller, kwargs, varargs, scope) = (None, None, None, Scope::default());
        Ok(Macro { name: "caller".into(), parameters, defaults, caller, kwargs, varargs, body, scope, slots: 0 })
    }

    fn signature(&mut self) -> Syntax<(Vec<Name>, Vec<Expr>)> {
        let (mut parameters, mut defaults) = (Vec::new(), Vec::new());
        self.expect_operator("(")?;
        while !self.is_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
            }
            if parameters.len() >= MOST_NAMES {
                return self.fail(format!("a macro has more than {MOST_NAMES} parameters"));
            }
            parameters.push(name(self.assignable()?));
            if self.skip_operator("=") {
                defaults.push(self.expression(true)?);
            } else if !defaults.is_empty() {
                return self.fail("a parameter without a default follows one with a default");
            }
        }
        self.expect_operator(")")?;
        Ok((parameters, defaults))
    }

    /// A name that can be assigned to.
    fn assignable(&mut self) -> Syntax<Arc<str>> {
        let text = self.expect_name()?;
        if matches!(&*text, "true" | "false" | "none" | "True" | "False" | "None") {
            return self.fail(format!("`{text}` cannot be assigned to"));
        }
        Ok(text)
    }

    /// What a statement assigns to: a name, an attribute of a namespace, or a tuple of these.
    fn target(&mut self, ends: &[&str]) -> Syntax<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        while !self.is_tuple_end(ends) {
            targets.push(self.single_target()?);
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match targets.pop() {
            Some(only) if !is_tuple => Ok(only),
            Some(last) => {
                targets.push(last);
                Ok(Target::Tuple(targets))
            }
            None => self.unexpected(),
        }
    }

    /// A target without attributes.
    fn plain_target(&mut self, ends: &[&str]) -> Syntax<Target> {
        let target = self.target(ends)?;
        if has_attribute(&target) { self.fail("only `set` can assign to an attribute") } else { Ok(target) }
    }

    fn single_target(&mut self) -> Syntax<Target> {
        if self.skip_operator("(") {
            let target = self.deeper(|parser| parser.target(&[]))?;
            self.expect_operator(")")?;
            return Ok(target);
        }
        let text = self.assignable()?;
        if self.skip_operator(".") {
            return Ok(Target::Attribute(name(text), self.expect_name()?));
        }
        Ok(Target::Name(name(text)))
    }

    fn is_tuple_end(&self, ends: &[&str]) -> bool {
        match self.current() {
            Token::VariableEnd | Token::BlockEnd | Token::Operator(")") => true,
            Token::Name(name) => ends.contains(&&**name),
            _ => false,
        }
    }
}

fn has_attribute(target: &Target) -> bool {
    match target {
        Target::Name(_) => false,
        Target::Attribute(..) => true,
        Target::Tuple(targets) => targets.iter().any(has_attribute),
    }
}

/// Arguments of a call without arguments.
fn no_arguments() -> Box<Arguments> {
    Box::default()
}
