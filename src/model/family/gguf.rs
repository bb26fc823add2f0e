//! What llama.cpp's converter and llama.cpp itself do with a family beyond what a GGUF file says.

use super::{OuterNames, Role};

/// What llama.cpp does with a family beyond what its files say.
#[derive(Debug, PartialEq)]
pub struct GgufConventions {
    /// A tensor in some layers that tells the family from others of the same architecture.
    pub mark: Option<&'static str>,
    /// The modules outside the layers, and the list of the layers.
    pub outer: &'static OuterNames,
    /// Names inside a layer that are not those of the role's group; of several for a role, the first that is there counts.
    pub names: &'static [(Role, &'static str)],
    /// Weights that lie in several tensors; of several ways for a role, the first whose tensors are there counts.
    pub splits: &'static [(Role, Split)],
    /// The rows of queries and keys are in the order of llama.cpp's own rotary embedding.
    pub permuted_rows: bool,
    /// The values of a gated delta net begin with the first head of each key's, not with all heads of the first key's.
    pub values_take_turns: bool,
    pub logit_scale: LogitScale,
    /// The bases of the rotary embeddings, where the file does not tell them.
    pub rope_base: Option<f64>,
    pub rope_base_in_windows: Option<f64>,
    /// YaRN's range of frequencies is not rounded to whole ones.
    pub yarn_is_exact: bool,
    /// `rope.scaling.finetuned` says whether there is a rotary embedding; a model with one is of another family.
    pub rope_is_off: bool,
    /// The number of layers by which llama.cpp knows the model that scales attention by √(hidden / heads), not by the root
    /// of the head size.
    pub layers_with_attention_by_hidden: Option<usize>,
}

/// What llama.cpp does with `logit_scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitScale {
    Multiplies,
    Divides,
}

/// How several tensors make up one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// One above the other.
    Stacked([&'static str; 2]),
    /// The maps to keys, transposed, and to values, head by head, as latent attention has them.
    KeysAndValues([&'static str; 2]),
    /// Queries, keys and values of all heads, and the gates, which the weight has key head by key head.
    ByKeyHead([&'static str; 2]),
}

impl Split {
    pub fn names(self) -> [&'static str; 2] {
        match self {
            Self::Stacked(names) | Self::KeysAndValues(names) | Self::ByKeyHead(names) => names,
        }
    }
}
