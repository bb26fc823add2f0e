//! The configuration of a Hugging Face folder, in the spellings of transformers 4 and 5.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Activation, MOST_LAYERS, ModelConfig, Scales, Softcaps, ropes_by_window, unsupported_family};
use crate::error::{BaseError, Result};
use crate::model::family::{self, Family};
use crate::model::rope::{Rope, Scaling};

impl ModelConfig {
    /// Reads the `config.json` of transformers 4 and 5. `path` is only for messages.
    pub fn from_hf(config: &Map<String, Value>, path: &Path) -> Result<Self> {
        let missing = BaseError::Config { path: path.into(), key: "model_type".into(), problem: "is missing" };
        let model_type = config.get("model_type").and_then(Value::as_str).ok_or(missing)?;
        let family = family::by_model_type(model_type).ok_or_else(|| unsupported_family(path, model_type))?;
        let fields = Fields { config, family, path };
        if fields.flag("use_bidirectional_attention") == Some(true) {
            return Err(fields.unsupported("`use_bidirectional_attention`".into()).into());
        }
        let layers = fields.size("num_hidden_layers")?;
        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let context = fields.size("max_position_embeddings")?;
        let head_dim = fields.optional_size("head_dim")?.unwrap_or(hidden_size / heads);
        let windows = fields.windows(layers)?;
        let (ropes, layer_ropes) = fields.ropes(context, &windows)?;
        let config = Self {
            family,
            layers,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            heads,
            kv_heads: fields.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            vocab_size: fields.size("vocab_size")?,
            context,
            norm_eps: fields.float("rms_norm_eps").unwrap_or(1e-6),
            ropes,
            layer_ropes,
            windows,
            tied: fields.flag("tie_word_embeddings"),
            activation: fields.activation()?,
            scales: fields.scales(Scales::plain(family, hidden_size, head_dim)),
            softcaps: Softcaps {
                attention: fields.float("attn_logit_softcapping"),
                logits: fields.float("final_logit_softcapping"),
            },
        };
        config.check(path)
    }
}

/// Typed access to `config.json`.
struct Fields<'a> {
    config: &'a Map<String, Value>,
    family: &'static Family,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    fn problem(&self, key: &str, problem: &'static str) -> BaseError {
        BaseError::Config { path: self.path.into(), key: key.into(), problem }
    }

    fn unsupported(&self, feature: String) -> BaseError {
        BaseError::UnsupportedFeature { path: self.path.into(), feature }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.config.get(key)?.as_str()
    }

    /// What transformers takes if the key is absent, which is not the same as `null`.
    fn default(&self, key: &str) -> Option<f64> {
        if self.config.contains_key(key) { None } else { self.family.default(key) }
    }

    fn float(&self, key: &str) -> Option<f64> {
        self.config.get(key).and_then(Value::as_f64).or_else(|| self.default(key))
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.config.get(key)?.as_bool()
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(self.default(key).map(|value| value as usize)),
            Some(value) => match value.as_u64() {
                Some(size) if size > 0 => Ok(Some(size as usize)),
                _ => Err(self.problem(key, "is not a positive integer").into()),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.problem(key, "is missing").into())
    }

    /// The rotary embeddings, and for each layer the place of its own.
    fn ropes(&self, context: usize, windows: &[Option<usize>]) -> Result<(Vec<Rope>, Vec<Option<usize>>)> {
        // `rope_parameters` (transformers 5), or `rope_scaling` beside `rope_theta` (transformers 4).
        let parameters =
            ["rope_parameters", "rope_scaling"].into_iter().find_map(|key| self.config.get(key)?.as_object());
        let of_type = |layer_type: &str| parameters.and_then(|parameters| parameters.get(layer_type)?.as_object());
        let full = self.rope(of_type("full_attention").or(parameters), "rope_theta", context)?;
        let local = match of_type("sliding_attention") {
            Some(parameters) => Some(self.rope(Some(parameters), "rope_local_base_freq", context)?),
            None => self.float("rope_local_base_freq").map(|theta| Rope { theta, scaling: Scaling::None }),
        };
        let (ropes, mut places) = ropes_by_window(full, local, windows);
        for (_, place) in places.iter_mut().enumerate().filter(|(layer, _)| !self.has_rope(*layer)) {
            *place = None;
        }
        Ok((ropes, places))
    }

    /// SmolLM3 leaves rotary embedding out of some layers: `no_rope_layers` has 0 for them, or they come at an interval.
    fn has_rope(&self, layer: usize) -> bool {
        match self.config.get("no_rope_layers").and_then(Value::as_array) {
            Some(used) => used.get(layer).and_then(Value::as_u64) != Some(0),
            None => {
                self.float("no_rope_layer_interval").is_none_or(|every| !(layer + 1).is_multiple_of(every as usize))
            }
        }
    }

    /// One rotary embedding from its parameters, or from the fields of the configuration where it has none.
    fn rope(&self, parameters: Option<&Map<String, Value>>, theta: &str, context: usize) -> Result<Rope> {
        let number = |key: &str| parameters.and_then(|parameters| parameters.get(key)?.as_f64());
        let theta = number("rope_theta").or_else(|| self.float(theta)).unwrap_or(10_000.0);
        let name = parameters.and_then(|parameters| parameters.get("rope_type").or(parameters.get("type"))?.as_str());
        let need = |key: &'static str| number(key).ok_or_else(|| self.problem(key, "is missing"));
        let original_context = number("original_max_position_embeddings");
        let scaling = match name.unwrap_or("default") {
            "default" => Scaling::None,
            "linear" => Scaling::Linear { factor: need("factor")? },
            "dynamic" => Scaling::Dynamic { factor: need("factor")?, context: context as f64 },
            "llama3" => Scaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_context: original_context.unwrap_or(context as f64),
            },
            "yarn" => Scaling::Yarn {
                factor: need("factor")?,
                original_context: original_context.unwrap_or(context as f64),
                beta_fast: number("beta_fast").unwrap_or(32.0),
                beta_slow: number("beta_slow").unwrap_or(1.0),
                truncate: parameters.and_then(|p| p.get("truncate")?.as_bool()).unwrap_or(true),
                attention_factor: number("attention_factor"),
                mscale: number("mscale").zip(number("mscale_all_dim")),
            },
            other => {
                return Err(self.unsupported(format!("the rope type `{other}`")).into());
            }
        };
        Ok(Rope { theta, scaling })
    }

    /// The sliding window of each layer: none unless `use_sliding_window`, where that is said; for the layers that
    /// `layer_types` names or, without it, all but every `sliding_window_pattern`th, or from `max_window_layers` on.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        let layers = layers.min(MOST_LAYERS);
        let used = self.flag("use_sliding_window");
        let window = self.optional_size("sliding_window")?.filter(|_| used != Some(false));
        let types = self.config.get("layer_types").and_then(Value::as_array);
        let pattern = self.optional_size("sliding_window_pattern")?;
        let first = self.optional_size("max_window_layers")?.filter(|_| used.is_some()).unwrap_or(0);
        let slides = |layer: usize| match (types, pattern) {
            (Some(types), _) => types.get(layer).and_then(Value::as_str) == Some("sliding_attention"),
            (None, Some(pattern)) => !(layer + 1).is_multiple_of(pattern),
            (None, None) => layer >= first,
        };
        Ok((0..layers).map(|layer| window.filter(|_| slides(layer))).collect())
    }

    fn activation(&self) -> Result<Activation> {
        let name = self.text("hidden_activation").or(self.text("hidden_act"));
        let Some(name) = name else { return Ok(self.family.activation) };
        let activation = Activation::named(name);
        let activation = activation.ok_or_else(|| self.unsupported(format!("the activation `{name}`")))?;
        // The first Gemma files say `gelu` and mean the approximation that they were trained with.
        let means_tanh = self.family.activation == Activation::GeluTanh && activation == Activation::Gelu;
        Ok(if means_tanh { Activation::GeluTanh } else { activation })
    }

    fn scales(&self, plain: Scales) -> Scales {
        let attention = self.float("query_pre_attn_scalar").map_or(plain.attention, |scalar| 1.0 / scalar.sqrt());
        Scales {
            embedding: self.float("embedding_multiplier").unwrap_or(plain.embedding),
            residual: self.float("residual_multiplier").unwrap_or(plain.residual),
            attention: self.float("attention_multiplier").unwrap_or(attention),
            logits: self.float("logits_scaling").map_or(plain.logits, |divisor| 1.0 / divisor),
        }
    }
}
