//! What a run has read.

use schemars::JsonSchema;
use serde::Serialize;

use crate::rewrite::sidecars::NotCopied;
use crate::samples::ScoredPart;

/// An input file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InputFile {
    pub name: String,
    pub bytes: u64,
    /// BLAKE3 hash of the whole file, as `b3sum` prints it; absent for base weights, which can be very large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AdapterInput {
    /// As the user wrote it.
    pub path: String,
    pub files: Vec<InputFile>,
    /// Absent where the method has no such number.
    pub rank: Option<usize>,
    pub alpha: Option<f64>,
    /// The decoder layers with tensors.
    pub layers: Vec<usize>,
    /// What else is in the folder and is not copied into an output. Weights in other forms, the state of a training, hidden files and
    /// further adapters never are, and are not listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_copied: Vec<NotCopied>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BaseInput {
    pub path: String,
    pub files: Vec<InputFile>,
    pub family: String,
    /// How its weights are quantised: `NF4 (210 of 272 tensors)`; absent where they are plain numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<String>,
    pub layers: usize,
    /// The arithmetic of the sweep.
    pub arithmetic: String,
}

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct SamplesInput {
    pub path: String,
    /// Of the file, or of the hashes of several.
    pub sha256: String,
    pub count: usize,
    pub tokens: usize,
    /// The tokens that are scored.
    pub answer_tokens: usize,
    /// The scored tokens of each sample.
    pub per_sample: Vec<usize>,
    /// Those of them that end an answer.
    pub per_sample_ends: Vec<usize>,
    /// The samples that were cut at the model's context.
    pub truncated: usize,
    /// How many independent draws they are: copies and near duplicates count once.
    pub draws: usize,
    /// The samples that are exact copies of others.
    pub copies: usize,
    /// How many draws fewer there are because some nearly repeat others.
    pub near_duplicates: usize,
    /// The lines of samples that have a prompt in common, and not its answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contradictory: Vec<usize>,
    /// The lines of samples whose answer is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub empty: Vec<usize>,
    /// The lines of samples whose loss with the whole adapter is near zero.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub possibly_trained_on: Vec<usize>,
    /// Whether prompts went through the chat template.
    pub chat: bool,
    /// Whether prompts are scored as they are, though the tokenizer comes with a chat template.
    pub chat_template_unused: bool,
    /// Whether samples should end with a token that the tokenizer does not name.
    pub end_token_missing: bool,
    /// Which part of the samples was scored.
    pub scored: ScoredPart,
    /// Whether the answers are those of the whole adapter.
    pub own_answers: bool,
    /// Whether the tokens that end answers were left out.
    pub ignores_ends: bool,
    /// Where the tokenizer was found; absent for samples that were tokens already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
}
