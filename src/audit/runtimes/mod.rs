//! Programs that serve adapters, and what each makes of one: loads it, loads it but computes something else, or refuses it.
//!
//! The behaviour of runtimes is data ([`list`]): one entry for each runtime, with a rule for each thing that goes wrong and the file
//! of its source that shows it. [`facts`] finds what is true of an adapter, [`flawed`] says what comes of its flaws, and
//! [`verdict`] puts both together. [`examine`](super::examine) is the way to verdicts on a folder that exists.

pub mod base_facts;
pub mod facts;
pub mod flawed;
pub mod list;
pub mod listing;
pub mod memory;
pub mod planned;
pub mod verdict;

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::adapter::Adapter;
use crate::export::Format;
use facts::AdapterFact;
pub use list::RUNTIMES;
use memory::AdapterMemory;
pub use verdict::{LoadReason, RuntimeVerdict, check_format};

/// A program that serves adapters.
#[derive(Debug)]
pub struct Runtime {
    pub name: &'static str,
    /// Its names on the command line, the shortest first, all in lower case.
    pub aliases: &'static [&'static str],
    /// The version that was read: a release, or a commit with its date.
    pub version: &'static str,
    pub repository: &'static str,
    pub maintenance: Maintenance,
    /// Where it has the files that the rules name.
    pub folder: &'static str,
    /// The formats that it reads, the best first.
    pub reads: &'static [Format],
    /// The file that shows which formats those are.
    pub source: &'static str,
    /// What it allocates for adapters.
    pub memory: AdapterMemory,
    pub rules: &'static [LoadRule],
}

/// Whether a runtime is still developed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    Active,
    /// Nobody has changed it for months.
    Dormant,
    /// Its repository takes no changes.
    Archived,
}

impl Maintenance {
    pub fn words(self) -> &'static str {
        match self {
            Maintenance::Active => "active",
            Maintenance::Dormant => "dormant",
            Maintenance::Archived => "archived",
        }
    }

    /// The end of the sentence "The runtime …".
    pub fn sentence(self) -> &'static str {
        match self {
            Maintenance::Active => "is developed",
            Maintenance::Dormant => "is dormant: nobody has changed it for months",
            Maintenance::Archived => "is archived: it will not be changed any more",
        }
    }
}

/// What a runtime makes of an adapter of which one of these facts is true.
#[derive(Debug)]
pub struct LoadRule {
    pub facts: &'static [AdapterFact],
    pub outcome: LoadOutcome,
    /// What it does, as the end of the sentence that the evidence for the fact begins.
    pub effect: &'static str,
    pub remedy: Remedy,
    /// The file of the runtime that shows it.
    pub source: &'static str,
}

/// What a runtime does with an adapter; the worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoadOutcome {
    /// It computes what PEFT computes. The reason, if any, is a condition, such as an option of the server.
    Loads,
    /// It loads without an error and computes something else.
    Differs,
    Refuses,
}

impl fmt::Display for LoadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LoadOutcome::Loads => "loads",
            LoadOutcome::Differs => "differs",
            LoadOutcome::Refuses => "refuses",
        })
    }
}

/// What can be done about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Remedy {
    None,
    /// `--portable` of `slim` and `cut`.
    Portable,
    /// `--pad-zeros` of `slim` and `cut`.
    PadZeros,
    /// `--format` of `slim` and `cut`.
    Format(Format),
    /// Any `cut`: it writes one adapter_model.safetensors.
    Rewrite,
    /// Any `cut`: it writes the names that PEFT reads.
    Rename,
    /// `fix`, with the base model: it writes the names of its modules.
    RenameForBase,
    /// `fix`: it writes a PEFT folder.
    Fix,
    /// `--rank` of `slim` and `cut`.
    Rank(usize),
    /// An option of the runtime for the rank, and its possible values (any if none are listed).
    Serve(&'static str, &'static [usize]),
    /// Something that lora-slim does not do.
    Else(&'static str),
}

impl Runtime {
    /// A file of the runtime, with the version that was read.
    pub fn cite(&self, file: &str) -> String {
        format!("{}: {}{file} ({})", self.repository, self.folder, self.version)
    }

    /// Whether it is known what the runtime makes of the base model. The rules are about decoders; of a model that has an encoder, too,
    /// only the libraries are known that run all that transformers does.
    pub fn is_known_for(&self, adapter: &Adapter) -> bool {
        ["peft", "transformers"].contains(&self.aliases[0]) || !adapter.is_of_encoder_and_decoder()
    }

    /// The runtime of a name, whatever its case.
    pub fn by_name(name: &str) -> Option<&'static Runtime> {
        let name = name.trim().to_lowercase();
        RUNTIMES
            .into_iter()
            .find(|runtime| runtime.name.to_lowercase() == name || runtime.aliases.contains(&name.as_str()))
    }
}

/// Parses the name of a runtime, for the command line.
pub fn parse(name: &str) -> Result<&'static Runtime, String> {
    let known = || RUNTIMES.iter().map(|runtime| runtime.aliases[0]).collect::<Vec<_>>().join(", ");
    Runtime::by_name(name).ok_or_else(|| format!("no runtime of that name is known; known are {}", known()))
}

impl Remedy {
    /// The remedy for an adapter of this rank, in words.
    fn say(self, rank: usize) -> Option<String> {
        Some(match self {
            Remedy::None => return None,
            Remedy::Portable => "`--portable`".into(),
            Remedy::PadZeros => "`--pad-zeros`".into(),
            Remedy::Format(format) => format!("`--format {format}`"),
            Remedy::Rewrite => "`lora-slim cut` writes one adapter_model.safetensors".into(),
            Remedy::Rename => "`lora-slim cut` writes PEFT's names".into(),
            Remedy::RenameForBase => "`lora-slim fix --base BASE` writes the names of the base model".into(),
            Remedy::Fix => "`lora-slim fix` writes it as PEFT saves adapters".into(),
            Remedy::Rank(rank) => format!("`--rank {rank}`"),
            Remedy::Serve(option, values) => {
                let rank = values.iter().copied().find(|value| *value >= rank).unwrap_or(rank);
                format!("serve with `{option} {rank}`")
            }
            Remedy::Else(words) => words.into(),
        })
    }

    /// The remedy for adapters of any rank, in words.
    pub fn words(self) -> Option<String> {
        match self {
            Remedy::Serve(option, _) => Some(format!("serve with `{option}`")),
            other => other.say(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_server_gets_a_rank_that_it_takes() {
        let vllm = Remedy::Serve("--max-lora-rank", &[32, 64, 128]);
        assert_eq!(vllm.say(33).as_deref(), Some("serve with `--max-lora-rank 64`"));
        assert_eq!(Remedy::Serve("max_lora_rank", &[]).say(65).as_deref(), Some("serve with `max_lora_rank 65`"));
    }

    #[test]
    fn each_runtime_is_found_by_its_names_alone() {
        let mut names = BTreeSet::new();
        for runtime in RUNTIMES {
            for name in runtime.aliases {
                assert!(names.insert(*name) && *name == name.to_lowercase(), "{name}");
                assert_eq!(Runtime::by_name(name).unwrap().name, runtime.name);
            }
            assert_eq!(Runtime::by_name(runtime.name).unwrap().name, runtime.name);
            assert!(!runtime.reads.is_empty(), "{}", runtime.name);
        }
        assert!(parse("nothing").unwrap_err().contains("vllm, sglang"));
    }
}
