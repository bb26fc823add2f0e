//! Opening an adapter folder, and checking that it is complete: no half of a pair, no tensor twice, ranks as configured.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::foreign;
use super::module::Module;
use super::names::{self, Key, Part};
use super::stacks;
use super::strays::Strays;
use super::targets::MovedModule;
use super::training_state;
use super::{Adapter, AdapterConfig, AdapterTensor, Method, WrappedName, config, weights, wrappers};
use crate::error::{AdapterError, Result};
use crate::files;
use crate::format::first_names;
use crate::tensors::TensorStore;

impl Adapter {
    /// Opens the folder that PEFT's `save_pretrained` wrote and checks that it is complete. `stack` names the decoder's layers where
    /// the adapter reaches several stacks.
    pub fn open(path: &Path, stack: Option<&str>) -> Result<Self> {
        Self::open_with(path, stack, &|_| false)
    }

    /// As [`open`](Self::open); where neither the adapter nor `stack` tells the decoder's layers among several stacks,
    /// `is_decoder` does, by their names.
    pub fn open_with(path: &Path, stack: Option<&str>, is_decoder: &dyn Fn(&str) -> bool) -> Result<Self> {
        files::inputs::declare(path);
        Self::open_peft(path, stack, is_decoder).map_err(|error| foreign::explain(path, error))
    }

    fn open_peft(path: &Path, stack: Option<&str>, is_decoder: &dyn Fn(&str) -> bool) -> Result<Self> {
        if !path.is_dir() {
            return Err(no_folder(path).into());
        }
        if !path.join(config::FILE_NAME).is_file() {
            return Err(not_an_adapter(path).into());
        }
        let config = AdapterConfig::read(path)?;
        let (mut weights, of_files) = weights::open(path)?;
        let states = training_state::names(weights.iter().map(|(name, _)| name));
        weights.leave_out(&states);
        let adapter_names = names::adapter_names(weights.iter().map(|(name, _)| name));
        if adapter_names.len() > 1 {
            let names = adapter_names.into_iter().collect();
            return Err(AdapterError::SeveralAdapters { path: path.into(), names }.into());
        }
        let parse = |name: &str| Key::parse(name, adapter_names.first().map(String::as_str));
        let wrappers = weights.iter().flat_map(|(name, _)| parse(name).spelling.wrappers).collect();
        let config = config.without_wrappers(&wrappers, &path.join(config::FILE_NAME))?;
        let strays = Strays::find(weights.iter().map(|(name, _)| (name, parse(name))), &config);
        weights.leave_out(&strays.ignored);
        let of_states = training_state::remark(&states).into_iter().collect();
        let remarks = [config.remarks.clone(), of_files, of_states, strays.remarks()].concat();
        let keys: Vec<Key> = weights.iter().map(|(name, _)| parse(name)).collect();
        let stack = stacks::find(path, &keys, stack, is_decoder)?;
        let in_stack =
            |key: &Key| names::stack_and_layer(&key.module).filter(|(own, _)| *own == stack).map(|(_, layer)| layer);
        let layers: Vec<Option<usize>> = keys.iter().map(in_stack).collect();
        if let Some(layer) = layers.iter().copied().max().flatten().filter(|&layer| layer >= names::MOST_LAYERS) {
            return Err(AdapterError::LayerNumber { path: path.into(), layer }.into());
        }
        let mut unclean: BTreeMap<String, bool> = BTreeMap::new();
        for Key { module, spelling, .. } in keys.iter().filter(|key| !key.spelling.is_clean()) {
            *unclean.entry(module.clone()).or_insert(true) &= spelling.lacks_prefix_alone();
        }
        let (modules, layer_bytes) = (BTreeMap::new(), BTreeMap::new());
        let mut adapter = Self {
            path: path.into(),
            config,
            weights,
            stack,
            remarks,
            ignored: [states, strays.ignored].concat(),
            no_effect: None,
            keys,
            layers,
            modules,
            unclean,
            layer_bytes,
        };
        adapter.layer_bytes = adapter.sum_bytes();
        adapter.check_values()?;
        adapter.modules = adapter.collect_modules()?;
        adapter.check_modules()?;
        adapter.remarks.extend(adapter.spelling_remarks());
        adapter.no_effect = adapter.find_no_effect()?;
        if adapter.no_effect.is_none() {
            adapter.remarks.extend(adapter.idle_remark()?);
        }
        adapter.remarks.extend(adapter.unmatched_patterns());
        adapter.remarks.extend(adapter.no_effect.iter().map(ToString::to_string));
        Ok(adapter)
    }

    /// An adapter of which only the configuration and the names of the tensors are there, in PEFT's spelling: enough to ask what a
    /// base model makes of its modules. It has no values.
    pub fn of_names<'a>(
        path: &Path,
        config: AdapterConfig,
        names: impl IntoIterator<Item = &'a str>,
        is_decoder: &dyn Fn(&str) -> bool,
    ) -> Result<Self> {
        let keys: Vec<Key> = names.into_iter().map(|name| Key::parse(name, None)).collect();
        let stack = stacks::find(path, &keys, None, is_decoder)?;
        let mut modules: BTreeMap<String, Module> = BTreeMap::new();
        for key in keys.iter().filter(|key| key.is_wrapped()) {
            let layer = names::stack_and_layer(&key.module).filter(|(own, _)| *own == stack).map(|(_, layer)| layer);
            modules.entry(key.module.clone()).or_insert_with(|| Module {
                name: key.module.clone(),
                layer,
                parameter: config.parameter_of(&key.module),
                tensors: BTreeMap::new(),
            });
        }
        Ok(Self {
            path: path.into(),
            config,
            weights: TensorStore::without_files(path),
            stack,
            remarks: Vec::new(),
            ignored: Vec::new(),
            no_effect: None,
            keys: Vec::new(),
            layers: Vec::new(),
            modules,
            unclean: BTreeMap::new(),
            layer_bytes: BTreeMap::new(),
        })
    }

    /// What the names of the tensors hold beside PEFT's own spelling.
    pub fn spelling_remarks(&self) -> Vec<String> {
        let spellings = || self.keys.iter().map(|key| &key.spelling);
        let wrappers: BTreeSet<&String> = spellings().flat_map(|spelling| &spelling.wrappers).collect();
        let adapter = spellings().find_map(|spelling| spelling.adapter.as_ref());
        let mut found: Vec<String> = wrappers.into_iter().map(|wrapper| wrappers::described(wrapper)).collect();
        found.extend(adapter.map(|name| format!("the adapter's name `{name}`")));
        if spellings().any(|spelling| spelling.lacks_prefix) {
            found.push("no `base_model.model.` before them".into());
        }
        let unread = spellings().filter(|spelling| !spelling.is_clean()).count();
        let remark = || {
            if found.is_empty() {
                return format!(
                    "the names of {unread} of its tensors are those of saved modules in memory (`modules_to_save`): PEFT does not find \
                     them, and what is written has PEFT's names"
                );
            }
            let (found, all) = (found.join(", "), self.keys.len());
            format!(
                "the names of {unread} of its {all} tensors have {found}: PEFT drops these tensors without an error; they are \
                 evaluated without that, and what is written has PEFT's names"
            )
        };
        (unread > 0).then(remark).into_iter().chain(self.configured_wrappers()).collect()
    }

    /// What the names in the configuration hold beside those of modules.
    fn configured_wrappers(&self) -> Option<String> {
        let WrappedName { key, name, wrapper } = self.config.wrapped.first()?;
        let (wrapper, others) = (wrappers::described(wrapper), self.config.wrapped.len() - 1);
        let others = if others == 0 { String::new() } else { format!(" and {others} more") };
        Some(format!(
            "`{name}` in `{key}`{others} of adapter_config.json have {wrapper}: PEFT finds no module of such a name; the adapter is \
             evaluated without that, and what is written has the names of modules"
        ))
    }

    /// What the configuration has for single modules or parameters, where it belongs to none that has tensors.
    fn unmatched_patterns(&self) -> Vec<String> {
        let parameters: Vec<String> =
            self.modules.keys().filter_map(|module| Some(MovedModule::parse(module)?.parameter())).collect();
        let configured =
            self.modules.values().map(Module::configured_name).chain(self.modules.keys().map(String::as_str));
        let names: Vec<&str> = configured.chain(parameters.iter().map(String::as_str)).collect();
        let mut remarks = self.config.unmatched_patterns(&names);
        let unused = self.config.targets.unused_parameters(self.modules.keys().map(String::as_str));
        if !unused.is_empty() {
            remarks.push(format!("no tensors belong to {} in `target_parameters`", first_names(&unused, 3)));
        }
        remarks
    }

    /// Refuses tensors that were saved without their values.
    fn check_values(&self) -> Result<()> {
        // AdaLoRA leaves factors without rows of modules whose ranks were all pruned.
        let is_pruned = |shape: &[usize]| self.config.method == Method::AdaLora && shape.len() > 1;
        let is_empty = |shape: &[usize]| shape.contains(&0) && !is_pruned(shape);
        let empty: Vec<AdapterTensor> = self.tensors().filter(|tensor| is_empty(&tensor.entry.shape)).collect();
        let Some(first) = empty.first() else { return Ok(()) };
        let count = |tensors: &mut dyn Iterator<Item = &Key>| {
            tensors.map(|key| key.module.as_str()).collect::<BTreeSet<_>>().len()
        };
        Err(AdapterError::NoValues {
            path: self.path.clone(),
            tensors: empty.len(),
            modules: count(&mut empty.iter().map(|tensor| tensor.key)),
            all: count(&mut self.keys.iter()),
            first: first.name.into(),
            shape: first.entry.shape.clone(),
        }
        .into())
    }

    fn sum_bytes(&self) -> BTreeMap<Option<usize>, u64> {
        let mut bytes = BTreeMap::new();
        for tensor in self.tensors() {
            *bytes.entry(tensor.layer).or_insert(0) += tensor.entry.bytes();
        }
        bytes
    }

    /// The wrapped modules. Two tensors may be the same part of one, under PEFT's current and former names; which of them counts
    /// cannot be known.
    fn collect_modules(&self) -> Result<BTreeMap<String, Module>> {
        let mut modules: BTreeMap<String, Module> = BTreeMap::new();
        let mut same = None;
        for tensor in self.tensors().filter(|tensor| tensor.key.is_wrapped()) {
            let name = &tensor.key.module;
            let module = modules.entry(name.clone()).or_insert_with(|| Module {
                name: name.clone(),
                layer: tensor.layer,
                parameter: self.config.parameter_of(name),
                tensors: BTreeMap::new(),
            });
            if let Some(one) = module.tensors.insert(tensor.key.part, tensor.name.into()) {
                same = same.or(Some((one, tensor.name.to_string())));
            }
        }
        match same {
            Some((one, other)) => Err(AdapterError::SamePart { path: self.path.clone(), one, other }.into()),
            None => Ok(modules),
        }
    }

    fn check_modules(&self) -> Result<()> {
        const PAIRS: [[(Part, &str); 2]; 2] = [
            [(Part::LoraA, "lora_A"), (Part::LoraB, "lora_B")],
            [(Part::EmbeddingA, "lora_embedding_A"), (Part::EmbeddingB, "lora_embedding_B")],
        ];
        for module in self.modules.values() {
            let (path, name) = (|| self.path.clone(), || module.name.clone());
            if let Some(tensor) = self.misshapen_factor(module) {
                return Err(AdapterError::Factors { path: path(), module: name(), tensor: tensor.into() }.into());
            }
            for [(a, name_a), (b, name_b)] in PAIRS {
                let (present, absent) = match (module.tensor(a), module.tensor(b)) {
                    (None, None) => continue,
                    (Some(a), Some(b)) => {
                        self.check_rank(module, a, b)?;
                        continue;
                    }
                    (Some(_), None) => (name_a, name_b),
                    (None, Some(_)) => (name_b, name_a),
                };
                return Err(AdapterError::HalfAPair { path: path(), module: name(), present, absent }.into());
            }
        }
        Ok(())
    }

    /// A tensor that does not fit the other factors of its module, for every method whose change is a product of them.
    fn misshapen_factor<'a>(&self, module: &'a Module) -> Option<&'a str> {
        const FACTOR: fn(&'static str) -> Part = Part::Factor;
        // Pairs of equal sizes, each a dimension of a part.
        let equal = [
            ((Part::LoraE, 0), (Part::LoraA, 0)),
            ((Part::LoraE, 0), (Part::LoraB, 1)),
            ((FACTOR("hada_w1_a"), 1), (FACTOR("hada_w1_b"), 0)),
            ((FACTOR("hada_w2_a"), 1), (FACTOR("hada_w2_b"), 0)),
            ((FACTOR("hada_w1_a"), 0), (FACTOR("hada_w2_a"), 0)),
            ((FACTOR("hada_w1_b"), 1), (FACTOR("hada_w2_b"), 1)),
            ((FACTOR("lokr_w1_a"), 1), (FACTOR("lokr_w1_b"), 0)),
            ((FACTOR("lokr_w2_a"), 1), (FACTOR("lokr_w2_b"), 0)),
        ];
        if [FACTOR("hada_t1"), FACTOR("lokr_t2")].into_iter().any(|part| module.has(part)) {
            // Those of convolutions have further dimensions.
            return None;
        }
        let shape = |part: Part| Some(self.weights.get(module.tensor(part)?)?.shape.as_slice());
        let is_matrix = |part: &Part| {
            *part == Part::LoraE
                || matches!(part, Part::Factor(name) if name.starts_with("hada_w") || name.starts_with("lokr_w"))
        };
        let other = module.parts().filter(is_matrix).find(|&part| shape(part).is_some_and(|shape| shape.len() != 2));
        let size = |(part, dim): (Part, usize)| shape(part).and_then(|shape| shape.get(dim));
        let differ = |a, b| matches!((size(a), size(b)), (Some(a), Some(b)) if a != b);
        let unequal = || equal.into_iter().find(|&(a, b)| differ(a, b)).map(|(a, _)| a.0);
        module.tensor(other.or_else(unequal)?)
    }

    /// Refuses a pair for each expert in one tensor of three dimensions, as some trainers write them: PEFT folds the experts into the
    /// rank.
    fn check_dimensions(&self, module: &Module, a: &str, b: &str) -> Result<()> {
        let is_of_experts = module.name.split('.').any(|segment| segment == "experts");
        let shapes = [&self.weights.entry(a)?.shape, &self.weights.entry(b)?.shape];
        if !is_of_experts || shapes.iter().all(|shape| shape.len() != 3) {
            return Ok(());
        }
        let counts = shapes.map(|shape| if shape.len() == 3 { shape[0] } else { 1 });
        let (path, module) = (self.path.clone(), module.name.clone());
        Err(AdapterError::ExpertTensors { path, module, is_shared: counts[0] != counts[1] }.into())
    }

    /// A pair is (rank, inputs) and (outputs, rank); those of convolutions have further dimensions.
    fn check_rank(&self, module: &Module, a: &str, b: &str) -> Result<()> {
        // LoRA on parameters folds the experts into the rank; AdaLoRA keeps a part of the rank in each module; MergedLinear has
        // it once for each of its slices.
        let has_one_rank = self.config.method == Method::Lora && module.parameter.is_none();
        if !has_one_rank || self.config.flag("enable_lora") {
            return Ok(());
        }
        self.check_dimensions(module, a, b)?;
        let expected = self.config.rank_of(&module.name);
        let rank_a = self.weights.entry(a)?.shape.first().copied().unwrap_or(0);
        let rank_b = self.weights.entry(b)?.shape.get(1).copied().unwrap_or(0);
        match [rank_a, rank_b].into_iter().find(|&rank| rank != expected) {
            Some(actual) => {
                let (path, module) = (self.path.clone(), module.name.clone());
                Err(AdapterError::Rank { path, module, expected, actual }.into())
            }
            None => Ok(()),
        }
    }
}

/// How deep adapters are looked for below a folder that is none, and in how many files and folders.
const DEPTH: usize = 3;
const MOST_ENTRIES: usize = 10_000;

/// The error for what is no folder. It names the adapter that a file belongs to.
fn no_folder(path: &Path) -> AdapterError {
    let folder = path.parent().filter(|folder| folder.join(config::FILE_NAME).is_file());
    match path.exists() {
        true => AdapterError::NotAFolder { path: path.into(), adapter: folder.map(Path::to_path_buf) },
        false => AdapterError::NotThere { path: path.into() },
    }
}

/// The error for a folder without a configuration. It names the adapters below, if there are any.
fn not_an_adapter(path: &Path) -> AdapterError {
    let is_visible = |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(path).min_depth(1).max_depth(DEPTH).sort_by_file_name().into_iter();
    let entries = walk.filter_entry(is_visible).take(MOST_ENTRIES).flatten();
    let folders = entries.filter(|entry| entry.path().join(config::FILE_NAME).is_file());
    let below: Vec<String> =
        folders.map(|entry| entry.path().strip_prefix(path).unwrap_or(entry.path()).display().to_string()).collect();
    match below.is_empty() {
        true => AdapterError::NotAnAdapter { path: path.into(), missing: config::FILE_NAME },
        false => AdapterError::AdaptersBelow { path: path.into(), below },
    }
}
