//! What is true of an adapter that a runtime may stumble over, each with the module, tensor or key that shows it.

mod config;
mod modules;
mod tensors;

use std::fmt;

use crate::adapter::Adapter;
use crate::audit::flaws::Flaw;

/// Something that may be true of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Any adapter at all.
    Always,
    /// A method other than LoRA.
    OtherMethod,
    /// One of these methods, by `peft_type`.
    Method(&'static [&'static str]),
    /// One of these keys of the configuration is on.
    Key(&'static [&'static str]),
    /// Trained biases (`bias` other than `none`).
    Bias,
    /// Trained biases of all modules (`bias: all`) where query, key and value are three.
    BiasOfAll,
    /// An initialisation that changes the base weights when PEFT loads the adapter.
    ChangesBase,
    /// LoRA-GA, which changes the base weights when training begins.
    LoraGa,
    /// `target_modules` is a regular expression.
    Pattern,
    /// `lora_alpha` is written with a fraction, even if that is `.0`.
    FractionalAlpha,
    /// The scaling is alpha over the root of the rank, and that is not the same.
    RankStabilised,
    /// `alpha_pattern` gives modules another alpha than `lora_alpha`.
    AlphasDiffer,
    /// Modules have ranks other than `r`.
    RanksDiffer,
    /// The same type of module has another rank in another layer.
    RanksDifferInType,
    /// A rank above this one.
    RankAbove(usize),
    /// A rank that is neither this nor a multiple of that, with several types of modules.
    RankOtherThan(usize, usize),
    /// All modules have one scaling and it is not 1.
    ScalingNotOne,
    /// Modules have different scalings.
    ScalingsDiffer,
    /// `trainable_token_indices`.
    Tokens,
    /// LoRA on the embedding.
    EmbeddingLora,
    /// LoRA on the head.
    HeadLora,
    /// A whole embedding or head.
    SavedVocabulary,
    /// Whole norms.
    SavedNorms,
    /// Other whole modules.
    SavedOther,
    /// LoRA on parameters that hold all experts.
    Parameters,
    /// Modules that are named by `target_parameters`.
    NamedAsParameters,
    /// LoRA on parameters whose name does not end so.
    ParametersOtherThan(&'static [&'static str]),
    /// LoRA on single experts.
    Experts,
    /// LoRA on convolutions.
    Convolution,
    /// LoRA on a vision tower or an encoder beside the decoder.
    Towers,
    /// A type of module that some decoder layers have and others have not.
    TypeMissing,
    /// One of these types of modules is in no layer.
    LacksType(&'static [&'static str]),
    /// Modules of one of these types.
    HasType(&'static [&'static str]),
    /// Modules in the layers other than these.
    TypeOtherThan(&'static [&'static str]),
    /// Query and key projections of a model with rotary embeddings that llama.cpp permutes.
    PermutedQueries,
    /// A layer with a part of what is one matrix in the runtime: query, key and value, or gate and up.
    PartOfFused,
    /// Keys have fewer outputs than queries (grouped-query attention).
    GroupedKeys,
    /// The names begin with the layers, as those of a model without a head do.
    Bare,
    /// The layers have another name than this.
    StackOtherThan(&'static str),
    /// Tensor names carry the adapter's name: `lora_A.default.weight`.
    Infix,
    /// The weights are in `adapter_model.bin`.
    Pickle,
    /// The weights are in shards.
    Shards,
    /// The weights are in `model.safetensors`.
    OtherName,
    /// The configuration selects modules that have no tensors.
    NamedWithoutTensors,
    /// The same, with `init_lora_weights: false`.
    RandomWithoutTensors,
    /// Tensors of modules that the configuration does not select.
    NotNamed,
    /// The base model is of another family (`model_type`) than these.
    FamilyOtherThan(&'static [&'static str]),
    /// The family of the base model is not known here.
    FamilyUnknown,
}

/// An adapter, and what is known beside it.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub adapter: &'a Adapter,
    /// The decoder layers of the base model, if known.
    pub layers: Option<usize>,
    /// `model_type` of the base model, if known.
    pub family: Option<&'a str>,
    pub planned: Planned,
    /// Where configuration and tensors disagree.
    selection: Vec<Flaw>,
}

/// What is yet to be done with the adapter, as far as that makes facts true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planned {
    /// Layers will be dropped; which is not known.
    pub drops_layers: bool,
    /// Ranks will be reduced, each module's by itself.
    pub varies_ranks: bool,
    /// Ranks above this one will be reduced to it.
    pub most_rank: Option<usize>,
}

impl<'a> Subject<'a> {
    /// `layers` is the number of decoder layers of the base model and `family` its `model_type`, where they are known.
    pub fn new(adapter: &'a Adapter, layers: Option<usize>, family: Option<&'a str>) -> Self {
        let selection = adapter.selection_flaws(layers);
        Self { adapter, layers, family, planned: Planned::default(), selection }
    }

    /// The same adapter with what is yet to be done with it.
    pub fn planned(self, planned: Planned) -> Self {
        Self { planned, ..self }
    }

    /// The evidence for a fact, as the beginning of a sentence; `None` where it is not true.
    pub fn evidence(&self, fact: Fact) -> Option<String> {
        match fact {
            Fact::Always => Some(String::new()),
            Fact::OtherMethod => config::other_method(self.adapter),
            Fact::Method(types) => config::method(self.adapter, types),
            Fact::Key(keys) => config::key(self.adapter, keys),
            Fact::Bias => config::bias(self.adapter),
            Fact::BiasOfAll => modules::bias_of_all(self.adapter),
            Fact::ChangesBase => config::changes_base(self.adapter),
            Fact::LoraGa => config::lora_ga(self.adapter),
            Fact::Pattern => config::pattern(self.adapter),
            Fact::FractionalAlpha => config::fractional_alpha(self.adapter),
            Fact::RankStabilised => config::rank_stabilised(self.adapter),
            Fact::NamedWithoutTensors => config::named_without_tensors(self),
            Fact::RandomWithoutTensors => config::random_without_tensors(self),
            Fact::NotNamed => config::not_named(self),
            Fact::FamilyOtherThan(families) => config::family_other_than(self, families),
            Fact::FamilyUnknown => config::family_unknown(self),
            Fact::AlphasDiffer => modules::alphas_differ(self.adapter),
            Fact::RanksDiffer => modules::ranks_differ(self),
            Fact::RanksDifferInType => modules::ranks_differ_in_type(self),
            Fact::RankAbove(most) => modules::rank_above(self, most),
            Fact::RankOtherThan(rank, multiple) => modules::rank_other_than(self, rank, multiple),
            Fact::ScalingNotOne => modules::scaling_not_one(self.adapter),
            Fact::ScalingsDiffer => modules::scalings_differ(self.adapter),
            Fact::Parameters => modules::parameters(self.adapter),
            Fact::NamedAsParameters => modules::named_as_parameters(self),
            Fact::ParametersOtherThan(endings) => modules::parameters_other_than(self.adapter, endings),
            Fact::Experts => modules::experts(self.adapter),
            Fact::Towers => modules::towers(self.adapter),
            Fact::TypeMissing => modules::type_missing(self),
            Fact::LacksType(types) => modules::lacks_type(self.adapter, types),
            Fact::HasType(types) => modules::has_type(self.adapter, types),
            Fact::TypeOtherThan(types) => modules::type_other_than(self.adapter, types),
            Fact::PermutedQueries => modules::permuted_queries(self),
            Fact::PartOfFused => modules::part_of_fused(self.adapter),
            Fact::GroupedKeys => modules::grouped_keys(self.adapter),
            Fact::Bare => modules::bare(self.adapter),
            Fact::StackOtherThan(stack) => modules::stack_other_than(self.adapter, stack),
            Fact::Tokens => tensors::tokens(self.adapter),
            Fact::EmbeddingLora => tensors::embedding_lora(self.adapter),
            Fact::HeadLora => tensors::head_lora(self.adapter),
            Fact::SavedVocabulary => tensors::saved_vocabulary(self.adapter),
            Fact::SavedNorms => tensors::saved_norms(self.adapter),
            Fact::SavedOther => tensors::saved_other(self.adapter),
            Fact::Convolution => tensors::convolution(self.adapter),
            Fact::Infix => tensors::infix(self.adapter),
            Fact::Pickle => tensors::pickle(self.adapter),
            Fact::Shards => tensors::shards(self.adapter),
            Fact::OtherName => tensors::other_name(self.adapter),
        }
    }
}

/// The highest rank of a pair of matrices.
pub use modules::highest_rank;

/// A module or tensor that shows a fact, and how many do.
fn first_of(mut names: impl Iterator<Item = String>) -> Option<String> {
    let first = names.next()?;
    Some(match names.count() {
        0 => format!("`{first}`"),
        more => format!("`{first}` and {more} more"),
    })
}

/// A fact of any adapter, in words.
impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let words = match self {
            Fact::Always => "always",
            Fact::OtherMethod => "the method is not LoRA",
            Fact::Method(types) => return write!(f, "the method is {}", keys(types)),
            Fact::Key(names) => return write!(f, "{} in the configuration", keys(names)),
            Fact::Bias => "`bias` is `all` or `lora_only`",
            Fact::BiasOfAll => "`bias` is `all`, with `q_proj`",
            Fact::ChangesBase => "initialised by PiSSA, OLoRA, CorDA or LoftQ and not converted",
            Fact::LoraGa => "initialised by LoRA-GA",
            Fact::Pattern => "`target_modules` is a regular expression",
            Fact::FractionalAlpha => "`lora_alpha` is no whole number",
            Fact::RankStabilised => "`use_rslora`",
            Fact::AlphasDiffer => "`alpha_pattern` in effect",
            Fact::RanksDiffer => "ranks other than `r`",
            Fact::RanksDifferInType => "ranks that differ between layers",
            Fact::RankAbove(most) => return write!(f, "a rank above {most}"),
            Fact::RankOtherThan(rank, multiple) => {
                return write!(f, "a rank that is not {rank} or a multiple of {multiple}");
            }
            Fact::ScalingNotOne => "a scaling other than 1",
            Fact::ScalingsDiffer => "scalings that differ",
            Fact::Tokens => "trained tokens",
            Fact::EmbeddingLora => "LoRA on the embedding",
            Fact::HeadLora => "LoRA on the head",
            Fact::SavedVocabulary => "a whole embedding or head",
            Fact::SavedNorms => "whole norms",
            Fact::SavedOther => "other whole modules",
            Fact::Parameters => "LoRA on parameters that hold all experts",
            Fact::NamedAsParameters => "modules named by `target_parameters`",
            Fact::ParametersOtherThan(endings) => return write!(f, "LoRA on parameters other than {}", keys(endings)),
            Fact::Experts => "LoRA on single experts",
            Fact::Convolution => "LoRA on convolutions",
            Fact::Towers => "LoRA beside the decoder",
            Fact::TypeMissing => "layers without a module that others have",
            Fact::LacksType(types) => return write!(f, "none of one of {}", keys(types)),
            Fact::HasType(types) => return write!(f, "modules of {}", keys(types)),
            Fact::TypeOtherThan(types) => return write!(f, "modules other than {}", keys(types)),
            Fact::PermutedQueries => "`q_proj` or `k_proj`, on a base that is Llama or not known",
            Fact::PartOfFused => "a layer with a part of query, key and value, or `up_proj` without `gate_proj`",
            Fact::GroupedKeys => "`k_proj` with fewer outputs than `q_proj`",
            Fact::Bare => "names that begin with `layers.`",
            Fact::StackOtherThan(stack) => return write!(f, "layers with another name than `{stack}`"),
            Fact::Infix => "names such as `lora_A.default.weight`",
            Fact::Pickle => "`adapter_model.bin`",
            Fact::Shards => "weights in shards",
            Fact::OtherName => "weights in `model.safetensors`",
            Fact::NamedWithoutTensors => "configured modules without tensors",
            Fact::RandomWithoutTensors => "the same with `init_lora_weights: false`",
            Fact::NotNamed => "tensors of modules that are not configured",
            Fact::FamilyOtherThan(families) => return write!(f, "a base other than {}", keys(families)),
            Fact::FamilyUnknown => "a base that is not known",
        };
        f.write_str(words)
    }
}
