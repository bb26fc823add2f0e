//! Undoes what llama.cpp's converter does to the weights of a layer.

use candle_core::{DType, Result as TensorResult, Tensor};

use super::LayerWeights;
use crate::error::Result;
use crate::kernel::delta_rule::DeltaSizes;
use crate::model::config::{HeadSizes, MixerSizes};
use crate::model::family::{FusedOrder, Role, Split};

impl LayerWeights<'_> {
    /// The tensors of a role's weight; one unless a GGUF file has divided it.
    pub(super) fn weight_names(&self, role: Role) -> Vec<String> {
        match self.split(role) {
            Some(split) => split.names().map(|name| self.tensor(name)).into(),
            None => self.parts(role).map_or_else(|| vec![self.name(role, "weight")], Vec::from),
        }
    }

    fn tensor(&self, name: &str) -> String {
        format!("{}{name}.weight", self.weights.layer_prefix(self.index))
    }

    /// How the weight of a role is divided, if it is.
    pub(super) fn split(&self, role: Role) -> Option<Split> {
        let ways =
            self.config.family.gguf.splits.iter().filter(|(divided, _)| self.weights.is_gguf() && *divided == role);
        ways.map(|&(_, split)| split)
            .find(|split| split.names().iter().all(|name| self.weights.store.has(&self.tensor(name))))
    }

    /// The weight from its parts.
    pub(super) fn joined(&self, split: Split, read: impl Fn(&str) -> Result<Tensor>) -> Result<Tensor> {
        let [first, second] = split.names().map(|name| self.tensor(name));
        let (first, second) = (read(&first)?, read(&second)?);
        // Parts of one weight may be stored in several types.
        let (first, second) = match first.dtype() == second.dtype() {
            true => (first, second),
            false => (first.to_dtype(DType::F32)?, second.to_dtype(DType::F32)?),
        };
        Ok(match (split, self.config.other_mixer) {
            (Split::KeysAndValues(_), Some(MixerSizes::Latent(sizes))) => {
                let keys = first.transpose(1, 2)?;
                Tensor::cat(&[keys, second], 1)?.reshape((sizes.heads * (sizes.plain + sizes.value), sizes.rank))?
            }
            (Split::ByKeyHead(_), Some(MixerSizes::Delta(sizes))) => by_key_head(&first, &second, sizes)?,
            _ => Tensor::cat(&[first, second], 0)?,
        })
    }

    /// Brings rows to the order of the model. llama.cpp's rotary embedding rotates neighbouring values, that of transformers the two
    /// halves of a head, so its converter interleaves the halves for some families: (heads, 2, half) became (heads, half, 2). It also
    /// brings all queries before all keys and values where a fused matrix has them head by head.
    pub(super) fn in_model_order(&self, tensor: Tensor, role: Role) -> TensorResult<Tensor> {
        let (family, heads) = (self.config.family, self.config.heads);
        if !self.weights.is_gguf() {
            return Ok(tensor);
        }
        let HeadSizes { kv_heads, head_dim } = self.config.by_layer.heads[self.index];
        if let (true, Some(MixerSizes::Delta(sizes))) = (family.gguf.values_take_turns, self.config.other_mixer) {
            return values_in_order(tensor, role, sizes);
        }
        match role {
            Role::Query if family.gguf.permuted_rows => swapped(&tensor, [heads, head_dim / 2, 2]),
            Role::Key if family.gguf.permuted_rows => swapped(&tensor, [kv_heads, head_dim / 2, 2]),
            Role::QueryKeyValue if family.fused_order == FusedOrder::HeadByHead => swapped(&tensor, [1, 3, heads]),
            Role::QueryKeyValue if family.fused_order == FusedOrder::GroupByGroup => {
                by_group(&tensor, heads, HeadSizes { kv_heads, head_dim })
            }
            _ => Ok(tensor),
        }
    }
}

/// Rows (a, b, c, …) in the order (a, c, b, …).
fn swapped(tensor: &Tensor, [outer, first, second]: [usize; 3]) -> TensorResult<Tensor> {
    let rest = tensor.elem_count() / (outer * first * second).max(1);
    tensor.reshape((outer, first, second, rest))?.transpose(1, 2)?.contiguous()?.reshape(tensor.shape())
}

/// All queries, keys and values in the order of the groups that share a key.
fn by_group(tensor: &Tensor, heads: usize, HeadSizes { kv_heads, head_dim }: HeadSizes) -> TensorResult<Tensor> {
    let rest = tensor.elem_count() / ((heads + 2 * kv_heads) * head_dim).max(1);
    let part = |start: usize, count: usize| {
        let rows = tensor.narrow(0, start * head_dim, count * head_dim)?.contiguous()?;
        rows.reshape((kv_heads, count / kv_heads * head_dim, rest))
    };
    let parts = [part(0, heads)?, part(heads, kv_heads)?, part(heads + kv_heads, kv_heads)?];
    Tensor::cat(&parts, 1)?.reshape(tensor.shape())
}

/// Queries, keys and values of all heads, and gates, as one matrix that has all of a key head together.
fn by_key_head(inputs: &Tensor, gates: &Tensor, sizes: DeltaSizes) -> TensorResult<Tensor> {
    let DeltaSizes { key_heads, key_size, .. } = sizes;
    let (keys, values, inner) = (key_heads * key_size, sizes.values(), inputs.dim(1)?);
    let part = |tensor: &Tensor, start: usize, rows: usize| {
        tensor.narrow(0, start, rows)?.contiguous()?.reshape((key_heads, rows / key_heads, inner))
    };
    let parts =
        [part(inputs, 0, keys)?, part(inputs, keys, keys)?, part(inputs, 2 * keys, values)?, part(gates, 0, values)?];
    Tensor::cat(&parts, 1)?.reshape((2 * (keys + values), inner))
}

/// Values of a gated delta net with all heads of the first key before those of the second.
fn values_in_order(tensor: Tensor, role: Role, sizes: DeltaSizes) -> TensorResult<Tensor> {
    let DeltaSizes { key_heads, value_heads, key_size, value_size, .. } = sizes;
    let turns = [1, value_heads / key_heads, key_heads];
    match role {
        Role::DeltaInput | Role::Convolution => {
            let keys = 2 * key_heads * key_size;
            let values = tensor.narrow(0, keys, value_heads * value_size)?.contiguous()?;
            Tensor::cat(&[tensor.narrow(0, 0, keys)?, swapped(&values, turns)?], 0)
        }
        Role::DeltaGate | Role::DeltaWrite | Role::DeltaDecay | Role::DeltaBias | Role::DeltaRate => {
            swapped(&tensor, turns)
        }
        Role::DeltaOut => swapped(&tensor.t()?.contiguous()?, turns)?.t()?.contiguous(),
        _ => Ok(tensor),
    }
}
