//! From the content of samples to tokens, as TRL's `SFTTrainer` does it, so that what is scored here is what was trained.
//!
//! - Prompt and completion: the end token is appended unless it is there. The prompt alone and both together are tokenised, and
//!   as many tokens as the prompt alone has are masked.
//! - Chat: the same with the chat template, which adds its own special tokens.
//! - Messages: every turn of the assistant is scored, found by rendering the conversation up to it.

use std::ops::Range;
use std::path::Path;

use super::{Message, RawSample, Sample, SampleContent, TemplateContext, TextModel};
use crate::error::{Result, SampleError};

/// Turns samples into tokens. `text` may be absent if every sample already has its tokens. The paths of the samples and of the
/// model are for messages.
pub fn encode(
    raws: Vec<RawSample>,
    text: Option<&TextModel>,
    chat: bool,
    path: &Path,
    model: &Path,
) -> Result<Vec<Sample>> {
    raws.into_iter()
        .map(|RawSample { line, content }| {
            if let SampleContent::Tokens { ids, scored } = content {
                return Ok(Sample { ids, scored, line });
            }
            let text = text.ok_or_else(|| SampleError::NoTokenizer { path: model.into() })?;
            let (ids, scored) = Encoder { text, path, line }.encode(content, chat)?;
            Ok(Sample { ids, scored, line })
        })
        .collect()
}

struct Encoder<'a> {
    text: &'a TextModel,
    path: &'a Path,
    line: usize,
}

type Encoded = (Vec<u32>, Vec<bool>);

impl Encoder<'_> {
    fn encode(&self, content: SampleContent, chat: bool) -> Result<Encoded> {
        match content {
            SampleContent::Tokens { ids, scored } => Ok((ids, scored)),
            SampleContent::Text(text) => {
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
                self.conversation(&messages, scored_from, &context)
            }
        }
    }

    fn completion(&self, prompt: &str, completion: String) -> Result<Encoded> {
        let masked = self.tokenise(prompt, true)?.len();
        let ids = self.tokenise(&format!("{prompt}{}", self.with_end(completion)), true)?;
        let scored = (0..ids.len()).map(|place| place >= masked).collect();
        Ok((ids, scored))
    }

    /// A prompt and a completion as one exchange of the chat.
    fn exchange(&self, prompt: String, completion: String) -> Result<Encoded> {
        let messages = [Message::new("user", &prompt), Message::new("assistant", &completion)];
        self.answer(&messages, 1, &TemplateContext::default())
    }

    /// Scores everything from message `scored_from` on, counted in tokens as in TRL.
    fn answer(&self, messages: &[Message], scored_from: usize, context: &TemplateContext) -> Result<Encoded> {
        let masked = self.tokenise(&self.render(&messages[..scored_from], context, true)?, false)?.len();
        let ids = self.tokenise(&self.render(messages, context, false)?, false)?;
        let scored = (0..ids.len()).map(|place| place >= masked).collect();
        Ok((ids, scored))
    }

    fn conversation(&self, messages: &[Message], scored_from: usize, context: &TemplateContext) -> Result<Encoded> {
        if scored_from > 0 {
            return self.answer(messages, scored_from, context);
        }
        let whole = self.render(messages, context, false)?;
        let mut spans = Vec::new();
        for turn in (0..messages.len()).filter(|&turn| messages[turn].role() == "assistant") {
            let before = self.render(&messages[..turn], context, true)?;
            let with = self.render(&messages[..=turn], context, false)?;
            // Some templates rewrite earlier turns (they drop old reasoning): then there is no single text to score.
            if !with.starts_with(&before) || !whole.starts_with(&with) {
                let reason = "it renders earlier turns differently once later ones follow; split the conversation";
                return Err(self.template_error(reason.into()));
            }
            spans.push(before.len()..with.len());
        }
        self.tokenise_spans(&whole, &spans)
    }

    /// Scores the tokens whose first byte is in a span.
    fn tokenise_spans(&self, text: &str, spans: &[Range<usize>]) -> Result<Encoded> {
        let encoding = self.text.tokenizer.encode(text, false).map_err(|error| self.tokenizer_error(error))?;
        let is_scored = |&(start, end): &(usize, usize)| start < end && spans.iter().any(|span| span.contains(&start));
        Ok((encoding.get_ids().into(), encoding.get_offsets().iter().map(is_scored).collect()))
    }

    fn tokenise(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let encoding = self.text.tokenizer.encode_fast(text, add_special_tokens);
        Ok(encoding.map_err(|error| self.tokenizer_error(error))?.get_ids().into())
    }

    fn render(&self, messages: &[Message], context: &TemplateContext, prompt: bool) -> Result<String> {
        let template = self.text.template_for(context);
        let template = template.ok_or_else(|| SampleError::NoChatTemplate { path: self.text.path.clone() })?;
        let rendered = template.render(messages, context, prompt).map_err(|reason| self.template_error(reason))?;
        Ok(rendered.text)
    }

    fn with_end(&self, mut text: String) -> String {
        if let Some(end) = self.text.eos_token.as_deref().filter(|end| !text.ends_with(end)) {
            text.push_str(end);
        }
        text
    }

    fn template_error(&self, reason: String) -> crate::Error {
        SampleError::ChatTemplate { path: self.path.into(), line: self.line, reason }.into()
    }

    fn tokenizer_error(&self, error: tokenizers::Error) -> crate::Error {
        SampleError::Tokenizer { path: self.text.path.clone(), reason: error.to_string() }.into()
    }
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
