//! Decoder families as data: what they are called, what their tensors are called, and which form of each block they use.
//!
//! There is one decoder (`layer.rs`), which does what the data says. A new family that needs no new arithmetic is one entry
//! in `list/`. A weight that a family leaves out of its files (a bias, a head that is tied) is simply absent there; one that
//! the family does not have is not read.

mod bias;
mod experts;
mod gguf;
mod list;
mod names;
mod norms;
mod role;
#[cfg(test)]
mod table;
mod wrapper;

use serde_json::{Map, Value};

use super::activation::Gating;
use super::rope::{QueryGrowth, RopeScaling};
use crate::account::Harmless;
pub use bias::Biased;
use bias::Biases;
pub use experts::{ExpertNames, ExpertWeights, Grouping, StackLayout};
pub use gguf::{GgufConventions, LogitScale, Split};
use list::{ACTIVATION, FAMILIES};
pub use names::{ALTUP_MAPS, FILTER_PARTS, OUTER, OUTER_NORMS, OuterNames, Outside};
pub use norms::{HeadNorms, Norms};
pub use role::{MixerKind, Role};
pub use wrapper::{FormerName, LogitStep, PromptAttention, Wrapper};

/// The names of a layer's modules: role, name inside the layer of a Hugging Face model, name inside `blk.N` of GGUF.
type RoleNames = &'static [(Role, &'static str, &'static str)];

/// A key, and its names in `config.json`.
type KeySpelling = (&'static str, &'static [&'static str]);

/// A family of decoders.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_types: &'static [&'static str],
    /// What the family is where the configuration has a value for a key.
    variant: Option<(&'static str, &'static Family)>,
    /// `general.architecture` in GGUF.
    pub gguf_architectures: &'static [&'static str],
    pub outer: &'static OuterNames,
    /// The names of all roles that the family has; a role that is listed twice has had two names.
    layer_names: &'static [RoleNames],
    /// Roles that only some models of the family have; their files tell.
    pub optional: &'static [Role],
    pub experts: Option<&'static ExpertNames>,
    /// The roles that have biases. GGUF files have those that count.
    pub biases: Biases,
    /// The modules outside the layers that have biases.
    pub outer_biases: &'static [Outside],
    /// The activation of the MLP where the configuration does not name one.
    pub gating: Gating,
    /// What the activation `gelu` means in the family's configurations.
    pub gelu: GeluMeaning,
    pub norms: Norms,
    /// The number that norms add before the root, where the configuration does not give it.
    pub norm_eps: f64,
    /// The same for the norms of gated delta nets, where the configuration does not count.
    pub delta_norm_eps: Option<f64>,
    pub head_norms: HeadNorms,
    /// Whether values are normalised head by head, without weights.
    pub normed_values: bool,
    pub attention_scale: AttentionScale,
    /// Whether the query's module also gives a gate for what attention reads, head by head behind the query.
    pub gated_attention: bool,
    pub embedding_scale: EmbeddingScale,
    pub residual: Residual,
    /// Whether a layer has attention and the other mixer, and adds what both give.
    pub mixers_are_side_by_side: bool,
    /// Whether each layer is one block: a mixer, an MLP or a mixture of experts, with one norm before it.
    pub layers_are_single_blocks: bool,
    /// Whether layers with experts have the MLP, too.
    pub mlp_is_beside_experts: bool,
    pub positions: Positions,
    /// The row of the first position among learned ones.
    pub first_position: usize,
    pub sliding: Sliding,
    /// Whether the last layer sees all tokens, whatever the configuration says.
    pub last_layer_is_full: bool,
    /// The layers with rotary embedding.
    pub rotary_layers: RotaryLayers,
    pub fused_order: FusedOrder,
    pub linear_layout: LinearLayout,
    /// The size of the MLP where the configuration does not give it, as a multiple of the hidden size.
    pub intermediate_per_hidden: Option<usize>,
    /// The keys of `config.json` that the family reads beside those that all families have. Other families' keys are
    /// ignored, as in transformers. Keys are separated by spaces.
    reads: &'static [&'static str],
    /// The names that keys have in the family's configurations, where these are not the usual ones.
    spellings: &'static [KeySpelling],
    /// The numbers and flags that transformers takes for absent keys; the family reads these keys too.
    numbers: &'static [(&'static str, f64)],
    flags: &'static [(&'static str, bool)],
    /// The object inside the configuration whose keys count as its own.
    pub nested: Option<&'static str>,
    /// Values that are not supported together, in JSON.
    pub refused: &'static [&'static [(&'static str, &'static str)]],
    /// The scaling of the rotary embedding that transformers takes where the configuration has no parameters of it.
    pub rope_scaling: &'static RopeScaling,
    /// The base of the rotary embedding where the configuration has no parameters of it, whatever else it says.
    pub base_without_parameters: Option<f64>,
    /// Whether there is no rotary embedding where its base is `null`.
    pub null_base_is_none: bool,
    /// The base of the rotary embedding in windows where `rope_parameters` do not tell it, if that is not the other layers'. Then
    /// parameters count by the type of layer alone, and `rope_scaling` is that of the full layers.
    pub base_in_windows: Option<f64>,
    /// Whether there are parameters of the rotary embedding for each type of layer only.
    pub rope_by_type: bool,
    /// How queries grow where the configuration has no parameters of the rotary embedding. Only families that have one read the
    /// parameter.
    pub query_growth: Option<QueryGrowth>,
    /// Whether `alpha` of a `dynamic` rotary embedding stretches its base, whatever the length.
    pub has_rope_alpha: bool,
    /// Switches that some configurations of the family may have on, and what they mean, which is not supported.
    pub refused_keys: &'static [(&'static str, &'static str)],
    /// Keys of the family's configuration that change nothing in an evaluation.
    pub harmless: &'static [Harmless],
    pub gguf: GgufConventions,
}

/// What products of queries and keys are multiplied by, if the configuration does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionScale {
    /// 1/√head_dim
    InverseRoot,
    One,
}

/// What embeddings are multiplied by, if the configuration does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingScale {
    One,
    /// √hidden
    RootOfHidden,
}

/// What the blocks of a layer start from; `use_parallel_residual` overrides it where the family reads that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// The MLP starts from the output of attention.
    Sequential,
    /// Attention and MLP both start from the layer's input.
    Parallel,
}

/// What a configuration means by the activation `gelu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeluMeaning {
    ErrorFunction,
    /// The approximation by tanh: the first Gemma files say `gelu` and were trained with that.
    Tanh,
}

/// How attention knows positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Rotary embedding that rotates value i with value i + half.
    Rotary,
    /// Rotary embedding that rotates neighbouring values.
    RotaryNeighbours,
    /// As [`Positions::Rotary`], in the other direction.
    RotaryBackwards,
    /// ALiBi: a bias on scores that grows with the distance.
    Alibi,
    /// Not at all, as in some hybrids, whose other mixer knows the order of tokens.
    None,
    /// Learned, added to the embeddings.
    Learned,
    /// Sines and cosines, added to the embeddings.
    Sines,
}

impl Positions {
    pub fn are_rotary(self) -> bool {
        matches!(self, Positions::Rotary | Positions::RotaryNeighbours | Positions::RotaryBackwards)
    }
}

/// Which layers have rotary embedding, if the family has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryLayers {
    All,
    /// Those with a sliding window.
    InWindows,
    /// As [`RotaryLayers::InWindows`], and those without experts if all layers of that kind before the first experts are full.
    InWindowsOrDense,
    /// As [`RotaryLayers::InWindows`], or all where the model has no window.
    InWindowsIfAny,
    /// All but every so many; `no_rope_layer_interval` overrides the number.
    AllButEvery(usize),
}

/// Which layers have a sliding window, where the configuration has one and does not say by `layer_types`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sliding {
    /// The family knows no windows, whatever the configuration says.
    Never,
    Always,
    /// All but every so many; `sliding_window_pattern` overrides the number.
    AllButEvery(usize),
    /// All but the first of every so many.
    AllButFirstOf(usize),
    /// From `max_window_layers` on.
    FromMaxWindowLayers,
    /// Even ones below `max_window_layers`.
    EvenBelowMaxWindowLayers,
    /// Those without rotary embedding.
    WithoutRotary,
    /// All but every so many of those behind the first layers without experts, of which it is all but every
    /// `prefix_dense_sliding_window_pattern`.
    AllButEveryBehindDense(usize),
    /// Those that `attention_types` calls local.
    ByAttentionTypes,
}

/// The order of the outputs of [`Role::QueryKeyValue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FusedOrder {
    /// All queries, then all keys, then all values.
    QueriesFirst,
    /// Query, key and value of one head after the other.
    HeadByHead,
    /// As [`FusedOrder::HeadByHead`], where several queries may share a key and a value, which follow them.
    GroupByGroup,
    /// Four parts, each with queries, values and keys of a fourth of the heads.
    FourParts,
}

/// How Hugging Face files store linear weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinearLayout {
    OutputsByInputs,
    InputsByOutputs,
}

/// The family of a `model_type`, unless none is supported.
pub fn by_model_type(model_type: &str) -> Option<&'static Family> {
    families().find(|family| family.model_types.contains(&model_type))
}

/// The family of a `general.architecture`, unless none is supported: Mixtral has the one of Llama, and experts. Where several are left,
/// that counts whose mark the files have.
pub fn by_gguf_architecture(
    architecture: &str,
    has_experts: bool,
    has_tensor: impl Fn(&str) -> bool,
) -> Option<&'static Family> {
    let named: Vec<_> = families().filter(|family| family.gguf_architectures.contains(&architecture)).collect();
    let has_both = named.iter().any(|family| family.experts.is_some() == has_experts);
    let mut fitting = named.into_iter().filter(|family| !has_both || family.experts.is_some() == has_experts);
    let first = fitting.clone().find(|family| family.gguf.mark.is_none());
    fitting.find(|family| family.gguf.mark.is_some_and(&has_tensor)).or(first)
}

fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().copied().flatten()
}

impl Family {
    /// The family with what a configuration makes of it.
    pub fn of_config(&'static self, config: &Map<String, Value>) -> &'static Self {
        let is_set = |key: &str| config.get(key).is_some_and(|value| !value.is_null());
        self.variant.filter(|(key, _)| is_set(key)).map_or(self, |(_, variant)| variant)
    }

    /// Whether transformers reads a key of `config.json` for this family, if not all families have it.
    pub fn reads(&self, key: &str) -> bool {
        let has_default = self.number(key).is_some() || self.flag(key).is_some();
        let is_of_biases = self.biases.iter().any(|(biased, _)| biased.is_by(key));
        has_default
            || is_of_biases
            || self.reads.iter().flat_map(|keys| keys.split_whitespace()).any(|read| read == key)
    }

    /// How the norm of a role normalises.
    pub fn norms_of(&self, role: Role) -> Norms {
        // What a gated delta net reads is normalised by plain weights.
        if role == Role::DeltaNorm { Norms::Rms } else { self.norms }
    }

    /// Whether layers with attention have norms on what a block adds, and the others before it.
    pub fn norms_differ_by_mixer(&self) -> bool {
        self.roles().any(|role| role == Role::MiddleNorm)
    }

    /// The mixer that some layers have in the place of attention, or all of them.
    pub fn other_mixer(&self) -> Option<MixerKind> {
        self.roles().filter_map(Role::mixer).find(|mixer| *mixer != MixerKind::Attention)
    }

    /// The names that a key has in the family's configurations, if these are not its own.
    pub fn spellings(&self, key: &str) -> Option<&'static [&'static str]> {
        let usual = [ACTIVATION];
        let named =
            |spellings: &[KeySpelling]| spellings.iter().find(|(named, _)| *named == key).map(|&(_, names)| names);
        named(self.spellings).or(named(&usual))
    }

    /// The number that transformers takes if `config.json` does not have the key.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.numbers.iter().find(|(name, _)| *name == key).map(|&(_, value)| value)
    }

    /// As [`number`](Self::number), a flag.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.flags.iter().find(|(name, _)| *name == key).map(|&(_, value)| value)
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

    /// The names of a role's module inside `blk.N` of a GGUF file: those of the family's conventions, else the usual one.
    pub fn gguf_modules(&self, role: Role) -> impl Iterator<Item = &'static str> {
        let own = self.gguf.names.iter().filter(move |(named, _)| *named == role).map(|&(_, module)| module);
        let usual = self.names().find(|(named, _, _)| *named == role).map(|&(_, _, module)| module);
        own.chain(usual)
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
        for family in families() {
            let has = |role| family.roles().any(|named| named == role);
            assert!(
                has(Role::QueryKeyValue)
                    || has(Role::LatentDown)
                    || [Role::Query, Role::Key, Role::Value].into_iter().all(has),
                "{family:?}"
            );
            assert!(has(Role::AttentionOut) || has(Role::LatentOut), "{family:?}");
            assert!(has(Role::AttentionNorm) || has(Role::AttentionPostNorm), "{family:?}");
            assert!(has(Role::Down) || family.experts.is_some() && has(Role::Router), "{family:?}");
        }
    }

    #[test]
    fn no_name_stands_for_two_roles() {
        for family in families() {
            for (role, name, _) in family.names() {
                assert_eq!(family.role_of(name), Some(*role), "{family:?}");
            }
        }
    }

    #[test]
    fn no_model_type_has_two_families() {
        let types: Vec<&str> = families().flat_map(|family| family.model_types).copied().collect();
        let unique: std::collections::BTreeSet<&str> = types.iter().copied().collect();
        assert_eq!(unique.len(), types.len());
    }
}
