//! The experts of a layer, read one by one.

use candle_core::{Result as TensorResult, Tensor};

use super::LayerWeights;
use crate::error::{BaseError, Result};
use crate::model::experts::Expert;
use crate::model::family::ExpertNames;
use crate::model::linear::Linear;

impl LayerWeights<'_> {
    /// Reads one expert.
    pub fn expert(&self, expert: usize) -> Result<Expert> {
        let Some(names) = self.config.family.experts else { unreachable!("only layers with experts read them") };
        let (store, backend) = (&self.weights.store, &self.weights.backend);
        let linear = |weight: Tensor, bias: Option<Tensor>| -> Result<Linear> {
            Ok(Linear::new(weight, bias, backend.arithmetic)?)
        };
        let slice = |name: &str| -> Result<Tensor> {
            Ok(store.load_rows(name, expert..expert + 1, &backend.device)?.squeeze(0)?)
        };
        let slice_if_there = |name: String| self.expert_bias(name).map(|name| slice(&name)).transpose();
        if self.weights.is_gguf() {
            let read =
                |name: String| linear(slice(&format!("{name}.weight"))?, slice_if_there(format!("{name}.bias"))?);
            let [gate, up, down] = self.gguf_experts();
            if let Some(both) = self.gguf_gate_up() {
                let both = slice(&both)?;
                let half = |half: usize| both.narrow(0, half * both.dim(0)? / 2, both.dim(0)? / 2)?.contiguous();
                return Ok(Expert {
                    gate: Some(linear(half(0)?, None)?),
                    up: linear(half(1)?, None)?,
                    down: read(down)?,
                });
            }
            let gate = if names.are_gated { Some(read(gate)?) } else { None };
            return Ok(Expert { gate, up: read(up)?, down: read(down)? });
        }
        let Some([gate_up, down]) = self.stacked_experts() else {
            let read = |name: String| linear(store.load(&name, &backend.device)?, None);
            let [gate, up, down] = self.expert_modules(expert)?;
            let gate = if names.are_gated { Some(read(gate)?) } else { None };
            return Ok(Expert { gate, up: read(up)?, down: read(down)? });
        };
        let bias = |name: &str| slice_if_there(format!("{name}_bias"));
        let size = self.config.experts.as_ref().map_or(0, |sizes| sizes.intermediate_size);
        let outputs = if names.are_gated { 2 * size } else { size };
        let (weights, biases) = (names.outputs_by_inputs(slice(&gate_up)?, outputs)?, bias(&gate_up)?);
        let half = |of: fn(&ExpertNames, &Tensor) -> TensorResult<Tensor>| {
            linear(of(names, &weights)?, biases.as_ref().map(|biases| of(names, biases)).transpose()?)
        };
        let down = linear(names.outputs_by_inputs(slice(&down)?, self.config.expert_width())?, bias(&down)?)?;
        if !names.are_gated {
            return Ok(Expert { gate: None, up: linear(weights, biases)?, down });
        }
        Ok(Expert { gate: Some(half(ExpertNames::gate_of)?), up: half(ExpertNames::up_of)?, down })
    }

    /// The name of a tensor with biases of all experts, if the experts have them.
    pub(super) fn expert_bias(&self, name: String) -> Option<String> {
        let of_family = self.config.family.experts.is_some_and(|experts| experts.have_biases);
        ((of_family || self.weights.is_gguf()) && self.weights.store.has(&name)).then_some(name)
    }

    /// The tensors that hold all gates, ups and downs of the layer in a GGUF file.
    pub(super) fn gguf_experts(&self) -> [String; 3] {
        ["gate", "up", "down"].map(|name| format!("{}ffn_{name}_exps", self.weights.layer_prefix(self.index)))
    }

    /// The tensor that holds all gates and ups in a GGUF file, if they are in one.
    pub(super) fn gguf_gate_up(&self) -> Option<String> {
        let name = format!("{}ffn_gate_up_exps.weight", self.weights.layer_prefix(self.index));
        self.weights.store.has(&name).then_some(name)
    }

    /// The tensors that hold all experts of the layer, if the files have them so.
    pub(super) fn stacked_experts(&self) -> Option<[String; 2]> {
        let prefix = self.weights.layer_prefix(self.index);
        let stacked = self.config.family.experts?.stacked.iter();
        let mut names = stacked.map(|pair| pair.map(|name| format!("{prefix}{name}")));
        names.find(|[gate_up, _]| self.weights.store.has(gate_up))
    }

    /// The tensors of one expert.
    pub(super) fn expert_modules(&self, expert: usize) -> Result<[String; 3]> {
        let (store, prefix) = (&self.weights.store, self.weights.layer_prefix(self.index));
        let modules = self.config.family.experts.map_or(&[][..], |names| names.modules).iter();
        let mut names = modules.map(|three| three.map(|name| format!("{prefix}{}.weight", numbered(name, expert))));
        names.find(|[_, up, _]| store.has(up)).ok_or_else(|| {
            let reason = format!("it has no experts in layer {} under a name that is known", self.index);
            BaseError::NotAModel { path: store.path().into(), reason }.into()
        })
    }
}

/// The name of a module of expert `expert`.
pub fn numbered(name: &str, expert: usize) -> String {
    name.replace("{}", &expert.to_string())
}
