//! The stages put together: inputs → measurements → choice → rewriting → report. The only module that knows all stages.
//!
//! `evaluate` takes a [`Request`] through the stages and gives an [`Evaluation`]; [`output`] writes what it chose.

mod alternatives;
mod answers;
mod base;
mod by_answers;
mod chain;
mod curve;
mod describe;
mod estimate;
mod evaluate;
mod evaluator;
#[cfg(feature = "hub")]
pub mod fetch;
pub mod fix;
mod held_out;
mod inputs;
pub mod minimize;
pub mod output;
mod own_answers;
pub mod push;
mod refine;
pub mod request;
mod scale;
pub mod scorer;
mod subject;
mod subset;
mod window;

pub use base::{Base, base_of, find_base, open_adapter};
pub use estimate::{Estimate, estimate};
pub use evaluate::{Evaluation, evaluate, evaluate_on, evaluate_together};
pub use request::Request;
