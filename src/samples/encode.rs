//! From the content of samples to tokens, as TRL's `SFTTrainer` does it, so that what is scored here is what was trained.
//!
//! - Prompt and completion: the end token is appended unless it is there. The prompt alone and both together are tokenised, and
//!   the tokens that both have in common from the start are masked.
//! - Chat: the same with the chat template, which adds its own special tokens.
//! - Messages: the turns of the assistant are scored (`turns.rs`), with every token that overlaps them, as transformers has it.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::tokenizer::{LONGEST_TEXT, Tokens, Wanted};
use super::turns::{Conversation, Edge, TurnSpan};
use super::{Message, RawSample, Sample, SampleContent, TemplateContext, TextModel};
use crate::error::{Result, SampleError};

/// How samples become tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncodeOptions {
    /// Whether prompts and completions go through the chat template.
    pub chat: bool,
    pub scored: ScoredPart,
    /// The number of tokens at which samples are cut later. Of a text that has more, more need not be made.
    pub most_tokens: Option<usize>,
}

/// Which part of a sample is scored. Turns and tokens that the data itself marks as not trained are scored in none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScoredPart {
    /// The completions of prompts, and the turns of the assistant in conversations.
    #[default]
    Answers,
    /// The turns of the assistant, also in completions of several turns.
    AssistantTurns,
    /// Prompts and completions, and all turns of conversations.
    Everything,
}

/// Turns samples into tokens. `text` may be absent if every sample already has its tokens. A conversation whose turns each need a
/// sample of their own becomes several. The paths of the samples and of the model are for messages.
pub fn encode(
    raws: Vec<RawSample>,
    text: Option<&TextModel>,
    options: EncodeOptions,
    path: &Path,
    model: &Path,
) -> Result<Vec<Sample>> {
    separate(raws, text, options, path)?
        .into_iter()
        .map(|RawSample { line, record, content }| {
            if let SampleContent::Tokens { ids, scored } = content {
                return Ok(Sample { ids, scored, ends: Vec::new(), line, record, slice: 0 });
            }
            let text = text.ok_or_else(|| SampleError::NoTokenizer { path: model.into() })?;
            let (ids, scored) = Encoder { text, options, path, line }.encode(content)?;
            Ok(Sample { ids, scored, ends: Vec::new(), line, record, slice: 0 })
        })
        .collect()
}

/// Makes samples of their own of the turns of those conversations whose template renders earlier turns differently once later
/// ones follow. Such a sample ends with its turn, and the turns before are its prompt.
pub fn separate(
    raws: Vec<RawSample>,
    text: Option<&TextModel>,
    options: EncodeOptions,
    path: &Path,
) -> Result<Vec<RawSample>> {
    let Some(text) = text else { return Ok(raws) };
    let mut separated = Vec::with_capacity(raws.len());
    for raw in raws {
        let encoder = Encoder { text, options, path, line: raw.line };
        match &raw.content {
            SampleContent::Chat { messages, scored_from, context } => {
                let chat = Chat { messages, scored_from: *scored_from, context };
                match encoder.turns_without_common_text(&chat)? {
                    None => separated.push(raw),
                    Some(turns) => separated.extend(turns.into_iter().map(|turn| RawSample {
                        line: raw.line,
                        record: raw.record,
                        content: SampleContent::Chat {
                            messages: messages[..=turn].into(),
                            scored_from: turn,
                            context: context.clone(),
                        },
                    })),
                }
            }
            _ => separated.push(raw),
        }
    }
    Ok(separated)
}

struct Encoder<'a> {
    text: &'a TextModel,
    options: EncodeOptions,
    path: &'a Path,
    line: usize,
}

type Encoded = (Vec<u32>, Vec<bool>);

/// A conversation of the samples.
struct Chat<'a> {
    messages: &'a [Message],
    scored_from: usize,
    context: &'a TemplateContext,
}

/// Which turns of a conversation are scored, beside what its prompt masks.
enum Turns {
    Only(Vec<usize>),
    AllBut(Vec<usize>),
}

impl Chat<'_> {
    fn turns(&self, part: ScoredPart) -> Turns {
        let turns = |first, is_wanted: fn(&Message) -> bool| {
            (first..self.messages.len()).filter(|&turn| is_wanted(&self.messages[turn])).collect()
        };
        let is_excluded = |message: &Message| message.scored == Some(false);
        match part {
            ScoredPart::Everything => Turns::AllBut(turns(0, is_excluded)),
            ScoredPart::Answers if self.scored_from > 0 => Turns::AllBut(turns(self.scored_from, is_excluded)),
            ScoredPart::Answers | ScoredPart::AssistantTurns => {
                Turns::Only(turns(self.scored_from, Message::is_scored))
            }
        }
    }
}

impl Encoder<'_> {
    fn encode(&self, content: SampleContent) -> Result<Encoded> {
        let chat = self.options.chat;
        match content {
            SampleContent::Tokens { ids, scored } => Ok((ids, scored)),
            SampleContent::Text(text) => {
                self.refuse_assistant_turns()?;
                let ids = self.tokenise(&self.with_end(text), true)?;
                let scored = vec![true; ids.len()];
                Ok((ids, scored))
            }
            SampleContent::Completion { prompt, completion } if chat => self.exchange(prompt, completion),
            SampleContent::Completion { prompt, completion } => self.completion(&prompt, completion),
            SampleContent::Instruction { instruction, input, output } if chat => {
                let request = if input.is_empty() { instruction } else { format!("{instruction}\n\n{input}") };
                self.exchange(request, output)
            }
            SampleContent::Instruction { instruction, input, output } => {
                self.completion(&alpaca_prompt(&instruction, &input), output)
            }
            SampleContent::Chat { messages, scored_from, context } => {
                self.conversation(&Chat { messages: &messages, scored_from, context: &context })
            }
        }
    }

    fn completion(&self, prompt: &str, completion: String) -> Result<Encoded> {
        self.refuse_assistant_turns()?;
        let ids = self.tokenise(&format!("{prompt}{}", self.with_end(completion)), true)?;
        let masked = match self.options.scored {
            ScoredPart::Everything => 0,
            ScoredPart::Answers | ScoredPart::AssistantTurns => common_prefix(&self.tokenise(prompt, true)?, &ids),
        };
        let scored = (0..ids.len()).map(|place| place >= masked).collect();
        Ok((ids, scored))
    }

    /// A prompt and a completion as one exchange of the chat.
    fn exchange(&self, prompt: String, completion: String) -> Result<Encoded> {
        let messages = [Message::new("user", &prompt), Message::new("assistant", &completion)];
        self.conversation(&Chat { messages: &messages, scored_from: 1, context: &TemplateContext::default() })
    }

    fn conversation(&self, chat: &Chat) -> Result<Encoded> {
        let rendered = self.rendered(chat)?;
        let failed = |reason| self.template_error(reason);
        let whole = rendered.whole().map_err(failed)?;
        let tokens = self.tokens(&whole.text, Wanted::Offsets)?;
        let (turns, are_scored) = match chat.turns(self.options.scored) {
            Turns::Only(turns) => (rendered.find(&turns, &whole), true),
            Turns::AllBut(turns) => (rendered.find_whole(&turns, &whole), false),
        };
        let lost = || self.template_error("it renders earlier turns differently once later ones follow".into());
        let mut scored = vec![!are_scored; tokens.ids.len()];
        for part in turns.map_err(failed)?.ok_or_else(lost)? {
            for place in self.tokens_of(&part, &whole.text, &tokens)? {
                scored[place] = are_scored;
            }
        }
        if chat.scored_from > 0 && self.options.scored != ScoredPart::Everything {
            let prompt = rendered.prompt(chat.scored_from).map_err(failed)?;
            let masked = common_prefix(&self.tokenise(&prompt, false)?, &tokens.ids);
            scored[..masked].fill(false);
        }
        Ok((tokens.ids, scored))
    }

    /// The scored turns of a conversation whose text does not have them all as the model reads them. `None` if it has.
    fn turns_without_common_text(&self, chat: &Chat) -> Result<Option<Vec<usize>>> {
        let (Some(_), false) = (&self.text.template, self.options.scored == ScoredPart::Everything) else {
            return Ok(None);
        };
        let rendered = self.rendered(chat)?;
        let failed = |reason| self.template_error(reason);
        let whole = rendered.whole().map_err(failed)?;
        let found = match chat.turns(self.options.scored) {
            Turns::Only(turns) => rendered.find(&turns, &whole),
            Turns::AllBut(turns) => rendered.find_whole(&turns, &whole),
        };
        let is_scored = |turn: &usize| chat.messages[*turn].is_scored();
        Ok(found
            .map_err(failed)?
            .is_none()
            .then(|| (chat.scored_from..chat.messages.len()).filter(is_scored).collect()))
    }

    /// The places of the tokens that overlap a turn.
    fn tokens_of(&self, part: &TurnSpan, text: &str, tokens: &Tokens) -> Result<Vec<usize>> {
        let characters = |bytes: usize| text[..bytes].chars().count();
        let common =
            |other: &str| Ok::<_, crate::Error>(common_prefix(&self.tokenise(other, false)?, &tokens.ids));
        let (first, start) = match &part.start {
            Edge::Byte(start) => (0, characters(*start)),
            Edge::Common(other) => (common(other)?, 0),
        };
        let (last, end) = match &part.end {
            Edge::Byte(end) => (tokens.ids.len(), characters(*end)),
            Edge::Common(other) => (common(other)?, usize::MAX),
        };
        let overlaps = |&place: &usize| {
            let (from, to) = tokens.offsets[place];
            (from as usize) < end && to as usize > start
        };
        Ok((first..last).filter(overlaps).collect())
    }

    fn rendered<'a>(&'a self, chat: &Chat<'a>) -> Result<Conversation<'a>> {
        let template = self.text.template_for(chat.context);
        let template = template.ok_or_else(|| SampleError::NoChatTemplate { path: self.text.path.clone() })?;
        Ok(Conversation { template, messages: chat.messages, context: chat.context })
    }

    fn tokenise(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        Ok(self.tokens(text, if add_special_tokens { Wanted::WithSpecial } else { Wanted::Plain })?.ids)
    }

    /// The tokens of a text, up to the first that the samples are cut at.
    fn tokens(&self, text: &str, wanted: Wanted) -> Result<Tokens> {
        let tokenizer = &self.text.tokenizer;
        if let Some(most) = self.options.most_tokens
            && let Some(tokens) = tokenizer.encode_beginning(text, wanted, most)?
        {
            return Ok(tokens);
        }
        if text.len() > LONGEST_TEXT {
            let (length, most) = (text.len() as u64, LONGEST_TEXT as u64);
            return Err(SampleError::LongText { path: self.path.into(), line: self.line, length, most }.into());
        }
        tokenizer.encode(text, wanted)
    }

    fn with_end(&self, mut text: String) -> String {
        if let Some(end) = self.text.eos_token.as_deref().filter(|end| !text.ends_with(end)) {
            text.push_str(end);
        }
        text
    }

    /// Text without turns has none of the assistant.
    fn refuse_assistant_turns(&self) -> Result<()> {
        match self.options.scored {
            ScoredPart::AssistantTurns => {
                Err(SampleError::NoConversation { path: self.path.into(), line: self.line }.into())
            }
            ScoredPart::Answers | ScoredPart::Everything => Ok(()),
        }
    }

    fn template_error(&self, reason: String) -> crate::Error {
        SampleError::ChatTemplate { path: self.path.into(), line: self.line, reason }.into()
    }
}

/// The number of tokens that two texts have in common from their start.
fn common_prefix(ids: &[u32], others: &[u32]) -> usize {
    ids.iter().zip(others).take_while(|(id, other)| id == other).count()
}

/// The prompt of the Stanford Alpaca project, which is used to train on samples with these fields.
fn alpaca_prompt(instruction: &str, input: &str) -> String {
    if input.is_empty() {
        format!(
            "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\
             ### Instruction:\n{instruction}\n\n### Response:\n"
        )
    } else {
        format!(
            "Below is an instruction that describes a task, paired with an input that provides further context. Write a \
             response that appropriately completes the request.\n\n\
             ### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
        )
    }
}
