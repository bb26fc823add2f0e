//! Multimodal models around a decoder, as data: what their modules are called, what they do to the decoder's logits, and what its
//! prompt attends to.
//!
//! Such a model has its own output head over the text model. Most of these heads leave out what the family's own head does
//! to logits, a scale or a soft bound; those that apply it are listed. Source: the class that generates in
//! `modeling_NAME.py` of transformers 5.24. The names are those of transformers 5.24 and PEFT 0.21.2;
//! `scripts/fixtures/names.py` asks them for every entry.

use super::OUTER;

/// A multimodal model.
#[derive(Debug, PartialEq)]
pub struct Wrapper {
    /// `model_type` of the outer configuration.
    model_types: &'static [&'static str],
    /// `None` where the modules are called as in the files.
    pub names: Option<WrapperNames>,
    /// What the head applies to the logits as the family's own head does.
    pub logits: &'static [LogitStep],
    pub prompt: PromptAttention,
}

/// A step from the output of the head's matrix to logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitStep {
    Scale,
    Softcap,
}

/// What the tokens of a prompt see. Answers see all tokens before them in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptAttention {
    /// The tokens before them.
    Causal,
    /// All of the prompt, whatever the layer's window.
    BothWays,
}

impl PromptAttention {
    /// How many first tokens of a sample all see each other, of a prompt of `length` tokens.
    pub fn both_ways(self, length: usize) -> usize {
        match self {
            Self::Causal => 0,
            Self::BothWays => length,
        }
    }
}

/// What the modules of a multimodal model are called.
#[derive(Debug, PartialEq)]
pub struct WrapperNames {
    pub decoder: &'static str,
    /// The names that PEFT replaces by current ones.
    pub former: &'static [FormerName],
}

/// The beginning of a former name, and the current one that PEFT puts in its place.
pub type FormerName = (&'static str, &'static str);

/// The names before transformers 4.52. The first entry that a name begins with counts.
const BEFORE_4_52: &[FormerName] = &[
    ("language_model.lm_head", OUTER.head),
    ("language_model.model", "model.language_model"),
    ("model.language_model.model", "model.language_model"),
    ("vision_tower", "model.vision_tower"),
    ("vision_model", "model.vision_model"),
    ("audio_tower", "model.audio_tower"),
    ("multi_modal_projector", "model.multi_modal_projector"),
];

/// The reasoner of Cosmos 3 lies in its files without a prefix.
const COSMOS: &[FormerName] =
    &[("layers", "model.language_model.layers"), ("model.language_model.model", "model.language_model")];

/// In the files of PaddleOCR-VL the decoder is called as a text model's.
const PADDLE: &[FormerName] = &[
    ("model.language_model.model", "model.language_model"),
    ("model.language_model", "model.language_model"),
    ("model.visual", "model.visual"),
    ("model.projector", "model.projector"),
    ("model", "model.language_model"),
    ("visual", "model.visual"),
    ("mlp_AR", "model.projector"),
];

const LANGUAGE_MODEL: WrapperNames = WrapperNames { decoder: "model.language_model", former: &[] };
const RENAMED: WrapperNames = WrapperNames { former: BEFORE_4_52, ..LANGUAGE_MODEL };

/// Names in the files of Kimi K2.5, and former ones of models whose text model had a model inside.
const KIMI: &[FormerName] = &[("language_model.lm_head", OUTER.head), ("language_model.model", "model.language_model")];
const MODEL_INSIDE: &[FormerName] = &[("model.language_model.model", "model.language_model")];

#[rustfmt::skip]
static WRAPPERS: [Wrapper; 15] = [
    Wrapper {
        model_types: &["gemma3n", "gemma4"],
        names: Some(LANGUAGE_MODEL),
        logits: &[LogitStep::Softcap],
        ..PLAIN
    },
    Wrapper {
        model_types: &["gemma4_unified"],
        names: Some(WrapperNames { former: MODEL_INSIDE, ..LANGUAGE_MODEL }),
        logits: &[LogitStep::Softcap],
        ..PLAIN
    },
    Wrapper {
        model_types: &["llama4", "nemotron_h_omni"],
        names: Some(WrapperNames { decoder: "language_model.model", former: &[] }),
        ..PLAIN
    },
    Wrapper { model_types: &["nemo_speechlm"], names: Some(WrapperNames { former: MODEL_INSIDE, ..LANGUAGE_MODEL }), ..PLAIN },
    // `token_type_ids` of the processor mark the prompt.
    Wrapper {
        model_types: &["paligemma"],
        names: Some(RENAMED),
        logits: &[LogitStep::Softcap],
        prompt: PromptAttention::BothWays,
    },
    Wrapper { model_types: &["granite4_vision"], names: Some(LANGUAGE_MODEL), logits: &[LogitStep::Scale], ..PLAIN },
    Wrapper { model_types: &["granite_docling"], logits: &[LogitStep::Scale], ..PLAIN },
    // Their `language_model` is the family's model with its own head.
    Wrapper {
        model_types: &["blip-2", "instructblip", "instructblipvideo"],
        logits: &[LogitStep::Scale, LogitStep::Softcap],
        ..PLAIN
    },
    Wrapper {
        model_types: &[
            "audioflamingo3", "aya_vision", "fuyu", "gemma3", "glmasr", "got_ocr2", "granite_speech", "granite_speech_plus",
            "internvl", "llava", "llava_next", "llava_next_video", "llava_onevision", "mistral3", "mllama", "musicflamingo",
            "pp_chart2table", "qianfan_ocr", "qwen2_audio", "vibevoice_asr", "video_llava", "vipllava", "voxtral",
        ],
        names: Some(RENAMED),
        ..PLAIN
    },
    Wrapper {
        model_types: &[
            "cohere2_vision", "deepseek_vl", "deepseek_vl_hybrid", "exaone4_5", "fast_vlm", "fun_asr_nano", "janus",
            "lfm2_vl", "lighton_ocr", "minicpm_ocr", "minicpmv4_6", "minicpmv4_7", "moss_transcribe_diarize", "omniasr", "ovis2",
            "perception_lm", "qwen2_5_vl", "qwen2_vl", "qwen3_5", "qwen3_5_moe", "qwen3_asr", "qwen3_vl", "shieldgemma2", "vibevoice",
            "video_llama_3",
        ],
        names: Some(LANGUAGE_MODEL),
        ..PLAIN
    },
    Wrapper { model_types: &["kimi_k25"], names: Some(WrapperNames { former: KIMI, ..LANGUAGE_MODEL }), ..PLAIN },
    Wrapper {
        model_types: &["qwen3_vl_moe"],
        names: Some(WrapperNames { former: MODEL_INSIDE, ..LANGUAGE_MODEL }),
        ..PLAIN
    },
    Wrapper {
        model_types: &["paddleocr_vl"],
        names: Some(WrapperNames { former: PADDLE, ..LANGUAGE_MODEL }),
        ..PLAIN
    },
    Wrapper {
        model_types: &["cosmos3_omni"],
        names: Some(WrapperNames { former: COSMOS, ..LANGUAGE_MODEL }),
        ..PLAIN
    },
    Wrapper {
        model_types: &["idefics2", "idefics3", "smolvlm"],
        names: Some(WrapperNames { decoder: "model.text_model", former: &[] }),
        ..PLAIN
    },
];

/// Those that are not listed.
const PLAIN: Wrapper = Wrapper { model_types: &[], names: None, logits: &[], prompt: PromptAttention::Causal };
static UNLISTED: Wrapper = PLAIN;

impl Wrapper {
    /// The multimodal model of a `model_type`.
    pub fn of(model_type: &str) -> &'static Self {
        WRAPPERS.iter().find(|wrapper| wrapper.model_types.contains(&model_type)).unwrap_or(&UNLISTED)
    }
}
