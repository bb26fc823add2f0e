//! How weights are stored as bytes, and how they become numbers.

pub mod mxfp4;
pub mod plain;
