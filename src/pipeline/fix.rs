//! Mending an adapter: stored files → mapping → names of the base model → folder, which is compared with the files again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::Serialize;

use crate::adapter::Adapter;
use crate::adapter::foreign::{self, BaseShapes, Given, Layout, MappedConfig, Mapping, StoredAdapter};
use crate::audit::fixed::compare;
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::error::{AdapterError, FileError, FixError, Result};
use crate::files::{self, Scratch, Staging};
use crate::hub::{self, BasePath};
use crate::kernel::Arithmetic;
use crate::model::Model;
use crate::rewrite::{Fix, KnownBase};

/// What to mend, and what the user says of it.
#[derive(Debug)]
pub struct FixRequest {
    /// The files as the user named them.
    pub adapter: String,
    pub base: Option<String>,
    pub alpha: Option<f64>,
}

/// What was written.
#[derive(Debug, Serialize)]
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
}

struct FixBase {
    path: PathBuf,
    model: Model,
}

impl FixSource {
    /// Reads what lies at `path`, and the base model.
    pub fn read(path: &Path, request: &FixRequest) -> Result<Self> {
        if !path.exists() {
            return Err(AdapterError::NotAnAdapter { path: path.into(), missing: "folder of that name" }.into());
        }
        let unknown = || FixError::UnknownLayout { path: path.into(), known: foreign::names().join(", ") };
        let stored = StoredAdapter::open(path)?.ok_or_else(unknown)?;
        let layout = foreign::layout_of(&stored).ok_or_else(unknown)?;
        let (base, shapes) = match Self::find_base(&stored, request)? {
            Some(base) => {
                let (model, _) = Model::open(&base, &Device::Cpu, Arithmetic::F32)?;
                let shapes = shapes(&base, &model)?;
                (Some(FixBase { path: base.path().into(), model }), Some(shapes))
            }
            None => (None, None),
        };
        let mapping = layout.map(&stored, &Given { base: shapes, alpha: request.alpha })?;
        Ok(Self { stored, layout, mapping, base })
    }

    /// The base model that the user names, or else the one that the files name, if it is there.
    fn find_base(stored: &StoredAdapter, request: &FixRequest) -> Result<Option<BasePath>> {
        if let Some(name) = &request.base {
            return BasePath::find(name, None).map(Some);
        }
        let named = ["base_model_name_or_path", "model"].iter().find_map(|key| stored.config.as_ref()?.get(*key)?.as_str());
        Ok(named.and_then(|name| BasePath::find(name, None).ok()))
    }

    /// The adapter with the names that its modules have in the base model.
    pub fn fix(&self, request: &FixRequest) -> Result<Fix<'_>> {
        let mut fix = Fix::new(&self.stored, &self.mapping);
        let Some(base) = &self.base else { return Ok(fix) };
        fix.base = KnownBase {
            name: request.base.clone(),
            layers: Some(base.model.config.layers),
            is_multimodal: false,
        };
        Ok(fix)
    }
}

/// Writes an adapter as PEFT saves it, and compares what was written with the files.
pub fn fix(request: &FixRequest, output: &Path, force: bool) -> Result<FixReport> {
    let path = hub::find(&request.adapter, None)?;
    let staging = Staging::reserve(output, &[&path], force)?;
    let source = FixSource::read(&path, request)?;
    if let Some(base) = &source.base {
        files::check_apart(output, &[&base.path])?;
    }
    let fix = source.fix(request)?;
    fix.write(&staging)?;
    let written = Adapter::open(staging.path(), None)?;
    if let Some(difference) = compare(&fix, &written)?.first() {
        return Err(FixError::NotTheSame { path, difference: difference.to_string() }.into());
    }
    if let Some(base) = &source.base {
        base.model.check_fits(&written)?;
    }
    source.stored.weights.check_unchanged()?;
    let report = FixReport {
        adapter: request.adapter.clone(),
        layout: source.layout.name(),
        changes: source.mapping.changes.clone(),
        remarks: source.mapping.remarks.clone(),
        tensors: written.tensors().count(),
        modules: written.modules().len(),
    };
    staging.publish()?;
    Ok(report)
}

fn shapes(base: &BasePath, model: &Model) -> Result<BaseShapes> {
    let config = &model.config;
    let family = BaseFacts::of(base)?.family.unwrap_or_else(|| config.family.model_types[0].into());
    Ok(BaseShapes {
        path: base.path().into(),
        family,
        heads: config.heads,
        key_heads: config.kv_heads,
        head_size: config.head_dim,
    })
}
