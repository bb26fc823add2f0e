//! Errors of adapter folders and of rewriting them.

use std::path::PathBuf;

use super::Kind;
use crate::format::{first_names, plural};

/// Reading, cutting and rewriting an adapter.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    #[error("`{}` is not a PEFT adapter folder: it has no {missing}", path.display())]
    NotAnAdapter { path: PathBuf, missing: &'static str },
    #[error("`{}` does not exist", path.display())]
    NotThere { path: PathBuf },
    #[error("`{}` is a file, and an adapter is a folder", path.display())]
    NotAFolder { path: PathBuf, adapter: Option<PathBuf> },
    #[error("`{}` is not an adapter of a known PEFT method: {found}", path.display())]
    NotPeft { path: PathBuf, found: String, known: String },
    #[error("`{}` is {what}", path.display())]
    Foreign { path: PathBuf, what: String },
    #[error("`{key}` in `{}` should be {expected}", path.display())]
    ConfigValue { path: PathBuf, key: &'static str, expected: &'static str },
    #[error("`{}` is not a PEFT adapter folder, but below it are adapters: {}", path.display(), first_names(below, 3))]
    AdaptersBelow { path: PathBuf, below: Vec<String> },
    #[error("`{}` holds no LoRA tensors: {found}", path.display())]
    Empty { path: PathBuf, found: NoTensors },
    #[error("`{}` has {} of an adapter of {expected}", path.display(), plural(*found, "shard"))]
    Shards { path: PathBuf, found: usize, expected: usize },
    #[error(
        "{tensors} tensors in {modules} of {} of `{}` hold no values, such as `{first}` of shape {shape:?}",
        plural(*all, "module"),
        path.display()
    )]
    NoValues { path: PathBuf, tensors: usize, modules: usize, all: usize, first: String, shape: Vec<usize> },
    #[error("there is nothing to keep of `{}`: {cause}", path.display())]
    NoEffect { path: PathBuf, cause: String },
    #[error("module `{module}` in `{}` has {present} without {absent}", path.display())]
    HalfAPair { path: PathBuf, module: String, present: &'static str, absent: &'static str },
    #[error("the tensors `{one}` and `{other}` of `{}` are the same factor of one module", path.display())]
    SamePart { path: PathBuf, one: String, other: String },
    #[error("`{}` holds the tensors of several adapters: {}", path.display(), first_names(names, 8))]
    SeveralAdapters { path: PathBuf, names: Vec<String> },
    #[error("module `{module}` in `{}` has rank {actual} in its tensors but {expected} in adapter_config.json", path.display())]
    Rank { path: PathBuf, module: String, expected: usize, actual: usize },
    #[error(
        "LoRA on `{module}` in `{}` is one tensor of three dimensions for all experts{}, which PEFT does not read",
        path.display(),
        if *is_shared { ", with a factor that they share" } else { "" }
    )]
    ExpertTensors { path: PathBuf, module: String, is_shared: bool },
    #[error("tensor `{tensor}` in `{}` does not fit the other factors of module `{module}`", path.display())]
    Factors { path: PathBuf, module: String, tensor: String },
    #[error("a tensor of `{}` names layer {layer}, which no model has", path.display())]
    LayerNumber { path: PathBuf, layer: usize },
    #[error("no tensor of `{}` belongs to a numbered layer", path.display())]
    NoLayers { path: PathBuf },
    #[error("`{}` adapts several layer stacks: {}", path.display(), stacks.join(", "))]
    SeveralStacks { path: PathBuf, stacks: Vec<String> },
    #[error("`{}` has no layer stack `{stack}`; it has {}", path.display(), stacks.join(", "))]
    UnknownStack { path: PathBuf, stack: String, stacks: Vec<String> },
    #[error("`{}` adapts a model with an encoder and a decoder, and `slim` and `scan` evaluate decoders alone", path.display())]
    EncoderDecoder { path: PathBuf },
    #[error("`{}` uses {feature}, which `slim` and `scan` cannot evaluate", path.display())]
    CannotEvaluate { path: PathBuf, feature: String },
    #[error("`{}` was trained with {init}, which also changes the base weights: it does not fit the base model on disk", path.display())]
    ChangesBase { path: PathBuf, init: String },
    #[error("`{}` uses {feature}, which cannot be cut", path.display())]
    CannotCut { path: PathBuf, feature: String },
    #[error("`{}` uses {feature}, whose rank cannot be reduced", path.display())]
    CannotReduce { path: PathBuf, feature: String },
    #[error("`{}` uses {feature}, which plain LoRA with one rank and one alpha cannot express", path.display())]
    NotPortable { path: PathBuf, feature: String },
    #[error("`{}` uses {feature}, which the format {format} cannot hold", path.display())]
    NotInFormat { path: PathBuf, feature: String, format: String },
    #[error("the rows of module `{module}` in `{}` do not match the attention heads of `{}`", path.display(), base.display())]
    Heads { path: PathBuf, module: String, base: PathBuf },
    #[error("`{}` uses {feature}, which cannot be padded with zeros", path.display())]
    CannotPad { path: PathBuf, feature: String },
    #[error("the singular value decomposition of module `{module}` in `{}` does not converge", path.display())]
    Decomposition { path: PathBuf, module: String },
    #[error("tensor `{tensor}` in `{}` has values outside the range of {dtype}", path.display())]
    Overflow { path: PathBuf, tensor: String, dtype: String },
    #[error("layer {layer} does not exist: `{}` has {}", path.display(), plural(*layers, "layer"))]
    LayerOutOfRange { path: PathBuf, layer: usize, layers: usize },
    #[error("nothing of `{}` would be left: an empty adapter is never written", path.display())]
    NothingLeft { path: PathBuf },
    #[error("{runtime} {outcome} what is written of `{}`: {what}", path.display())]
    Unmet { path: PathBuf, runtime: &'static str, outcome: &'static str, what: String, remedy: Option<String> },
}

/// What the weights of an adapter folder without an adapter in it hold.
#[derive(Debug, thiserror::Error)]
pub enum NoTensors {
    #[error("`{0}` has 0 bytes")]
    NoBytes(String),
    #[error("`{0}` has no tensors")]
    None(String),
    #[error("`{file}` looks like a whole model (`{tensor}`)")]
    WholeModel { file: String, tensor: String },
    #[error("`{0}` is of a whole model")]
    ModelFile(String),
    #[error("`{file}` has other tensors, such as `{tensor}`")]
    Others { file: String, tensor: String },
}

/// What is left to do with an adapter of a model with an encoder and a decoder.
pub(super) const CUT_A_SIDE: &str = "`lora-slim cut --stack decoder --boundary N`, or `--stack encoder`, drops layers of either without evaluating; \
     measure the result with the program that runs the model";

impl AdapterError {
    /// The path in an error of a rewriting step.
    pub(super) fn path_of_step(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::CannotReduce { path, .. }
            | Self::NotPortable { path, .. }
            | Self::CannotPad { path, .. }
            | Self::NotInFormat { path, .. }
            | Self::Heads { path, .. }
            | Self::Decomposition { path, .. }
            | Self::Overflow { path, .. }
            | Self::Empty { path, .. }
            | Self::NoValues { path, .. }
            | Self::HalfAPair { path, .. }
            | Self::SamePart { path, .. }
            | Self::Rank { path, .. }
            | Self::Factors { path, .. }
            | Self::ExpertTensors { path, .. }
            | Self::LayerNumber { path, .. }
            | Self::NoLayers { path }
            | Self::SeveralStacks { path, .. }
            | Self::Unmet { path, .. } => Some(path),
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::NoEffect { .. } => Kind::No,
            Self::LayerOutOfRange { .. } | Self::UnknownStack { .. } | Self::NothingLeft { .. } => Kind::Usage,
            _ => Kind::BadInput,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotAFolder { adapter: Some(adapter), .. } => {
                return Some(format!("name its folder, `{}`", adapter.display()));
            }
            Self::NotAnAdapter { .. } | Self::NotThere { .. } | Self::NotAFolder { adapter: None, .. } => {
                "name the folder that PEFT's `save_pretrained` wrote"
            }
            Self::AdaptersBelow { .. } => "name one of them, or give all to `lora-slim batch`",
            Self::Empty { found: NoTensors::WholeModel { .. } | NoTensors::ModelFile(_), .. } => {
                "the adapter is merged into that model; name the folder with the adapter as it was before"
            }
            Self::Empty { .. } => {
                "save the adapter again with PEFT's `save_pretrained`; DeepSpeed and FSDP have to gather its weights first"
            }
            Self::Shards { .. } => "copy the other shards beside them",
            Self::NoValues { .. } => {
                "it was saved under DeepSpeed ZeRO-3 or FSDP without gathering the weights; save it again with \
                 `stage3_gather_16bit_weights_on_model_save`, or take the weights from the checkpoint with zero_to_fp32.py"
            }
            Self::NoEffect { .. } => "`lora-slim inspect` shows what it has; `--boundary N` writes it all the same",
            Self::NotPeft { known, .. } => {
                return Some(format!("convert it to PEFT's format first; the known methods are {known}"));
            }
            Self::Foreign { path, .. } => {
                return Some(format!("`lora-slim fix {} -o OUT` writes it as PEFT saves adapters", path.display()));
            }
            Self::SamePart { .. } => {
                "take one of them out of the file, or save the adapter again with PEFT's `save_pretrained`"
            }
            Self::SeveralAdapters { .. } => {
                "save one adapter per folder (PEFT: `save_pretrained(OUT, selected_adapters=[NAME])`)"
            }
            Self::EncoderDecoder { .. } => CUT_A_SIDE,
            Self::ExpertTensors { .. } => {
                "save it with PEFT, which has the experts in the rank of two dimensions (`target_parameters`)"
            }
            Self::SeveralStacks { .. } => "name the one of the text decoder with `--stack`",
            Self::CannotReduce { .. } => {
                "leave out `--rank` and `--minimize`; `--dtype` makes adapters of any kind smaller"
            }
            Self::NotPortable { .. } => {
                "leave out `--portable`; `lora-slim check` says which runtimes load it as it is"
            }
            Self::NotInFormat { .. } => {
                "leave out `--format` and write a PEFT folder; where ranks differ, or for AdaLoRA, add `--portable`"
            }
            Self::Heads { .. } => "name the base model that the adapter was trained on",
            Self::CannotPad { .. } => {
                "leave out `--pad-zeros`; the runtimes that need it (LoRAX, TGI, S-LoRA) load only plain LoRA"
            }
            Self::Overflow { .. } => "use `--dtype bf16`, which has the range of f32",
            Self::CannotEvaluate { .. } => "use `lora-slim cut --boundary N`, which does not evaluate",
            Self::ChangesBase { .. } => {
                "save it as plain LoRA where it was trained (PEFT: `save_pretrained(OUT, \
                 path_initial_model_for_weight_conversion=INITIAL)`); `lora-slim cut --boundary N` works as it is"
            }
            Self::NothingLeft { .. } => "keep at least one layer that the adapter has",
            Self::Unmet { remedy, .. } => {
                return Some(match remedy {
                    Some(remedy) => format!("what helps: {remedy}"),
                    None => "nothing that lora-slim writes helps; leave it out of `--for`".into(),
                });
            }
            _ => return None,
        };
        Some(hint.into())
    }
}
