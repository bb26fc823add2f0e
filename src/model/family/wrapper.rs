//! Multimodal models around a decoder, as data: what they do to its logits, and what its prompt attends to.
//!
//! Such a model has its own output head over the text model. Most of these heads leave out what the family's own head does
//! to logits, a scale or a soft bound; those that apply it are listed. Source: the class that generates in
//! `modeling_NAME.py` of transformers 5.24.

/// A multimodal model.
#[derive(Debug, PartialEq)]
pub struct Wrapper {
    /// `model_type` of the outer configuration.
    model_types: &'static [&'static str],
    /// What the head applies to the logits as the family's own head does.
    pub logits: &'static [LogitStep],
    pub prompt: PromptAttention,
}

/// A step from the output of the head's matrix to logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitStep {
    Scale,
    Softcap,
}

/// What the tokens of a prompt see. Answers see all tokens before them in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptAttention {
    /// The tokens before them.
    Causal,
    /// All of the prompt, whatever the layer's window.
    BothWays,
}

impl PromptAttention {
    /// How many first tokens of a sample all see each other, of a prompt of `length` tokens.
    pub fn both_ways(self, length: usize) -> usize {
        match self {
            Self::Causal => 0,
            Self::BothWays => length,
        }
    }
}

static WRAPPERS: [Wrapper; 3] = [
    // `token_type_ids` of the processor mark the prompt.
    Wrapper { model_types: &["paligemma"], logits: &[LogitStep::Softcap], prompt: PromptAttention::BothWays },
    Wrapper { model_types: &["granite4_vision", "granite_docling"], logits: &[LogitStep::Scale], ..PLAIN },
    // Their `language_model` is the family's model with its own head.
    Wrapper {
        model_types: &["blip_2", "instructblip", "instructblipvideo"],
        logits: &[LogitStep::Scale, LogitStep::Softcap],
        ..PLAIN
    },
];

/// Those that are not listed.
const PLAIN: Wrapper = Wrapper { model_types: &[], logits: &[], prompt: PromptAttention::Causal };
static UNLISTED: Wrapper = PLAIN;

impl Wrapper {
    /// The multimodal model of a `model_type`.
    pub fn of(model_type: &str) -> &'static Self {
        WRAPPERS.iter().find(|wrapper| wrapper.model_types.contains(&model_type)).unwrap_or(&UNLISTED)
    }
}
