//! What is true of an adapter and can trouble a runtime, each with the module, tensor or key that shows it.

mod config;
mod modules;
mod tensors;

use std::fmt;

use super::base_facts::BaseFacts;
use crate::adapter::{Adapter, Method};
use crate::audit::flaws::Flaw;
use crate::format::first_names;
use crate::rewrite::steps::PlannedChanges;
pub use modules::highest_rank;

/// An adapter, and what is known beside it.
#[derive(Debug, Clone)]
pub struct AdapterFacts<'a> {
    pub adapter: &'a Adapter,
    pub base: BaseFacts,
    /// What will still be done with the adapter.
    pub planned: PlannedChanges,
    /// What is wrong with the adapter.
    flaws: Vec<Flaw>,
}

impl<'a> AdapterFacts<'a> {
    /// The facts of an adapter with the flaws that were found in it.
    pub fn new(adapter: &'a Adapter, base: &BaseFacts, planned: PlannedChanges, flaws: Vec<Flaw>) -> Self {
        Self { adapter, base: base.clone(), planned, flaws }
    }

    pub fn flaws(&self) -> &[Flaw] {
        &self.flaws
    }

    pub fn into_flaws(self) -> Vec<Flaw> {
        self.flaws
    }
}

/// Defines [`AdapterFact`] from a table: the fact in words, which are its documentation too, its name and arguments, and what finds
/// the evidence for it.
macro_rules! facts {
    ($facts:ident: $($words:literal, $name:ident $(($($argument:ident: $type:ty),+))? => $evidence:expr;)+) => {
        /// Something that may be true of an adapter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum AdapterFact {
            $(#[doc = $words] $name $(($($type),+))?,)+
        }

        impl AdapterFacts<'_> {
            /// The evidence for a fact, as the beginning of a sentence; `None` where it is not true.
            pub fn evidence(&self, fact: AdapterFact) -> Option<String> {
                let $facts = self;
                match fact {
                    $(AdapterFact::$name $(($($argument),+))? => $evidence,)+
                }
            }
        }

        /// The fact in words, for an adapter that is not named.
        impl fmt::Display for AdapterFact {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(AdapterFact::$name $(($($argument),+))? => {
                        $($(let $argument = $argument.in_words();)+)?
                        write!(f, $words)
                    })+
                }
            }
        }
    };
}

/// NameList of modules, keys or families.
type NameList = &'static [&'static str];

/// What the names of modules may begin with, and the model types for whose modules they are taken.
type MappedNames = &'static [(&'static str, NameList)];

facts! { facts:
    "always", Always => Some(String::new());

    // What the configuration says.
    "the method is not LoRA", OtherMethod => config::other_method(facts.adapter);
    "the method is {methods}", Method(methods: &'static [Method]) => config::method(facts.adapter, methods);
    "{keys} in the configuration", Key(keys: NameList) => config::key(facts, keys);
    "`bias` is `all` or `lora_only`", Bias => config::bias(facts.adapter).filter(|_| !facts.planned.drops_dead_weight);
    "`bias` is `all`, with `q_proj`", BiasOfAll => modules::bias_of_all(facts.adapter);
    "initialised by PiSSA, OLoRA, CorDA or LoftQ and not converted", ChangesBase => config::changes_base(facts.adapter);
    "initialised by LoRA-GA", LoraGa => config::lora_ga(facts.adapter);
    "`target_modules` is a regular expression", Pattern => config::pattern(facts.adapter);
    "`target_modules` is null", NullTargets => config::null_targets(facts.adapter);
    "an `added_tokens.json` with tokens that the base model does not have", AddedTokens => config::added_tokens(facts);
    "`lora_alpha` is no whole number", FractionalAlpha => config::fractional_alpha(facts.adapter);
    "`use_rslora`", RankStabilised => config::rank_stabilised(facts.adapter);
    "configured modules without tensors, with `init_lora_weights: false`", RandomWithoutTensors => config::random_without_tensors(facts);
    "a base other than {families}", FamilyOtherThan(families: NameList) => config::family_other_than(facts, families);
    "a base of the family {families}", FamilyOf(families: NameList) => config::family_of(facts, families);
    "a base that is not known", FamilyUnknown => config::family_unknown(facts);

    // What the modules have: ranks, scalings, types, layers.
    "`alpha_pattern` in effect", AlphasDiffer => modules::alphas_differ(facts.adapter);
    "ranks other than `r`", RanksDiffer => modules::ranks_differ(facts);
    "ranks that differ between layers", RanksDifferInType => modules::ranks_differ_in_type(facts);
    "a rank above {most}", RankAbove(most: usize) => modules::rank_above(facts, most);
    "a rank that is not {rank} or a multiple of {multiple}", RankOtherThan(rank: usize, multiple: usize) =>
        modules::rank_other_than(facts, rank, multiple);
    "a scaling other than 1", ScalingNotOne => modules::scaling_not_one(facts.adapter);
    "scalings that differ", ScalingsDiffer => modules::scalings_differ(facts.adapter);
    "LoRA on parameters that hold all experts", Parameters => modules::parameters(facts.adapter);
    "modules named by `target_parameters`", NamedAsParameters => modules::named_as_parameters(facts);
    "LoRA on parameters other than {endings}", ParametersOtherThan(endings: NameList) =>
        modules::parameters_other_than(facts.adapter, endings);
    "LoRA on single experts", Experts => modules::experts(facts.adapter);
    "LoRA beside the decoder", Towers => modules::towers(facts.adapter);
    "layers without a module that others have", TypeMissing => modules::type_missing(facts);
    "none of one of {types}", LacksType(types: NameList) => modules::lacks_type(facts.adapter, types);
    "modules of {types}", HasType(types: NameList) => modules::has_type(facts.adapter, types);
    "modules other than {types}", TypeOtherThan(types: NameList) => modules::type_other_than(facts.adapter, types);
    "`q_proj` or `k_proj`, on a base that is Llama or not known", PermutedQueries => modules::permuted_queries(facts);
    "a layer with a part of query, key and value, or `up_proj` without `gate_proj`", PartOfFused =>
        modules::part_of_fused(facts.adapter);
    "`k_proj` with fewer outputs than `q_proj`", GroupedKeys => modules::grouped_keys(facts.adapter);
    "names that begin with `layers.`", Bare => modules::bare(facts.adapter);
    "layers with another name than `{stack}`", StackOtherThan(stack: &'static str) =>
        modules::stack_other_than(facts.adapter, stack);

    "layers under another name than in the base model, but for {mapped}", Unmapped(mapped: MappedNames) =>
        modules::unmapped(facts, mapped);

    // What names and shapes of tensors, and their files, show.
    "trained tokens", Tokens => tensors::tokens(facts.adapter);
    "LoRA on the embedding", EmbeddingLora => tensors::embedding_lora(facts.adapter);
    "LoRA on the head", HeadLora => tensors::head_lora(facts.adapter);
    "LoRA on the embedding of {families}", EmbeddingLoraOf(families: NameList) =>
        tensors::embedding_lora(facts.adapter).filter(|_| config::is_decoder_of(facts, families));
    "LoRA on the head of {families}", HeadLoraOf(families: NameList) =>
        tensors::head_lora(facts.adapter).filter(|_| config::is_decoder_of(facts, families));
    "a whole embedding or head", SavedVocabulary => tensors::saved_vocabulary(facts.adapter).filter(|_| !facts.planned.drops_dead_weight);
    "whole norms", SavedNorms => tensors::saved_norms(facts.adapter).filter(|_| !facts.planned.drops_dead_weight);
    "other whole modules", SavedOther => tensors::saved_other(facts.adapter).filter(|_| !facts.planned.drops_dead_weight);
    "LoRA on convolutions", Convolution => tensors::convolution(facts.adapter);
    "names such as `lora_A.default.weight`", Infix => tensors::infix(facts.adapter);
    "weights of the base model beside the adapter, without `base_model.model.`", StrayWeights =>
        tensors::stray_weights(facts.adapter);
    "tensors that no module of the adapter has, but for names with {words}", UnknownBut(words: NameList) =>
        tensors::unknown_but(facts.adapter, words);
    "tensors in the layers that no module of the adapter has", UnknownInLayers => tensors::unknown_in_layers(facts.adapter);
    "copies of the base model's weights, other than of the embedding and the head", BaseCopies =>
        tensors::base_copies(facts.adapter).filter(|_| !facts.planned.drops_dead_weight);
    "`adapter_model.bin`", Pickle => tensors::pickle(facts.adapter);
    "weights in shards", Shards => tensors::shards(facts.adapter);
    "weights in `model.safetensors`", OtherName => tensors::other_name(facts.adapter);
}

/// An argument of a fact, for people.
trait InWords {
    fn in_words(&self) -> String;
}

impl InWords for usize {
    fn in_words(&self) -> String {
        self.to_string()
    }
}

impl InWords for &str {
    fn in_words(&self) -> String {
        self.to_string()
    }
}

impl InWords for NameList {
    fn in_words(&self) -> String {
        self.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }
}

impl InWords for MappedNames {
    fn in_words(&self) -> String {
        let on = |(names, families): &(&str, NameList)| format!("`{names}` on {}", families.in_words());
        self.iter().map(on).collect::<Vec<_>>().join(" and ")
    }
}

impl InWords for &[Method] {
    fn in_words(&self) -> String {
        self.iter().map(|method| format!("`{}`", method.peft_type())).collect::<Vec<_>>().join(", ")
    }
}

/// A module or tensor that shows a fact, and how many more do.
fn shown(names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| first_names(&names, 1))
}
