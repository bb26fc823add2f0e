//! A LoRA GGUF as llama.cpp's `convert_lora_to_gguf.py` writes it.
//!
//! llama.cpp reads one alpha and takes it over the rank of each tensor for the scaling (`llama-adapter.cpp`), so what makes
//! modules differ goes into `lora_b`.

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::Format;
use super::base::BaseShape;
use super::names::{Families, Order};
use super::pairs::{Pair, plain_pairs, transposed};
use crate::adapter::Adapter;
use crate::adapter::names;
use crate::error::{AdapterError, ComputeError, Result};
use crate::files::Staging;
use crate::rewrite::fold;
use crate::rewrite::steps::encode_tensor;
use crate::tensors::Dtype;

/// The version of ggml's quantised types, which the converter writes into every file.
const QUANTIZATION_VERSION: u32 = 2;

/// The embedding and the head.
const VOCABULARIES: [&str; 2] = ["token_embd", "output"];

/// Refuses modules that llama.cpp has not, and those that do not fit the heads of the base model.
pub fn check(adapter: &Adapter, base: &BaseShape, families: &Families, will_be_portable: bool) -> Result<()> {
    let pairs = plain_pairs(adapter, Format::Gguf, will_be_portable)?;
    pairs.iter().try_for_each(|pair| {
        let (_, order) = target(adapter, pair, base, families)?;
        order.places(pair.outputs(adapter)?, base).map(drop).ok_or_else(|| other_heads(adapter, pair, base).into())
    })
}

fn other_heads(adapter: &Adapter, pair: &Pair, base: &BaseShape) -> AdapterError {
    AdapterError::Heads { path: adapter.path.clone(), module: pair.module.clone(), base: base.path.clone() }
}

/// The tensor that a module is in llama.cpp.
fn target(adapter: &Adapter, pair: &Pair, base: &BaseShape, families: &Families) -> Result<(String, Order)> {
    let refuse = |why: &str| {
        let feature = format!("LoRA on `{}`, {why} (`{}`)", pair.module, base.architecture);
        AdapterError::NotInFormat { path: adapter.path.clone(), feature, format: Format::Gguf.to_string() }
    };
    const UNKNOWN: &str = "which is no tensor of its own in llama.cpp's models of this architecture";
    match pair.layer {
        Some(layer) => {
            let (tensor, order) = families.in_layer(pair.inside(adapter)).ok_or_else(|| refuse(UNKNOWN))?;
            Ok((format!("blk.{layer}.{tensor}.weight"), order))
        }
        // What has a number belongs to another stack, whose modules may be called as those outside of all.
        None if names::stack_and_layer(&pair.module).is_some() || names::is_of_tower(&pair.module) => {
            Err(refuse(UNKNOWN).into())
        }
        None => {
            let tensor = families.outside(&pair.module).ok_or_else(|| refuse(UNKNOWN))?;
            // llama.cpp has one tensor for both then, and its head multiplies with the factors of an embedding.
            if let Some(why) = base.why_not_outside().filter(|_| VOCABULARIES.contains(&tensor)) {
                return Err(refuse(why).into());
            }
            Ok((format!("{tensor}.weight"), Order::Same))
        }
    }
}

/// Writes `adapter.gguf`.
pub fn write(adapter: &Adapter, base: &BaseShape, families: &Families, staging: &Staging) -> Result<()> {
    let pairs = plain_pairs(adapter, Format::Gguf, false)?;
    // llama.cpp takes an alpha of 0 for none, and a scaling of 1.
    let wanted = pairs.iter().map(|pair| pair.scaling * pair.rank as f64);
    let alpha = fold::most_common(wanted.filter(|&alpha| alpha as f32 != 0.0)) as f32;
    let made = pairs.par_iter().map(|pair| tensors(adapter, pair, alpha, base, families));
    let tensors: Vec<(String, QTensor)> = made.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let metadata = [
        ("general.architecture", Value::String(families.architecture.clone())),
        ("general.type", Value::String("adapter".into())),
        ("general.file_type", Value::U32(file_type(&tensors))),
        ("adapter.type", Value::String("lora".into())),
        ("adapter.lora.alpha", Value::F32(alpha)),
        ("general.quantization_version", Value::U32(QUANTIZATION_VERSION)),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    staging.file(Format::Gguf.file_name(), |file| {
        let mut file = std::io::BufWriter::new(file);
        gguf_file::write(&mut file, &metadata, &tensors).map_err(std::io::Error::other)?;
        std::io::Write::flush(&mut file)
    })
}

/// `lora_a` and `lora_b` of a module.
fn tensors(
    adapter: &Adapter,
    pair: &Pair,
    alpha: f32,
    base: &BaseShape,
    families: &Families,
) -> Result<[(String, QTensor); 2]> {
    let (name, order) = target(adapter, pair, base, families)?;
    let mut factors = pair.load(adapter)?;
    fold::fold(&mut factors.b, fold::factor(pair.scaling * pair.rank as f64, alpha.into()));
    let b = order.apply(factors.b, pair.rank, base).ok_or_else(|| other_heads(adapter, pair, base))?;
    // llama.cpp looks tokens up in the rows of this one (`llm_build_inp_embd`).
    let (a, shape_a) = match pair.is_embedding {
        true => (transposed(&factors.a, factors.inputs), [factors.inputs, pair.rank]),
        false => (factors.a, [pair.rank, factors.inputs]),
    };
    let tensor = |values: &[f32], dtype: Dtype, shape: [usize; 2]| -> Result<QTensor> {
        let dtype = if dtype == Dtype::F64 { Dtype::F32 } else { dtype };
        // Values that the type cannot hold are an error there; candle would write infinities.
        encode_tensor(adapter, &pair.module, values, dtype)?;
        let made = Tensor::from_slice(values, &shape, &Device::Cpu);
        Ok(made
            .and_then(|tensor| QTensor::quantize(&tensor, ggml_type(dtype)))
            .map_err(ComputeError::TensorOperation)?)
    };
    Ok([
        (format!("{name}.lora_a"), tensor(&a, factors.dtypes.0, shape_a)?),
        (format!("{name}.lora_b"), tensor(&b, factors.dtypes.1, [factors.outputs, pair.rank])?),
    ])
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
        Some(GgmlDType::BF16) => 32,
        _ => 0,
    }
}
