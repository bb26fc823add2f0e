//! Judging adapters without running them: what an adapter is made of, what is wrong with it, whether it is a cut of another, and
//! which runtimes load it, and what servers allocate for it.

pub mod dead;
pub mod examine;
pub mod fixed;
pub mod flaws;
pub mod inspect;
pub mod misspelling;
mod refusals;
pub mod runtimes;
pub mod serving;
pub mod verify;
mod vocabulary;
