//! From the source of a template to tokens, with the white space trimmed as Jinja's `trim_blocks` and `lstrip_blocks` do.

use std::sync::Arc;

use super::literals::{number, unescape};
use super::python::is_space;

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// Text between the tags.
    Data(Arc<str>),
    BlockBegin,
    BlockEnd,
    VariableBegin,
    VariableEnd,
    Name(Arc<str>),
    Str(Arc<str>),
    Int(i128),
    Float(f64),
    Operator(&'static str),
    End,
}

/// All operators, longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

pub type Lexed<T> = Result<T, String>;

/// Splits a template into tokens, with the line of each. The last token is [`Token::End`].
pub fn tokens(source: &str) -> Lexed<Vec<(Token, usize)>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, position: 0, line: 1, line_starting: true, tokens: Vec::new() };
    while lexer.position < source.len() {
        lexer.text()?;
    }
    lexer.push(Token::End);
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
    line: usize,
    /// Whether the last match ended with a line break.
    line_starting: bool,
    tokens: Vec<(Token, usize)>,
}

/// What a tag holds.
#[derive(Clone, Copy, PartialEq)]
enum Tag {
    Block,
    Variable,
    Comment,
}

impl Tag {
    fn at(text: &str) -> Option<Self> {
        match text.as_bytes().get(..2)? {
            b"{%" => Some(Self::Block),
            b"{{" => Some(Self::Variable),
            b"{#" => Some(Self::Comment),
            _ => None,
        }
    }
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.position..]
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    fn advance(&mut self, bytes: usize) {
        if bytes > 0 {
            let passed = &self.rest()[..bytes];
            self.line += passed.matches('\n').count();
            self.line_starting = passed.ends_with('\n');
            self.position += bytes;
        }
    }

    fn fail<T>(&self, problem: impl std::fmt::Display) -> Lexed<T> {
        Err(format!("{problem} (line {})", self.line))
    }

    /// Reads text up to the next tag, and that tag.
    fn text(&mut self) -> Lexed<()> {
        let rest = self.rest();
        let begin = rest.match_indices('{').find_map(|(at, _)| Some((at, Tag::at(&rest[at..])?)));
        let Some((at, tag)) = begin else {
            self.data(rest);
            self.advance(rest.len());
            return Ok(());
        };
        let (text, after) = (&rest[..at], &rest[at + 2..]);
        let sign = after.chars().next().filter(|sign| matches!(sign, '-' | '+'));
        let raw = (tag == Tag::Block).then(|| raw_begin(&after[sign.map_or(0, char::len_utf8)..])).flatten();
        self.data(self.stripped(text, sign, tag != Tag::Variable));
        self.advance(at + 2 + usize::from(sign.is_some()));
        match (raw, tag) {
            (Some(length), _) => {
                self.advance(length);
                self.raw()
            }
            (None, Tag::Comment) => self.comment(),
            (None, Tag::Variable) => self.inside(Token::VariableBegin),
            (None, Tag::Block) => self.inside(Token::BlockBegin),
        }
    }

    fn data(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Token::Data(text.into()));
        }
    }

    /// The text before a tag, without the white space that the tag takes away.
    fn stripped<'t>(&self, text: &'t str, sign: Option<char>, lstrip: bool) -> &'t str {
        match sign {
            Some('-') => text.trim_end_matches(is_space),
            None if lstrip => {
                let line = text.rfind('\n').map_or(0, |at| at + 1);
                let blank = text[line..].chars().all(is_space);
                if blank && (line > 0 || self.line_starting) { &text[..line] } else { text }
            }
            _ => text,
        }
    }

    fn comment(&mut self) -> Lexed<()> {
        let Some(end) = self.rest().find("#}") else { return self.fail("missing end of comment tag") };
        let minus = self.rest()[..end].ends_with('-');
        self.advance(end + 2);
        self.after_block(minus);
        Ok(())
    }

    /// Skips what the end of a block takes away: a line break, or with a minus all white space.
    fn after_block(&mut self, minus: bool) {
        let rest = self.rest();
        let skipped = if minus { rest.len() - rest.trim_start_matches(is_space).len() } else { 0 };
        self.advance(if minus { skipped } else { usize::from(rest.starts_with('\n')) });
    }

    /// Text up to `{% endraw %}`.
    fn raw(&mut self) -> Lexed<()> {
        let rest = self.rest();
        for (at, _) in rest.match_indices("{%") {
            let after = &rest[at + 2..];
            let sign = after.chars().next().filter(|sign| matches!(sign, '-' | '+'));
            let inner = &after[usize::from(sign.is_some())..];
            let tag = inner.trim_start_matches(is_space).strip_prefix("endraw");
            let Some(tag) = tag.map(|tag| tag.trim_start_matches(is_space)) else { continue };
            let Some((end, mark)) = block_end(tag) else { continue };
            self.data(self.stripped(&rest[..at], sign, true));
            self.advance(rest.len() - end.len());
            match mark {
                '+' => {}
                mark => self.after_block(mark == '-'),
            }
            return Ok(());
        }
        self.fail("missing end of raw directive")
    }

    /// The tokens of a block or a variable up to its end.
    fn inside(&mut self, begin: Token) -> Lexed<()> {
        let is_block = begin == Token::BlockBegin;
        self.push(begin);
        let mut open = Vec::new();
        loop {
            if open.is_empty() && self.tag_end(is_block) {
                return Ok(());
            }
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(is_space).len();
            if blank > 0 {
                self.advance(blank);
                continue;
            }
            if rest.is_empty() {
                self.push(Token::End);
                return Ok(());
            }
            let (token, length) = self.token(rest)?;
            if let Token::Operator(operator) = token {
                self.balance(operator, &mut open)?;
            }
            self.push(token);
            self.advance(length);
        }
    }

    fn tag_end(&mut self, is_block: bool) -> bool {
        let rest = self.rest();
        if !is_block {
            let minus = rest.starts_with("-}}");
            let length = if minus { 3 } else { 2 };
            if !minus && !rest.starts_with("}}") {
                return false;
            }
            self.push(Token::VariableEnd);
            self.advance(length);
            if minus {
                self.after_block(true);
            }
            return true;
        }
        let Some((end, mark)) = block_end(rest) else { return false };
        self.push(Token::BlockEnd);
        self.advance(rest.len() - end.len());
        if mark != '+' {
            self.after_block(mark == '-');
        }
        true
    }

    fn balance(&self, operator: &'static str, open: &mut Vec<&'static str>) -> Lexed<()> {
        match operator {
            "{" => open.push("}"),
            "(" => open.push(")"),
            "[" => open.push("]"),
            "}" | ")" | "]" => match open.pop() {
                Some(expected) if expected == operator => {}
                Some(expected) => return self.fail(format!("unexpected `{operator}`, expected `{expected}`")),
                None => return self.fail(format!("unexpected `{operator}`")),
            },
            _ => {}
        }
        Ok(())
    }

    /// One token inside a tag, and its length in bytes.
    fn token(&self, rest: &str) -> Lexed<(Token, usize)> {
        let first = rest.chars().next().unwrap_or_default();
        if first.is_ascii_digit() {
            let after_dot = self.source[..self.position].ends_with('.');
            return number(rest, after_dot).or_else(|problem| self.fail(problem));
        }
        if first == '\'' || first == '"' {
            let Some(length) = string_end(rest) else { return self.fail(format!("unexpected character {first:?}")) };
            let text = unescape(&rest[1..length - 1]).or_else(|problem| self.fail(problem))?;
            return Ok((Token::Str(text.into()), length));
        }
        let name =
            rest.find(|character: char| !(character.is_alphanumeric() || character == '_')).unwrap_or(rest.len());
        if name > 0 {
            let name = &rest[..name];
            return if name.is_ascii() {
                Ok((Token::Name(name.into()), name.len()))
            } else {
                self.fail(format!("the name `{name}` has letters that are not ASCII"))
            };
        }
        match OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
            Some(operator) => Ok((Token::Operator(operator), operator.len())),
            None => self.fail(format!("unexpected character {first:?}")),
        }
    }
}

/// The length of `raw %}`, if that is where the text begins.
fn raw_begin(text: &str) -> Option<usize> {
    let tag = text.trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
    let end = match tag.strip_prefix("-%}") {
        Some(after) => after.trim_start_matches(is_space),
        None => tag.strip_prefix("%}")?,
    };
    Some(text.len() - end.len())
}

/// What follows the end of a block, and its sign.
fn block_end(text: &str) -> Option<(&str, char)> {
    let signed = |sign| Some((text.strip_prefix(sign)?.strip_prefix("%}")?, sign));
    signed('+').or_else(|| signed('-')).or_else(|| Some((text.strip_prefix("%}")?, ' ')))
}

/// The length of a string literal with its quotes.
fn string_end(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next()?;
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next()?;
            }
            character if character == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}
