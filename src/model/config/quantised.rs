//! Whether the weights of a folder are quantised, which its tensors tell and its configuration may only claim.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{BaseError, Result, TensorError};
use crate::tensors::{self, Dtype, TensorStore};

/// The keys of `config.json` that say how weights are quantised; the second is MLX's.
const KEYS: [&str; 2] = ["quantization_config", "quantization"];

/// What a method is called that the configuration does not name.
const UNNAMED: &str = "unknown";

/// Refuses quantised weights that the configuration says nothing about, and those in an encoding that is not read. Plain weights
/// beside a `quantization_config`, as merged models have it, are read; the sentence for the user is returned.
pub fn check_quantisation(config: &Map<String, Value>, store: &TensorStore, path: &Path) -> Result<Option<String>> {
    let text = config.get("text_config").and_then(Value::as_object);
    let told =
        [Some(config), text].into_iter().flatten().find_map(|config| KEYS.iter().find_map(|key| config.get(*key)));
    let method = told.map(|told| told.get("quant_method").and_then(Value::as_str).unwrap_or(UNNAMED));
    if let Some((name, entry)) =
        store.iter().find(|(name, entry)| entry.dtype().is_some_and(|dtype| are_codes(name, dtype)))
    {
        let of_other_method = method.filter(|method| !tensors::reads_method(method) && *method != UNNAMED);
        return Err(match of_other_method {
            Some(method) => BaseError::Quantised { path: path.into(), method: method.into() }.into(),
            None => TensorError::Quantised {
                path: store.path().into(),
                name: name.into(),
                problem: format!("holds codes ({}) without the tensors that say what they stand for", entry.encoding()),
            }
            .into(),
        });
    }
    let quantised = store.iter().find(|(_, entry)| entry.is_composite());
    match (quantised, method) {
        // Tensors of another method may have the same names and another meaning. MLX names none.
        (Some(_), Some(method)) if method != UNNAMED && !tensors::reads_method(method) => {
            Err(BaseError::Quantised { path: path.into(), method: method.into() }.into())
        }
        (Some(_), Some(_)) if turns_weights(told) => {
            let feature = "weights that are turned before they are quantised (`transform_config`)".into();
            Err(BaseError::UnsupportedFeature { path: path.into(), feature }.into())
        }
        (Some((_, entry)), None) => {
            Err(BaseError::NoQuantisation { path: path.into(), encoding: entry.encoding() }.into())
        }
        (None, Some(method)) => Ok(Some(format!(
            "`{}` says that the weights are quantised ({method}), but they are plain numbers",
            path.display()
        ))),
        _ => Ok(None),
    }
}

/// Whether the model's own code turns activations to fit the weights, as compressed-tensors' transforms do.
fn turns_weights(told: Option<&Value>) -> bool {
    let transform = told.and_then(|told| told.get("transform_config"));
    transform.and_then(Value::as_object).is_some_and(|transform| !transform.is_empty())
}

/// Whether a tensor holds codes of numbers. Masks and positions, which old files hold, are no weights.
fn are_codes(name: &str, dtype: Dtype) -> bool {
    let is_plain = matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::BOOL | Dtype::I64);
    let is_buffer = name.ends_with(".bias") || name.ends_with("position_ids") || name.ends_with("_scale");
    !is_plain && !is_buffer
}
