//! The configuration of a Hugging Face folder, in the spellings of transformers 4 and 5.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::fields::ConfigFields;
use super::harmless::harmless;
use super::mixers::{Block, current_layer_type};
use super::{ExpertSizes, HeadSizes, MOST_LAYERS, ModelConfig, Scales, Softcaps, unsupported_family};
use crate::account::{Account, Harmless};
use crate::error::{BaseError, Result};
use crate::format::first_names;
use crate::model::activation::{Activation, Gating};
use crate::model::family::{
    self, Biased, Family, GeluMeaning, LogitStep, MixerKind, PromptAttention, Residual, Role, Sliding, Wrapper,
};

/// Settings that change what a decoder computes in a way that is not supported, and their meaning.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("is_encoder_decoder", "an encoder beside the decoder"),
    ("add_cross_attention", "attention to another model's states"),
    ("scale_attn_by_inverse_layer_idx", "attention scaled layer by layer"),
    ("apply_residual_connection_post_layernorm", "residuals after the norms"),
    ("clip_qkv", "clipped queries, keys and values"),
    ("per_layer_config", "a configuration for each layer"),
];

/// The type of a layer whose attention ends at chunks.
const CHUNKED: &str = "chunked_attention";

/// The most keys that a remark names.
pub const NAMED: usize = 6;

/// A `config.json`, and what it says that is not used, one sentence each.
pub struct HfConfig {
    pub model: ModelConfig,
    pub remarks: Vec<String>,
}

impl ModelConfig {
    /// Reads the `config.json` of transformers 4 and 5. `path` is only for messages.
    pub fn from_hf(config: &Map<String, Value>, path: &Path) -> Result<HfConfig> {
        let outer = Account::of(config);
        // Multimodal models keep the configuration of their text decoder inside their own.
        let text = outer.get("text_config").and_then(Value::as_object);
        let outer_tied = outer.get("tie_word_embeddings").and_then(Value::as_bool);
        let wrapper = text.map(|_| Wrapper::of(outer.get("model_type").and_then(Value::as_str).unwrap_or_default()));
        let family = family_of(text.unwrap_or(config), text.is_some(), path)?;
        let flat = flattened(text.unwrap_or(config), family);
        let fields = ConfigFields::new(&flat, family, path);
        let prompt = wrapper.map_or(PromptAttention::Causal, |wrapper| wrapper.prompt);
        fields.refuse_unsupported(prompt)?;
        fields.check_types()?;
        fields.refuse_combinations()?;
        let mut model = fields.model()?;
        model.prompt = prompt;
        model.tied = outer_tied.or(model.tied);
        let mut remarks = Vec::new();
        if let Some(wrapper) = wrapper {
            remarks.extend(fields.take_logit_steps_of(wrapper, &mut model));
            remarks.extend(unread(&outer, &[], path));
        }
        remarks.extend(unread(&fields.account, family.harmless, path));
        remarks.extend(fields.unread_rope_keys());
        Ok(HfConfig { model: model.check(path)?, remarks })
    }
}

/// The family of a decoder's configuration.
fn family_of(config: &Map<String, Value>, is_inner: bool, path: &Path) -> Result<&'static Family> {
    let missing = BaseError::Config { path: path.into(), key: "model_type".into(), problem: "is missing" };
    let model_type = match config.get("model_type").and_then(Value::as_str).ok_or(missing)? {
        // As `AutoConfig` of transformers does, which sees the outer configuration only.
        "mistral" if !is_inner && config.contains_key("layer_types") => "ministral",
        model_type => model_type,
    };
    let family = family::by_model_type(model_type).map(|family| family.of_config(config));
    family.ok_or_else(|| unsupported_family(path, model_type).into())
}

/// A configuration with the keys of the object that some families keep a part of theirs in.
fn flattened<'a>(config: &'a Map<String, Value>, family: &Family) -> Cow<'a, Map<String, Value>> {
    let part = family.nested.and_then(|name| Some((name, config.get(name)?.as_object()?)));
    let Some((name, part)) = part else { return Cow::Borrowed(config) };
    let own = config.iter().filter(|(key, _)| *key != name);
    Cow::Owned(own.chain(part).map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Names the keys of a configuration that nobody asked for.
fn unread(account: &Account, of_family: &[Harmless], path: &Path) -> Option<String> {
    account.get("model_type");
    // `Model::open` looks at the weights.
    account.get("quantization_config");
    let harmless: Vec<Harmless> = harmless().chain(of_family.iter().copied()).collect();
    let unread = account.unread(&harmless);
    let names = first_names(&unread, NAMED);
    (!unread.is_empty()).then(|| format!("`{}` has keys that are not used: {names}", path.display()))
}

impl ConfigFields<'_> {
    fn model(&self) -> Result<ModelConfig> {
        let family = self.family;
        let blocks = self.blocks()?;
        let layers = match &blocks {
            // They count, whatever the number says.
            Some(blocks) => self.get("num_hidden_layers").map_or(blocks.len(), |_| blocks.len()),
            None => self.size("num_hidden_layers")?,
        };
        let hidden_size = self.size("hidden_size")?;
        let heads = self.size("num_attention_heads")?;
        let context = self.size("max_position_embeddings")?;
        let other_mixer = self.other_mixer(hidden_size)?;
        let latent = other_mixer.and_then(|mixer| mixer.latent());
        let head_dim = match latent {
            Some(latent) => latent.head(),
            None => self.optional_size("head_dim")?.unwrap_or(hidden_size / heads),
        };
        let kv_heads = self.kv_heads(heads)?;
        if self.optional_size("word_embed_proj_dim")?.is_some_and(|size| size != hidden_size) {
            return Err(self.unsupported("embeddings of another size (`word_embed_proj_dim`)".into()).into());
        }
        self.check_sines()?;
        let windows = self.windows(layers)?;
        let mixers = self.mixers(layers, blocks.as_deref())?;
        let experts = self.experts(layers, blocks.as_deref())?;
        let intermediate_size = self.intermediate_size(hidden_size, experts.as_ref())?;
        let by_layer = self.by_layer(HeadSizes { kv_heads, head_dim }, intermediate_size, &windows)?;
        // Latent attention rotates a part of each head that has a size of its own.
        let rotating = match latent {
            Some(latent) => vec![HeadSizes { kv_heads, head_dim: latent.rotated }; windows.len()],
            None => by_layer.heads.clone(),
        };
        let rotary = self.rotary(context, &rotating, &windows)?;
        let (residual, has_mlp_norm) = self.residual()?;
        Ok(ModelConfig {
            family,
            layers,
            hidden_size,
            intermediate_size,
            heads,
            kv_heads,
            head_dim,
            by_layer,
            per_layer: self.per_layer()?,
            altup: self.altup()?,
            // `Model::open` replaces it by the rows of the embedding.
            vocab_size: self.optional_size("vocab_size")?.unwrap_or(1),
            context,
            norm_eps: self.norm_eps(),
            rotary,
            windows,
            chunks: self.chunks(layers)?,
            mixers,
            other_mixer,
            skipped: self.layers("cross_attention_layers").collect(),
            tied: self.flag("tie_word_embeddings"),
            has_head_bias: self.flag("lm_head_bias"),
            has_head_norms: Some(self.flag("qk_layernorm").or(self.flag("use_qk_norm")).unwrap_or(false)),
            residual,
            has_mlp_norm,
            gating: self.gating()?,
            activations: Vec::new(),
            experts,
            scales: {
                let plain = Scales::plain(family, hidden_size, head_dim);
                let own = self.scales(plain, hidden_size, layers)?;
                match latent {
                    Some(_) => Scales { attention: plain.attention * self.latent_scale()?, ..own },
                    None => own,
                }
            },
            softcaps: Softcaps {
                attention: self.float("attn_logit_softcapping"),
                logits: self.float("final_logit_softcapping"),
            },
            clip: self.float("clip_qkv"),
            biased: Some(self.biased()),
            prompt: PromptAttention::Causal,
        })
    }

    /// The size of the MLP.
    fn intermediate_size(&self, hidden_size: usize, experts: Option<&ExpertSizes>) -> Result<usize> {
        if let Some(sizes) = self.intermediate_sizes()? {
            return Ok(sizes.into_iter().max().unwrap_or(0));
        }
        let given = [self.optional_size("intermediate_size")?, self.optional_size("n_inner")?];
        let per_hidden = self.family.intermediate_per_hidden.map(|factor| hidden_size * factor);
        let of_experts = experts.map(|experts| experts.intermediate_size);
        let size = match given.into_iter().flatten().next().or(per_hidden).or(of_experts) {
            Some(size) => size,
            None => self.size("intermediate_size")?,
        };
        let multiple = self.optional_size("block_multiple_of")?.unwrap_or(1);
        let factor = self.float("block_ffn_dim_multiplier");
        if self.flag("block_auto_adjust_ff_dim") != Some(true) {
            return Ok(size);
        }
        // Two thirds of it (three matrices in the place of two), and a multiple of a block.
        let size = 2 * size / 3;
        Ok(factor.map_or(size, |factor| ((factor * size as f64) as usize).next_multiple_of(multiple)))
    }

    /// Key and value heads: one if all queries share it, which counts for nothing in the new layers of Falcon.
    fn kv_heads(&self, heads: usize) -> Result<usize> {
        let own = self.optional_size("num_key_value_heads")?.unwrap_or(heads);
        let is_new = self.flag("new_decoder_architecture") == Some(true);
        Ok(if self.flag("multi_query") == Some(true) && !is_new { 1 } else { own })
    }

    /// What the blocks of a layer start from, and whether the MLP has a norm of its own.
    fn residual(&self) -> Result<(Residual, bool)> {
        let residual = match self.flag("use_parallel_residual") {
            Some(true) => Residual::Parallel,
            Some(false) => Residual::Sequential,
            None => self.family.residual,
        };
        let usual = if self.flag("new_decoder_architecture") == Some(true) { 2 } else { 1 };
        let norms = self.optional_size("num_ln_in_parallel_attn")?.unwrap_or(usual);
        if norms > 2 {
            return Err(self.problem("num_ln_in_parallel_attn", "is neither 1 nor 2").into());
        }
        Ok((residual, residual == Residual::Sequential || norms == 2))
    }

    /// Refuses a combination of values that the family's entry names.
    fn refuse_combinations(&self) -> Result<()> {
        let is = |key: &str, text: &str| match self.get(key) {
            Some(value) => serde_json::from_str::<Value>(text).is_ok_and(|refused| refused == *value),
            None => self.family.flag(key).is_some_and(|flag| flag.to_string() == text),
        };
        let all = |together: &&&[(&str, &str)]| together.iter().all(|(key, text)| is(key, text));
        let Some(refused) = self.family.refused.iter().find(all) else { return Ok(()) };
        let word = |&(key, text): &(&str, &str)| format!("`{}: {text}`", self.names(key).next().unwrap_or(key));
        let words: Vec<String> = refused.iter().map(word).collect();
        Err(self.unsupported(words.join(" with ")).into())
    }

    fn refuse_unsupported(&self, prompt: PromptAttention) -> Result<()> {
        let value = |key: &str| self.account.get(key).filter(|value| !value.is_null());
        let is_on = |key: &str| value(key).is_some_and(|value| *value != Value::Bool(false));
        // Gemma 4's images see each other, and text does not.
        let of_images = value("use_bidirectional_attention").is_some_and(|value| *value == "vision");
        let is_bidirectional = is_on("use_bidirectional_attention") && !of_images && prompt == PromptAttention::Causal;
        let mut unsupported = UNSUPPORTED.iter().chain(self.family.refused_keys).copied();
        let unsupported = unsupported.find(|(key, _)| is_on(key) && !self.family.reads(key)).or_else(|| {
            let key = if is_bidirectional { "use_bidirectional_attention" } else { "is_causal" };
            let is_off = value("is_causal") == Some(&Value::Bool(false));
            (is_bidirectional || is_off).then_some((key, "attention to later tokens"))
        });
        let types = self.peek("layer_types").and_then(Value::as_array);
        let is_attention = |name: &&Value| {
            let other = self.family.other_mixer().and_then(MixerKind::layer_type);
            let name = name.as_str().map(current_layer_type);
            let is_block =
                self.family.layers_are_single_blocks && name.is_some_and(|name| Block::named(name).is_some());
            let is_chunked = name == Some(CHUNKED) && self.family.reads("attention_chunk_size");
            is_block
                || is_chunked
                || name
                    .is_some_and(|name| Some(name) == other || ["full_attention", "sliding_attention"].contains(&name))
        };
        let other = types.into_iter().flatten().find(|name| !is_attention(name));
        match (unsupported, other) {
            (Some((key, meaning)), _) => Err(self.unsupported(format!("{meaning} (`{key}`)")).into()),
            (None, Some(name)) => Err(self.unsupported(format!("layers of the type {name} (`layer_types`)")).into()),
            (None, None) => Ok(()),
        }
    }

    /// Takes what a multimodal model's head does to logits, and says what of the family's own head is left out.
    fn take_logit_steps_of(&self, wrapper: &Wrapper, model: &mut ModelConfig) -> Option<String> {
        let has = |step: LogitStep| wrapper.logits.contains(&step);
        let mut dropped = Vec::new();
        if !has(LogitStep::Scale) && model.scales.logits != 1.0 {
            model.scales.logits = 1.0;
            dropped.push(if self.family.reads("logit_scale") { "logit_scale" } else { "logits_scaling" });
        }
        if has(LogitStep::Softcap) {
            // Also where the family does not read it.
            let given = self.account.get("final_logit_softcapping").and_then(Value::as_f64);
            model.softcaps.logits = model.softcaps.logits.or(given);
        } else if model.softcaps.logits.take().is_some() {
            dropped.push("final_logit_softcapping");
        }
        (!dropped.is_empty()).then(|| {
            let (path, names) = (self.path.display(), first_names(&dropped, NAMED));
            format!("`{path}` describes a multimodal model, whose head in transformers does not use {names}")
        })
    }

    /// The roles whose modules have biases.
    fn biased(&self) -> BTreeSet<Role> {
        let groups = self.family.biases.iter().filter(|(biased, _)| match biased {
            Biased::Always => true,
            Biased::By(flag) => self.flag(flag) == Some(true),
        });
        groups.flat_map(|(_, roles)| roles.iter().copied()).collect()
    }

    fn norm_eps(&self) -> f64 {
        let key = if self.family.norms.centre() { "layer_norm_eps" } else { "rms_norm_eps" };
        self.float(key).unwrap_or(self.family.norm_eps)
    }

    /// The sliding window of each layer.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        let sliding = self.family.sliding;
        let types = self.get("layer_types").and_then(Value::as_array);
        if types.is_some_and(|types| types.len() < layers) {
            return Err(self.problem("layer_types", "is too short").into());
        }
        let local = self.local_layers(layers)?;
        let is_off = self.flag("use_sliding_window") == Some(false);
        // Masks of SmolLM3 follow `layer_types` even then. Some configurations have a window of 0 beside this flag.
        let is_never = sliding == Sliding::Never || is_off && (sliding != Sliding::WithoutRotary || types.is_none());
        let window = if is_never { None } else { self.optional_size("sliding_window")? };
        self.get("sliding_window");
        let most = self.float("max_window_layers").map_or(0, |layers| layers as usize);
        // Beside `layer_types` it may be a word, such as `LLLG`.
        self.get("sliding_window_pattern");
        let pattern = if types.is_none() { self.optional_size("sliding_window_pattern")? } else { None };
        let dense = self.optional_count("first_k_dense_replace")?.unwrap_or(0);
        let dense_pattern = self.optional_size("prefix_dense_sliding_window_pattern")?;
        let slides = |layer: usize| match types {
            Some(types) => types[layer] == "sliding_attention",
            None => match sliding {
                Sliding::Never => false,
                Sliding::Always => true,
                Sliding::AllButEvery(usual) => !(layer + 1).is_multiple_of(pattern.unwrap_or(usual)),
                Sliding::AllButFirstOf(usual) => !layer.is_multiple_of(usual),
                Sliding::FromMaxWindowLayers => layer >= most,
                Sliding::EvenBelowMaxWindowLayers => layer < most && layer.is_multiple_of(2),
                Sliding::WithoutRotary => !self.is_rotary(layer, None),
                Sliding::AllButEveryBehindDense(usual) => match layer.checked_sub(dense) {
                    Some(behind) => !(behind + 1).is_multiple_of(pattern.unwrap_or(usual)),
                    None => !(layer + 1).is_multiple_of(dense_pattern.unwrap_or(1)),
                },
                Sliding::ByAttentionTypes => local.contains(&layer),
            },
        };
        let must_slide = types.is_some()
            || matches!(
                sliding,
                Sliding::AllButEvery(_)
                    | Sliding::AllButFirstOf(_)
                    | Sliding::AllButEveryBehindDense(_)
                    | Sliding::ByAttentionTypes
            );
        if window.is_none() && must_slide && (0..layers.min(MOST_LAYERS)).any(slides) {
            return Err(self
                .problem("sliding_window", "is missing or switched off, and some layers have a window")
                .into());
        }
        let is_full = |layer: usize| self.family.last_layer_is_full && layer + 1 == layers || !slides(layer);
        Ok((0..layers.min(MOST_LAYERS)).map(|layer| window.filter(|_| !is_full(layer))).collect())
    }

    /// The chunk of each layer: of those that `layer_types` names, else of those with rotary embedding.
    fn chunks(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        let types = self.get("layer_types").and_then(Value::as_array);
        let chunk = self.optional_size("attention_chunk_size")?;
        let is_chunked = |layer: usize| match types {
            Some(types) => types[layer] == CHUNKED,
            None => chunk.is_some() && self.is_rotary(layer, None),
        };
        let chunks = (0..layers.min(MOST_LAYERS)).map(|layer| match (is_chunked(layer), chunk) {
            (true, None) => Err(self.problem("attention_chunk_size", "is missing").into()),
            (is_chunked, chunk) => Ok(chunk.filter(|_| is_chunked)),
        });
        chunks.collect()
    }

    pub fn gating(&self) -> Result<Gating> {
        if let Gating::Clamped { alpha, limit } = self.family.gating {
            let number = |key: &str, usual: f64| self.float(key).unwrap_or(usual);
            return Ok(Gating::Clamped { alpha: number("swiglu_alpha", alpha), limit: number("swiglu_limit", limit) });
        }
        let Some(name) = self.text("activation") else { return Ok(self.family.gating) };
        if self.family.gating == Gating::Xielu {
            let is_known = name == "xielu";
            let other = || self.unsupported(format!("the activation `{name}` in the place of xIELU")).into();
            return is_known.then_some(Gating::Xielu).ok_or_else(other);
        }
        match Activation::named(name) {
            Some(Activation::Gelu) if self.family.gelu == GeluMeaning::Tanh => Ok(Gating::By(Activation::GeluTanh)),
            Some(activation) => Ok(Gating::By(activation)),
            None => Err(self.unsupported(format!("the activation `{name}`")).into()),
        }
    }
}
