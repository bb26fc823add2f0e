//! Judging adapters without running them: what is wrong with one, whether one is a cut of another, and which runtimes load it.

pub mod flaws;
pub mod runtimes;
pub mod verify;
