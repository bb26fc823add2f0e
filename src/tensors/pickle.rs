//! PyTorch's older adapter files, `adapter_model.bin`: a ZIP archive with a pickle that names the tensors.
//!
//! Python runs whatever a pickle says; here it is only interpreted (`pickle_program.rs`). The tensors are kept as
//! safetensors in memory, so that nothing else knows of pickles.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use zip::ZipArchive;

use super::pickle_program::{self, Id, Node};
use crate::error::{Result, TensorError};
use crate::files;

/// The longest pickle that is read; those of adapters have some hundred bytes for each tensor.
const LONGEST: u64 = 64 << 20;

/// A tensor as the pickle describes it: a view of a file of the archive.
struct TensorRecord {
    file: String,
    dtype: Dtype,
    /// In elements, as the strides.
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// The tensors of a file as the bytes of a safetensors file.
pub fn to_safetensors(path: &Path) -> Result<Vec<u8>> {
    translate(files::open(path)?).map_err(|reason| TensorError::Pickle { path: path.into(), reason }.into())
}

fn translate(file: File) -> std::result::Result<Vec<u8>, String> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let mut names = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned()));
    let pickle = names.find(|name| name.ends_with("data.pkl")).ok_or("it holds no pickle")?;
    drop(names);
    let program = read(&mut archive, &pickle, LONGEST)?;
    let result = pickle_program::interpret(&program)?;
    let folder = pickle.strip_suffix(".pkl").unwrap_or(&pickle);
    let Node::Dictionary(entries) = &result.nodes[result.root] else {
        return Err("it holds no dictionary of tensors".into());
    };
    let mut tensors: BTreeMap<&str, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for &(name, value) in entries {
        let Node::Text(name) = &result.nodes[name] else { continue };
        let about = |reason: &str| format!("tensor `{name}` {reason}");
        // Other values may be numbers and texts.
        let Node::Call(..) = &result.nodes[value] else { continue };
        let tensor = describe(&result.nodes, value).ok_or_else(|| about("is of a type that is not read"))?;
        let bytes = tensor.bytes().ok_or_else(|| about("has an impossible size"))?;
        let storage = format!("{folder}/{}", tensor.file);
        let length = archive.by_name(&storage).map_err(|_| about("is not in it"))?.size();
        if bytes > length {
            return Err(about("is larger than its file"));
        }
        let storage = read(&mut archive, &storage, length)?;
        let values = tensor.gather(&storage).ok_or_else(|| about("lies outside of its file"))?;
        tensors.insert(name, (tensor.dtype, tensor.shape, values));
    }
    let view = |(name, (dtype, shape, bytes))| Ok((name, TensorView::new(dtype, shape, bytes)?));
    let tensors = tensors.iter().map(|(name, (dtype, shape, bytes))| (name, (*dtype, shape.clone(), bytes.as_slice())));
    let views = tensors.map(view).collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>();
    views.and_then(|views| safetensors::serialize(views, None)).map_err(|error| error.to_string())
}

/// A file of the archive, which may hold at most `most` bytes when it is unpacked.
fn read(archive: &mut ZipArchive<BufReader<File>>, name: &str, most: u64) -> std::result::Result<Vec<u8>, String> {
    let entry = archive.by_name(name).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    entry.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most { Err(format!("`{name}` in it is too long")) } else { Ok(bytes) }
}

/// The tensor that a value describes, inside the wrappers that PyTorch puts around parameters.
fn describe(nodes: &[Node], value: Id) -> Option<TensorRecord> {
    let Node::Call(function, arguments) = nodes.get(value)? else { return None };
    let (Node::Global(function), Node::Tuple(arguments)) = (nodes.get(*function)?, nodes.get(*arguments)?) else {
        return None;
    };
    match (function.as_str(), arguments.as_slice()) {
        ("torch._utils._rebuild_parameter", &[data, ..]) => describe_view(nodes, data),
        ("torch._tensor._rebuild_from_type_v2", &[inner, _, arguments, ..]) => view(nodes, inner, arguments),
        _ => describe_view(nodes, value),
    }
}

fn describe_view(nodes: &[Node], value: Id) -> Option<TensorRecord> {
    let Node::Call(function, arguments) = nodes.get(value)? else { return None };
    view(nodes, *function, *arguments)
}

fn view(nodes: &[Node], function: Id, arguments: Id) -> Option<TensorRecord> {
    let is_tensor = matches!(nodes.get(function)?, Node::Global(name) if name == "torch._utils._rebuild_tensor_v2");
    let Node::Tuple(arguments) = nodes.get(arguments).filter(|_| is_tensor)? else { return None };
    let &[storage, offset, shape, strides, ..] = arguments.as_slice() else { return None };
    let Node::External(storage) = nodes.get(storage)? else { return None };
    let Node::Tuple(storage) = nodes.get(*storage)? else { return None };
    let &[_, class, file, ..] = storage.as_slice() else { return None };
    let (Node::Global(class), Node::Text(file)) = (nodes.get(class)?, nodes.get(file)?) else { return None };
    let integer = |id: &Id| match nodes.get(*id)? {
        Node::Integer(number) => usize::try_from(*number).ok(),
        _ => None,
    };
    let integers = |id: Id| match nodes.get(id)? {
        Node::Tuple(items) => items.iter().map(integer).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let (shape, strides) = (integers(shape)?, integers(strides)?);
    let fits = shape.len() == strides.len() && shape.len() <= 8;
    fits.then_some(TensorRecord { file: file.clone(), dtype: dtype(class)?, offset: integer(&offset)?, shape, strides })
}

fn dtype(storage: &str) -> Option<Dtype> {
    Some(match storage.strip_prefix("torch.")? {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "ByteStorage" => Dtype::U8,
        "LongStorage" => Dtype::I64,
        _ => return None,
    })
}

impl TensorRecord {
    fn bytes(&self) -> Option<u64> {
        let elements = self.shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64))?;
        elements.checked_mul(self.dtype.bitsize() as u64 / 8)
    }

    /// The values in row-major order; `None` if one is outside of the storage.
    fn gather(&self, storage: &[u8]) -> Option<Vec<u8>> {
        let (size, total) = (self.dtype.bitsize() / 8, usize::try_from(self.bytes()?).ok()?);
        let mut values = Vec::with_capacity(total);
        let mut index = vec![0usize; self.shape.len()];
        while values.len() < total {
            let place = index
                .iter()
                .zip(&self.strides)
                .try_fold(self.offset, |place, (index, stride)| place.checked_add(index.checked_mul(*stride)?))?;
            let start = place.checked_mul(size)?;
            values.extend_from_slice(storage.get(start..start.checked_add(size)?)?);
            for (index, &size) in index.iter_mut().zip(&self.shape).rev() {
                *index += 1;
                if *index < size {
                    break;
                }
                *index = 0;
            }
        }
        Some(values)
    }
}
