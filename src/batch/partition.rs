//! Which jobs a process takes if several share the work without communicating.

use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::error::BatchError;

/// One of `count` parts, by the hash of a job's name. Each job is in exactly one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// From 1 to `count`.
    pub number: u64,
    pub count: u64,
}

/// The only part of an undivided batch.
pub const WHOLE: Partition = Partition { number: 1, count: 1 };

impl Partition {
    /// Whether a job belongs to this part.
    pub fn has(&self, name: &str) -> bool {
        let digest = Sha256::digest(name.as_bytes());
        let hash = digest.iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte));
        hash % self.count == self.number - 1
    }

    /// The suffix of the names of this part's files.
    pub fn suffix(&self) -> String {
        match self.count {
            1 => String::new(),
            count => format!(".{}-of-{count}", self.number),
        }
    }

    /// Parses `hash:M/N`, where M and N are numbers or names of environment variables.
    fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, BatchError> {
        let wrong = |reason: String| BatchError::Partition { given: text.into(), reason };
        let parts = text.strip_prefix("hash:").and_then(|parts| parts.split_once('/'));
        let (number, count) = parts.ok_or_else(|| wrong("it should be hash:M/N, part M of N".into()))?;
        let from = |name: &str| -> Result<u64, BatchError> {
            let value = variable(name).ok_or_else(|| wrong(format!("the environment has no `{name}`")))?;
            value.trim().parse().map_err(|_| wrong(format!("`{name}` is `{value}`, which is not a number")))
        };
        let or = |name: &str, default: u64| if variable(name).is_some() { from(name) } else { Ok(default) };
        let number = match number {
            // Kubernetes counts from 0.
            "JOB_COMPLETION_INDEX" => from(number)?.saturating_add(1),
            // Slurm from wherever `--array` begins, in its steps.
            "SLURM_ARRAY_TASK_ID" => {
                let (least, step) = (or("SLURM_ARRAY_TASK_MIN", 1)?, or("SLURM_ARRAY_TASK_STEP", 1)?);
                let above = from(number)?.checked_sub(least);
                let above = above.ok_or_else(|| wrong("SLURM_ARRAY_TASK_ID is below SLURM_ARRAY_TASK_MIN".into()))?;
                above / step.max(1) + 1
            }
            digits => digits.parse().or_else(|_| from(digits))?,
        };
        let count = count.parse().or_else(|_| from(count))?;
        if number == 0 || number > count {
            return Err(wrong(format!("part {number} is not one of 1 to {count}")));
        }
        Ok(Self { number, count })
    }
}

impl FromStr for Partition {
    type Err = BatchError;

    fn from_str(text: &str) -> Result<Self, BatchError> {
        Self::parse(text, |name| std::env::var(name).ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Option<(u64, u64)> {
        let find = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_string());
        Partition::parse(text, find).ok().map(|partition| (partition.number, partition.count))
    }

    #[test]
    fn each_scheduler_counts_in_its_own_way() {
        assert_eq!(parse("hash:2/4", &[]), Some((2, 4)));
        assert_eq!(parse("hash:JOB_COMPLETION_INDEX/4", &[("JOB_COMPLETION_INDEX", "0")]), Some((1, 4)));
        let slurm = |id, least, count| {
            let variables =
                [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_MIN", least), ("SLURM_ARRAY_TASK_COUNT", count)];
            parse("hash:SLURM_ARRAY_TASK_ID/SLURM_ARRAY_TASK_COUNT", &variables)
        };
        assert_eq!(slurm("0", "0", "3"), Some((1, 3)));
        assert_eq!(slurm("7", "5", "3"), Some((3, 3)));
        assert_eq!(slurm("4", "5", "3"), None);
        let stepped = [("SLURM_ARRAY_TASK_ID", "9"), ("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_STEP", "4")];
        assert_eq!(parse("hash:SLURM_ARRAY_TASK_ID/3", &stepped), Some((3, 3)));
        assert_eq!(parse("hash:MINE/PARTS", &[("MINE", "2"), ("PARTS", "2")]), Some((2, 2)));
    }

    #[test]
    fn parts_that_do_not_exist_are_refused() {
        for wrong in ["", "2/4", "hash:", "hash:0/4", "hash:5/4", "hash:1/0", "hash:1", "hash:a/4", "hash:-1/4"] {
            assert_eq!(parse(wrong, &[]), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn each_job_is_in_one_part(names in prop::collection::vec(".*", 0..50), count in 1u64..20) {
            for name in &names {
                let parts = (1..=count).filter(|&number| Partition { number, count }.has(name));
                prop_assert_eq!(parts.count(), 1);
            }
        }
    }
}
