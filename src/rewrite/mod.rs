//! Making an adapter smaller or fitter: the cut, and the steps that follow it. Everything here reads one adapter and writes
//! another one.

pub mod cut;
pub mod fold;
pub mod restrict;
pub mod scale;
pub mod steps;
pub mod write;

pub use cut::{Boundary, Cut, parse_boundary, parse_layers};
