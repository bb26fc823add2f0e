//! Making an adapter smaller or fitter for runtimes: the cut, and the steps that follow it. Everything here reads one adapter and
//! writes another.

mod basis;
pub mod blocks;
mod change;
mod cut;
pub mod dead_weight;
pub mod exact_types;
mod fix;
pub mod fold;
mod pair;
mod restrict;
mod scale;
pub mod sidecars;
pub mod steps;
pub mod write;

pub use basis::Basis;
pub use change::{DeltaChange, ModuleChange, RankSummary, changes};
pub use cut::{Boundary, Cut, parse_boundary, parse_layers};
pub use fix::{Fix, FixTarget, FixedModule};
pub use pair::{Decomposition, Pair};
