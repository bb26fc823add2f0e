//! What a base model says about itself, from `config.json` or from GGUF metadata, as one validated value.

use std::path::Path;

use serde_json::{Map, Value};

use super::family::{self, Family};
use super::rope::{Rope, Scaling};
use crate::error::{BaseError, Result};
use crate::tensors::GgufMetadata;

/// The numbers of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub family: &'static Family,
    pub layers: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    /// The longest sequence the model was made for.
    pub context: usize,
    pub norm_eps: f64,
    pub rope: Rope,
    /// Per layer, how many positions back attention sees (itself included); `None` is all of them.
    pub windows: Vec<Option<usize>>,
    /// `tie_word_embeddings`, where it is said.
    pub tied: Option<bool>,
}

impl ModelConfig {
    /// The number of values of each token's queries over all heads.
    pub fn query_size(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The number of values of each token's keys (or values) over all heads.
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Reads the `config.json` of transformers 4 and 5. `path` is only for messages.
    pub fn from_hf(config: &Map<String, Value>, path: &Path) -> Result<Self> {
        let fields = Fields { config, path };
        let model_type = fields.text("model_type").ok_or_else(|| fields.problem("model_type", "is missing"))?;
        let family = family::by_model_type(model_type).ok_or_else(|| unsupported_family(path, model_type))?;
        if let Some(activation) = fields.text("hidden_act").filter(|name| !["silu", "swish"].contains(name)) {
            let feature = format!("the activation `{activation}`");
            return Err(BaseError::UnsupportedFeature { path: path.into(), feature }.into());
        }
        let layers = fields.size("num_hidden_layers")?;
        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let context = fields.size("max_position_embeddings")?;
        let config = Self {
            family,
            layers,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            heads,
            kv_heads: fields.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim: fields.optional_size("head_dim")?.unwrap_or(hidden_size / heads),
            vocab_size: fields.size("vocab_size")?,
            context,
            norm_eps: fields.float("rms_norm_eps").unwrap_or(1e-6),
            rope: fields.rope(context)?,
            windows: fields.windows(layers)?,
            tied: config.get("tie_word_embeddings").and_then(Value::as_bool),
        };
        config.check(path)
    }

    /// Reads the metadata of a GGUF file. The vocabulary is that of the embedding, `vocab_size`.
    pub fn from_gguf(metadata: &GgufMetadata, vocab_size: usize, path: &Path) -> Result<Self> {
        let missing = |key: &str| BaseError::Config { path: path.into(), key: key.into(), problem: "is missing" };
        let architecture = metadata.string("general.architecture").ok_or_else(|| missing("general.architecture"))?;
        let family =
            family::by_gguf_architecture(architecture).ok_or_else(|| unsupported_family(path, architecture))?;
        let key = |name: &str| format!("{architecture}.{name}");
        let optional = |name: &str| metadata.integer(&key(name)).map(|value| value as usize);
        let size = |name: &str| optional(name).ok_or_else(|| missing(&key(name)));
        let layers = size("block_count")?;
        let hidden_size = size("embedding_length")?;
        let heads = size("attention.head_count")?;
        let context = size("context_length")?;
        let config = Self {
            family,
            layers,
            hidden_size,
            intermediate_size: size("feed_forward_length")?,
            heads,
            kv_heads: optional("attention.head_count_kv").unwrap_or(heads),
            head_dim: optional("attention.key_length").unwrap_or(hidden_size / heads.max(1)),
            vocab_size,
            context,
            norm_eps: metadata
                .float(&key("attention.layer_norm_rms_epsilon"))
                .ok_or_else(|| missing(&key("attention.layer_norm_rms_epsilon")))?,
            rope: gguf_rope(metadata, architecture, context, path)?,
            windows: vec![optional("attention.sliding_window").filter(|&window| window > 0); layers.min(MOST_LAYERS)],
            tied: None,
        };
        config.check(path)
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
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(wrong("number of heads", "is not a multiple of the number of key-value heads").into());
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(wrong("head size", "is odd").into());
        }
        Ok(self)
    }
}

/// Bounds on what a configuration may claim, far above any model, so that sizes multiply without overflow.
const LARGEST_SIZE: usize = 1 << 24;
const MOST_LAYERS: usize = 10_000;

fn unsupported_family(path: &Path, model_type: &str) -> BaseError {
    let (path, model_type) = (path.into(), model_type.into());
    BaseError::UnsupportedFamily { path, model_type, supported: family::supported() }
}

/// Typed access to `config.json`.
struct Fields<'a> {
    config: &'a Map<String, Value>,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    fn problem(&self, key: &str, problem: &'static str) -> BaseError {
        BaseError::Config { path: self.path.into(), key: key.into(), problem }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.config.get(key)?.as_str()
    }

    fn float(&self, key: &str) -> Option<f64> {
        self.config.get(key)?.as_f64()
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(size) if size > 0 => Ok(Some(size as usize)),
                _ => Err(self.problem(key, "is not a positive integer").into()),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.problem(key, "is missing").into())
    }

    /// `rope_parameters` (transformers 5), or `rope_scaling` beside `rope_theta` (transformers 4).
    fn rope(&self, context: usize) -> Result<Rope> {
        let parameters =
            ["rope_parameters", "rope_scaling"].into_iter().find_map(|key| self.config.get(key)?.as_object());
        let number = |key: &str| parameters.and_then(|parameters| parameters.get(key)?.as_f64());
        let theta = number("rope_theta").or_else(|| self.float("rope_theta")).unwrap_or(10_000.0);
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
                let feature = format!("the rope type `{other}`");
                return Err(BaseError::UnsupportedFeature { path: self.path.into(), feature }.into());
            }
        };
        Ok(Rope { theta, scaling })
    }

    /// The sliding window of each layer: `layer_types` where it is there; else Qwen2's `use_sliding_window` with
    /// `max_window_layers`; else Mistral's one window for all.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        let layers = layers.min(MOST_LAYERS);
        let window = self.optional_size("sliding_window")?;
        if let Some(types) = self.config.get("layer_types").and_then(Value::as_array) {
            let is_sliding = |layer| types.get(layer).and_then(Value::as_str) == Some("sliding_attention");
            return Ok((0..layers).map(|layer| window.filter(|_| is_sliding(layer))).collect());
        }
        let (used, first) = match self.config.get("use_sliding_window").and_then(Value::as_bool) {
            None => (true, 0),
            Some(used) => (used, self.optional_size("max_window_layers")?.unwrap_or(0)),
        };
        Ok((0..layers).map(|layer| window.filter(|_| used && layer >= first)).collect())
    }
}

/// The rope of a GGUF model. Llama 3's scaling is not in the metadata but in a tensor, `rope_freqs.weight`, which
/// [`Rope::inverse_frequencies`] is given beside this.
fn gguf_rope(metadata: &GgufMetadata, architecture: &str, context: usize, path: &Path) -> Result<Rope> {
    let number = |name: &str| {
        let key = format!("{architecture}.rope.{name}");
        metadata.float(&key).or_else(|| metadata.integer(&key).map(|value| value as f64))
    };
    let theta = number("freq_base").unwrap_or(10_000.0);
    let original_context = number("scaling.original_context_length").unwrap_or(context as f64);
    let factor = number("scaling.factor");
    let scaling = match (metadata.string(&format!("{architecture}.rope.scaling.type")).unwrap_or("none"), factor) {
        ("none", _) => Scaling::None,
        ("linear", Some(factor)) => Scaling::Linear { factor },
        ("yarn", Some(factor)) => Scaling::Yarn {
            factor,
            original_context,
            beta_fast: number("scaling.yarn_beta_fast").unwrap_or(32.0),
            beta_slow: number("scaling.yarn_beta_slow").unwrap_or(1.0),
            truncate: true,
            attention_factor: None,
            mscale: None,
        },
        (other, _) => {
            let feature = format!("the rope scaling `{other}`");
            return Err(BaseError::UnsupportedFeature { path: path.into(), feature }.into());
        }
    };
    Ok(Rope { theta, scaling })
}
