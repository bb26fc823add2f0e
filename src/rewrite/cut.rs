//! Cutting an adapter: which tensors stay, and the folder from which PEFT builds exactly their modules.
//!
//! The operating system copies the kept tensors from file to file, byte for byte and in their order, so that cutting
//! a large adapter takes the time of a copy and the memory of one buffer.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use serde_json::{Map, Value};

use crate::adapter::names::MOST_LAYERS;
use crate::adapter::{Adapter, AdapterTensor, Capability, Method, Module, WEIGHTS_NAME, config};
use crate::error::{AdapterError, Result};
use crate::files::{self, Staging};
use crate::rewrite::write::{self, Notes};
use crate::rewrite::{restrict, scale};

/// The modules of an adapter that stay, before anything is written.
#[derive(Debug)]
pub struct Cut<'a> {
    adapter: &'a Adapter,
    /// The layers of which anything stays.
    pub kept_layers: BTreeSet<usize>,
    dropped: BTreeSet<&'a str>,
    /// The factor on what the adapter adds in the layers.
    scale: f64,
}

impl<'a> Cut<'a> {
    /// Keeps the layers of `layers` that the adapter has, and everything outside the decoder stack.
    pub fn new(adapter: &'a Adapter, layers: &BTreeSet<usize>) -> Result<Self> {
        Self::keeping(adapter, |layer, _| layers.contains(&layer))
    }

    /// Keeps the layers below `boundary`.
    pub fn below(adapter: &'a Adapter, boundary: usize) -> Result<Self> {
        Self::keeping(adapter, |layer, _| layer < boundary)
    }

    /// Keeps everything.
    pub fn whole(adapter: &'a Adapter) -> Result<Self> {
        Self::keeping(adapter, |_, _| true)
    }

    /// Keeps the modules of the decoder stack for which `keeps` is true, given their layer and their name inside it
    /// (`self_attn.q_proj`), and everything outside of the stack.
    pub fn keeping(adapter: &'a Adapter, keeps: impl Fn(usize, &str) -> bool) -> Result<Self> {
        adapter.require(Capability::Cut)?;
        let (mut kept_layers, mut dropped) = (BTreeSet::new(), BTreeSet::new());
        for tensor in adapter.tensors() {
            let module = tensor.key.module.as_str();
            let Some(layer) = tensor.layer else { continue };
            if keeps(layer, adapter.inside_layer(module, layer)) {
                kept_layers.insert(layer);
            } else {
                dropped.insert(module);
            }
        }
        Self::dropping(adapter, kept_layers, dropped)
    }

    /// Keeps everything but these modules, wherever they are.
    pub fn without(adapter: &'a Adapter, dropped: BTreeSet<&'a str>) -> Result<Self> {
        adapter.require(Capability::Cut)?;
        let kept = adapter.tensors().filter(|tensor| !dropped.contains(tensor.key.module.as_str()));
        let kept_layers = kept.filter_map(|tensor| tensor.layer).collect();
        Self::dropping(adapter, kept_layers, dropped)
    }

    fn dropping(adapter: &'a Adapter, kept_layers: BTreeSet<usize>, dropped: BTreeSet<&'a str>) -> Result<Self> {
        if kept_layers.is_empty() {
            return Err(AdapterError::NothingLeft { path: adapter.path.clone() }.into());
        }
        let cut = Self { adapter, kept_layers, dropped, scale: 1.0 };
        match cut.inexpressible() {
            Some(feature) => Err(adapter.refusal(Capability::Cut, feature).into()),
            None => Ok(cut),
        }
    }

    /// What PEFT's configuration cannot express of the selection.
    fn inexpressible(&self) -> Option<String> {
        let (all, kept) = (self.adapter.saved_modules(), self.saved_modules());
        // PEFT takes the names of saved modules as endings.
        let means_dropped = |name: &&String| all.difference(&kept).any(|dropped| dropped.ends_with(name.as_str()));
        if let Some(name) = kept.iter().find(means_dropped) {
            return Some(format!("the saved module `{name}`, whose name PEFT also takes for those of dropped layers,"));
        }
        // VeRA's shared matrices are as large as the largest module that is wrapped.
        let modules = self.adapter.modules().values();
        let types: BTreeSet<&str> = modules.clone().map(Module::last_segment).collect();
        let kept: BTreeSet<&str> =
            modules.filter(|module| self.keeps(&module.name)).map(Module::last_segment).collect();
        (self.adapter.config.method == Method::Vera && types != kept)
            .then(|| "VeRA on modules of which some types are only in dropped layers".into())
    }

    /// The same cut with what the adapter adds in its layers multiplied, through its alpha.
    pub fn scaled(mut self, scale: f64) -> Result<Self> {
        if scale != 1.0 {
            self.adapter.require(Capability::Scale)?;
        }
        self.scale *= scale;
        Ok(self)
    }

    /// Fails if the files of the adapter have changed since it was opened.
    pub fn check_input_unchanged(&self) -> Result<()> {
        self.adapter.weights.check_unchanged()
    }

    /// The adapter that is cut.
    pub fn adapter(&self) -> &'a Adapter {
        self.adapter
    }

    /// The layer stack of the adapter.
    pub fn stack(&self) -> &str {
        &self.adapter.stack
    }

    /// Whether the adapter stays as it is.
    fn is_whole(&self) -> bool {
        let config = &self.adapter.config;
        self.dropped.is_empty() && self.scale == 1.0 && config.wrapped.is_empty() && config.assumed.is_empty()
    }

    /// Whether a module stays.
    pub fn keeps(&self, module: &str) -> bool {
        !self.dropped.contains(module)
    }

    /// The tensors that stay, in the order of the file.
    fn kept_tensors(&self) -> Vec<AdapterTensor<'a>> {
        let mut kept = write::in_file_order(self.adapter);
        kept.retain(|tensor| self.keeps(&tensor.key.module));
        kept
    }

    /// The number and the bytes of the tensors that stay.
    pub fn kept_size(&self) -> (usize, u64) {
        let kept = self.adapter.tensors().filter(|tensor| self.keeps(&tensor.key.module));
        kept.fold((0, 0), |(count, bytes), tensor| (count + 1, bytes + tensor.entry.bytes()))
    }

    /// `adapter_config.json` as PEFT needs it to build exactly the modules that stay.
    pub fn config(&self) -> Map<String, Value> {
        let config = &self.adapter.config;
        let mut raw = config.raw.clone();
        if !self.dropped.is_empty() {
            let all: BTreeSet<&str> = self.adapter.modules().keys().map(String::as_str).collect();
            let kept: BTreeSet<&str> = all.iter().copied().filter(|module| self.keeps(module)).collect();
            if kept != all || self.kept_layers != self.adapter.layers() {
                restrict::restrict(&mut raw, &all, &kept, config.method);
            }
            let kept = self.saved_modules();
            if kept != self.adapter.saved_modules() {
                restrict::restrict_saved(&mut raw, &kept);
            }
        }
        if self.scale != 1.0 {
            scale::scale_alpha(&mut raw, self.adapter, self.scale);
        }
        raw
    }

    /// The modules of `modules_to_save` that stay.
    fn saved_modules(&self) -> BTreeSet<String> {
        // What is saved may contain modules that have tensors.
        let is_inside = |dropped: &str, saved: &str| {
            dropped.strip_prefix(saved).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let stays = |saved: &String| !self.dropped.iter().any(|dropped| is_inside(dropped, saved));
        self.adapter.saved_modules().into_iter().filter(stays).collect()
    }

    /// Writes the whole folder into `staging`, without the report.
    pub fn write(&self, staging: &Staging) -> Result<()> {
        self.write_with(staging, &Notes::new())
    }

    /// As [`write`](Self::write), with notes in the header of the weights.
    pub fn write_with(&self, staging: &Staging, notes: &Notes) -> Result<()> {
        self.write_unsynced(staging, notes)?;
        self.sync(staging)
    }

    /// As [`write_with`](Self::write_with), but [`sync`](Self::sync) has to follow.
    pub fn write_unsynced(&self, staging: &Staging, notes: &Notes) -> Result<()> {
        if self.is_whole() {
            staging.copy(&self.adapter.path.join(config::FILE_NAME), config::FILE_NAME)?;
        } else {
            staging.json(config::FILE_NAME, &self.config())?;
        }
        write::copy_sidecars(&self.adapter.path, staging)?;
        self.write_weights(staging, notes)
    }

    fn header(&self, notes: &Notes) -> Result<Vec<u8>> {
        let kept = self.kept_tensors();
        let of_tensor = |tensor: &AdapterTensor<'a>| {
            let entry = tensor.entry;
            (tensor.key.clean_name(tensor.name), write::dtype(entry), entry.shape.as_slice(), entry.range().len())
        };
        write::header(kept.iter().map(of_tensor), notes)
    }

    /// Syncs the weights to disk.
    pub fn sync(&self, staging: &Staging) -> Result<()> {
        staging.sync(WEIGHTS_NAME)
    }

    /// Replaces the notes in the header of weights that [`write_unsynced`](Self::write_unsynced) wrote with others of the same length.
    pub fn replace_notes(&self, staging: &Staging, notes: &Notes) -> Result<()> {
        staging.overwrite_start(WEIGHTS_NAME, &self.header(notes)?)
    }

    /// The bytes are those of the file; names that PEFT would not read are written as it reads them.
    fn write_weights(&self, staging: &Staging, notes: &Notes) -> Result<()> {
        let (kept, header) = (self.kept_tensors(), self.header(notes)?);
        let weights = &self.adapter.weights;
        let Some(file) = weights.one_file() else {
            let bytes = kept.iter().map(|tensor| weights.bytes(tensor.name)).collect::<Result<Vec<_>>>()?;
            return staging.unsynced_file(WEIGHTS_NAME, |file| {
                file.write_all(&header)?;
                bytes.into_iter().try_for_each(|bytes| file.write_all(bytes))
            });
        };
        let mut from = files::open(file)?;
        staging.unsynced_file(WEIGHTS_NAME, |file| {
            file.write_all(&header)?;
            for range in coalesce(kept.iter().map(|tensor| tensor.entry.range())) {
                from.seek(SeekFrom::Start(range.start as u64))?;
                let copied = io::copy(&mut (&from).take(range.len() as u64), file)?;
                if copied != range.len() as u64 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the adapter shrank while it was read"));
                }
            }
            Ok(())
        })
    }
}

/// Joins adjacent ranges, so that a few large copies are enough.
fn coalesce(ranges: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// Which layers stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    Below(usize),
    All,
}

/// Parses a number of layers, or `all`.
pub fn parse_boundary(text: &str) -> std::result::Result<Boundary, String> {
    match text {
        "all" => Ok(Boundary::All),
        number => number.parse().map(Boundary::Below).map_err(|_| format!("`{number}` is neither a number nor `all`")),
    }
}

/// Parses a list of layers as people write it: `0-13,20`.
pub fn parse_layers(text: &str) -> std::result::Result<BTreeSet<usize>, String> {
    let mut layers = BTreeSet::new();
    for item in text.split(',') {
        let (from, to) = item.split_once('-').unwrap_or((item, item));
        match (from.trim().parse::<usize>(), to.trim().parse::<usize>()) {
            (Ok(from), Ok(to)) if from <= to && to < MOST_LAYERS => layers.extend(from..=to),
            (Ok(from), Ok(to)) if from > to => {
                return Err(format!("`{item}` is neither a layer nor a range such as 0-13: did you mean {to}-{from}?"));
            }
            _ => return Err(format!("`{item}` is neither a layer nor a range such as 0-13")),
        }
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_as_written() {
        assert_eq!(parse_layers("0-2, 5").unwrap(), BTreeSet::from([0, 1, 2, 5]));
        for wrong in ["", "a", "3-1", "1-", "-1", "0-99999999999"] {
            assert!(parse_layers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn neighbours_are_joined() {
        assert_eq!(coalesce([0..2, 2..5, 7..8].into_iter()), [0..5, 7..8]);
    }
}
