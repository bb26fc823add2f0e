//! Tensors as files hold them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use safetensors::Dtype;
use serde_json::{Map, Value};

use super::block_types::BlockType;
use super::map::WeightFile;
use crate::error::TensorError;

/// What the elements of a stored tensor are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StoredType {
    /// One number after the other.
    Plain(Dtype),
    /// GGML blocks of quantised values that candle knows.
    Ggml(GgmlDType),
    /// Those that it does not know.
    Blocks(&'static BlockType),
}

impl StoredType {
    /// The values of a block, and the bytes that they take.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Plain(dtype) => (1, dtype.bitsize() / 8),
            Self::Ggml(dtype) => (dtype.block_size(), dtype.type_size()),
            Self::Blocks(kind) => (kind.values, kind.bytes),
        }
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoredType::Plain(dtype) => write!(f, "{dtype:?}"),
            StoredType::Ggml(dtype) => write!(f, "{dtype:?}"),
            StoredType::Blocks(kind) => f.write_str(kind.name),
        }
    }
}

/// Where a tensor lies, as the header of its file says.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The place of its file in the store.
    pub(super) file: usize,
    pub(super) dtype: StoredType,
    pub(super) shape: Vec<usize>,
    /// Its bytes, counted from the start of the file.
    pub(super) range: Range<usize>,
}

/// The stored tensors of a base model, by name.
pub struct StoredTensors<'a> {
    pub path: &'a Path,
    pub files: &'a [WeightFile],
    pub tensors: BTreeMap<String, Stored>,
    /// `config.json`; empty for other files.
    pub config: &'a Map<String, Value>,
}

impl StoredTensors<'_> {
    /// The tensor `name`.
    pub fn find(&self, name: &str) -> Result<&Stored, TensorError> {
        let missing = || TensorError::Missing { path: self.path.into(), name: name.into() };
        self.tensors.get(name).ok_or_else(missing)
    }

    /// The tensor `name`, which must have this type and shape.
    pub fn expect(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&Stored, TensorError> {
        let stored = self.find(name)?;
        if stored.dtype != StoredType::Plain(dtype) {
            let (path, dtype) = (self.path.into(), stored.dtype.to_string());
            return Err(TensorError::Dtype { path, name: name.into(), dtype });
        }
        if stored.shape == shape { Ok(stored) } else { Err(self.shape_error(name, shape)) }
    }

    /// The bytes of the tensor `name`, which must have `count` numbers of this type in whatever shape.
    pub fn numbers(&self, name: &str, dtype: Dtype, count: usize) -> Result<&[u8], TensorError> {
        let stored = self.find(name)?;
        let has_count = stored.shape.iter().product::<usize>() == count;
        let shape = if has_count { stored.shape.clone() } else { vec![count] };
        self.expect(name, dtype, &shape).map(|stored| self.bytes(stored))
    }

    /// Whether there is a tensor `name` of this type.
    pub fn has_type(&self, name: &str, dtype: Dtype) -> bool {
        self.tensors.get(name).is_some_and(|stored| stored.dtype == StoredType::Plain(dtype))
    }

    /// The number `key` that the configuration has for all quantised weights, wherever it stands.
    pub fn setting(&self, key: &str) -> Option<usize> {
        let quantisation = self.quantisation()?;
        let of_group = || quantisation.get("config_groups")?.as_object()?.values().next()?.get("weights")?.get(key);
        quantisation.get(key).or_else(of_group)?.as_u64().and_then(|number| usize::try_from(number).ok())
    }

    /// The text `key` that the configuration has for all quantised weights.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.quantisation()?.get(key)?.as_str()
    }

    /// PyTorch's name for the type of the model's numbers.
    pub fn dtype(&self) -> Option<&str> {
        let text = self.config.get("text_config").and_then(Value::as_object);
        let keys = ["dtype", "torch_dtype"];
        [Some(self.config), text]
            .into_iter()
            .flatten()
            .find_map(|config| keys.iter().find_map(|key| config.get(*key)?.as_str()))
    }

    /// The rows and the columns of FP8 blocks.
    pub fn block_size(&self) -> Option<(usize, usize)> {
        let sides = self.quantisation()?.get("weight_block_size")?.as_array()?;
        let side = |place: usize| usize::try_from(sides.get(place)?.as_u64()?).ok();
        Some((side(0)?, side(1)?))
    }

    /// The bits of the codes of a module of MLX, and the columns of their groups.
    pub fn mlx_widths(&self, module: &str) -> Option<(usize, usize)> {
        let all = self.config.get("quantization").and_then(Value::as_object).or_else(|| self.quantisation())?;
        let of_module = all.get(module).and_then(Value::as_object).unwrap_or(all);
        let width = |key: &str| {
            let width = of_module.get(key).or_else(|| all.get(key))?.as_u64()?;
            usize::try_from(width).ok().filter(|&width| width > 0)
        };
        Some((width("bits")?, width("group_size")?))
    }

    fn quantisation(&self) -> Option<&Map<String, Value>> {
        let text = self.config.get("text_config").and_then(|text| text.get("quantization_config"));
        self.config.get("quantization_config").or(text)?.as_object()
    }

    pub fn bytes(&self, stored: &Stored) -> &[u8] {
        &self.files[stored.file].bytes()[stored.range.clone()]
    }

    /// Says what is wrong with how the weight of the tensor `name` is stored.
    pub fn quantised_error(&self, name: &str, problem: impl Into<String>) -> TensorError {
        TensorError::Quantised { path: self.path.into(), name: name.into(), problem: problem.into() }
    }

    /// Says that the tensor `name` does not have the shape that it should have.
    pub fn shape_error(&self, name: &str, expected: &[usize]) -> TensorError {
        let actual = self.tensors.get(name).map(|stored| stored.shape.clone()).unwrap_or_default();
        TensorError::Shape { path: self.path.into(), name: name.into(), expected: expected.into(), actual }
    }
}
