//! What a sample holds, before it becomes tokens.

use serde::Serialize;
use serde_json::{Map, Value};

/// The content of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleContent {
    /// A prompt, and the completion that is scored.
    Completion { prompt: String, completion: String },
    /// An instruction, an optional input, and the output that is scored.
    Instruction { instruction: String, input: String, output: String },
    /// Turns of a conversation, with what else goes into the chat template. The turns of the assistant from `scored_from` on are
    /// scored, less those that say otherwise ([`Message::scored`]). 0 means a whole conversation; otherwise the turns before
    /// `scored_from` are the prompt and all that follows is its completion.
    Chat { messages: Vec<Message>, scored_from: usize, context: TemplateContext },
    /// Text that is scored as a whole.
    Text(String),
    /// Token ids, and whether each is scored.
    Tokens { ids: Vec<u32>, scored: Vec<bool> },
}

/// What a chat template reads beside the messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TemplateContext {
    /// A list of tools.
    pub tools: Option<Value>,
    /// A list of documents.
    pub documents: Option<Value>,
    /// Further variables of the template, for example `enable_thinking`.
    pub kwargs: Map<String, Value>,
}

impl TemplateContext {
    pub fn is_empty(&self) -> bool {
        self.tools.is_none() && self.documents.is_none() && self.kwargs.is_empty()
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Message {
    /// What the chat template reads: role, content, and fields that only some templates read.
    pub fields: Map<String, Value>,
    /// Whether the data itself marks the turn as scored or not (OpenAI's `weight`, Axolotl's `train`). Without a mark, turns of
    /// the assistant are scored.
    #[serde(skip)]
    pub scored: Option<bool>,
}

impl Message {
    /// A turn with nothing but a role and a content.
    pub fn new(role: &str, content: &str) -> Self {
        let fields = Map::from_iter([("role".to_string(), role.into()), ("content".to_string(), content.into())]);
        Self { fields, scored: None }
    }

    /// `user`, `assistant`, or another role that the chat template knows.
    pub fn role(&self) -> &str {
        self.fields.get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether this turn is scored in a conversation whose turns are scored.
    pub fn is_scored(&self) -> bool {
        self.scored.unwrap_or_else(|| self.role() == "assistant")
    }
}
