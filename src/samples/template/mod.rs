//! Chat templates, rendered as transformers renders them, with bounded work.
//!
//! A template is a program in Jinja, whose values, operators and methods are Python's: `'%s' % x`, `True`, `1e-07`, the truth of a
//! generator. A Jinja in Rust's own terms differs in many small places, and each is a different prompt. So this is Jinja as
//! transformers runs it (jinja2 3.1 in its immutable sandbox, with transformers 5's filters and functions); what it cannot render
//! the same is an error, never something similar.
//!
//! ```text
//! source ─▶ lexer ─▶ parser ─▶ survey, resolver ─▶ program ─▶ renderer (loops, calls, evaluate) ─▶ text and spans
//! ```
//! Values are in `value.rs`; filters, tests and methods in `filters/`, `predicates.rs`, `attributes.rs` and `texts.rs`.

mod attributes;
mod calls;
mod context;
mod dates;
mod evaluate;
mod filters;
mod format;
mod frames;
mod fuel;
mod iteration;
mod json;
mod lexer;
mod literals;
mod loop_state;
mod loops;
mod numbers;
mod operators;
mod parser;
mod predicates;
mod python;
mod renderer;
mod resolver;
mod splits;
mod survey;
mod syntax;
mod texts;
mod value;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use super::{Message, TemplateContext};
pub(super) use context::GivenConversation;
pub use dates::Date;
use syntax::Program;

/// A conversation as the model reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// The byte spans of `text` that come from `{% generation %}` blocks, as transformers finds them: the assistant's turns of a
    /// template that marks them. Empty if it marks nothing.
    pub generation: Vec<Range<usize>>,
}

/// The special tokens that a template is given, by name: `bos_token`, `eos_token`, …
pub type SpecialTokens = BTreeMap<String, String>;

/// The longest template that is read, in bytes. Real ones have up to some tens of thousands; each byte may become a token.
const LONGEST_SOURCE: usize = 1 << 20;

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    program: Result<Program, String>,
    tokens: SpecialTokens,
    date: Date,
    marks_answers: bool,
    /// All names and texts in the source, word by word.
    words: HashSet<String>,
}

/// Words of templates that use a message as a whole, with all of its keys.
const WHOLE: [&str; 7] = ["tojson", "items", "values", "keys", "dictsort", "list", "pprint"];

impl ChatTemplate {
    /// Reads a template. One that is no Jinja fails when it renders.
    pub fn new(source: &str, tokens: &SpecialTokens) -> Self {
        let program = match source.len() {
            ..=LONGEST_SOURCE => parser::parse(source).and_then(resolver::resolve),
            _ => Err(format!("it is longer than {LONGEST_SOURCE} bytes")),
        };
        let marks_answers = program.as_ref().is_ok_and(|program| program.body.iter().any(survey::generates));
        let read = if source.len() > LONGEST_SOURCE { "" } else { source };
        let words = read.split(|one: char| !one.is_alphanumeric() && one != '_').map(String::from).collect();
        Self { program, tokens: tokens.clone(), date: Date::default(), marks_answers, words }
    }

    /// The day that the template's `strftime_now` gives.
    pub fn on(mut self, date: Date) -> Self {
        self.date = date;
        self
    }

    /// Whether the template marks the assistant's text with `{% generation %}`.
    pub fn marks_answers(&self) -> bool {
        self.marks_answers
    }

    /// Whether the template may read a variable, which it then has the name of.
    pub fn may_read_variable(&self, name: &str) -> bool {
        self.words.contains(name)
    }

    /// Whether the template may read a key of messages: it has its name, or uses messages as a whole.
    pub fn may_read_key(&self, key: &str) -> bool {
        let names = if context::REASONING.contains(&key) { &context::REASONING[..] } else { &[key] };
        names.iter().chain(&WHOLE).any(|name| self.words.contains(*name))
    }

    /// The text of `messages`, followed, with `prompt`, by the opening of the assistant's turn.
    pub fn render(&self, messages: &[Message], context: &TemplateContext, prompt: bool) -> Result<Rendered, String> {
        let given = self.given(messages, context)?;
        Ok(self.render_first(&given, messages.len(), prompt)?.0)
    }

    /// Prepares a conversation for several renderings.
    pub(super) fn given(&self, messages: &[Message], context: &TemplateContext) -> Result<GivenConversation, String> {
        context::given(messages, context, &self.tokens)
    }

    /// The text of the first `count` messages as [`render`](Self::render) gives it, and the steps that it took.
    pub(super) fn render_first(
        &self,
        given: &GivenConversation,
        count: usize,
        prompt: bool,
    ) -> Result<(Rendered, usize), String> {
        let program = self.program.as_ref().map_err(Clone::clone)?;
        let output = renderer::run(program, &given.variables(count, prompt)?, self.date)?;
        let generation = in_bytes(&output.text, &output.spans);
        Ok((Rendered { text: output.text, generation }, output.steps))
    }
}

/// The spans of a text in bytes that were counted in characters.
fn in_bytes(text: &str, spans: &[(usize, usize)]) -> Vec<Range<usize>> {
    let wanted: BTreeSet<usize> = spans.iter().flat_map(|&(start, end)| [start, end]).collect();
    let mut places = BTreeMap::new();
    let (mut bytes, mut characters) = (0, 0);
    for character in wanted {
        let rest = &text[bytes..];
        bytes += rest.char_indices().nth(character - characters).map_or(rest.len(), |(at, _)| at);
        characters = character;
        places.insert(character, bytes);
    }
    spans.iter().map(|(start, end)| places[start]..places[end]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message]) -> Result<Rendered, String> {
        let tokens = SpecialTokens::from([("eos_token".to_string(), "</s>".to_string())]);
        ChatTemplate::new(source, &tokens).render(messages, &TemplateContext::default(), false)
    }

    #[test]
    fn renders_python_idioms() {
        let source = "{%- for m in messages %}{{ m['role'].upper() }}:{{ m.content.strip() }}\n\
                      {% generation %}x{% endgeneration %}{% endfor %}{{ [1, '<'] | tojson }}{{ eos_token }}";
        let rendered = render(source, &[Message::new("user", " hi ")]).unwrap();
        assert_eq!(rendered.text, "USER:hi\nx[1, \"<\"]</s>");
        assert_eq!(rendered.generation, std::slice::from_ref(&(8..9)));
    }

    #[test]
    fn an_endless_template_stops() {
        let source = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}\
                      {% endfor %}{% endfor %}";
        assert!(render(source, &[]).is_err());
    }

    #[test]
    fn a_template_can_refuse() {
        assert!(render("{{ raise_exception('no system role') }}", &[]).unwrap_err().contains("no system role"));
    }
}
