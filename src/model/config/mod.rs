//! The numbers of a base model, from `config.json` or from GGUF metadata, as one validated value.

mod altup;
mod by_layer;
mod experts;
mod fields;
mod gguf;
mod gguf_keys;
mod gguf_layers;
mod harmless;
mod hf;
mod hf_rope;
mod latent;
mod mamba;
mod mixers;
mod quantised;
mod rotary;
mod scales;

use std::collections::BTreeSet;
use std::path::Path;

pub use altup::AltUpSizes;
pub use by_layer::{ByLayer, HeadSizes, PerLayerSizes};
pub use hf::HfConfig;
pub use latent::LatentSizes;
pub use mamba::MambaConfig;
pub use mixers::MixerSizes;
pub use quantised::check_quantisation;
pub use rotary::Rotary;
pub use scales::{Scales, Softcaps};

use super::activation::Gating;
use super::family::{Family, FusedOrder, HeadNorms, MixerKind, PromptAttention, Residual, Role, StackLayout};
use super::rope::{Rope, RopeScaling};
use super::routing::Routing;
use crate::error::{BaseError, Result};

/// The numbers of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub family: &'static Family,
    pub layers: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads. Layers may have sizes of their own.
    pub kv_heads: usize,
    pub head_dim: usize,
    pub by_layer: ByLayer,
    /// The inputs that each layer has of its own, in models that have them.
    pub per_layer: Option<PerLayerSizes>,
    /// The hidden states of each token, in models in which they are several.
    pub altup: Option<AltUpSizes>,
    pub vocab_size: usize,
    /// The longest sequence that the model was made for.
    pub context: usize,
    pub norm_eps: f64,
    pub rotary: Rotary,
    /// Per layer, how many positions back attention sees (itself included); `None` is all of them.
    pub windows: Vec<Option<usize>>,
    /// Per layer, the length of the parts of a sequence that do not see each other, if it has such.
    pub chunks: Vec<Option<usize>>,
    /// Per layer, what mixes tokens.
    pub mixers: Vec<MixerKind>,
    /// The sizes of the mixer beside attention, if there is one.
    pub other_mixer: Option<MixerSizes>,
    /// Layers that text skips: those that attend to images only.
    pub skipped: BTreeSet<usize>,
    /// `tie_word_embeddings`, if it is given.
    pub tied: Option<bool>,
    /// Whether the head has a bias, in families in which that is not the same for all.
    pub has_head_bias: Option<bool>,
    /// Whether queries and keys are normalised, in families of which only some models do so; `None` if the files tell.
    pub has_head_norms: Option<bool>,
    pub residual: Residual,
    /// Whether there is a norm before the MLP alone, in families of which only some models have it.
    pub has_mlp_norm: bool,
    pub gating: Gating,
    /// The numbers of each layer's activation, where the files do not have them as tensors.
    pub activations: Vec<[f32; 4]>,
    pub experts: Option<ExpertSizes>,
    pub scales: Scales,
    pub softcaps: Softcaps,
    /// Queries, keys and values are cut off there, on both sides of 0.
    pub clip: Option<f64>,
    /// The roles whose modules have biases; `None` if the files tell.
    pub biased: Option<BTreeSet<Role>>,
    pub prompt: PromptAttention,
}

impl ModelConfig {
    /// The number of values of each token's queries over all heads of a layer.
    pub fn query_size(&self, layer: usize) -> usize {
        self.heads * self.by_layer.heads[layer].head_dim
    }

    /// The number of values of each token's keys (or values) over all heads of a layer.
    pub fn kv_size(&self, layer: usize) -> usize {
        self.by_layer.heads[layer].kv_size()
    }

    /// The values of all hidden states of a token.
    pub fn states_size(&self) -> usize {
        self.altup.map_or(1, |altup| altup.states) * self.hidden_size
    }

    /// The values that a row has before a layer behind its hidden states: its embedding if layers have inputs of their own, and the keys
    /// and values that later layers read again.
    pub fn carried_before(&self, layer: usize) -> usize {
        let embeddings = if self.per_layer.is_some() { self.hidden_size } else { 0 };
        let read_again = (0..layer).filter(|&layer| self.by_layer.is_read_again(layer));
        embeddings + read_again.map(|layer| 2 * self.kv_size(layer)).sum::<usize>()
    }

    /// How many layers have a mixer of a kind.
    pub fn layers_with(&self, kind: MixerKind) -> usize {
        self.mixers.iter().filter(|mixer| mixer.has(kind)).count()
    }

    /// The keys and values of a token in all layers that keep them.
    pub fn cached_values(&self) -> usize {
        let keeps = |layer: &usize| self.mixers[*layer].has(MixerKind::Attention);
        let latents = self.other_mixer.map_or(0, |sizes| sizes.cached_values()) * self.layers_with(MixerKind::Latent);
        latents + (0..self.layers).filter(keeps).map(|layer| 2 * self.kv_size(layer)).sum::<usize>()
    }

    /// The values that the layers which keep a state remember of a sequence.
    pub fn state_values(&self) -> usize {
        let layers = self.family.other_mixer().map_or(0, |kind| self.layers_with(kind));
        layers * self.other_mixer.map_or(0, |sizes| sizes.state().values())
    }

    pub fn mamba(&self) -> Option<MambaConfig> {
        match self.other_mixer {
            Some(MixerSizes::Mamba(mamba)) => Some(mamba),
            _ => None,
        }
    }

    /// The number that the norm of a role adds before the root.
    pub fn norm_eps_of(&self, role: Role) -> f64 {
        // transformers gives these norms no number, whatever the configuration says.
        match role {
            Role::DeltaNorm => self.family.delta_norm_eps.unwrap_or(self.norm_eps),
            role if role.is_latent_norm() => 1e-6,
            _ => self.norm_eps,
        }
    }

    /// Whether a layer has experts in the place of its MLP.
    pub fn is_sparse(&self, layer: usize) -> bool {
        self.experts.as_ref().is_some_and(|experts| experts.sparse_layers.contains(&layer))
    }

    /// Whether a layer of this model has a role of its family, as far as that differs from layer to layer.
    pub fn has(&self, role: Role, layer: usize) -> bool {
        match role {
            Role::Value if self.by_layer.keys_are_values.contains(&layer) => false,
            Role::Key | Role::Value | Role::KeyNorm => self.by_layer.keys_of.get(layer).is_none_or(Option::is_none),
            Role::LayerInputGate | Role::LayerInputOut | Role::LayerInputNorm => self.per_layer.is_some(),
            Role::AttentionNorm if self.family.norms_differ_by_mixer() => self.mixers[layer] != MixerKind::Attention,
            Role::MlpPostNorm if self.family.norms_differ_by_mixer() => self.mixers[layer] == MixerKind::Attention,
            role if role.is_of_activation() => self.activations.is_empty(),
            Role::RouterBias => self.experts.as_ref().is_some_and(|experts| experts.router_has_bias),
            Role::ExpertsInput | Role::ExpertsOutput => self.short_size().is_some(),
            // Latent attention has one of two ways to queries.
            role if role.mixer() == Some(MixerKind::Latent) => !self.shape_of(role, layer).is_empty(),
            _ => true,
        }
    }

    /// The shape of a role's weight in a layer: (outputs, inputs) of a linear module, (size) of what is multiplied or added.
    pub fn shape_of(&self, role: Role, layer: usize) -> Vec<usize> {
        let (hidden, intermediate) = (self.hidden_size, self.by_layer.mlp_sizes[layer]);
        let (query_size, kv_size) = (self.query_size(layer), self.kv_size(layer));
        let layer_input = self.per_layer.map_or(0, |sizes| sizes.size);
        let shared = self.experts.as_ref().map_or(0, |experts| experts.shared_intermediate_size);
        match role {
            Role::AttentionNorm
            | Role::AttentionPostNorm
            | Role::MlpNorm
            | Role::MiddleNorm
            | Role::MlpPostNorm
            | Role::LayerInputNorm
            | Role::DensePostNorm
            | Role::ExpertsNorm
            | Role::ExpertsPostNorm
            | Role::RouterScale => {
                vec![hidden]
            }
            Role::LayerInputGate => vec![layer_input, hidden],
            Role::LayerInputOut => vec![hidden, layer_input],
            Role::LayerScale => vec![1],
            Role::QueryNorm | Role::KeyNorm if self.family.head_norms != HeadNorms::AllHeadsTogether => {
                vec![self.by_layer.heads[layer].head_dim]
            }
            Role::QueryNorm => vec![query_size],
            Role::KeyNorm => vec![kv_size],
            Role::Sinks => vec![self.heads],
            Role::XieluSquares | Role::XieluExponentials => vec![1],
            Role::XieluSlope | Role::XieluEnd => Vec::new(),
            Role::Query if self.family.gated_attention => vec![2 * query_size, hidden],
            Role::Query | Role::AttentionGate => vec![query_size, hidden],
            Role::Key | Role::Value => vec![kv_size, hidden],
            Role::QueryKeyValue => vec![query_size + 2 * kv_size, hidden],
            Role::AttentionOut => vec![hidden, query_size],
            Role::Gate | Role::Up => vec![intermediate, hidden],
            Role::GateUp => vec![2 * intermediate, hidden],
            Role::Down => vec![hidden, intermediate],
            Role::Router => vec![self.experts.as_ref().map_or(0, |experts| experts.count), hidden],
            Role::ExpertsInput => self.short_size().map(|short| vec![short, hidden]).unwrap_or_default(),
            Role::ExpertsOutput => self.short_size().map(|short| vec![hidden, short]).unwrap_or_default(),
            Role::RouterBias | Role::ExpertScale => vec![self.experts.as_ref().map_or(0, |experts| experts.count)],
            Role::SharedGate | Role::SharedUp => vec![shared, hidden],
            Role::SharedDown => vec![hidden, shared],
            Role::SharedSwitch => vec![1, hidden],
            of_other => {
                let of_states = self.altup.and_then(|sizes| sizes.shape_of(of_other, hidden));
                let of_mixer = || self.other_mixer.and_then(|sizes| sizes.shape_of(of_other, hidden));
                of_states.or_else(of_mixer).unwrap_or_default()
            }
        }
    }

    /// The linear modules of the first layer without experts, by their names inside it, with their sizes (inputs, outputs).
    pub fn linear_modules(&self) -> Vec<(&'static str, (usize, usize))> {
        let is_dense = |role: &Role| role.is_linear() && role.needs_experts() != Some(true);
        let named = |role: Role| {
            let [outputs, inputs] = self.shape_of(role, 0)[..] else { return None };
            Some((self.family.modules(role).next()?, (inputs, outputs)))
        };
        self.family.roles().filter(is_dense).filter_map(named).collect()
    }

    /// The size of what the experts take and give, if that is shorter than hidden states.
    fn short_size(&self) -> Option<usize> {
        self.experts.as_ref().and_then(|experts| experts.input_size)
    }

    /// The size of what the experts take and give.
    pub fn expert_width(&self) -> usize {
        self.short_size().unwrap_or(self.hidden_size)
    }

    /// The sizes (inputs, outputs) of one expert's matrix, by the name of its module or of the parameter of all.
    pub fn expert_shape(&self, name: &str) -> Option<(usize, usize)> {
        let (names, sizes) = (self.family.experts?, self.experts.as_ref()?);
        let (hidden, intermediate) = (self.expert_width(), sizes.intermediate_size);
        let gate_up = if names.are_gated { 2 * intermediate } else { intermediate };
        if let Some(place) = names.stacked.iter().find_map(|pair| pair.iter().position(|known| *known == name)) {
            let (inputs, outputs) = [(hidden, gate_up), (intermediate, hidden)][place];
            // As PEFT has them.
            let is_turned = names.stack_layout == StackLayout::GateFirstByInputs;
            return Some(if is_turned { (outputs, inputs) } else { (inputs, outputs) });
        }
        let is = |known: &str| {
            let (before, after) = known.split_once("{}").unwrap_or((known, ""));
            let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            number.and_then(|number| number.parse::<usize>().ok()).is_some_and(|number| number < sizes.count)
        };
        let place = names.modules.iter().find_map(|modules| modules.iter().position(|known| is(known)))?;
        Some([(hidden, intermediate), (hidden, intermediate), (intermediate, hidden)][place])
    }

    fn check(self, path: &Path) -> Result<Self> {
        let wrong = |key: &str, problem| BaseError::Config { path: path.into(), key: key.into(), problem };
        let sizes = [
            ("number of layers", self.layers),
            ("hidden size", self.hidden_size),
            ("intermediate size", self.intermediate_size),
            ("number of heads", self.heads),
            ("number of key-value heads", self.kv_heads),
            ("head size", self.head_dim),
            ("vocabulary size", self.vocab_size),
            ("context length", self.context),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0 || *size > LARGEST_SIZE) {
            return Err(wrong(name, "is zero or impossibly large").into());
        }
        if self.layers > MOST_LAYERS {
            return Err(wrong("number of layers", "is impossibly large").into());
        }
        let sizes = self.by_layer.heads.iter().flat_map(|heads| [heads.kv_heads, heads.head_dim]);
        if sizes.chain(self.by_layer.mlp_sizes.iter().copied()).any(|size| size == 0 || size > LARGEST_SIZE) {
            return Err(wrong("sizes of a layer", "are zero or impossibly large").into());
        }
        if self.per_layer.is_some_and(|sizes| sizes.size > LARGEST_SIZE || sizes.vocab_size > LARGEST_SIZE) {
            return Err(wrong("sizes of the inputs of each layer's own", "are impossibly large").into());
        }
        if self.by_layer.heads.iter().any(|heads| !self.heads.is_multiple_of(heads.kv_heads)) {
            return Err(wrong("number of heads", "is not a multiple of the number of key-value heads").into());
        }
        if self.family.fused_order == FusedOrder::HeadByHead && self.kv_heads != self.heads {
            return Err(wrong("number of key-value heads", "differs from the number of heads").into());
        }
        if self.family.fused_order == FusedOrder::FourParts && !(self.heads * self.head_dim).is_multiple_of(4) {
            return Err(wrong("hidden size", "is not a multiple of 4").into());
        }
        let fits = |rope: &Rope, head_dim: usize| rope.dim > 0 && rope.dim.is_multiple_of(2) && rope.dim <= head_dim;
        let places = self.rotary.by_layer.iter().zip(&self.by_layer.heads);
        if places
            .filter_map(|(place, heads)| Some((&self.rotary.ropes[(*place)?], heads)))
            .any(|(rope, heads)| !fits(rope, heads.head_dim))
        {
            return Err(wrong("size of the rotary embedding", "is odd, zero or more than the head size").into());
        }
        let longrope_fits = |rope: &Rope| match &rope.scaling {
            RopeScaling::LongRope { short, long, .. } => short.len() == rope.dim / 2 && long.len() == rope.dim / 2,
            _ => true,
        };
        if !self.rotary.ropes.iter().all(longrope_fits) {
            return Err(wrong("rope_scaling", "has not one factor for each frequency").into());
        }
        if let Some(problem) = self.other_mixer.and_then(|sizes| sizes.problem()) {
            return Err(wrong("sizes of the mixer beside attention", problem).into());
        }
        if let Some(experts) = &self.experts {
            let width = self.expert_width();
            let sizes = [experts.count, experts.intermediate_size, experts.shared_intermediate_size, width];
            if sizes.iter().any(|&size| size > LARGEST_SIZE) || experts.per_token > experts.count {
                return Err(wrong("number of experts, or of those that a token goes to,", "is impossibly large").into());
            }
        }
        Ok(self)
    }
}

/// The sizes of a mixture of experts.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertSizes {
    pub count: usize,
    /// How many experts a token goes to.
    pub per_token: usize,
    pub intermediate_size: usize,
    /// Of the expert that every token goes to; 0 if there is none.
    pub shared_intermediate_size: usize,
    /// What that one is multiplied by.
    pub shared_scale: f64,
    /// What the experts take and give, if that is shorter than hidden states.
    pub input_size: Option<usize>,
    /// Whether routers add a bias to the scores by which they choose, in families where they may.
    pub router_has_bias: bool,
    pub routing: Routing,
    pub sparse_layers: BTreeSet<usize>,
}

/// Bounds on what a configuration may claim, far above any model, so that sizes multiply without overflow.
const LARGEST_SIZE: usize = 1 << 24;
const MOST_LAYERS: usize = 10_000;

fn unsupported_family(path: &Path, model_type: &str) -> BaseError {
    BaseError::UnsupportedFamily { path: path.into(), model_type: model_type.into() }
}
