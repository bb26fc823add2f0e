//! What is written on each slice of the samples, compared with the whole adapter.

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::{Assessment, Reference};
use crate::measure::{Measurement, SampleSize};

/// A slice of the samples that choose.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Slice {
    /// The value of the field of `--slice-by`.
    pub name: String,
    pub samples: usize,
    #[serde(flatten)]
    pub assessment: Assessment,
}

impl Slice {
    /// The slices with these names, of a measurement of all samples; none if there is only one.
    pub fn all(names: &[String], written: &Measurement, reference: &Reference) -> Vec<Self> {
        let slices = SampleSize::slices(&written.sizes);
        let slice = |(name, samples): (&String, Vec<usize>)| {
            let [base, whole] = [reference.base, reference.whole].map(|measured| measured.select(&samples));
            let reference = Reference { base: &base, whole: &whole, confidence: reference.confidence };
            let assessment = reference.assess(&written.select(&samples));
            Self { name: name.clone(), samples: samples.len(), assessment }
        };
        names.iter().zip(slices).map(slice).collect()
    }
}
