//! `--format gguf`: a LoRA GGUF file as llama.cpp's `convert_lora_to_gguf.py` writes it.
//!
//! llama.cpp scales each module by one alpha over the rank of its tensors (`llama-adapter.cpp`), so any difference between modules
//! goes into `lora_b`.

use std::io::{self, BufWriter, Write};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::gguf_names::{GgufNames, RowOrder};
use super::pairs::{PlainPair, plain_pairs, refusal};
use super::{BaseShape, Exporter, Format, FormatEntry};
use crate::adapter::Adapter;
use crate::adapter::names;
use crate::error::{AdapterError, ComputeError, Result};
use crate::files::Staging;
use crate::rewrite::steps::PlannedChanges;
use crate::rewrite::{blocks, fold, write};
use crate::tensors::Dtype;

pub const ENTRY: FormatEntry = FormatEntry {
    name: "gguf",
    help: "A LoRA GGUF file, for llama.cpp and Ollama",
    description: "a LoRA GGUF file",
    file_name: "adapter.gguf",
    exporter: |base, planned| {
        let base = BaseShape::read(&base()?)?;
        Ok(Box::new(GgufFile { names: GgufNames::of(&base)?, base, has_blocks: planned.rounds_to_blocks }))
    },
};

/// The version of ggml's quantised types, which the converter writes into every file.
const QUANTIZATION_VERSION: u32 = 2;

/// The embedding and the head.
const VOCABULARIES: [&str; 2] = ["token_embd", "output"];

#[derive(Debug)]
struct GgufFile {
    base: BaseShape,
    names: GgufNames,
    /// Whether factors are stored in blocks of 8 bits, where their rows are whole blocks.
    has_blocks: bool,
}

impl Exporter for GgufFile {
    fn format(&self) -> Format {
        Format::Gguf
    }

    /// Refuses modules that llama.cpp does not have, and those that do not fit the heads of the base model.
    fn check(&self, adapter: &Adapter, planned: PlannedChanges) -> Result<()> {
        // What it cannot hold may be dead.
        if planned.drops_dead_weight {
            return Ok(());
        }
        self.base.check_layers(adapter)?;
        plain_pairs(adapter, Format::Gguf, planned.unifies)?.iter().try_for_each(|pair| {
            let (_, order) = self.tensor_of(adapter, pair)?;
            let fits = order.places(pair.outputs, &self.base).is_some();
            if fits { Ok(()) } else { Err(self.other_heads(adapter, pair).into()) }
        })
    }

    fn write(&self, adapter: &Adapter, staging: &Staging) -> Result<()> {
        let pairs = plain_pairs(adapter, Format::Gguf, false)?;
        // llama.cpp takes an alpha of 0 for none, and a scaling of 1.
        let alphas = pairs.iter().map(|pair| pair.scaling * pair.rank as f64);
        let alpha = fold::most_common(alphas.filter(|&alpha| alpha as f32 != 0.0)) as f32;
        let tensors = pairs.par_iter().map(|pair| self.tensors(adapter, pair, alpha));
        let tensors: Vec<(String, QTensor)> = tensors.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let metadata = [
            ("general.architecture", &Value::String(self.names.architecture.clone())),
            ("general.type", &Value::String("adapter".into())),
            ("general.file_type", &Value::U32(file_type(&tensors))),
            ("adapter.type", &Value::String("lora".into())),
            ("adapter.lora.alpha", &Value::F32(alpha)),
            ("general.quantization_version", &Value::U32(QUANTIZATION_VERSION)),
        ];
        let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        staging.file(Format::Gguf.file_name(), |file| {
            let mut file = BufWriter::new(file);
            gguf_file::write(&mut file, &metadata, &tensors).map_err(io::Error::other)?;
            file.flush()
        })
    }
}

impl GgufFile {
    fn other_heads(&self, adapter: &Adapter, pair: &PlainPair) -> AdapterError {
        let (path, module, base) = (adapter.path.clone(), pair.module.name.clone(), self.base.path.clone());
        AdapterError::Heads { path, module, base }
    }

    /// The tensor that a module is in llama.cpp, and the order of its rows.
    fn tensor_of(&self, adapter: &Adapter, pair: &PlainPair) -> Result<(String, RowOrder)> {
        const UNKNOWN: &str = "which is no tensor of its own in llama.cpp's models of this architecture";
        let module = &pair.module.name;
        let refuse = |why: &str| {
            let feature = format!("LoRA on `{module}`, {why} (`{}`)", self.base.architecture);
            refusal(adapter, Format::Gguf, feature)
        };
        if let Some(layer) = pair.module.layer {
            let (tensor, order) = self.names.in_layer(pair.inside()).ok_or_else(|| refuse(UNKNOWN))?;
            return Ok((format!("blk.{layer}.{tensor}.weight"), order));
        }
        // A module with a number belongs to another stack, even if its name is that of one outside of all stacks.
        if names::stack_and_layer(module).is_some() || names::is_of_tower(module) {
            return Err(refuse(UNKNOWN).into());
        }
        let tensor = self.names.outside(module).ok_or_else(|| refuse(UNKNOWN))?;
        // llama.cpp would have one tensor for both, and its head multiplies with the factors of an embedding.
        match self.base.why_not_outside().filter(|_| VOCABULARIES.contains(&tensor)) {
            Some(why) => Err(refuse(why).into()),
            None => Ok((format!("{tensor}.weight"), RowOrder::Same)),
        }
    }

    /// `lora_a` and `lora_b` of a module.
    fn tensors(&self, adapter: &Adapter, pair: &PlainPair, alpha: f32) -> Result<[(String, QTensor); 2]> {
        let (name, order) = self.tensor_of(adapter, pair)?;
        let mut values = pair.load()?;
        let factor = fold::factor(pair.scaling * pair.rank as f64, alpha.into());
        if self.has_blocks && factor != 1.0 {
            // What was measured would be rounded once more.
            let feature = "scalings that differ (`--portable` makes them one) with numbers of 8 bits".into();
            return Err(refusal(adapter, Format::Gguf, feature).into());
        }
        fold::fold(&mut values.b, factor);
        let b = order.apply(values.b, pair.rank, &self.base).ok_or_else(|| self.other_heads(adapter, pair))?;
        // llama.cpp looks tokens up in the rows of this one (`llm_build_inp_embd`).
        let (a, shape_a) = match pair.is_embedding() {
            true => (write::transposed(&values.a, values.inputs), [values.inputs, pair.rank]),
            false => (values.a, [pair.rank, values.inputs]),
        };
        let tensor = |values: &[f32], dtype: Dtype, shape: [usize; 2]| -> Result<QTensor> {
            let dtype = if dtype == Dtype::F64 { Dtype::F32 } else { dtype };
            // An error for values that the type cannot hold; candle would write infinities.
            write::encode(adapter, &pair.module.name, values, dtype)?;
            let tensor = Tensor::from_slice(values, &shape, &Device::Cpu);
            let in_blocks = self.has_blocks && shape[1].is_multiple_of(blocks::BLOCK);
            let to = if in_blocks { GgmlDType::Q8_0 } else { ggml_type(dtype) };
            Ok(tensor.and_then(|tensor| QTensor::quantize(&tensor, to)).map_err(ComputeError::TensorOperation)?)
        };
        Ok([
            (format!("{name}.lora_a"), tensor(&a, values.dtypes.0, shape_a)?),
            (format!("{name}.lora_b"), tensor(&b, values.dtypes.1, [pair.outputs, pair.rank])?),
        ])
    }
}

fn ggml_type(dtype: Dtype) -> GgmlDType {
    match dtype {
        Dtype::F16 => GgmlDType::F16,
        Dtype::BF16 => GgmlDType::BF16,
        _ => GgmlDType::F32,
    }
}

/// `LlamaFileType` of the gguf package, by the type of the first tensor.
fn file_type(tensors: &[(String, QTensor)]) -> u32 {
    match tensors.first().map(|(_, tensor)| tensor.dtype()) {
        Some(GgmlDType::F16) => 1,
        Some(GgmlDType::Q8_0) => 7,
        Some(GgmlDType::BF16) => 32,
        _ => 0,
    }
}
