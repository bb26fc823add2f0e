//! Dead weight in words and bytes.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::DeadWeight;
use crate::format::{bytes, first_names, plural};

/// Why weights change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeadKind {
    /// Whole weights that are those of the base model, bit for bit.
    EqualToBase,
    /// Embeddings and heads that are the base model's but for the rows of some tokens, which stay (`trainable_token_indices`).
    MostRowsEqualToBase,
    /// The head of a tied model, a copy of the embedding beside it.
    CopyOfEmbedding,
    /// Modules whose change is zero.
    ZeroChange,
}

/// Weights that change nothing for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeadPart {
    pub kind: DeadKind,
    /// The modules, by name.
    pub modules: Vec<String>,
    /// The tokens whose rows stay, of all these modules together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_rows: Option<usize>,
    /// What the adapter is smaller by without them.
    pub bytes: u64,
}

/// The dead weight of an adapter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeadWeightSummary {
    pub parts: Vec<DeadPart>,
    /// Why whole weights were not compared with the base model's, if there are any that were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
}

impl DeadWeightSummary {
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

impl fmt::Display for DeadPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (names, size) = (first_names(&self.modules, 2), bytes(self.bytes));
        match self.kind {
            DeadKind::EqualToBase => write!(f, "{size} of {names}, as in the base model, bit for bit"),
            DeadKind::MostRowsEqualToBase => {
                let rows = plural(self.kept_rows.unwrap_or(0), "row");
                write!(f, "{size} of {names}, which differ from the base model in {rows} alone")
            }
            DeadKind::CopyOfEmbedding => write!(f, "{size} of {names}, which the base model has in the embedding"),
            DeadKind::ZeroChange => {
                let modules = plural(self.modules.len(), "module");
                write!(f, "{size} of {modules} without effect: {names}")
            }
        }
    }
}

/// One line for each part.
impl fmt::Display for DeadWeightSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() && self.not_compared.is_none() {
            writeln!(f, "dead weight: no module and no saved weight is without effect")?;
        }
        self.parts.iter().try_for_each(|part| writeln!(f, "dead weight: {part}"))?;
        let reasons = self.not_compared.iter();
        reasons.into_iter().try_for_each(|reason| {
            writeln!(f, "dead weight: some whole weights were not compared with the base model's: {reason}")
        })
    }
}

impl DeadWeight<'_> {
    /// What is dead, by the reason.
    pub fn summary(&self) -> DeadWeightSummary {
        let mut parts: Vec<DeadPart> = Vec::new();
        for tensor in self.adapter.tensors() {
            let Some(&kind) = self.dropped.get(tensor.name) else { continue };
            let tokens = self.rows_of(tensor.name).map(<[usize]>::len);
            let height = tensor.entry.shape.first().copied().unwrap_or(1).max(1) as u64;
            let kept_bytes = tokens.map_or(0, |tokens| tensor.entry.bytes() / height * tokens as u64);
            let place = parts.iter().position(|part| part.kind == kind).unwrap_or_else(|| {
                parts.push(DeadPart { kind, modules: Vec::new(), kept_rows: None, bytes: 0 });
                parts.len() - 1
            });
            let part = &mut parts[place];
            if part.modules.last() != Some(&tensor.key.module) {
                part.modules.push(tensor.key.module.clone());
            }
            part.bytes += tensor.entry.bytes() - kept_bytes;
            part.kept_rows = tokens.map(|tokens| tokens + part.kept_rows.unwrap_or(0)).or(part.kept_rows);
        }
        parts.sort_by_key(|part| part.kind);
        DeadWeightSummary { parts, not_compared: self.not_compared.clone() }
    }
}
