//! Where a family keeps its experts, and how their tokens are chosen and weighted.

use crate::model::routing::{GroupScore, Scores};

/// Where the experts of a layer are found, `{}` being an expert's number.
#[derive(Debug, PartialEq)]
pub struct ExpertNames {
    /// One module for each matrix of each expert: gate, up, down, by all the names that they have had.
    pub modules: &'static [[&'static str; 3]],
    /// All experts in one tensor: gate with up, and down, by all the names that they have had.
    pub stacked: &'static [[&'static str; 2]],
    pub stack_layout: StackLayout,
    pub have_biases: bool,
    /// Whether an expert has a gate; otherwise the names of gates are empty, and stacks of gate and up are those of up alone.
    pub are_gated: bool,
    pub weights: ExpertWeights,
    pub scores: Scores,
    /// What is added to the sum of weights before it divides them.
    pub added_to_sum: f64,
    pub grouping: Grouping,
}

/// The order of the values of stacked experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackLayout {
    /// (experts, outputs, inputs), with all rows of the gate before those of up.
    GateFirst,
    /// As [`StackLayout::GateFirst`], or with inputs before outputs in the files: the sizes tell.
    GateFirstEitherWay,
    /// (experts, inputs, outputs), with all outputs of the gate before those of up. LoRA of PEFT takes the inputs for the outputs.
    GateFirstByInputs,
    /// (experts, inputs, outputs), in which outputs of gate and up alternate.
    Alternating,
}

/// How the experts of a token are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertWeights {
    /// Their weights are normalised to sum to 1.
    SumToOne,
    /// Their weights are their scores.
    AsScored,
    /// As `norm_topk_prob` says; GGUF files do not say it.
    Configured { sum_to_one_in_gguf: bool },
}

/// Whether a router chooses groups of experts first, as `n_group` and `topk_group` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    Never,
    By(GroupScore),
    /// By the largest score, if `topk_method` says that groups count.
    Configured,
}
