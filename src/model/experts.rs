//! Mixtures of experts: which experts a token goes to, and what they add.
//!
//! The experts of a layer may be larger than all the rest of a model, so they are read one by one, and only those that a
//! token goes to. An expert that was read is used for all streams before the next one is.

use std::collections::BTreeMap;

use candle_core::{Result as TensorResult, Tensor};

use super::family::{ExpertNames, Role, StackLayout};
use super::layer::Layer;
use super::linear::Linear;
use super::routing::Choices;
use super::scaling::scaled;
use super::weights::numbered;
use crate::adapter::{Delta, ExpertStack, LayerAdapter};
use crate::error::Result;

/// Which experts of a layer the tokens of one stream go to.
pub struct Routed {
    /// The input of the experts: (tokens, hidden), or shorter in some families.
    x: Tensor,
    choices: Choices,
    /// The same weights where they have derivatives: (tokens, experts), 0 for experts that a token does not go to.
    shares: Option<Tensor>,
    /// Outputs that are not yet in the hidden states: the tokens, and rows of (tokens, hidden). An addition copies all
    /// hidden states, and many experts have few tokens.
    pending: Vec<(Vec<u32>, Tensor)>,
    waiting: Option<Waiting>,
}

/// What waits for the experts of a layer that has norms on what its MLP and its experts add, or maps the sum of what its experts add.
/// The hidden states of the stream are meanwhile this sum.
pub struct Waiting {
    /// The hidden states before the MLP, and what the MLP or the shared expert adds, normalised: (rows, hidden).
    pub before: Tensor,
    pub dense: Option<Tensor>,
    /// What the rows carry.
    pub columns: Option<Tensor>,
}

impl Routed {
    /// Whether any token goes to an expert.
    pub fn uses(&self, expert: usize) -> bool {
        !self.choices[expert].0.is_empty()
    }

    /// What the experts have added before the first of them.
    pub fn nothing(&self) -> TensorResult<Tensor> {
        self.x.zeros_like()
    }

    /// With what waits for the experts.
    pub fn with(self, waiting: Waiting) -> Self {
        Self { waiting: Some(waiting), ..self }
    }

    /// Adds the pending outputs to the hidden states.
    fn add_pending(&mut self, hidden: &Tensor) -> TensorResult<Tensor> {
        let (tokens, rows): (Vec<_>, Vec<_>) = self.pending.drain(..).unzip();
        if rows.is_empty() {
            return Ok(hidden.clone());
        }
        let index = Tensor::new(tokens.concat(), hidden.device())?;
        hidden.index_add(&index, &Tensor::cat(&rows, 0)?, 0)
    }
}

/// One expert in memory, in f32.
#[derive(Clone)]
pub struct Expert {
    /// `None` in experts without gates.
    pub(super) gate: Option<Linear>,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

/// What an adapter adds to the experts of a layer.
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
    /// The experts of the layer; 0 if it has none.
    pub fn expert_count(&self) -> usize {
        let config = self.weights.config;
        let experts = config.experts.as_ref().filter(|_| config.is_sparse(self.weights.index));
        experts.map_or(0, |experts| experts.count)
    }

    /// Chooses experts for the rows of x, (tokens, hidden), by what the router makes of `seen`, the same or other hidden states of
    /// the rows.
    pub(super) fn route(&self, seen: &Tensor, x: Tensor) -> TensorResult<Routed> {
        let Some(sizes) = &self.weights.config.experts else { unreachable!("only layers with experts route") };
        let router = &self.mlp.router;
        let outputs = self.mlp.linear(Role::Router, &router.inputs(seen)?)?;
        let chosen = sizes.routing.choose(&outputs, router.bias.as_deref(), sizes.per_token)?;
        let (choices, shares) = router.scaled(chosen)?;
        let x = if self.mlp.has(Role::ExpertsInput) { self.mlp.linear(Role::ExpertsInput, &x)? } else { x };
        Ok(Routed { x, choices, shares, pending: Vec::new(), waiting: None })
    }

    /// Reads expert `expert` of the base model.
    pub fn expert(&self, expert: usize) -> Result<Expert> {
        self.weights.expert(expert)
    }

    /// The expert with what this layer's adapter adds to it.
    pub fn adapted_expert(&self, expert: usize, base: &Expert) -> TensorResult<Expert> {
        let mut adapted = base.clone();
        let Some(names) = self.weights.config.family.experts else { return Ok(adapted) };
        for modules in names.modules {
            let linears = [adapted.gate.as_mut(), Some(&mut adapted.up), Some(&mut adapted.down)];
            for (linear, module) in linears.into_iter().zip(modules) {
                if let (Some(linear), Some(delta)) = (linear, self.experts.modules.get(&numbered(module, expert))) {
                    *linear = linear.adapted(delta)?;
                }
            }
        }
        let delta_of = |stack: &ExpertStack| match names.stack_layout {
            StackLayout::GateFirstByInputs => stack.of_transposed(expert),
            _ => stack.of(expert),
        };
        for [gate_up, down] in names.stacked {
            if let Some(stack) = self.experts.stacks.get(*gate_up) {
                let delta = delta_of(stack)?;
                match &mut adapted.gate {
                    Some(gate) => {
                        *gate = gate.adapted(&delta.outputs(|b| names.gate_of(b))?)?;
                        adapted.up = adapted.up.adapted(&delta.outputs(|b| names.up_of(b))?)?;
                    }
                    None => adapted.up = adapted.up.adapted(&delta)?,
                }
            }
            if let Some(stack) = self.experts.stacks.get(*down) {
                adapted.down = adapted.down.adapted(&delta_of(stack)?)?;
            }
        }
        Ok(adapted)
    }

    /// Adds the outputs of expert `number` for the tokens that go to it: to the pending ones, or to the hidden states once
    /// as many rows are pending as there are tokens.
    pub fn add_expert(
        &self,
        hidden: &Tensor,
        routed: &mut Routed,
        number: usize,
        expert: &Expert,
    ) -> TensorResult<Tensor> {
        let (config, device) = (self.weights.config, hidden.device());
        let (tokens, weights) = &routed.choices[number];
        let index = Tensor::from_slice(tokens, tokens.len(), device)?;
        let weights = match &routed.shares {
            Some(shares) => shares.index_select(&index, 0)?.narrow(1, number, 1)?,
            None => Tensor::from_slice(weights, (weights.len(), 1), device)?,
        };
        let x = routed.x.index_select(&index, 0)?;
        let weights_inputs = config.experts.as_ref().is_some_and(|sizes| sizes.routing.weights_inputs());
        let x = if weights_inputs { x.broadcast_mul(&weights)? } else { x };
        let up = expert.up.forward(&x)?;
        let activated = match &expert.gate {
            Some(gate) => config.gating.apply(&gate.forward(&x)?, &up)?,
            None => config.gating.activate(&up)?,
        };
        let added = expert.down.forward(&activated)?;
        let added = if weights_inputs { added } else { added.broadcast_mul(&weights)? };
        routed.pending.push((tokens.clone(), scaled(added, config.scales.residual)?));
        let rows: usize = routed.pending.iter().map(|(tokens, _)| tokens.len()).sum();
        if rows >= hidden.dim(0)? { routed.add_pending(hidden) } else { Ok(hidden.clone()) }
    }

    /// The state of a stream behind the layer, once all experts have added to it.
    pub fn behind_experts(&self, hidden: &Tensor, mut routed: Routed) -> TensorResult<Tensor> {
        let added = routed.add_pending(hidden)?;
        match routed.waiting {
            Some(waiting) => self.join_experts(waiting, added),
            None => Ok(added),
        }
    }
}

impl ExpertNames {
    /// One expert of a stack, which has so many outputs, as (outputs, inputs).
    pub fn outputs_by_inputs(&self, weight: Tensor, outputs: usize) -> TensorResult<Tensor> {
        match self.stack_layout {
            StackLayout::GateFirst => Ok(weight),
            StackLayout::GateFirstEitherWay if weight.dim(0)? == outputs => Ok(weight),
            StackLayout::GateFirstEitherWay => weight.t()?.contiguous(),
            StackLayout::GateFirstByInputs | StackLayout::Alternating => weight.t(),
        }
    }

    /// The gate's part of a stacked matrix or bias: (2 · size, …) → (size, …).
    pub fn gate_of(&self, stacked: &Tensor) -> TensorResult<Tensor> {
        self.half_of(stacked, 0)
    }

    /// The part that the gate is multiplied with.
    pub fn up_of(&self, stacked: &Tensor) -> TensorResult<Tensor> {
        self.half_of(stacked, 1)
    }

    fn half_of(&self, stacked: &Tensor, half: usize) -> TensorResult<Tensor> {
        let size = stacked.dim(0)? / 2;
        if self.stack_layout != StackLayout::Alternating {
            return stacked.narrow(0, half * size, size)?.contiguous();
        }
        let rest = stacked.dims()[1..].to_vec();
        let alternating = stacked.contiguous()?.reshape([&[size, 2], rest.as_slice()].concat())?;
        alternating.narrow(1, half, 1)?.squeeze(1)?.contiguous()
    }
}
