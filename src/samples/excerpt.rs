//! Excerpts of samples, which show people what a number is about.

use serde_json::Value;

use super::{Message, SampleContent};

/// The number of characters of a prompt, from its end, and of an answer, from its beginning.
const PROMPT: usize = 160;
const ANSWER: usize = 240;

/// The end of a sample's prompt and the beginning of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// Absent if all of the text is scored.
    pub prompt: Option<String>,
    pub answer: String,
}

impl Excerpt {
    /// `None` for samples that are given as tokens.
    pub fn of(content: &SampleContent) -> Option<Self> {
        let (prompt, answer) = match content {
            SampleContent::Completion { prompt, completion } => (Some(prompt.clone()), completion.clone()),
            SampleContent::Instruction { instruction, input, output } => {
                (Some(format!("{instruction} {input}")), output.clone())
            }
            SampleContent::Chat { messages, .. } => last_exchange(messages)?,
            SampleContent::Text(text) => (None, text.clone()),
            SampleContent::Tokens { .. } => return None,
        };
        Some(Self { prompt: prompt.map(|text| tail(&text)), answer: head(&answer) })
    }
}

/// The last turn of the assistant and the turn before it.
fn last_exchange(messages: &[Message]) -> Option<(Option<String>, String)> {
    let answer = messages.iter().rposition(|message| message.role() == "assistant")?;
    let prompt = answer.checked_sub(1).map(|turn| text_of(&messages[turn]));
    Some((prompt, text_of(&messages[answer])))
}

/// The text of a turn, whose content is a string, or a list of parts of which some are text.
fn text_of(message: &Message) -> String {
    match message.fields.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// Separates words by one space, so that they stand on one line. A text may have megabytes, of which some words are read.
fn spaced<'a, C: Iterator<Item = char>>(
    words: impl Iterator<Item = &'a str>,
    characters: impl Fn(&'a str) -> C,
) -> impl Iterator<Item = char> {
    words.enumerate().flat_map(move |(place, word)| (place > 0).then_some(' ').into_iter().chain(characters(word)))
}

/// The beginning of an answer, on one line.
pub fn head(text: &str) -> String {
    let start: Vec<char> = spaced(text.split_whitespace(), str::chars).take(ANSWER + 1).collect();
    match start.get(..ANSWER) {
        Some(kept) if start.len() > ANSWER => kept.iter().collect::<String>().trim_end().to_string() + "…",
        _ => start.into_iter().collect(),
    }
}

/// The end of a prompt, on one line.
fn tail(text: &str) -> String {
    let end: Vec<char> = spaced(text.split_whitespace().rev(), |word| word.chars().rev()).take(PROMPT + 1).collect();
    let kept: String = end.iter().take(PROMPT).rev().collect();
    if end.len() > PROMPT { format!("…{}", kept.trim_start()) } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::TemplateContext;

    #[test]
    fn long_texts_keep_the_parts_where_prompt_and_answer_meet() {
        let content =
            SampleContent::Completion { prompt: format!("{}?\n", "é".repeat(900)), completion: "x ".repeat(900) };
        let Excerpt { prompt, answer } = Excerpt::of(&content).unwrap();
        let prompt = prompt.unwrap();
        assert!(prompt.starts_with('…') && prompt.ends_with('?') && prompt.chars().count() == PROMPT + 1, "{prompt}");
        assert!(answer.starts_with("x x") && answer.ends_with("x…"), "{answer}");
    }

    #[test]
    fn every_form_but_tokens_has_an_excerpt() {
        let turns = |turns: &[(&str, &str)]| SampleContent::Chat {
            messages: turns.iter().map(|(role, content)| Message::new(role, content)).collect(),
            scored_from: 0,
            context: TemplateContext::default(),
        };
        let excerpt = Excerpt::of(&turns(&[("user", "a"), ("assistant", "b"), ("user", "c")])).unwrap();
        assert_eq!(excerpt, Excerpt { prompt: Some("a".into()), answer: "b".into() });
        assert_eq!(Excerpt::of(&turns(&[("assistant", "b")])).unwrap().prompt, None);
        assert_eq!(Excerpt::of(&turns(&[("user", "c")])), None);
        assert_eq!(Excerpt::of(&SampleContent::Text("a\n b".into())).unwrap().answer, "a b");
        assert_eq!(Excerpt::of(&SampleContent::Tokens { ids: vec![1], scored: vec![true] }), None);
    }
}
