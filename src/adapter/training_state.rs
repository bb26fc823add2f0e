//! The state of an optimizer among the tensors of an adapter: running averages, counts of steps, gradients.
//!
//! PEFT does not load such tensors. Their names are those of factors with a word of the optimizer before or behind, which would
//! otherwise be taken for the name of an adapter or of a wrapper.

use crate::format::first_names;

/// What torch and its relatives call the state of a parameter.
const STATES: [&str; 18] = [
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "exp_avg_sq_row",
    "exp_avg_sq_col",
    "exp_avg_lst",
    "exp_inf",
    "momentum_buffer",
    "square_avg",
    "grad_avg",
    "acc_delta",
    "step",
    "grad",
    "weight_grad",
    "main_grad",
    "master_weight",
    "state1",
    "state2",
];

/// What such states are kept in.
const HOLDERS: [&str; 5] = ["optimizer", "optim", "optimizer_state", "optimizer_states", "optimizer_state_dict"];

/// The names that belong to a state.
pub fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().filter(|name| is_state(name)).map(String::from).collect()
}

/// Whether the first or the last segment of a name is a word of the optimizer. Between others it may be the name of an adapter.
fn is_state(name: &str) -> bool {
    let mut segments = name.split('.');
    let first = segments.next().unwrap_or_default();
    let is_in_holder = HOLDERS.contains(&first) || STATES.contains(&first);
    is_in_holder || segments.next_back().is_some_and(|last| STATES.contains(&last))
}

/// One sentence on the states, if there are any.
pub fn remark(states: &[String]) -> Option<String> {
    (!states.is_empty()).then(|| {
        format!(
            "{} in the weights: the state of an optimizer, which PEFT does not load and lora-slim neither uses nor writes",
            first_names(states, 3)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_from_names_of_adapters() {
        for (name, expected) in [
            ("base_model.model.h.0.q.lora_A.exp_avg", true),
            ("base_model.model.h.0.q.lora_A.weight.exp_avg_sq", true),
            ("exp_avg.base_model.model.h.0.q.lora_A.weight", true),
            ("optimizer.state.base_model.model.h.0.q.lora_A.weight.exp_avg", true),
            ("optimizer.state.0.step", true),
            ("step", true),
            ("base_model.model.h.0.q.lora_A.step.weight", false),
            ("base_model.model.h.0.q.lora_A.weight", false),
            ("base_model.model.optimizer.q.lora_A.weight", false),
        ] {
            assert_eq!(is_state(name), expected, "{name}");
        }
    }
}
