//! The grammar of expressions, from conditional expressions down to literals.

use std::sync::Arc;

use super::super::lexer::Token;
use super::super::syntax::{Arguments, Comparator, Conditional, Expr, Literal, Operator};
use super::{MOST_NAMES, Parser, Syntax, name, no_arguments};

const COMPARISONS: [(&str, Comparator); 6] = [
    ("==", Comparator::Equal),
    ("!=", Comparator::NotEqual),
    ("<", Comparator::Less),
    ("<=", Comparator::LessEqual),
    (">", Comparator::Greater),
    (">=", Comparator::GreaterEqual),
];

const SUMS: [(&str, Operator); 2] = [("+", Operator::Add), ("-", Operator::Subtract)];

const PRODUCTS: [(&str, Operator); 4] =
    [("*", Operator::Multiply), ("/", Operator::Divide), ("//", Operator::FloorDivide), ("%", Operator::Modulo)];

const POWERS: [(&str, Operator); 1] = [("**", Operator::Power)];

type Sub = fn(&mut Parser) -> Syntax<Expr>;

impl Parser {
    /// One expression, or several with commas between them as a tuple.
    pub(super) fn tuple(&mut self, conditional: bool, ends: &[&str]) -> Syntax<Expr> {
        self.maybe_tuple(conditional, ends, false)
    }

    fn maybe_tuple(&mut self, conditional: bool, ends: &[&str], in_parentheses: bool) -> Syntax<Expr> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        while !self.is_tuple_end(ends) {
            items.push(self.expression(conditional)?);
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(only) if !is_tuple => Ok(only),
            None if !in_parentheses => self.unexpected(),
            last => {
                items.extend(last);
                Ok(Expr::Tuple(items))
            }
        }
    }

    pub(super) fn expression(&mut self, conditional: bool) -> Syntax<Expr> {
        self.deeper(|parser| if conditional { parser.conditional() } else { parser.or() })
    }

    fn conditional(&mut self) -> Syntax<Expr> {
        let mut value = self.or()?;
        while self.skip_name("if") {
            self.descend()?;
            let condition = self.or()?;
            let otherwise = if self.skip_name("else") { Some(self.expression(true)?) } else { None };
            value = Expr::If(Box::new(Conditional { condition, then: value, otherwise }));
        }
        Ok(value)
    }

    fn or(&mut self) -> Syntax<Expr> {
        let mut left = self.and()?;
        while self.skip_name("or") {
            self.descend()?;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Syntax<Expr> {
        let mut left = self.not()?;
        while self.skip_name("and") {
            self.descend()?;
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Syntax<Expr> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.deeper(Self::not)?)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Syntax<Expr> {
        let first = self.sum()?;
        let mut others = Vec::new();
        loop {
            let listed = COMPARISONS.iter().find(|(operator, _)| self.is_operator(operator));
            let negated = self.is_name("not") && matches!(self.peek(1), Token::Name(name) if &**name == "in");
            let comparison = match listed {
                Some((_, comparison)) => *comparison,
                None if self.is_name("in") => Comparator::In,
                None if negated => Comparator::NotIn,
                None => break,
            };
            self.position += 1 + usize::from(comparison == Comparator::NotIn);
            others.push((comparison, self.sum()?));
        }
        Ok(if others.is_empty() { first } else { Expr::Compare(Box::new(first), others) })
    }

    /// A chain of operators that bind from left to right.
    fn chain(&mut self, operators: &[(&str, Operator)], operand: Sub) -> Syntax<Expr> {
        let mut left = operand(self)?;
        while let Some((_, operator)) = operators.iter().find(|(text, _)| self.is_operator(text)) {
            self.position += 1;
            self.descend()?;
            left = Expr::Binary(*operator, Box::new(left), Box::new(operand(self)?));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Syntax<Expr> {
        self.chain(&SUMS, Self::concatenation)
    }

    fn concatenation(&mut self) -> Syntax<Expr> {
        let first = self.product()?;
        if !self.is_operator("~") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_operator("~") {
            items.push(self.product()?);
        }
        Ok(Expr::Concat(items))
    }

    fn product(&mut self) -> Syntax<Expr> {
        self.chain(&PRODUCTS, Self::power)
    }

    fn power(&mut self) -> Syntax<Expr> {
        self.chain(&POWERS, |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filters: bool) -> Syntax<Expr> {
        let value = if self.skip_operator("-") {
            Expr::Negative(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else if self.skip_operator("+") {
            Expr::Positive(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if with_filters { self.filters_and_tests(value) } else { Ok(value) }
    }

    fn primary(&mut self) -> Syntax<Expr> {
        match self.current().clone() {
            Token::Name(text) => {
                self.position += 1;
                Ok(match &*text {
                    "true" | "True" => Expr::Literal(Literal::Bool(true)),
                    "false" | "False" => Expr::Literal(Literal::Bool(false)),
                    "none" | "None" => Expr::Literal(Literal::None),
                    _ => Expr::Name(name(text)),
                })
            }
            Token::Str(_) => {
                let mut text = String::new();
                while let Token::Str(part) = self.current() {
                    text.push_str(part);
                    self.position += 1;
                }
                Ok(Expr::Literal(Literal::Str(text.into())))
            }
            Token::Int(value) => {
                self.position += 1;
                Ok(Expr::Literal(Literal::Int(value)))
            }
            Token::Float(value) => {
                self.position += 1;
                Ok(Expr::Literal(Literal::Float(value)))
            }
            Token::Operator("(") => {
                self.position += 1;
                let value = self.maybe_tuple(true, &[], true)?;
                self.expect_operator(")")?;
                Ok(value)
            }
            Token::Operator("[") => Ok(Expr::List(self.list("]", |parser| parser.expression(true))?)),
            Token::Operator("{") => Ok(Expr::Dict(self.list("}", |parser| {
                let key = parser.expression(true)?;
                parser.expect_operator(":")?;
                Ok((key, parser.expression(true)?))
            })?)),
            _ => self.unexpected(),
        }
    }

    /// Items in brackets, the opening one of which is the current token. A comma may follow the last item.
    fn list<T>(&mut self, close: &'static str, mut item: impl FnMut(&mut Self) -> Syntax<T>) -> Syntax<Vec<T>> {
        self.position += 1;
        let mut items = Vec::new();
        while !self.is_operator(close) {
            if !items.is_empty() {
                self.expect_operator(",")?;
                if self.is_operator(close) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        self.expect_operator(close)?;
        Ok(items)
    }

    fn postfix(&mut self, mut value: Expr) -> Syntax<Expr> {
        loop {
            value = match self.current() {
                Token::Operator(".") => self.attribute(value)?,
                Token::Operator("[") => self.subscript(value)?,
                Token::Operator("(") => Expr::Call(Box::new(value), Box::new(self.arguments()?)),
                _ => return Ok(value),
            };
            self.descend()?;
        }
    }

    fn filters_and_tests(&mut self, mut value: Expr) -> Syntax<Expr> {
        loop {
            value = match self.current() {
                Token::Operator("|") => self.filters(value)?,
                Token::Operator("(") => Expr::Call(Box::new(value), Box::new(self.arguments()?)),
                Token::Name(name) if &**name == "is" => self.test(value)?,
                _ => return Ok(value),
            };
            self.descend()?;
        }
    }

    fn attribute(&mut self, value: Expr) -> Syntax<Expr> {
        self.position += 1;
        match self.next() {
            Token::Name(name) => Ok(Expr::Attribute(Box::new(value), name)),
            Token::Int(index) => Ok(Expr::Item(Box::new(value), Box::new(Expr::Literal(Literal::Int(index))))),
            _ => self.fail("a dot should be followed by a name or a number"),
        }
    }

    fn subscript(&mut self, value: Expr) -> Syntax<Expr> {
        self.position += 1;
        let start = if self.is_operator(":") { None } else { Some(self.expression(true)?) };
        if !self.is_operator(":") {
            let Some(mut key) = start else { return self.unexpected() };
            if self.is_operator(",") {
                let mut keys = vec![key];
                while self.skip_operator(",") {
                    keys.push(self.expression(true)?);
                }
                key = Expr::Tuple(keys);
            }
            self.expect_operator("]")?;
            return Ok(Expr::Item(Box::new(value), Box::new(key)));
        }
        self.position += 1;
        let at_end = |parser: &Self| parser.is_operator("]") || parser.is_operator(",") || parser.is_operator(":");
        let stop = if at_end(self) { None } else { Some(self.expression(true)?) };
        let step = if self.skip_operator(":") && !at_end(self) { Some(self.expression(true)?) } else { None };
        self.expect_operator("]")?;
        Ok(Expr::Slice(Box::new(value), Box::new([start, stop, step])))
    }

    fn arguments(&mut self) -> Syntax<Arguments> {
        let mut arguments = Arguments::default();
        self.expect_operator("(")?;
        let mut first = true;
        while !self.is_operator(")") {
            if !std::mem::take(&mut first) {
                self.expect_operator(",")?;
                if self.is_operator(")") {
                    break;
                }
            }
            self.argument(&mut arguments)?;
        }
        self.expect_operator(")")?;
        Ok(arguments)
    }

    fn argument(&mut self, arguments: &mut Arguments) -> Syntax<()> {
        let after_stars = arguments.star.is_some() || arguments.double_star.is_some();
        if self.skip_operator("*") {
            if after_stars {
                return self.fail("a call has arguments in the wrong order");
            }
            arguments.star = Some(self.expression(true)?);
        } else if self.skip_operator("**") {
            if arguments.double_star.is_some() {
                return self.fail("a call has arguments in the wrong order");
            }
            arguments.double_star = Some(self.expression(true)?);
        } else if matches!((self.current(), self.peek(1)), (Token::Name(_), Token::Operator("="))) {
            if arguments.double_star.is_some() {
                return self.fail("a call has arguments in the wrong order");
            }
            let key = self.expect_name()?;
            self.position += 1;
            if arguments.named.len() >= MOST_NAMES {
                return self.fail(format!("a call has more than {MOST_NAMES} named arguments"));
            }
            if arguments.named.iter().any(|(name, _)| *name == key) {
                return self.fail(format!("the argument `{key}` is repeated"));
            }
            let value = self.expression(true)?;
            arguments.named.push((key, value));
        } else {
            if after_stars || !arguments.named.is_empty() {
                return self.fail("a call has arguments in the wrong order");
            }
            let value = self.expression(true)?;
            arguments.positional.push(value);
        }
        Ok(())
    }

    /// All filters that follow a value.
    pub(super) fn filters(&mut self, mut value: Expr) -> Syntax<Expr> {
        while self.skip_operator("|") {
            value = self.filter(value)?;
            self.descend()?;
        }
        Ok(value)
    }

    /// The filters of `{% filter … %}`, the first of which has no bar before it.
    pub(super) fn inline_filter(&mut self) -> Syntax<Expr> {
        let first = self.filter(Expr::Captured)?;
        self.filters(first)
    }

    fn filter(&mut self, value: Expr) -> Syntax<Expr> {
        let name = self.dotted_name()?;
        let arguments = if self.is_operator("(") { Box::new(self.arguments()?) } else { no_arguments() };
        Ok(Expr::Filter(Box::new(value), name, arguments))
    }

    fn dotted_name(&mut self) -> Syntax<Arc<str>> {
        let mut name = self.expect_name()?.to_string();
        while self.skip_operator(".") {
            name.push('.');
            name.push_str(&self.expect_name()?);
        }
        Ok(name.into())
    }

    fn test(&mut self, value: Expr) -> Syntax<Expr> {
        self.position += 1;
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        let arguments = match self.current() {
            Token::Operator("(") => Box::new(self.arguments()?),
            Token::Name(next) if matches!(&**next, "else" | "or" | "and") => no_arguments(),
            Token::Name(next) if &**next == "is" => return self.fail("tests cannot follow each other"),
            Token::Name(_) | Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Operator("[" | "{") => {
                let operand = self.primary()?;
                let operand = self.postfix(operand)?;
                Box::new(Arguments { positional: vec![operand], ..Arguments::default() })
            }
            _ => no_arguments(),
        };
        let test = Expr::Test(Box::new(value), name, arguments);
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }
}
