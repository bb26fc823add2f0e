//! Decoder families as data: what they are called, what their tensors are called, and which form of each block they use.
//!
//! There is one decoder (`layer.rs`); a family says under which names its weights are found. A weight that a
//! family leaves out of its files (a bias, a head that is tied) is simply absent there.

mod list;
mod names;

use super::config::Activation;
use list::FAMILIES;
pub use names::Outer;

/// A role that a weight plays in a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Before attention; in a parallel block without [`Role::MlpNorm`], before the MLP too.
    AttentionNorm,
    Query,
    Key,
    Value,
    /// All three in one matrix.
    QueryKeyValue,
    QueryNorm,
    KeyNorm,
    /// One more score for each head, which takes its share of the attention to nowhere.
    Sinks,
    AttentionOut,
    /// On what attention adds.
    AttentionPostNorm,
    /// Before the MLP.
    MlpNorm,
    Gate,
    Up,
    /// [`Role::Gate`] above [`Role::Up`] in one matrix.
    GateUp,
    Down,
    /// On what the MLP adds.
    MlpPostNorm,
    /// Scores the experts for a token.
    Router,
    SharedGate,
    SharedUp,
    SharedDown,
    /// How much of the shared expert a token gets.
    SharedSwitch,
}

impl Role {
    /// Whether the role is that of a linear module, which is what LoRA adapts.
    pub fn is_linear(self) -> bool {
        !self.is_norm() && self != Role::Sinks
    }

    pub fn is_norm(self) -> bool {
        use Role::*;
        matches!(self, AttentionNorm | QueryNorm | KeyNorm | AttentionPostNorm | MlpNorm | MlpPostNorm)
    }

    /// Whether the role is one in attention; all others are in the MLP.
    pub fn is_of_attention(self) -> bool {
        use Role::*;
        let is_norm = matches!(self, AttentionNorm | QueryNorm | KeyNorm | AttentionPostNorm);
        is_norm || matches!(self, Query | Key | Value | QueryKeyValue | Sinks | AttentionOut)
    }

    /// Whether only layers without experts have it, or only those with experts; `None` for what all have.
    pub fn needs_experts(self) -> Option<bool> {
        use Role::*;
        match self {
            Gate | Up | GateUp | Down => Some(false),
            Router | SharedGate | SharedUp | SharedDown | SharedSwitch => Some(true),
            _ => None,
        }
    }
}

/// The names of a layer's modules: role, name inside the layer of a Hugging Face model, name inside `blk.N` of GGUF.
type Names = &'static [(Role, &'static str, &'static str)];

/// A family of decoders.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_types: &'static [&'static str],
    /// `general.architecture` in GGUF.
    pub gguf_architectures: &'static [&'static str],
    pub outer: &'static Outer,
    /// The names of all roles that the family has; a role that is listed twice has had two names.
    layer_names: &'static [Names],
    /// Roles that only some models of the family have, which their files tell.
    pub optional: &'static [Role],
    pub experts: Option<&'static Experts>,
    /// llama.cpp stores the rows of these families' queries and keys in the order of its own rotary embedding.
    pub gguf_permutes_query_and_key: bool,
    pub activation: Activation,
    pub norms: Norms,
    /// Embeddings are multiplied by √hidden.
    pub scales_embedding: bool,
    /// Queries and keys are normalised over all heads together, not head by head.
    pub norms_heads_together: bool,
    /// Attention and MLP both start from the layer's input; `use_parallel_residual` overrides it.
    pub parallel: bool,
    pub positions: Positions,
    pub sliding: Sliding,
    /// Only layers with a sliding window have rotary embedding.
    pub ropes_only_in_windows: bool,
    /// [`Role::QueryKeyValue`] has query, key and value of a head together, not all queries first.
    pub fused_by_head: bool,
    /// Linear weights are stored as (inputs, outputs).
    pub linears_transposed: bool,
    /// Numbers that transformers takes when `config.json` does not have the key.
    defaults: &'static [(&'static str, f64)],
    /// Numbers that llama.cpp has in its code, where a GGUF file does not tell them.
    gguf_constants: &'static [(&'static str, f64)],
}

/// How values are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Divided by their root mean square.
    Rms,
    /// As [`Norms::Rms`], and multiplied by 1 + weight. GGUF files have the 1 added.
    RmsPlusOne,
    /// LayerNorm: the mean is subtracted first.
    Layer,
}

/// How attention knows positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Rotary embedding, which turns value i with value i + half.
    Rotary,
    /// Rotary embedding, which turns neighbouring values.
    RotaryNeighbours,
    /// ALiBi: a bias on scores that grows with the distance.
    Alibi,
    /// Learned, added to the embeddings.
    Learned,
}

/// Which layers have a sliding window, where the configuration has one and does not say by `layer_types`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sliding {
    /// The family knows no windows, whatever the configuration says.
    Never,
    Always,
    /// All but every `sliding_window_pattern`th.
    Pattern,
    /// From `max_window_layers` on.
    FromMaxWindowLayers,
    /// Even ones below `max_window_layers`.
    EvenBelowMaxWindowLayers,
    /// Those without rotary embedding.
    WithoutRope,
}

/// Where the experts of a layer are found, `{}` being an expert's number.
#[derive(Debug, PartialEq)]
pub struct Experts {
    /// One module for each matrix of each expert: gate, up, down, by all the names that they have had.
    pub modules: &'static [[&'static str; 3]],
    /// All experts in one tensor: gate with up, and down, by all the names that they have had.
    pub stacked: &'static [[&'static str; 2]],
    /// Stacked experts are (experts, inputs, outputs), and rows of gate and up alternate.
    pub transposed: bool,
    /// Whether the weights of the chosen experts are made to sum to 1; `None` where `norm_topk_prob` says it.
    pub normalises: Option<bool>,
}

/// The family of a `model_type`, unless none is supported.
pub fn by_model_type(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.model_types.contains(&model_type))
}

/// The family of a `general.architecture`, unless none is supported. Mixtral has the one of Llama, and experts.
pub fn by_gguf_architecture(architecture: &str, experts: bool) -> Option<&'static Family> {
    let is_meant = |family: &&Family| family.gguf_architectures.contains(&architecture);
    FAMILIES.iter().filter(is_meant).find(|family| family.experts.is_some() == experts)
}

/// The supported model types, for messages.
pub fn supported() -> String {
    let types: Vec<&str> = FAMILIES.iter().flat_map(|family| family.model_types).copied().collect();
    types.join(", ")
}

impl Family {
    pub fn default(&self, key: &str) -> Option<f64> {
        self.defaults.iter().find(|(name, _)| *name == key).map(|&(_, value)| value)
    }

    pub fn gguf_constant(&self, key: &str) -> Option<f64> {
        self.gguf_constants.iter().find(|(name, _)| *name == key).map(|&(_, value)| value)
    }

    /// The roles that the family has, each once.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        let mut roles: Vec<Role> = self.names().map(|&(role, _, _)| role).collect();
        roles.sort_unstable();
        roles.dedup();
        roles.into_iter()
    }

    /// The names of a role's module inside a layer of a Hugging Face model, which are also its names in adapters.
    pub fn modules(&self, role: Role) -> impl Iterator<Item = &'static str> {
        self.names().filter(move |(named, _, _)| *named == role).map(|&(_, module, _)| module)
    }

    /// The role of a module by its name inside a layer.
    pub fn role_of(&self, module: &str) -> Option<Role> {
        self.names().find(|(_, name, _)| *name == module).map(|&(role, _, _)| role)
    }

    /// Whether a module, by its name inside a layer, is one of attention; experts and all the rest are in the MLP.
    pub fn is_of_attention(&self, module: &str) -> bool {
        self.role_of(module).is_some_and(Role::is_of_attention)
    }

    /// The name of a role's module inside `blk.N` of a GGUF file.
    pub fn gguf_module(&self, role: Role) -> &'static str {
        self.names().find(|(named, _, _)| *named == role).map_or("", |&(_, _, module)| module)
    }

    fn names(&self) -> impl Iterator<Item = &'static (Role, &'static str, &'static str)> {
        self.layer_names.iter().copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_attention_and_mlp() {
        for family in &FAMILIES {
            let has = |role| family.roles().any(|named| named == role);
            assert!(
                has(Role::QueryKeyValue) || [Role::Query, Role::Key, Role::Value].into_iter().all(has),
                "{family:?}"
            );
            assert!(has(Role::AttentionOut) && has(Role::AttentionNorm) || has(Role::AttentionPostNorm), "{family:?}");
            assert!(has(Role::Down) || family.experts.is_some() && has(Role::Router), "{family:?}");
        }
    }

    #[test]
    fn no_name_stands_for_two_roles() {
        for family in &FAMILIES {
            for (role, name, _) in family.names() {
                assert_eq!(family.role_of(name), Some(*role), "{family:?}");
            }
        }
    }

    #[test]
    fn no_model_type_has_two_families() {
        let types: Vec<&str> = FAMILIES.iter().flat_map(|family| family.model_types).copied().collect();
        let unique: std::collections::BTreeSet<&str> = types.iter().copied().collect();
        assert_eq!(unique.len(), types.len());
    }
}
