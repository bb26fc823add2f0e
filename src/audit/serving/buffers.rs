//! The buffers that a runtime can have for a base model.

use std::collections::{BTreeMap, BTreeSet};

use super::served::{ModulePlace, ServedAdapter};
use crate::adapter::targets::last_segment;
use crate::audit::runtimes::base_facts::{BaseFacts, DecoderShape};
use crate::audit::runtimes::memory::{BufferGrain, BufferRules};
use crate::model::family::Outside;

/// All modules of a base model that can have buffers in a runtime.
#[derive(Debug)]
pub struct ServerBuffers {
    pub rules: &'static BufferRules,
    pub all: Vec<ModuleBuffer>,
    /// Their indices by the module.
    places: BTreeMap<ModulePlace, usize>,
    layers: usize,
}

/// The buffer of a module, as the runtime has merged it.
#[derive(Debug)]
pub struct ModuleBuffer {
    /// The name of the module in the runtime: `model.layers.0.self_attn.qkv_proj`.
    pub name: String,
    layer: Option<usize>,
    /// The values of a slot for each rank: inputs + outputs of what was merged.
    values: u64,
}

impl ModuleBuffer {
    /// The last segment of its name.
    pub fn module_type(&self) -> &str {
        last_segment(&self.name)
    }
}

impl ServerBuffers {
    /// Those of a base model; `None` if it is not known which the runtime has for it.
    pub fn of(rules: &'static BufferRules, base: &BaseFacts) -> Option<Self> {
        let (decoder, layers) = (base.decoder.as_ref()?, base.layers?);
        let stack = stack(rules, base, decoder)?;
        let mut merged: BTreeMap<String, u64> = BTreeMap::new();
        for (inside, (inputs, outputs)) in &decoder.linears {
            *merged.entry(merged_name(rules, inside)).or_default() += (inputs + outputs) as u64;
        }
        let in_layer = |layer: usize| {
            let buffer = move |(inside, &values): (&String, &u64)| (ModulePlace::in_layer(layer, inside), values);
            merged.iter().map(buffer)
        };
        let mut modules: Vec<(ModulePlace, u64)> = (0..layers).flat_map(in_layer).collect();
        let outside = rules.vocabulary.iter().filter(|(_, decoders)| decoders.contains(&&*decoder.model_type));
        modules.extend(outside.filter_map(|(outside, _)| {
            let name = match outside {
                Outside::Embedding => decoder.embedding,
                Outside::Head => decoder.head,
                _ => return None,
            };
            Some((ModulePlace::outside(name), (decoder.vocabulary + decoder.hidden_size) as u64))
        }));
        let places = modules.iter().enumerate().map(|(place, (module, _))| (module.clone(), place)).collect();
        let buffer = |(module, values): (ModulePlace, u64)| ModuleBuffer {
            name: module.layer.map_or(module.name.clone(), |layer| format!("{stack}.{layer}.{}", module.name)),
            layer: module.layer,
            values,
        };
        Some(Self { rules, all: modules.into_iter().map(buffer).collect(), places, layers })
    }

    /// The buffer of a module of an adapter.
    pub fn place_of(&self, module: &ModulePlace) -> Option<usize> {
        let name = match module.layer {
            Some(_) => merged_name(self.rules, &module.name),
            None => last_segment(&module.name).to_string(),
        };
        self.places.get(&ModulePlace { layer: module.layer, name }).copied()
    }

    /// The types of modules that an adapter has, or that its configuration names, as the runtime calls them.
    pub fn types_of<'a>(&self, adapter: &'a ServedAdapter) -> BTreeSet<&'a str> {
        let own = adapter.modules.iter().map(|module| last_segment(&module.name));
        own.chain(adapter.types.iter().map(String::as_str)).map(|name| self.rules.merged_name(name)).collect()
    }

    /// The buffers that an adapter needs; `None` if the runtime has none for one of its modules.
    pub fn needed_by(&self, adapter: &ServedAdapter) -> Option<BTreeSet<usize>> {
        let mut needed = adapter.modules.iter().map(|module| self.place_of(module)).collect::<Option<BTreeSet<_>>>()?;
        if self.rules.grain == BufferGrain::ModuleTypes {
            let types = self.types_of(adapter);
            needed = (0..self.all.len()).filter(|&place| types.contains(self.all[place].module_type())).collect();
        }
        Some(needed)
    }

    /// The values of a slot of some of the buffers, for each rank.
    pub fn values(&self, chosen: &BTreeSet<usize>) -> u64 {
        chosen.iter().map(|&place| self.all[place].values).sum()
    }

    /// The shortest list of names that an option takes for some of the buffers: a type stands for all layers.
    pub fn names(&self, chosen: &BTreeSet<usize>) -> Vec<String> {
        let mut layers_of: BTreeMap<&str, usize> = BTreeMap::new();
        for &place in chosen {
            *layers_of.entry(self.all[place].module_type()).or_default() += 1;
        }
        let is_whole = |buffer: &ModuleBuffer| buffer.layer.is_none() || layers_of[buffer.module_type()] == self.layers;
        let mut names: Vec<String> = Vec::new();
        for buffer in chosen.iter().map(|&place| &self.all[place]) {
            let name = if is_whole(buffer) { buffer.module_type() } else { &buffer.name };
            if !names.iter().any(|known| known == name) {
                names.push(name.into());
            }
        }
        names
    }
}

/// The name of a module inside its layer as the runtime merges it.
fn merged_name(rules: &BufferRules, inside: &str) -> String {
    let segment = last_segment(inside);
    format!("{}{}", &inside[..inside.len() - segment.len()], rules.merged_name(segment))
}

/// The name of the layers in the runtime, if it knows the base model.
fn stack(rules: &BufferRules, base: &BaseFacts, decoder: &DecoderShape) -> Option<String> {
    let family = base.family.as_deref()?;
    let (multimodal, families) = rules.multimodal;
    if !rules.decoders.contains(&&*decoder.model_type) {
        return None;
    }
    match family == decoder.model_type {
        _ if families.contains(&family) => Some(multimodal.into()),
        true => Some(decoder.stack.clone()),
        false => None,
    }
}
