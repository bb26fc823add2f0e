//! What can be done with an adapter, and why not.
//!
//! Every command asks here before it starts, so that all refuse the same adapters for the same reasons. The configuration and the
//! headers are enough for that; an obstacle that only the work itself finds becomes an error through [`Adapter::refusal`].

use super::names::Part;
use super::targets::MovedModule;
use super::{Adapter, Method, Module};
use crate::error::{AdapterError, Result};

/// Something that not every adapter allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Computing what it adds to the base model (`slim` and `scan`).
    Evaluate,
    /// Dropping layers or modules.
    Cut,
    /// Multiplying what it adds by a factor.
    Scale,
    /// Reducing the ranks of its pairs.
    ReduceRank,
    /// Adding pairs of zeros.
    PadZeros,
    /// Becoming plain LoRA with one rank and one alpha.
    Portable,
    /// Being written in a format other than PEFT's; `portable` if it becomes portable first.
    Format { name: &'static str, portable: bool },
}

impl Capability {
    /// Whether adapters of a method allow it at all.
    pub fn includes(self, method: Method) -> bool {
        match self {
            Self::Evaluate => method.is_low_rank() || matches!(method, Method::LoHa | Method::LoKr),
            Self::Cut => true,
            Self::Scale => method.alpha_key().is_some(),
            Self::ReduceRank | Self::PadZeros | Self::Format { portable: false, .. } => method == Method::Lora,
            Self::Portable | Self::Format { portable: true, .. } => method.is_low_rank(),
        }
    }

    /// Whether it takes plain LoRA on the base model as it is published.
    fn excludes_variants(self) -> bool {
        !matches!(self, Self::Cut | Self::Scale | Self::PadZeros)
    }
}

/// Whether a module is a matrix of the experts without the number of one (`experts.w1`). transformers has no such modules.
fn is_of_all_experts(module: &Module) -> bool {
    const NAMES: [&str; 7] = ["w1", "w2", "w3", "gate_proj", "up_proj", "down_proj", "gate_up_proj"];
    let is_expert = |rest: &str| rest == "experts" || rest.ends_with(".experts");
    module.parameter.is_none()
        && module.name.rsplit_once('.').is_some_and(|(rest, name)| NAMES.contains(&name) && is_expert(rest))
}

impl Adapter {
    /// Refuses an adapter that does not allow `capability`.
    pub fn require(&self, capability: Capability) -> Result<()> {
        match (capability, self.config.changes_base()) {
            (Capability::Evaluate, Some(init)) if capability.includes(self.config.method) => {
                Err(AdapterError::ChangesBase { path: self.path.clone(), init }.into())
            }
            (Capability::Evaluate, _) if self.is_of_encoder_and_decoder() => {
                Err(AdapterError::EncoderDecoder { path: self.path.clone() }.into())
            }
            _ => self.obstacle(capability).map_or(Ok(()), |feature| Err(self.refusal(capability, feature).into())),
        }
    }

    /// The error that `feature` of this adapter does not allow `capability`.
    pub fn refusal(&self, capability: Capability, feature: String) -> AdapterError {
        let path = self.path.clone();
        match capability {
            Capability::Evaluate => AdapterError::CannotEvaluate { path, feature },
            Capability::Cut | Capability::Scale => AdapterError::CannotCut { path, feature },
            Capability::ReduceRank => AdapterError::CannotReduce { path, feature },
            Capability::PadZeros => AdapterError::CannotPad { path, feature },
            Capability::Portable => AdapterError::NotPortable { path, feature },
            Capability::Format { name, .. } => AdapterError::NotInFormat { path, feature, format: name.into() },
        }
    }

    /// The first feature that does not allow `capability`, in words.
    pub fn obstacle(&self, capability: Capability) -> Option<String> {
        let config = &self.config;
        if !capability.includes(config.method) {
            return Some(match capability {
                Capability::Scale => format!("{}, which has no alpha to scale,", config.method.name()),
                _ => format!("the method {}", config.method.name()),
            });
        }
        if capability.excludes_variants() {
            let init = config.changes_base();
            let init = init.map(|init| format!("an initialisation that changes the base weights ({init})"));
            if let Some(obstacle) = init.or_else(|| config.variants().next()) {
                return Some(obstacle);
            }
        }
        let set = |key: &&str| config.flag(key);
        match capability {
            Capability::Evaluate => self.uncomputed(),
            Capability::Cut => ["layer_replication", "enable_lora"].into_iter().find(set).map(|key| format!("`{key}`")),
            Capability::ReduceRank if config.flag("target_parameters") => {
                Some("LoRA on parameters (`target_parameters`)".into())
            }
            Capability::ReduceRank => {
                let moved = self.modules().keys().find(|module| MovedModule::parse(module).is_some());
                moved.map(|module| format!("LoRA on single experts or routers (`{module}`)"))
            }
            Capability::PadZeros => {
                let keys = [("use_dora", "DoRA"), ("target_parameters", "LoRA on parameters")];
                let key = keys.into_iter().find(|(key, _)| config.flag(key));
                key.map(|(key, words)| format!("{words} (`{key}`)")).or_else(|| {
                    let other = self.modules().values().find(|module| !self.is_pair_of_matrices(module));
                    other.map(|module| format!("more than a pair of matrices (`{}`)", module.name))
                })
            }
            Capability::Format { portable, .. } => self.more_than_pairs(portable),
            Capability::Scale | Capability::Portable => None,
        }
    }

    /// What of the tensors [`load_layer`](Self::load_layer) does not compute.
    fn uncomputed(&self) -> Option<String> {
        let method = self.config.method;
        for tensor in self.tensors() {
            let part = tensor.key.part;
            if tensor.key.is_wrapped() && !method.has(part) {
                return Some(format!("the tensor `{}`, which is none of {}", tensor.name, method.name()));
            }
            let is_convolution = matches!(part, Part::LoraA | Part::LoraB) && tensor.entry.shape.len() != 2
                || matches!(part, Part::Factor("hada_t1" | "hada_t2" | "lokr_t2"));
            if is_convolution {
                return Some(format!("the convolution `{}`", tensor.name));
            }
        }
        if let Some(module) =
            self.modules().values().find(|module| module.has(Part::LoraA) && module.has(Part::EmbeddingA))
        {
            return Some(format!("two pairs in one module (`{}`)", module.name));
        }
        if !self.config.flag("lora_bias")
            && let Some(module) = self.modules().values().find(|module| module.has(Part::LoraBias))
        {
            return Some(format!("a bias of `lora_B` without `lora_bias` (`{}`)", module.name));
        }
        if let Some(module) = self.modules().values().find(|module| is_of_all_experts(module)) {
            return Some(format!("one pair for all experts of a layer (`{}`)", module.name));
        }
        let module = self.modules().values().find(|module| !self.has_magnitude_as_configured(module))?;
        Some(match module.has(Part::Magnitude) {
            true => format!("a magnitude without `use_dora` (`{}`)", module.name),
            false => format!("no magnitude with `use_dora` (`{}`)", module.name),
        })
    }

    /// Whether a module has a magnitude exactly if `use_dora` is set.
    pub fn has_magnitude_as_configured(&self, module: &Module) -> bool {
        module.has(Part::Magnitude) == self.config.flag("use_dora")
    }

    /// Whether a module has a pair of matrices and nothing beside it.
    fn is_pair_of_matrices(&self, module: &Module) -> bool {
        let is_matrix = |name: &str| self.weights.get(name).is_some_and(|entry| entry.shape.len() == 2);
        module.parts().all(Part::is_of_pair) && module.pair().is_some_and(|(a, b)| is_matrix(a) && is_matrix(b))
    }

    /// What the adapter has besides pairs of matrices on linear layers, but for what `--portable` folds into them.
    fn more_than_pairs(&self, portable: bool) -> Option<String> {
        // The copy of a base weight that PEFT stores beside LoRA on an embedding is not a part of the adapter.
        let is_folded = |part| portable && self.config.method == Method::AdaLora && part == Part::LoraE;
        let is_other = |part: Part| !part.is_of_pair() && part != Part::BaseCopy && !is_folded(part);
        if let Some(other) = self.tensors().find(|tensor| is_other(tensor.key.part)) {
            return Some(format!("more than pairs of matrices (`{}`)", other.name));
        }
        self.modules().values().find_map(|module| {
            if module.parameter.is_some() {
                return Some(format!("LoRA on parameters (`{}`)", module.name));
            }
            let is_matrix = |name: &str| self.weights.get(name).is_some_and(|entry| entry.shape.len() == 2);
            let (a, b) = module.pair()?;
            let other = !is_matrix(a) || !is_matrix(b);
            other.then(|| format!("a pair that is not two matrices (`{}`)", module.name))
        })
    }
}
