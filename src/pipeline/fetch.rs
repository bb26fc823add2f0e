//! Which files of a repository on the hub an adapter or a base model consists of, and fetching them if they are not on this machine.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::Request;
use crate::adapter::{AdapterConfig, config};
use crate::error::{HubError, Result};
use crate::files::{self, LARGEST_JSON};
use crate::hub::fetch::listing::{ListedFile, RepositoryFiles};
use crate::hub::fetch::{Remote, Watch, is_offline};
use crate::hub::name::{HubName, is_inner_path};
use crate::hub::{self, MAIN, Need};
use crate::rewrite::sidecars::{LARGEST_SIDECAR, Sidecar, of};
use crate::tensors::gguf_parts;

/// The files that weights of adapters have, the preferred ones first, as the readers of folders look for them.
const ADAPTER_WEIGHTS: [&[&str]; 6] = [
    &["adapter_model.safetensors"],
    &[ADAPTER_SHARDS, "adapter_model-"],
    &["adapters.safetensors"],
    &["adapter_model.bin", "adapter_model-"],
    &["adapter_model.pt", "adapter_"],
    &["model_weights.ckpt"],
];
const ADAPTER_SHARDS: &str = "adapter_model.safetensors.index.json";
const SAFETENSORS: &str = "model.safetensors";
const SHARDS: &str = "model.safetensors.index.json";
const CONFIG: &str = "config.json";
const TEMPLATES: &str = "additional_chat_templates/";

/// Fetches what a name stands for into the Hugging Face cache, unless it is on this machine, can only be a path, or the environment
/// forbids connections. `revision` counts where the name has none.
pub fn fetch(name: &str, revision: Option<&str>, need: Need, watch: &mut dyn Watch) -> Result<()> {
    let Some(hub_name) = HubName::parse(name).filter(|_| !Path::new(name).exists() && !is_offline()) else {
        return Ok(());
    };
    // Adapters always have an owner. A word alone is a folder that is not there.
    if need == Need::Adapter && !hub_name.has_organisation() || is_here(name, revision, need) {
        return Ok(());
    }
    let revision = hub_name.revision.as_deref().or(revision).unwrap_or(MAIN);
    if !is_inner_path(revision) {
        return Ok(());
    }
    let mut remote = Remote::open(&hub_name, revision, watch)?;
    let choice = FileChoice { name: &hub_name, need, listing: remote.listing(), hub: remote.hub() };
    let chosen = choice.choose()?;
    remote.fetch(&chosen, watch)?;
    for index in chosen.iter().filter(|name| name.ends_with(".index.json")) {
        let shards = shards(&remote.read(index, LARGEST_JSON)?);
        let shards: Vec<String> = shards.into_iter().filter(|shard| remote.listing().has(shard)).collect();
        remote.fetch(&shards, watch)?;
    }
    remote.publish()
}

/// As [`fetch`], for the base model that the user names, or else the adapter in a folder.
pub fn fetch_base(name: Option<&str>, adapter: &Path, need: Need, watch: &mut dyn Watch) -> Result<()> {
    if let Some(name) = name {
        return fetch(name, None, need, watch);
    }
    // What is wrong with the configuration is said when the adapter is opened.
    let Ok(config) = AdapterConfig::read(adapter) else { return Ok(()) };
    match config.text("base_model_name_or_path") {
        Some(name) => fetch(name, config.text("revision"), need, watch),
        None => Ok(()),
    }
}

/// Fetches the adapter and the base model of a request, unseen.
pub fn fetch_all(request: &Request) -> Result<()> {
    fetch(&request.adapter, None, Need::Adapter, &mut Unwatched)?;
    fetch_base(request.base.as_deref(), &hub::find(&request.adapter, None)?, Need::Base, &mut Unwatched)
}

/// Nobody looks on.
struct Unwatched;

impl Watch for Unwatched {
    fn begins(&mut self, name: &str, hub: &str) {
        tracing::info!("fetching `{name}` from {hub}");
    }

    fn needs(&mut self, _bytes: u64) {}

    fn moves(&mut self, _bytes: u64) {}

    fn moves_back(&mut self, _bytes: u64) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

/// The files that an index of shards names.
fn shards(index: &[u8]) -> Vec<String> {
    let index: Value = serde_json::from_slice(index).unwrap_or_default();
    let names = index["weight_map"].as_object().into_iter().flat_map(|map| map.values().filter_map(Value::as_str));
    let mut names: Vec<String> = names.map(String::from).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether all of it is on this machine. Other programs leave snapshots with the files that they needed.
fn is_here(name: &str, revision: Option<&str>, need: Need) -> bool {
    let Ok(path) = hub::find(name, revision) else { return false };
    if path.is_file() {
        return gguf_parts(&path).iter().all(|part| part.is_file());
    }
    // A link whose blob is gone is no file.
    let files = path.read_dir().into_iter().flatten().flatten().filter(|entry| entry.path().is_file());
    let names: BTreeSet<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let has_shards = |index: &str| {
        let index = files::read_up_to(&path.join(index), LARGEST_JSON);
        index.is_ok_and(|index| shards(&index).iter().all(|shard| names.contains(shard)))
    };
    let has_gguf = || names.iter().any(|name| name.ends_with(".gguf"));
    match need {
        Need::BaseConfig => names.contains(CONFIG) || has_gguf(),
        Need::Base if names.contains(CONFIG) && names.contains(SAFETENSORS) => true,
        Need::Base if names.contains(CONFIG) && names.contains(SHARDS) => has_shards(SHARDS),
        Need::Base => has_gguf(),
        Need::Adapter if names.contains(ADAPTER_SHARDS) => has_shards(ADAPTER_SHARDS),
        Need::Adapter => names.iter().any(|name| is_weights(name)),
    }
}

/// Whether a file may hold the weights of an adapter. Trainers leave others beside them.
fn is_weights(name: &str) -> bool {
    let is_known = ["adapter", "model"].iter().any(|beginning| name.starts_with(beginning));
    name.ends_with(".safetensors") || is_known && [".bin", ".pt", ".ckpt"].iter().any(|ending| name.ends_with(ending))
}

/// The choice among the files of a repository.
struct FileChoice<'a> {
    name: &'a HubName,
    need: Need,
    listing: &'a RepositoryFiles,
    hub: String,
}

impl FileChoice<'_> {
    /// The files to fetch, with those last without which nothing is complete.
    fn choose(&self) -> Result<Vec<String>> {
        match (&self.name.file, self.need) {
            (Some(file), _) => self.parts(file),
            (None, Need::Adapter) => self.adapter(),
            (None, Need::BaseConfig) if self.listing.has(CONFIG) => Ok(vec![CONFIG.into()]),
            (None, Need::BaseConfig | Need::Base) => self.base(),
        }
    }

    /// A GGUF file with the other parts of its model.
    fn parts(&self, file: &str) -> Result<Vec<String>> {
        let parts = gguf_parts(Path::new(file));
        let parts: Vec<String> = parts.iter().filter_map(|part| part.to_str().map(String::from)).collect();
        match parts.iter().find(|part| !self.listing.has(part)) {
            Some(missing) => {
                let (name, hub) = self.place();
                Err(HubError::NoFile { name, hub, file: missing.clone() }.into())
            }
            None => Ok(parts),
        }
    }

    fn base(&self) -> Result<Vec<String>> {
        let (name, hub) = self.place();
        let weights = [SAFETENSORS, SHARDS].into_iter().find(|name| self.listing.has(name));
        if let Some(weights) = weights.filter(|_| self.listing.has(CONFIG)) {
            let mut chosen = self.beside(false);
            chosen.retain(|name| name != CONFIG);
            chosen.extend([weights.into(), CONFIG.into()]);
            return Ok(chosen);
        }
        let ggufs = self.listing.at_the_top().filter(|file| file.name.ends_with(".gguf"));
        let mut models: Vec<String> = ggufs
            .map(|file| gguf_parts(Path::new(&file.name)).swap_remove(0).to_string_lossy().into_owned())
            .filter(|name| !name.starts_with("mmproj"))
            .collect();
        models.dedup();
        match models.as_slice() {
            [one] => self.parts(one),
            [] if self.listing.has(CONFIG) => {
                Err(HubError::NotABase { name, hub, problem: "no safetensors and no GGUF file" }.into())
            }
            [] => Err(HubError::NotABase { name, hub, problem: "no config.json and no GGUF file" }.into()),
            _ => Err(HubError::SeveralGguf { name, hub, files: models }.into()),
        }
    }

    fn adapter(&self) -> Result<Vec<String>> {
        let (name, hub) = self.place();
        let has_config = self.listing.has(config::FILE_NAME);
        let weights = self.adapter_weights(has_config);
        if weights.is_empty() {
            let missing = if has_config { "no weights of one" } else { "no adapter_config.json" };
            return Err(HubError::NotAnAdapter { name, hub, missing }.into());
        }
        let mut chosen = self.beside(true);
        chosen.extend(weights);
        chosen.extend(has_config.then(|| config::FILE_NAME.into()));
        Ok(chosen)
    }

    fn adapter_weights(&self, has_config: bool) -> Vec<String> {
        let names = || self.listing.at_the_top().map(|file| &file.name);
        for naming in ADAPTER_WEIGHTS {
            let (whole, shards) = (naming[0], naming.get(1));
            if self.listing.has(whole) {
                return vec![whole.into()];
            }
            let ending = Path::new(whole.trim_end_matches(".index.json")).extension().unwrap_or_default();
            let is_shard = |name: &&String| {
                shards.is_some_and(|shards| name.starts_with(shards)) && Path::new(name).extension() == Some(ending)
            };
            let shards: Vec<String> = names().filter(is_shard).cloned().collect();
            if !shards.is_empty() {
                return shards;
            }
        }
        // What trainers save that know no PEFT, and a LoRA in one file.
        let others: Vec<String> = names().filter(|name| name.ends_with(".safetensors")).cloned().collect();
        match others.len() == 1 && (has_config || !self.listing.has(CONFIG)) {
            true => others,
            false => Vec::new(),
        }
    }

    /// The files beside the weights: the tokenizer and its templates and, of adapters, all that is copied with them. What is too large to
    /// be one is left out.
    fn beside(&self, documents: bool) -> Vec<String> {
        let is_small = |file: &&ListedFile| file.size.is_none_or(|size| size <= LARGEST_SIDECAR);
        let is_beside = |file: &&ListedFile| {
            let name = file.name.as_str();
            let is_document = name.starts_with(|first: char| first.is_ascii_uppercase());
            let is_template = name.starts_with(TEMPLATES) && name.ends_with(".jinja");
            let is_copied = !name.contains('/') && of(name, false) == Sidecar::Copied;
            is_template || is_copied && (documents || !is_document)
        };
        self.listing.files.iter().filter(is_beside).filter(is_small).map(|file| file.name.clone()).collect()
    }

    fn place(&self) -> (String, String) {
        (self.name.repository.clone(), self.hub.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(name: &str, need: Need, files: &[(&str, u64)]) -> Result<Vec<String>> {
        let files = files.iter().map(|&(name, size)| ListedFile { name: name.into(), size: Some(size) }).collect();
        let listing = RepositoryFiles { commit: String::new(), files };
        FileChoice { name: &HubName::parse(name).unwrap(), need, listing: &listing, hub: "https://hub".into() }.choose()
    }

    #[test]
    fn only_what_is_needed_of_an_adapter() {
        let files = [
            ("README.md", 1),
            ("adapter_config.json", 1),
            ("adapter_model.bin", 9),
            ("adapter_model.safetensors", 9),
            ("checkpoint-10/adapter_model.safetensors", 9),
            ("optimizer.pt", 9),
            ("merged.jsonl", 9),
            ("runs/events.out", 9),
            ("tokenizer.json", 1),
            ("tokenizer.model", 1 << 40),
            ("training_args.bin", 1),
        ];
        let chosen = choose("user/adapter", Need::Adapter, &files).unwrap();
        assert_eq!(chosen, ["README.md", "tokenizer.json", "adapter_model.safetensors", "adapter_config.json"]);
        let one = |names: &[&str]| {
            let files: Vec<(&str, u64)> = names.iter().map(|name| (*name, 1)).collect();
            choose("user/adapter", Need::Adapter, &files)
        };
        for (names, expected) in [
            (vec!["adapter_config.json", "adapter_model.bin"], "adapter_model.bin"),
            (vec!["adapter_config.json", "model.safetensors"], "model.safetensors"),
            (vec!["adapters.safetensors", "0000100_adapters.safetensors"], "adapters.safetensors"),
            (vec!["my-lora.safetensors"], "my-lora.safetensors"),
            (vec!["adapter_0.pt", "config.json"], "adapter_0.pt"),
        ] {
            assert!(one(&names).unwrap().contains(&expected.to_string()), "{names:?}");
        }
        for names in [vec!["config.json", "model.safetensors"], vec![], vec!["adapter_config.json"], vec!["x.gguf"]] {
            assert!(one(&names).is_err(), "{names:?}");
        }
    }

    #[test]
    fn only_what_is_needed_of_a_base_model() {
        let files = [
            ("README.md", 1),
            ("config.json", 1),
            ("consolidated.safetensors", 9),
            ("generation_config.json", 1),
            ("model-00001-of-00002.safetensors", 9),
            ("model.safetensors.index.json", 1),
            ("original/consolidated.00.pth", 9),
            ("pytorch_model.bin", 9),
            ("tokenizer.json", 1),
        ];
        let chosen = choose("org/model", Need::Base, &files).unwrap();
        let expected = ["generation_config.json", "tokenizer.json", "model.safetensors.index.json", "config.json"];
        assert_eq!(chosen, expected);
        assert_eq!(choose("org/model", Need::BaseConfig, &files).unwrap(), ["config.json"]);
        let quantised =
            [("a-q4.gguf", 9), ("a-q8-00001-of-00002.gguf", 9), ("a-q8-00002-of-00002.gguf", 9), ("config.json", 1)];
        assert!(choose("org/model", Need::Base, &quantised).is_err());
        assert_eq!(choose("org/model/a-q4.gguf", Need::Base, &quantised).unwrap(), ["a-q4.gguf"]);
        assert_eq!(choose("org/model/a-q8-00001-of-00002.gguf", Need::Base, &quantised).unwrap().len(), 2);
        assert!(choose("org/model/b.gguf", Need::Base, &quantised).is_err());
        assert_eq!(choose("org/model", Need::Base, &quantised[1..]).unwrap().len(), 2);
        assert!(choose("org/model", Need::Base, &[("config.json", 1), ("pytorch_model.bin", 9)]).is_err());
    }
}
