//! The splits of a data set, by the names that people give them.

use std::path::Path;

use crate::error::{Result, SampleError};
use crate::format::first_names;

/// Each split and the words that name it, as `datasets` knows them.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The split that a name stands for: `validation` for `dev`, `val` and `valid`.
pub fn named(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    SPLITS.iter().find(|(_, words)| words.contains(&name.as_str())).map(|(split, _)| *split)
}

/// The one of several splits that is to be read: the one that is `wanted`, or the only one.
pub fn choose<'a>(path: &Path, splits: &[&'a str], wanted: Option<&str>) -> Result<&'a str> {
    let listed = || first_names(splits, splits.len());
    match (wanted, splits) {
        (None, [only]) => Ok(only),
        (None, _) => Err(SampleError::SeveralSplits { path: path.into(), splits: listed() }.into()),
        (Some(wanted), _) => {
            let means =
                |split: &&&str| **split == wanted || named(split).is_some_and(|split| named(wanted) == Some(split));
            let no_split = || SampleError::NoSplit { path: path.into(), split: wanted.into(), splits: listed() };
            Ok(splits
                .iter()
                .find(|split| **split == wanted)
                .or_else(|| splits.iter().find(means))
                .ok_or_else(no_split)?)
        }
    }
}
