//! Mending an adapter: stored files → mapping → names of the base model → folder, which is compared with the files again.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::Device;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::base_of;
use super::output::remove_card;
use crate::adapter::foreign::{self, BaseShapes, Given, Layout, MappedConfig, MappedTensor, Mapping, StoredAdapter};
use crate::adapter::names::stack_and_layer;
use crate::adapter::{Adapter, AdapterConfig, file_notes};
use crate::audit::examine::misfits;
use crate::audit::fixed::compare;
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::error::{AdapterError, FixError, Result};
use crate::files::Destination;
use crate::format::{first_names, plural};
use crate::hub::{self, BasePath};
use crate::kernel::Arithmetic;
use crate::model::Model;
use crate::rewrite::sidecars::{NotCopied, Sidecars};
use crate::rewrite::{Fix, FixTarget, FixedModule};

/// What to mend, and what the user says of it.
#[derive(Debug)]
pub struct FixRequest {
    /// The files as the user named them.
    pub adapter: String,
    pub base: Option<String>,
    pub alpha: Option<f64>,
}

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FixReport {
    pub adapter: String,
    /// The layout of the files.
    pub layout: &'static str,
    /// What differs from the files, one sentence each; empty if nothing does.
    pub changes: Vec<String>,
    /// What the files hold that is not used, one sentence each.
    pub remarks: Vec<String>,
    pub tensors: usize,
    pub modules: usize,
}

/// An adapter's files with what they stand for.
pub struct FixSource {
    pub stored: StoredAdapter,
    layout: &'static dyn Layout,
    pub mapping: Mapping,
    base: Option<FixBase>,
    /// The base model as the user named it.
    base_name: Option<String>,
}

struct FixBase {
    path: BasePath,
    model: Model,
}

impl FixSource {
    /// Reads what lies at `path`, and the base model.
    pub fn read(path: &Path, request: &FixRequest) -> Result<Self> {
        if !path.exists() {
            return Err(AdapterError::NotThere { path: path.into() }.into());
        }
        // An archive may lie beside what was unpacked from it.
        let unknown = || match foreign::archive(path) {
            Some(path) => FixError::Archive { path },
            None => FixError::UnknownLayout { path: path.into(), known: foreign::names().join(", ") },
        };
        let stored = StoredAdapter::open(path)?.ok_or_else(unknown)?;
        let layout = foreign::layout_of(&stored).ok_or_else(unknown)?;
        let base = find_base(&stored, request)?;
        let shapes = base.as_ref().map(FixBase::shapes).transpose()?;
        let mapping = layout.map(&stored, &Given { base: shapes, alpha: request.alpha })?;
        Ok(Self { stored, layout, mapping, base, base_name: request.base.clone() })
    }

    /// The name of the files' layout.
    pub fn layout(&self) -> &'static str {
        self.layout.name()
    }

    /// The adapter with the names that its modules have in the base model.
    pub fn fix(&self) -> Result<Fix<'_>> {
        let mut fix = Fix::new(&self.stored, &self.mapping);
        let Some(FixBase { path, model }) = &self.base else { return Ok(fix) };
        let names_of_base = model.names.class();
        fix.base = FixTarget {
            name: self.base_name.clone(),
            layers: Some(model.config.layers),
            stack: None,
            is_multimodal: names_of_base.decoder.contains('.'),
        };
        let names: Vec<&str> = self.mapping.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let config = AdapterConfig::from_json(Value::Object(fix.config()?), &self.stored.config_path())?;
        let is_decoder = |stack: &str| model.names.is_decoder(stack);
        let adapter = Adapter::of_names(&self.stored.path, config, names, &is_decoder)?;
        for dropped in model.applied(&adapter).dropped {
            let (path, base) = (self.stored.path.clone(), path.path().to_path_buf());
            let not_there = FixError::NotInBase { path, base, module: dropped.module.clone() };
            fix.moved.insert(dropped.module, dropped.needed.ok_or(not_there)?);
        }
        move_others(&mut fix);
        for tensor in self.mapping.tensors.iter().filter(|tensor| !tensor.key().is_wrapped()) {
            let module = tensor.module();
            if let Some(name) = model.name_outside(&adapter, &module).filter(|name| *name != module) {
                fix.moved.entry(module).or_insert(name);
            }
        }
        // PEFT replaces former names in the tensors alone: a configuration that is written anew has the current ones.
        let renamed = model.renamed(&adapter);
        let is_missed = |name: &String| adapter.config.targets.matches(name) == Some(false);
        if !fix.moved.is_empty() || renamed.values().any(is_missed) {
            for (former, name) in renamed {
                fix.moved.entry(former).or_insert(name);
            }
        }
        let in_layer = adapter.modules().values().find(|module| module.layer.is_some());
        let name = in_layer.map(|module| fix.moved.get(&module.name).unwrap_or(&module.name));
        fix.base.stack = name.and_then(|name| Some(stack_and_layer(name)?.0.to_string()));
        Ok(fix)
    }
}

/// Moves what is not wrapped, such as a saved embedding, from where the decoder's layers were to where they are.
fn move_others(fix: &mut Fix) {
    let of_stack = |(old, new): (&String, &String)| {
        let (old, new) = (stack_and_layer(old)?.0, stack_and_layer(new)?.0);
        let (old_decoder, list) = old.rsplit_once('.')?;
        Some((format!("{old_decoder}."), format!("{}.", new.strip_suffix(list)?.strip_suffix('.')?)))
    };
    let Some((old, new)) = fix.moved.iter().find_map(of_stack) else { return };
    let modules: BTreeSet<String> = fix.mapping.tensors.iter().map(MappedTensor::module).collect();
    for module in modules {
        if let Some(rest) = module.strip_prefix(&old)
            && !fix.moved.contains_key(&module)
            && !module.starts_with(&new)
        {
            fix.moved.insert(module.clone(), format!("{new}{rest}"));
        }
    }
}

/// The base model that the user names, or else the one that the files name, if it is there.
fn find_base(stored: &StoredAdapter, request: &FixRequest) -> Result<Option<FixBase>> {
    let open = |path: BasePath| -> Result<FixBase> {
        let (model, _) = Model::open(&path, &Device::Cpu, Arithmetic::F32)?;
        Ok(FixBase { path, model })
    };
    if let Some(name) = &request.base {
        return open(BasePath::find(name, None)?).map(Some);
    }
    let named = |key: &&str| stored.config.as_ref()?.get(*key)?.as_str();
    let named = ["base_model_name_or_path", "model"].iter().find_map(named);
    Ok(named.and_then(|name| open(BasePath::find(name, None).ok()?).ok()))
}

/// Writes an adapter as PEFT saves it, where `reserve` says, and compares what was written with the files. `reserve` gets the
/// place of the adapter.
pub fn fix(request: &FixRequest, reserve: impl FnOnce(&Path) -> Result<Destination>) -> Result<FixReport> {
    let path = hub::find(&request.adapter, None)?;
    base_of(&path, request.base.as_deref());
    let destination = reserve(&path)?;
    let staging = &destination.staging;
    let source = FixSource::read(&path, request)?;
    let fix = source.fix()?;
    check_config(&fix)?;
    fix.write(staging)?;
    let written = Adapter::open(staging.path(), fix.stack()).map_err(|error| error.about(&path))?;
    if let Some(difference) = compare(&fix, &written)?.first() {
        return Err(FixError::NotTheSame { path, difference: difference.to_string() }.into());
    }
    if let Some(base) = &source.base {
        base.model.check_fits(&written).map_err(|error| error.about(&path))?;
    }
    let misfits = source.base.as_ref().map(|base| misfits(&base.model, &written)).unwrap_or_default();
    // Reads all values, so that a type that no other command reads is refused here too.
    let facts = BaseFacts { layers: fix.base.layers, ..BaseFacts::default() };
    let own = written.flaws(&facts).map_err(|error| error.about(&path))?;
    let flaws = misfits.into_iter().chain(own).filter(|flaw| !flaw.may_be_meant());
    source.stored.weights.check_unchanged()?;
    let mut changes = source.mapping.changes.clone();
    if let Some((old, new)) = fix.moved.iter().next() {
        let count = plural(fix.moved.len(), "module");
        changes.push(format!("{count} have the names of the base model: `{old}` is now `{new}`"));
    }
    let mut remarks = source.mapping.remarks.clone();
    remarks.extend(flaws.map(|flaw| flaw.to_string()));
    remarks.extend(file_notes::remark(&source.stored.weights));
    let others = source.stored.other_weights()?;
    if !others.is_empty() {
        remarks.push(format!("nothing is read from {}", first_names(&others, 3)));
    }
    if let Some(folder) = source.stored.folder() {
        remarks.extend(Sidecars::find(folder)?.not_copied().iter().map(NotCopied::sentence));
    }
    let report = FixReport {
        adapter: request.adapter.clone(),
        layout: source.layout(),
        changes,
        remarks,
        tensors: written.tensors().count(),
        modules: written.modules().len(),
    };
    remove_card(staging)?;
    staging.publish()?;
    Ok(report)
}

/// Refuses a configuration of PEFT that does not name a module with tensors: which of them is right is not certain.
fn check_config(fix: &Fix) -> Result<()> {
    let MappedConfig::Kept(_) = &fix.mapping.config else { return Ok(()) };
    let path = fix.stored.config_path();
    let config = AdapterConfig::from_json(Value::Object(fix.config()?), &path)?;
    let is_missed = |module: &FixedModule| config.targets.matches(&module.name) == Some(false);
    match fix.modules()?.into_iter().find(is_missed) {
        Some(module) => {
            let reason = format!("it does not name module `{}`, which has tensors", module.name);
            Err(FixError::Ambiguous { path, reason }.into())
        }
        None => Ok(()),
    }
}

impl FixBase {
    fn shapes(&self) -> Result<BaseShapes> {
        let config = &self.model.config;
        let family = BaseFacts::of(&self.path)?.family.unwrap_or_else(|| config.family.model_types[0].into());
        Ok(BaseShapes {
            path: self.path.path().into(),
            family,
            heads: config.heads,
            key_heads: config.kv_heads,
            head_size: config.head_dim,
        })
    }
}
