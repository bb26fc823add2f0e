//! Which part of a conversation's text each turn is.
//!
//! A template that marks the assistant's text (`{% generation %}`) says so itself. Otherwise the conversation is rendered up to
//! the turn and with it, and what the second rendering adds is the turn. A template that renders earlier turns differently once
//! later ones follow has no single text with all of them; then each turn has to be a sample of its own.

use std::cell::Cell;
use std::ops::Range;

use super::template::GivenConversation;
use super::{ChatTemplate, Message, Rendered, TemplateContext};

/// What a template failed with.
pub(super) type Rendering<T> = Result<T, String>;

/// The work that all renderings of a conversation may take together, in steps of its template: about half a minute.
/// Without marks each turn is rendered with all turns before it, so that twice the turns take four times the work.
const MOST_WORK: usize = 1 << 28;

/// A conversation with the template that renders it.
pub(super) struct Conversation<'a> {
    template: &'a ChatTemplate,
    messages: &'a [Message],
    given: GivenConversation,
    work: Cell<usize>,
}

/// A part of a conversation's text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TurnSpan {
    pub start: Edge,
    pub end: Edge,
}

/// Where a part starts or ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// At this byte.
    Byte(usize),
    /// Behind the tokens that the conversation has in common with this text. A template may end a prompt with words that it
    /// leaves out once the answer follows (`<think>`), and an answer with words that it leaves out once another turn follows.
    Common(String),
}

impl From<&Range<usize>> for TurnSpan {
    fn from(span: &Range<usize>) -> Self {
        Self { start: Edge::Byte(span.start), end: Edge::Byte(span.end) }
    }
}

impl<'a> Conversation<'a> {
    pub fn new(template: &'a ChatTemplate, messages: &'a [Message], context: &TemplateContext) -> Rendering<Self> {
        Ok(Self { template, messages, given: template.given(messages, context)?, work: Cell::new(0) })
    }

    /// All of the conversation.
    pub fn whole(&self) -> Rendering<Rendered> {
        self.render(self.messages.len(), false)
    }

    /// What the model reads before it answers with turn `turn`.
    pub fn prompt(&self, turn: usize) -> Rendering<String> {
        Ok(self.render(turn, true)?.text)
    }

    fn render(&self, turns: usize, prompt: bool) -> Rendering<Rendered> {
        let (rendered, steps) = self.template.render_first(&self.given, turns, prompt)?;
        self.work(turns + steps + rendered.text.len() / 16)?;
        Ok(rendered)
    }

    /// Accounts for work on one of the texts that the conversation becomes.
    pub fn work(&self, steps: usize) -> Rendering<()> {
        self.work.set(self.work.get().saturating_add(steps));
        if self.work.get() <= MOST_WORK {
            return Ok(());
        }
        Err(format!(
            "rendering {} turns one after the other takes too much work; a template that marks answers with `{{% generation %}}` is \
             rendered once",
            self.messages.len()
        ))
    }

    /// What turns add to the text: the assistant's from behind their opening, the others as a whole. `None` if the text of a turn
    /// cannot be found in `whole`.
    pub fn find(&self, turns: &[usize], whole: &Rendered) -> Rendering<Option<Vec<TurnSpan>>> {
        let is_assistant = |&turn: &usize| self.messages[turn].role() == "assistant";
        if whole.generation.is_empty() || !turns.iter().all(is_assistant) {
            return turns.iter().map(|&turn| self.added_by(turn, &whole.text)).collect();
        }
        if self.messages.iter().all(|message| message.is_scored() == (message.role() == "assistant")) {
            return Ok(Some(whole.generation.iter().map(TurnSpan::from).collect()));
        }
        let marked = turns.iter().map(|&turn| self.marked(turn, whole)).collect::<Rendering<Option<Vec<_>>>>()?;
        Ok(marked.map(|spans| spans.concat().iter().map(TurnSpan::from).collect()))
    }

    /// The whole turns, with their openings.
    pub fn find_whole(&self, turns: &[usize], whole: &Rendered) -> Rendering<Option<Vec<TurnSpan>>> {
        turns.iter().map(|&turn| self.between(self.before(turn)?.text, turn, &whole.text)).collect()
    }

    fn added_by(&self, turn: usize, whole: &str) -> Rendering<Option<TurnSpan>> {
        let before =
            if self.messages[turn].role() == "assistant" { self.prompt(turn)? } else { self.before(turn)?.text };
        self.between(before, turn, whole)
    }

    /// The part of the text from `before` to the end of a turn.
    fn between(&self, before: String, turn: usize, whole: &str) -> Rendering<Option<TurnSpan>> {
        let Some(end) = self.end(turn, before.len(), whole)? else { return Ok(None) };
        let start = if whole.starts_with(&before) { Edge::Byte(before.len()) } else { Edge::Common(before) };
        Ok(Some(TurnSpan { start, end }))
    }

    /// Where a turn that follows `before` bytes ends in the text. `None` if the template renders it differently once later turns
    /// follow.
    fn end(&self, turn: usize, before: usize, whole: &str) -> Rendering<Option<Edge>> {
        if turn + 1 == self.messages.len() {
            return Ok(Some(Edge::Byte(whole.len())));
        }
        let with = self.before(turn + 1)?.text;
        if whole.starts_with(&with) {
            return Ok(Some(Edge::Byte(with.len())));
        }
        // What ends the conversation and not the turn (Phi 3's end token) is missing where the next answer is asked for.
        let next = self.prompt(turn + 1)?;
        let common = common_bytes(&with, &next);
        Ok((common > before && whole.as_bytes().starts_with(&with.as_bytes()[..common])).then_some(Edge::Common(with)))
    }

    /// The conversation up to a turn.
    fn before(&self, turn: usize) -> Rendering<Rendered> {
        if turn == 0 { Ok(Rendered::default()) } else { self.render(turn, false) }
    }

    /// The spans that the template marks in one turn: those that this turn adds to the ones before. `None` if the template marks
    /// fewer or more of them once later turns follow.
    fn marked(&self, turn: usize, whole: &Rendered) -> Rendering<Option<Vec<Range<usize>>>> {
        let all = whole.generation.len();
        let first = self.before(turn)?.generation.len();
        let end = if turn + 1 == self.messages.len() { all } else { self.before(turn + 1)?.generation.len() };
        Ok(whole.generation.get(first..end).map(<[_]>::to_vec))
    }
}

/// The number of bytes that two texts have in common from their start.
fn common_bytes(text: &str, other: &str) -> usize {
    text.bytes().zip(other.bytes()).take_while(|(byte, other)| byte == other).count()
}
