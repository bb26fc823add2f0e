//! Errors of the config file, which is a part of the command line.

use std::path::PathBuf;

use super::Kind;

/// The config file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("`{}` is not valid TOML: {reason}", path.display())]
    Toml { path: PathBuf, reason: String },
    #[error("`{key}` in `{}` is not a flag of {of}", path.display())]
    UnknownKey { path: PathBuf, key: String, of: String, nearest: Option<String> },
    #[error("`{key}` in `{}` should be {expected}", path.display())]
    Value { path: PathBuf, key: String, expected: &'static str },
    #[error("the variable `{variable}` is `{given}`, and its flag is a switch")]
    Variable { variable: String, given: String },
    #[error("`--{flag}` cannot be written as TOML: its value is not UTF-8")]
    NotUtf8 { flag: String },
    #[error("`{command}` cannot be called so: {reason}")]
    Call { command: String, reason: String },
    #[error("`{name}` is not an option of `{command}`")]
    UnknownFlag { command: String, name: String, nearest: Option<String> },
}

impl ConfigError {
    pub(super) fn kind(&self) -> Kind {
        Kind::Usage
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { nearest: Some(nearest), .. } | Self::UnknownFlag { nearest: Some(nearest), .. } => {
                Some(format!("did you mean `{nearest}`?"))
            }
            Self::Variable { .. } => Some("set it to 1 or 0, or unset it".into()),
            _ => None,
        }
    }
}
