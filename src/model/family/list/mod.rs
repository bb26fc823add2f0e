//! Every supported family, by kinship. An entry says what differs from the one it builds on.

mod classic;
mod cohere;
mod dense;
mod gemma;
mod gemma3n;
mod gpt;
mod hybrids;
mod latent;
mod lfm2;
mod llama;
mod mamba;
mod mixtures;
mod qwen;
mod routed;
mod sparse;
mod variants;

use super::bias::*;
use super::names::{ATTENTION, GATED_MLP, OUTER, PRE_NORMS};
use super::*;
use crate::model::activation::Activation;
use crate::model::routing::{GroupScore, Scores};

pub static FAMILIES: [&[Family]; 16] = [
    &llama::FAMILIES,
    &qwen::FAMILIES,
    &gemma::FAMILIES,
    &gemma3n::FAMILIES,
    &cohere::FAMILIES,
    &gpt::FAMILIES,
    &mixtures::FAMILIES,
    &variants::FAMILIES,
    &classic::FAMILIES,
    &lfm2::FAMILIES,
    &mamba::FAMILIES,
    &routed::FAMILIES,
    &latent::FAMILIES,
    &dense::FAMILIES,
    &sparse::FAMILIES,
    &hybrids::FAMILIES,
];

/// The family that all others build on: a Llama without its peculiarities.
const PLAIN: Family = Family {
    model_types: &[],
    variant: None,
    gguf_architectures: &[],
    outer: &OUTER,
    layer_names: &[ATTENTION, GATED_MLP, PRE_NORMS],
    optional: &[],
    experts: None,
    biases: &[],
    outer_biases: &[],
    gating: Gating::By(Activation::Silu),
    gelu: GeluMeaning::ErrorFunction,
    norms: Norms::Rms,
    norm_eps: 1e-6,
    delta_norm_eps: None,
    head_norms: HeadNorms::EachHead,
    normed_values: false,
    attention_scale: AttentionScale::InverseRoot,
    gated_attention: false,
    embedding_scale: EmbeddingScale::One,
    residual: Residual::Sequential,
    mixers_are_side_by_side: false,
    layers_are_single_blocks: false,
    mlp_is_beside_experts: false,
    positions: Positions::Rotary,
    first_position: 0,
    sliding: Sliding::Never,
    last_layer_is_full: false,
    rotary_layers: RotaryLayers::All,
    fused_order: FusedOrder::QueriesFirst,
    linear_layout: LinearLayout::OutputsByInputs,
    intermediate_per_hidden: None,
    reads: &[USUAL],
    spellings: &[],
    numbers: &[],
    flags: &[],
    nested: None,
    refused: &[],
    rope_scaling: &RopeScaling::None,
    base_without_parameters: None,
    null_base_is_none: false,
    base_in_windows: None,
    rope_by_type: false,
    query_growth: None,
    has_rope_alpha: false,
    refused_keys: &[],
    harmless: &[],
    gguf: PLAIN_GGUF,
};

const PLAIN_GGUF: GgufConventions = GgufConventions {
    mark: None,
    outer: &OuterNames::GGUF,
    names: &[],
    splits: &[],
    permuted_rows: false,
    values_take_turns: false,
    logit_scale: LogitScale::Multiplies,
    rope_base: None,
    rope_base_in_windows: None,
    yarn_is_exact: false,
    rope_is_off: false,
    layers_with_attention_by_hidden: None,
};
/// The norm before the MLP is called as if it were the one behind attention.
const MLP_NORM_IS_POST_ATTENTION: GgufConventions =
    GgufConventions { names: &[(Role::MlpNorm, "post_attention_norm")], ..PLAIN_GGUF };
const PERMUTED_GGUF: GgufConventions = GgufConventions { permuted_rows: true, ..PLAIN_GGUF };

/// The second name is that of transformers 5.
const SLIDING_WINDOW_PATTERN: KeySpelling =
    ("sliding_window_pattern", &["sliding_window_pattern", "_sliding_window_pattern"]);
/// What most families call the activation.
pub(super) const ACTIVATION: KeySpelling = ("activation", &["hidden_act"]);
/// The keys of `config.json` that most families read beside those that all do.
const USUAL: &str = "intermediate_size num_key_value_heads head_dim";
const TIED: &[(&str, bool)] = &[("tie_word_embeddings", true)];
const WITHOUT_WINDOWS: &[(&str, bool)] = &[("use_sliding_window", false)];
/// Of families whose published configurations have this key.
const WITHOUT_WINDOW_LAYERS: &[Harmless] = &[("max_window_layers", "it counts in other families only")];
