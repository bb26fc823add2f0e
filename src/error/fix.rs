//! Errors of mending adapters of other layouts.

use std::path::PathBuf;

use super::Kind;

/// Why an adapter cannot be written as PEFT would save it.
#[derive(Debug, thiserror::Error)]
pub enum FixError {
    #[error("`{}` holds no adapter in a layout that is known", path.display())]
    UnknownLayout { path: PathBuf, known: String },
    #[error("`{}` is {what}", path.display())]
    NotAnAdapter { path: PathBuf, what: &'static str },
    #[error("`{}` is in the layout of {layout}, which has no tensors such as {names}", path.display())]
    UnknownTensors { path: PathBuf, layout: &'static str, names: String },
    #[error("`{}` is in the layout of {layout}, which cannot be read without the base model: {needs}", path.display())]
    NoBase { path: PathBuf, layout: &'static str, needs: &'static str },
    #[error("`{}` is in the layout of {layout}, whose order of rows is not known for models of type {family}", path.display())]
    Family { path: PathBuf, layout: &'static str, family: String },
    #[error("no file of `{}` says the alpha that the adapter was trained with", path.display())]
    NoAlpha { path: PathBuf },
    #[error("`{}` has its alpha in `{file}`, which is not read", path.display())]
    AlphaInYaml { path: PathBuf, file: String },
    #[error("`{}` is an archive of NeMo", path.display())]
    Archive { path: PathBuf },
    #[error("`{}` says itself which alpha the adapter was trained with", path.display())]
    AlphaKnown { path: PathBuf },
    #[error("what `{}` means is not certain: {reason}", path.display())]
    Ambiguous { path: PathBuf, reason: String },
    #[error("`{}` has several files of weights: {files}", path.display())]
    SeveralFiles { path: PathBuf, files: String },
    #[error("`{}` lacks some shards of its weights; it has {present}", path.display())]
    MissingShards { path: PathBuf, present: String },
    #[error("the base model `{}` has no module `{module}`, to which a tensor of `{}` belongs", base.display(), path.display())]
    NotInBase { path: PathBuf, base: PathBuf, module: String },
    #[error("the result of mending `{}` is not what its files stand for: {difference}", path.display())]
    NotTheSame { path: PathBuf, difference: String },
}

impl FixError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::AlphaKnown { .. } | Self::NoAlpha { .. } | Self::AlphaInYaml { .. } | Self::NoBase { .. } => {
                Kind::Usage
            }
            _ => Kind::BadInput,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownLayout { known, .. } => return Some(format!("the known layouts are {known}")),
            Self::NoBase { .. } => "name the base model with `--base`",
            Self::NoAlpha { .. } => "pass it with `--alpha`; the configuration of the training has it",
            Self::AlphaInYaml { .. } => "pass it with `--alpha`: it stands under `peft.lora_tuning.alpha`",
            Self::Archive { .. } => "unpack it (`tar -xf`), and name the folder with its `model_weights.ckpt`",
            Self::AlphaKnown { .. } => "leave out `--alpha`",
            Self::SeveralFiles { .. } => "name one of the files",
            Self::MissingShards { .. } => "complete the folder",
            Self::NotInBase { .. } => "name the base model that the adapter was trained on",
            Self::NotAnAdapter { .. }
            | Self::UnknownTensors { .. }
            | Self::Family { .. }
            | Self::Ambiguous { .. }
            | Self::NotTheSame { .. } => return None,
        };
        Some(hint.into())
    }
}
