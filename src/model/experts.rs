//! Mixtures of experts: which experts a token goes to, and what they add.
//!
//! The experts of a layer may be larger than all the rest of a model, so they are read one by one, and only those that a
//! token goes to. An expert that was read is used for all streams before the next one is.

use std::collections::BTreeMap;

use candle_core::{Device, Result as TensorResult, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::ModelConfig;
use super::family::{Experts, Role};
use super::layer::{Layer, scaled};
use super::linear::Linear;
use super::weights::Weights;
use crate::adapter::{Delta, ExpertStack, LayerAdapter};
use crate::error::{BaseError, Result};
use crate::kernel::Arithmetic;

/// The tokens of one stream on their way to the experts of a layer.
pub struct Routed {
    /// What the experts are given: (tokens, hidden).
    x: Tensor,
    /// For each expert the tokens that go to it, and how much of its output each of them gets.
    choices: Vec<(Vec<u32>, Vec<f32>)>,
    /// What experts have added, not yet in the hidden states: the tokens, and rows of (tokens, hidden). An addition
    /// copies all hidden states, and many an expert has few tokens.
    waiting: Vec<(Vec<u32>, Tensor)>,
}

impl Routed {
    pub fn goes_to(&self, expert: usize) -> bool {
        !self.choices[expert].0.is_empty()
    }

    /// Adds what waits to the hidden states.
    pub fn settle(&mut self, hidden: &Tensor) -> TensorResult<Tensor> {
        let (tokens, rows): (Vec<_>, Vec<_>) = self.waiting.drain(..).unzip();
        if rows.is_empty() {
            return Ok(hidden.clone());
        }
        let index = Tensor::new(tokens.concat(), hidden.device())?;
        hidden.index_add(&index, &Tensor::cat(&rows, 0)?, 0)
    }
}

/// One expert in memory, in f32.
pub struct Expert {
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// What an adapter does to the experts of a layer.
#[derive(Clone, Default)]
pub struct ExpertDeltas {
    /// By the name of an expert's module.
    modules: BTreeMap<String, Delta>,
    /// By the name of the parameter that holds all experts.
    stacks: BTreeMap<String, ExpertStack>,
}

impl ExpertDeltas {
    pub fn new(adapter: LayerAdapter) -> Self {
        Self { modules: adapter.deltas, stacks: adapter.stacks }
    }
}

impl Layer<'_> {
    /// The experts of the layer; 0 where it has none.
    pub fn expert_count(&self) -> usize {
        let experts = self.config.experts.as_ref().filter(|_| self.config.is_sparse(self.index));
        experts.map_or(0, |experts| experts.count)
    }

    /// Chooses experts for each row of x (tokens, hidden): those with the largest scores, weighed by the softmax over
    /// all scores.
    pub(super) fn route(&self, x: Tensor) -> TensorResult<Routed> {
        let Some(sizes) = &self.config.experts else { unreachable!("only a layer with experts routes") };
        let weights = softmax_last_dim(&self.linear(Role::Router, &x)?)?.to_vec2::<f32>()?;
        let mut choices = vec![(Vec::new(), Vec::new()); sizes.count];
        for (token, weights) in weights.iter().enumerate() {
            let mut order: Vec<usize> = (0..sizes.count).collect();
            order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
            order.truncate(sizes.per_token);
            let sum: f32 = order.iter().map(|&expert| weights[expert]).sum();
            for expert in order {
                let weight = if sizes.normalises { weights[expert] / sum } else { weights[expert] };
                choices[expert].0.push(token as u32);
                choices[expert].1.push(weight);
            }
        }
        Ok(Routed { x, choices, waiting: Vec::new() })
    }

    /// Reads expert `expert` of the base model.
    pub fn expert(&self, expert: usize) -> Result<Expert> {
        self.weights.expert(self.config, self.index, expert, (&self.device, self.arithmetic))
    }

    /// The expert with what this layer's adapter does to it.
    pub fn adapted_expert(&self, expert: usize, base: &Expert) -> TensorResult<Expert> {
        let mut adapted = Expert { gate: base.gate.clone(), up: base.up.clone(), down: base.down.clone() };
        let Some(names) = self.config.family.experts else { return Ok(adapted) };
        for modules in names.modules {
            let linears = [&mut adapted.gate, &mut adapted.up, &mut adapted.down];
            for (linear, module) in linears.into_iter().zip(modules) {
                if let Some(delta) = self.experts.modules.get(&numbered(module, expert)) {
                    *linear = linear.adapted(delta)?;
                }
            }
        }
        for [gate_up, down] in names.stacked {
            if let Some(stack) = self.experts.stacks.get(*gate_up) {
                let delta = stack.of(expert)?;
                adapted.gate = adapted.gate.adapted(&delta.outputs(|b| first_half(b, names))?)?;
                adapted.up = adapted.up.adapted(&delta.outputs(|b| second_half(b, names))?)?;
            }
            if let Some(stack) = self.experts.stacks.get(*down) {
                adapted.down = adapted.down.adapted(&stack.of(expert)?)?;
            }
        }
        Ok(adapted)
    }

    /// Adds what expert `number` makes of the tokens that go to it: to what waits, or to the hidden states once as many
    /// rows wait as there are tokens.
    pub fn add_expert(
        &self,
        hidden: &Tensor,
        routed: &mut Routed,
        number: usize,
        expert: &Expert,
    ) -> TensorResult<Tensor> {
        let (tokens, weights) = &routed.choices[number];
        let index = Tensor::from_slice(tokens, tokens.len(), &self.device)?;
        let weights = Tensor::from_slice(weights, (weights.len(), 1), &self.device)?;
        let x = routed.x.index_select(&index, 0)?;
        let activated = self.config.gating.apply(&expert.gate.forward(&x)?, &expert.up.forward(&x)?)?;
        let added = expert.down.forward(&activated)?.broadcast_mul(&weights)?;
        routed.waiting.push((tokens.clone(), scaled(added, self.config.scales.residual)?));
        let rows: usize = routed.waiting.iter().map(|(tokens, _)| tokens.len()).sum();
        if rows >= hidden.dim(0)? { routed.settle(hidden) } else { Ok(hidden.clone()) }
    }
}

impl Weights {
    /// Checks that the files have the experts of a layer in the sizes that the configuration gives.
    pub(super) fn check_experts(&self, config: &ModelConfig, layer: usize) -> Result<()> {
        let (Some(names), Some(sizes)) = (config.family.experts, &config.experts) else { return Ok(()) };
        let (hidden, intermediate) = (config.hidden_size, sizes.intermediate_size);
        if self.is_gguf() {
            let [gate, up, down] = self.gguf_experts(layer);
            for (name, outputs, inputs) in
                [(gate, intermediate, hidden), (up, intermediate, hidden), (down, hidden, intermediate)]
            {
                self.store().entry_of_shape(&format!("{name}.weight"), &[sizes.count, outputs, inputs])?;
                self.check_expert_bias(&format!("{name}.bias"), sizes.count, outputs)?;
            }
            return Ok(());
        }
        if let Some([gate_up, down]) = self.stacked(names, layer) {
            let shape = |outputs, inputs| {
                if names.transposed { [sizes.count, inputs, outputs] } else { [sizes.count, outputs, inputs] }
            };
            self.check_expert_bias(&format!("{gate_up}_bias"), sizes.count, 2 * intermediate)?;
            self.check_expert_bias(&format!("{down}_bias"), sizes.count, hidden)?;
            self.store().entry_of_shape(&gate_up, &shape(2 * intermediate, hidden))?;
            self.store().entry_of_shape(&down, &shape(hidden, intermediate))?;
            return Ok(());
        }
        for expert in 0..sizes.count {
            let [gate, up, down] = self.modules(names, layer, expert)?;
            self.store().entry_of_shape(&gate, &[intermediate, hidden])?;
            self.store().entry_of_shape(&up, &[intermediate, hidden])?;
            self.store().entry_of_shape(&down, &[hidden, intermediate])?;
        }
        Ok(())
    }

    fn check_expert_bias(&self, name: &str, experts: usize, outputs: usize) -> Result<()> {
        if self.store().get(name).is_some() {
            self.store().entry_of_shape(name, &[experts, outputs])?;
        }
        Ok(())
    }

    fn expert(
        &self,
        config: &ModelConfig,
        layer: usize,
        expert: usize,
        (device, arithmetic): (&Device, Arithmetic),
    ) -> Result<Expert> {
        let Some(names) = config.family.experts else { unreachable!("only a layer with experts has them read") };
        let slice = |name: &str| -> Result<Tensor> {
            Ok(self.store().load_rows(name, expert..expert + 1, device)?.squeeze(0)?)
        };
        if self.is_gguf() {
            let linear = |name: &String| -> Result<Linear> {
                let bias = format!("{name}.bias");
                let bias = if self.store().get(&bias).is_some() { Some(slice(&bias)?) } else { None };
                Ok(Linear::new(slice(&format!("{name}.weight"))?, bias, arithmetic)?)
            };
            let [gate, up, down] = self.gguf_experts(layer);
            return Ok(Expert { gate: linear(&gate)?, up: linear(&up)?, down: linear(&down)? });
        }
        let Some([gate_up, down]) = self.stacked(names, layer) else {
            let linear = |name: &String| -> Result<Linear> {
                Ok(Linear::new(self.store().load(name, device)?, None, arithmetic)?)
            };
            let [gate, up, down] = self.modules(names, layer, expert)?;
            return Ok(Expert { gate: linear(&gate)?, up: linear(&up)?, down: linear(&down)? });
        };
        let weight = |name: &str| -> Result<Tensor> {
            let weight = slice(name)?;
            Ok(if names.transposed { weight.t()? } else { weight })
        };
        let bias = |name: &str| -> Result<Option<Tensor>> {
            let name = format!("{name}_bias");
            if self.store().get(&name).is_some() { slice(&name).map(Some) } else { Ok(None) }
        };
        let (weights, biases) = (weight(&gate_up)?, bias(&gate_up)?);
        let half = |of: fn(&Tensor, &Experts) -> TensorResult<Tensor>| -> Result<Linear> {
            let bias = biases.as_ref().map(|biases| of(biases, names)).transpose()?;
            Ok(Linear::new(of(&weights, names)?, bias, arithmetic)?)
        };
        let down = Linear::new(weight(&down)?, bias(&down)?, arithmetic)?;
        Ok(Expert { gate: half(first_half)?, up: half(second_half)?, down })
    }

    /// The tensors that hold all gates, ups and downs of a layer in a GGUF file.
    fn gguf_experts(&self, layer: usize) -> [String; 3] {
        ["gate", "up", "down"].map(|name| format!("{}ffn_{name}_exps", self.inside_layer(layer)))
    }

    /// The tensors that hold all experts of a layer, where the files have them so.
    fn stacked(&self, names: &Experts, layer: usize) -> Option<[String; 2]> {
        let inside = self.inside_layer(layer);
        let full = names.stacked.iter().map(|pair| pair.map(|name| format!("{inside}{name}")));
        let mut full = full.into_iter();
        full.find(|[gate_up, _]| self.store().get(gate_up).is_some())
    }

    /// The tensors of one expert.
    fn modules(&self, names: &Experts, layer: usize, expert: usize) -> Result<[String; 3]> {
        let inside = self.inside_layer(layer);
        let full = |modules: &[&str; 3]| modules.map(|name| format!("{inside}{}.weight", numbered(name, expert)));
        let found = names.modules.iter().map(full).find(|[gate, _, _]| self.store().get(gate).is_some());
        found.ok_or_else(|| {
            let reason = format!("it has no experts in layer {layer} under a name that is known");
            BaseError::NotAModel { path: self.store().path().into(), reason }.into()
        })
    }
}

fn numbered(name: &str, expert: usize) -> String {
    name.replace("{}", &expert.to_string())
}

/// The gate's part of a stacked matrix or bias: (2 · size, …) → (size, …).
fn first_half(stacked: &Tensor, names: &Experts) -> TensorResult<Tensor> {
    part(stacked, names, 0)
}

/// The part that the gate is multiplied with.
fn second_half(stacked: &Tensor, names: &Experts) -> TensorResult<Tensor> {
    part(stacked, names, 1)
}

fn part(stacked: &Tensor, names: &Experts, which: usize) -> TensorResult<Tensor> {
    let size = stacked.dim(0)? / 2;
    if !names.transposed {
        return stacked.narrow(0, which * size, size)?.contiguous();
    }
    let rest = stacked.dims()[1..].to_vec();
    let alternating = stacked.contiguous()?.reshape([&[size, 2], rest.as_slice()].concat())?;
    alternating.narrow(1, which, 1)?.squeeze(1)?.contiguous()
}
