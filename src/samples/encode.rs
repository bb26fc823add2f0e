//! From the content of samples to tokens, as TRL's `SFTTrainer` does it, so that what is scored here is what was trained.
//!
//! - Prompt and completion: the end token is appended unless it is there. The prompt alone and both together are tokenised, and
//!   the tokens that both have in common from the start are masked.
//! - Chat: the same with the chat template, which adds its own special tokens.
//! - Messages: the turns of the assistant are scored (`turns.rs`), with every token that overlaps them, as transformers has it.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::overlaps::Overlaps;
use super::tokenizer::{EncodeAs, LONGEST_TEXT, TokenizedText};
use super::turns::{Conversation, Edge};
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

/// The most samples that the turns of one conversation become. Each has all turns before its own.
const MOST_SEPARATED: usize = 1000;

/// Turns samples into tokens. `text` may be absent if every sample already has its tokens. A conversation whose turns each need a
/// sample of their own becomes several. The paths of the samples and of the model are for messages.
pub fn encode(
    raws: Vec<RawSample>,
    text: Option<&TextModel>,
    options: EncodeOptions,
    path: &Path,
    model: &Path,
) -> Result<Vec<Sample>> {
    encode_with(raws, text, options, (path, model), &mut |_| {})
}

/// As [`encode`], which shows `see` each raw sample that becomes one, in order. `paths` are those of the samples and of the model.
pub fn encode_with(
    raws: Vec<RawSample>,
    text: Option<&TextModel>,
    options: EncodeOptions,
    (path, model): (&Path, &Path),
    see: &mut dyn FnMut(&RawSample),
) -> Result<Vec<Sample>> {
    let mut samples = Vec::with_capacity(raws.len());
    let mut add = |raw: &RawSample, (ids, scored): Encoded| {
        see(raw);
        samples.push(Sample { ids, scored, ends: Vec::new(), line: raw.line, record: raw.record, slice: 0 });
    };
    for raw in raws {
        if let SampleContent::Tokens { ids, scored } = &raw.content {
            add(&raw, (ids.clone(), scored.clone()));
            continue;
        }
        let text = text.ok_or_else(|| SampleError::NoTokenizer { path: model.into() })?;
        let encoder = Encoder { text, options, path, line: raw.line };
        let SampleContent::Chat { messages, scored_from, context } = &raw.content else {
            add(&raw, encoder.encode(&raw.content)?);
            continue;
        };
        let chat = Chat { messages, scored_from: *scored_from, context };
        match encoder.conversation(&chat)? {
            Some(encoded) => add(&raw, encoded),
            None => {
                for turn in encoder.separated(&raw, &chat)? {
                    add(&turn, encoder.encode(&turn.content)?);
                }
            }
        }
    }
    Ok(samples)
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
    fn encode(&self, content: &SampleContent) -> Result<Encoded> {
        let chat = self.options.chat;
        match content {
            SampleContent::Tokens { ids, scored } => Ok((ids.clone(), scored.clone())),
            SampleContent::Text(text) => {
                self.refuse_assistant_turns()?;
                let ids = self.tokenise(&self.with_end(text), true)?;
                let scored = vec![true; ids.len()];
                Ok((ids, scored))
            }
            SampleContent::Completion { prompt, completion } if chat => self.exchange(prompt, completion),
            SampleContent::Completion { prompt, completion } => self.completion(prompt, completion),
            SampleContent::Instruction { instruction, input, output } if chat => match input.is_empty() {
                true => self.exchange(instruction, output),
                false => self.exchange(&format!("{instruction}\n\n{input}"), output),
            },
            SampleContent::Instruction { instruction, input, output } => {
                self.completion(&alpaca_prompt(instruction, input), output)
            }
            SampleContent::Chat { messages, scored_from, context } => {
                self.conversation(&Chat { messages, scored_from: *scored_from, context })?.ok_or_else(|| self.lost())
            }
        }
    }

    fn completion(&self, prompt: &str, completion: &str) -> Result<Encoded> {
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
    fn exchange(&self, prompt: &str, completion: &str) -> Result<Encoded> {
        let messages = [Message::new("user", prompt), Message::new("assistant", completion)];
        let chat = Chat { messages: &messages, scored_from: 1, context: &TemplateContext::default() };
        self.conversation(&chat)?.ok_or_else(|| self.lost())
    }

    /// The tokens of a conversation, and which of them are scored. `None` where no single text has all of the turns that are scored.
    fn conversation(&self, chat: &Chat) -> Result<Option<Encoded>> {
        let failed = |reason| self.template_error(reason);
        let rendered = self.rendered(chat)?;
        let whole = rendered.whole().map_err(failed)?;
        let (turns, are_scored) = match chat.turns(self.options.scored) {
            Turns::Only(turns) => (rendered.find(&turns, &whole), true),
            Turns::AllBut(turns) => (rendered.find_whole(&turns, &whole), false),
        };
        let Some(parts) = turns.map_err(failed)? else { return Ok(None) };
        let tokens = self.tokens(&whole.text, EncodeAs::Offsets)?;
        let overlaps = Overlaps::new(&whole.text, &tokens);
        let mut scored = vec![!are_scored; tokens.ids.len()];
        for part in parts {
            let common = |other: &str| {
                // A tokenizer takes some steps for each byte.
                rendered.work(4 * other.len()).map_err(failed)?;
                Ok::<_, crate::Error>(common_prefix(&self.tokenise(other, false)?, &tokens.ids))
            };
            let (first, start) = match &part.start {
                Edge::Byte(start) => (0, overlaps.characters(*start)),
                Edge::Common(other) => (common(other)?, 0),
            };
            let (last, end) = match &part.end {
                Edge::Byte(end) => (tokens.ids.len(), overlaps.characters(*end)),
                Edge::Common(other) => (common(other)?, usize::MAX),
            };
            overlaps.of((first, last), (start, end)).for_each(|place| scored[place] = are_scored);
        }
        if chat.scored_from > 0 && self.options.scored != ScoredPart::Everything {
            let prompt = rendered.prompt(chat.scored_from).map_err(failed)?;
            let masked = common_prefix(&self.tokenise(&prompt, false)?, &tokens.ids);
            scored[..masked].fill(false);
        }
        Ok(Some((tokens.ids, scored)))
    }

    /// The error for a conversation whose turns have no common text.
    fn lost(&self) -> crate::Error {
        self.template_error("it renders earlier turns differently once later ones follow".into())
    }

    /// Samples of their own for the turns of a conversation whose template renders earlier turns differently once later ones follow.
    /// Such a sample ends with its turn, and the turns before are its prompt.
    fn separated(&self, raw: &RawSample, chat: &Chat) -> Result<Vec<RawSample>> {
        if self.text.template.is_none() || self.options.scored == ScoredPart::Everything {
            return Err(self.lost());
        }
        let is_scored = |turn: &usize| chat.messages[*turn].is_scored();
        let turns: Vec<usize> = (chat.scored_from..chat.messages.len()).filter(is_scored).collect();
        if turns.len() > MOST_SEPARATED {
            return Err(self.template_error(format!(
                "it renders earlier turns differently once later ones follow, so that each of {} turns would be a sample with all \
                 turns before it; {MOST_SEPARATED} are the most",
                turns.len()
            )));
        }
        let of_turn = |turn| RawSample {
            line: raw.line,
            record: raw.record,
            content: SampleContent::Chat {
                messages: chat.messages[..=turn].into(),
                scored_from: turn,
                context: chat.context.clone(),
            },
        };
        Ok(turns.into_iter().map(of_turn).collect())
    }

    fn rendered<'a>(&'a self, chat: &Chat<'a>) -> Result<Conversation<'a>> {
        let template = self.text.template_for(chat.context);
        let template = template.ok_or_else(|| SampleError::NoChatTemplate { path: self.text.path.clone() })?;
        Conversation::new(template, chat.messages, chat.context).map_err(|reason| self.template_error(reason))
    }

    fn tokenise(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        Ok(self.tokens(text, if add_special_tokens { EncodeAs::WithSpecial } else { EncodeAs::Plain })?.ids)
    }

    /// The tokens of a text, up to the first that the samples are cut at.
    fn tokens(&self, text: &str, wanted: EncodeAs) -> Result<TokenizedText> {
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

    /// A text with the end token, unless it ends with it.
    fn with_end(&self, text: &str) -> String {
        let end = self.text.eos_token.as_deref().filter(|end| !text.ends_with(end));
        [text, end.unwrap_or_default()].concat()
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
