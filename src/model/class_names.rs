//! What the modules of a base model are called once transformers has loaded it.
//!
//! PEFT finds modules by these names. They need not be the names in the files: transformers renames tensors as it reads them
//! (`conversion_mapping.py`), and PEFT renames those of LoRA adapters in the same way for some models. The data is that of
//! transformers 5.24 and PEFT 0.21.2; `scripts/fixtures/names.py` asks them for every entry.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::family::{self, Family, FormerName, OUTER, OuterNames, Outside, Wrapper};

/// The name of the head, in a class or in the text model with a head that a multimodal one is built around.
const HEAD: &str = "lm_head";

/// The names of the modules of one class of transformers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassNames {
    /// The decoder: `model.language_model`; empty where its modules have no prefix.
    pub decoder: String,
    /// The list of its layers: `model.language_model.layers`.
    pub stack: String,
    /// `None` in a class without a head.
    pub head: Option<String>,
}

impl ClassNames {
    pub fn new(decoder: &str, outer: &OuterNames) -> Self {
        // Where the decoder is called as in a text model, the head is beside it as it is there.
        let around = decoder.strip_suffix(outer.decoder).and_then(|rest| rest.strip_suffix('.')).unwrap_or_default();
        Self { decoder: decoder.into(), stack: inside(decoder, outer.stack), head: Some(inside(around, HEAD)) }
    }

    /// The class of the same model without a head, which adapters for embeddings of texts are trained on.
    pub fn without_head(&self) -> Self {
        let inner = |name: &str| name.split_once('.').map_or("", |(_, inner)| inner).to_string();
        let decoder = inner(&self.decoder);
        Self { stack: inner(&self.stack), decoder, head: None }
    }

    /// The name of a module that the decoder has under `name`.
    pub fn inside_decoder(&self, name: &str) -> String {
        inside(&self.decoder, name)
    }

    /// The name of a module outside the layers; `None` if there is none.
    pub fn outside(&self, outside: Outside, outer: &OuterNames) -> Option<String> {
        match outside {
            Outside::Head => self.head.clone(),
            _ => outer.name(outside).map(|name| inside(&self.decoder, name)),
        }
    }

    /// What precedes the decoder, and also the other parts of a multimodal model: `model.` of `model.language_model`.
    pub fn beside_decoder(&self) -> &str {
        self.decoder.rfind('.').map_or("", |dot| &self.decoder[..=dot])
    }
}

fn inside(outer: &str, name: &str) -> String {
    if outer.is_empty() { name.into() } else { format!("{outer}.{name}") }
}

/// Text models whose tensors transformers renames or joins as it reads them. PEFT renames LoRA for these as for the names of
/// multimodal models before transformers 4.52.
const RENAMED_TEXT_MODELS: [&str; 29] = [
    "afmoe",
    "cohere2_moe",
    "deepseek_v2",
    "deepseek_v3",
    "dots1",
    "ernie4_5_moe",
    "exaone_moe",
    "flex_olmo",
    "gemma3n_text",
    "glm4_moe",
    "glm4_moe_lite",
    "granitemoe",
    "granitemoehybrid",
    "granitemoeshared",
    "hunyuan_v1_moe",
    "lfm2_moe",
    "mellum",
    "minimax_m2",
    "mixtral",
    "nemotron_h",
    "olmo_hybrid",
    "olmoe",
    "phimoe",
    "qwen2_moe",
    "qwen3_5_moe_text",
    "qwen3_5_text",
    "qwen3_moe",
    "qwen3_next",
    "solar_open",
];

/// Multimodal models of which `AutoModelForCausalLM` makes the text model alone (`modeling_auto.py` of transformers 5.24).
const TEXT_OF_MULTIMODAL: [&str; 2] = ["qwen3_5", "qwen3_5_moe"];

/// The names that the modules of a base model have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseNames {
    /// The class that loads the base model. A GGUF file does not tell whether that is one of text or a multimodal one, so that it
    /// has several.
    pub classes: Vec<ClassNames>,
    former: &'static [FormerName],
    /// Whether PEFT finds LoRA without `base_model.model.`, because it takes this away before it renames.
    pub needs_no_prefix: bool,
    /// The `model_type` of the whole model; a GGUF file does not tell it.
    pub model_type: Option<String>,
}

impl BaseNames {
    /// The names of a model by its `config.json`. A multimodal model whose code transformers does not have calls its modules as
    /// the files do; `decoder_in_files` precedes the decoder's names there.
    pub fn of_config(config: &Map<String, Value>, decoder_in_files: &str) -> Self {
        let model_type =
            |config: &Map<String, Value>| config.get("model_type").and_then(Value::as_str).map(String::from);
        let text = config.get("text_config").and_then(Value::as_object);
        // The first files of Qwen2-VL have the text's numbers among the others.
        let is_known = |name: &String| Wrapper::of(name).names.is_some();
        let flat = || model_type(config).filter(is_known);
        let multimodal = text.map(|_| model_type(config).unwrap_or_default()).or_else(flat);
        let family = model_type(text.unwrap_or(config)).and_then(|name| family::by_model_type(&name));
        Self { model_type: model_type(config), ..Self::of_model(multimodal.as_deref(), family, decoder_in_files) }
    }

    /// As [`of_config`](Self::of_config), by the `model_type` of the multimodal model around the decoder, if there is one.
    fn of_model(multimodal: Option<&str>, family: Option<&Family>, decoder_in_files: &str) -> Self {
        let outer = family.map_or(&OUTER, |family| family.outer);
        let names = multimodal.map(|name| Wrapper::of(name).names.as_ref());
        let (decoder, former): (&str, _) = match names {
            None => (outer.decoder, outer.former),
            Some(Some(names)) => (names.decoder, names.former),
            Some(None) => (decoder_in_files.trim_end_matches('.'), &[][..]),
        };
        // The text model of these loads the multimodal files, too (`AutoModelForCausalLM`).
        let text =
            multimodal.filter(|name| TEXT_OF_MULTIMODAL.contains(name)).map(|_| ClassNames::new(outer.decoder, outer));
        let is_converted =
            family.is_some_and(|one| one.model_types.iter().any(|name| RENAMED_TEXT_MODELS.contains(name)));
        let needs_no_prefix = !former.is_empty() || multimodal.is_none() && is_converted;
        let classes = std::iter::once(ClassNames::new(decoder, outer)).chain(text).collect();
        Self { classes, former, needs_no_prefix, model_type: None }
    }

    pub fn of_gguf(outer: &OuterNames) -> Self {
        let decoders = [outer.decoder, "model.language_model"];
        Self {
            classes: decoders.map(|decoder| ClassNames::new(decoder, outer)).into(),
            former: &[],
            needs_no_prefix: false,
            model_type: None,
        }
    }

    /// The class that loads the model.
    pub fn class(&self) -> &ClassNames {
        &self.classes[0]
    }

    /// Whether a stack of layers in an adapter is the decoder's.
    pub fn is_decoder(&self, stack: &str) -> bool {
        let current = self.current(stack);
        self.classes.iter().any(|class| *current == *class.stack || stack == class.without_head().stack)
    }

    /// The current name of a module, where PEFT replaces the one that a LoRA adapter has.
    pub fn current<'a>(&self, module: &'a str) -> Cow<'a, str> {
        let replaced = self.former.iter().find_map(|(former, current)| {
            let rest = module.strip_prefix(former)?;
            (rest.is_empty() || rest.starts_with('.')).then(|| format!("{current}{rest}"))
        });
        replaced.map_or(module.into(), Cow::from)
    }
}
