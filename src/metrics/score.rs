//! How answers are scored: by a metric of this crate, or by a program of the user's own.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::Metric;

/// A score of answers. Higher is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Score {
    /// From 0 to 100.
    Metric(Metric),
    /// The mean of the numbers that the user's program gives.
    Scorer,
}

impl Score {
    /// The scores that there are.
    pub fn all() -> impl Iterator<Item = Self> {
        Metric::ALL.into_iter().map(Self::Metric).chain([Self::Scorer])
    }

    /// The name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metric(metric) => metric.name(),
            Self::Scorer => "scorer",
        }
    }

    /// The score of summed counts. Those of a scorer are the sum of its numbers and how many there are.
    pub fn of_counts(self, counts: &[f64]) -> f64 {
        match (self, counts) {
            (Self::Metric(metric), _) => metric.score(counts),
            (Self::Scorer, [sum, count]) if *count > 0.0 => sum / count,
            (Self::Scorer, _) => 0.0,
        }
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl JsonSchema for Score {
    fn schema_name() -> Cow<'static, str> {
        "Score".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Self::all().map(Self::name).collect();
        json_schema!({
            "description": "How answers are scored: by a metric, from 0 to 100, or by the mean of the numbers of `--scorer`.",
            "type": "string",
            "enum": names
        })
    }
}
