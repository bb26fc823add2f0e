//! Whether the weights of a folder are quantised, which its tensors tell and its configuration may only claim.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{BaseError, Result};
use crate::tensors::{self, Dtype, TensorStore};

/// Refuses weights in an encoding that is not read. Plain weights beside a `quantization_config`, as merged models have it,
/// are read; the sentence for the user is returned.
pub fn left_over_quantisation(config: &Map<String, Value>, store: &TensorStore, path: &Path) -> Result<Option<String>> {
    let text = config.get("text_config").and_then(|text| text.get("quantization_config"));
    let Some(quantised) = config.get("quantization_config").or(text).and_then(Value::as_object) else {
        return Ok(None);
    };
    let method = quantised.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
    if tensors::reads_method(method) {
        return Ok(None);
    }
    let is_plain = |dtype: Option<Dtype>| {
        matches!(dtype, Some(Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)) || matches!(dtype, Some(Dtype::BOOL))
    };
    // Every method stores codes of integers or bytes. Masks and positions, which old files hold, are no weights.
    let is_buffer = |name: &str| name.ends_with(".bias") || name.ends_with("position_ids");
    if store.iter().all(|(name, entry)| is_plain(entry.dtype()) || is_buffer(name)) {
        let path = path.display();
        return Ok(Some(format!(
            "`{path}` says that the weights are quantised ({method}), but they are plain numbers"
        )));
    }
    Err(BaseError::Quantised { path: path.into(), method: method.into() }.into())
}
