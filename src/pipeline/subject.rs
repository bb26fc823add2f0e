//! An adapter and its samples, checked against the base model: the input of an evaluation.

use std::collections::HashSet;
use std::sync::Arc;

use super::answers::{self, AnswerTasks};
use super::inputs::{self, Inputs};
use super::{Base, Request, open_adapter};
use crate::adapter::names::is_of_tower;
use crate::adapter::{Adapter, Capability, Module};
use crate::audit::examine::contradictions;
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::choice::Limits;
use crate::error::{ChoiceError, Error, Result};
use crate::format::plural;
use crate::hub;
use crate::measure::{self, OnProgress};
use crate::model::AdaptedModel;

/// An opened adapter, with the index of its request.
pub struct OpenedAdapter<'a> {
    pub index: usize,
    pub request: &'a Request,
    pub adapter: Arc<Adapter>,
}

impl<'a> OpenedAdapter<'a> {
    /// Opens the adapter of a request. It is an error if it cannot be evaluated or rewritten as requested.
    pub fn open(index: usize, request: &'a Request) -> Result<Self> {
        let path = hub::find(&request.adapter, None)?;
        Self::checked(index, request, open_adapter(&path, request.stack.as_deref(), request.base.as_deref())?)
    }

    /// As [`open`](Self::open), for a base model that is open already: it tells which of several stacks is the decoder's, whatever
    /// base model the adapter names.
    pub fn open_on(base: &Base, index: usize, request: &'a Request) -> Result<Self> {
        let is_decoder = |stack: &str| base.model.names.is_decoder(stack);
        let path = hub::find(&request.adapter, None)?;
        Self::checked(index, request, Adapter::open_with(&path, request.stack.as_deref(), &is_decoder)?)
    }

    fn checked(index: usize, request: &'a Request, adapter: Adapter) -> Result<Self> {
        adapter.require(Capability::Evaluate)?;
        request.steps.iter().try_for_each(|step| step.check(&adapter))?;
        let (layers, modules) = (adapter.layers().len(), adapter.modules().len());
        let sizes = (plural(modules, "module"), plural(layers, "layer"));
        tracing::info!("adapter `{}`, {} in {}", adapter.path.display(), sizes.0, sizes.1);
        Ok(Self { index, request, adapter: Arc::new(adapter) })
    }

    /// Opens the adapters of requests. Passes the error of one that fails to `on_failure`, with the index of its request.
    pub fn open_all(base: &Base, requests: &[&'a Request], on_failure: OnFailure) -> Result<Vec<Self>> {
        let mut adapters = Vec::new();
        for (index, &request) in requests.iter().enumerate() {
            match Self::open_on(base, index, request) {
                Ok(adapter) => adapters.push(adapter),
                Err(error) => on_failure(index, error)?,
            }
        }
        Ok(adapters)
    }
}

/// Takes the error of an adapter that cannot be evaluated, and the index of its request. An error of its own ends everything.
pub type OnFailure<'a> = &'a mut dyn FnMut(usize, Error) -> Result<()>;

/// An adapter and its samples, which fit the base model.
pub struct Subject<'a> {
    pub index: usize,
    pub request: &'a Request,
    pub adapter: Arc<Adapter>,
    pub base: &'a Base,
    pub adapted: AdaptedModel<'a>,
    pub inputs: Inputs,
    /// The limits admit the boundaries below this one. Computed once, because the rules ask a thousand times.
    limit: usize,
}

impl<'a> Subject<'a> {
    pub fn new(opened: &'a OpenedAdapter, base: &'a Base, on_progress: OnProgress) -> Result<Self> {
        let OpenedAdapter { index, request, adapter } = opened;
        base.model.check_stack(adapter)?;
        base.model.check_fits(adapter)?;
        let layers = base.model.config.layers;
        if let Some(boundary) = request.choice.boundary.filter(|&boundary| boundary == 0 || boundary > layers) {
            return Err(ChoiceError::OutOfRange { boundary, layers }.into());
        }
        let adapted = AdaptedModel::load(&base.model, adapter)?;
        let inputs = inputs::prepare(request, &adapted, base, on_progress)?;
        let limits = &request.choice.limits;
        let candidates = measure::candidates(adapter);
        let limit = candidates.iter().copied().find(|&boundary| !is_within(limits, adapter, boundary));
        let limit = limit.unwrap_or(usize::MAX);
        if !candidates.iter().any(|&boundary| boundary > 0 && boundary < limit) {
            return Err(limit_too_small(limits, adapter).into());
        }
        Ok(Self { index: *index, request, adapter: adapter.clone(), base, adapted, inputs, limit })
    }

    /// The subjects of adapters. Passes the error of one that does not fit the base model, or has no samples, to `on_failure`.
    pub fn all(
        adapters: &'a [OpenedAdapter],
        base: &'a Base,
        on_progress: OnProgress,
        on_failure: OnFailure,
    ) -> Result<Vec<Self>> {
        let mut subjects = Vec::new();
        for opened in adapters {
            match Self::new(opened, base, &mut *on_progress) {
                Ok(subject) => subjects.push(subject),
                Err(error) => on_failure(opened.index, error)?,
            }
        }
        Ok(subjects)
    }

    /// The tasks of generating and scoring answers, as far as the request asks for them.
    pub fn tasks(&self) -> Result<AnswerTasks<'_>> {
        answers::tasks(&self.inputs, &self.adapted, self.request)
    }

    /// What the adapter, the base model and the samples hold that is not used, or not as it is written.
    pub fn remarks(&self) -> Vec<String> {
        let held_out = self.inputs.held_out.iter().flat_map(|prepared| &prepared.remarks);
        let samples = self.inputs.choosing.remarks.iter().chain(held_out);
        let vocabulary = self.adapter.vocabulary_flaws(self.base.model.config.vocab_size);
        let vocabulary: Vec<String> = vocabulary.iter().map(ToString::to_string).collect();
        let stored =
            self.adapter.remarks.iter().chain(&vocabulary).chain(&self.base.model.remarks).chain(samples).cloned();
        let facts = BaseFacts::if_readable(Some(self.base.path.clone()));
        let facts = BaseFacts { layers: Some(self.base.model.config.layers), ..facts };
        let contradictions = contradictions(&self.adapter, &facts);
        let applied = self.base.model.applied(&self.adapter).remarks();
        let exclusions = self.base.model.unused_exclusions(&self.adapter);
        let mut remarks: Vec<String> = stored.chain(contradictions).chain(applied).chain(exclusions).collect();
        let mut seen = HashSet::new();
        remarks.retain(|remark| seen.insert(remark.clone()));
        remarks
    }

    /// A module that the adapter changes, and that text does not pass through.
    pub fn unmeasured(&self) -> Option<String> {
        let is_in_tower = |module: &&Module| module.layer.is_none() && is_of_tower(&module.name);
        self.adapter.modules().values().find(is_in_tower).map(|module| module.name.clone())
    }

    /// Whether the limits admit a boundary.
    pub fn allows(&self, boundary: usize) -> bool {
        boundary < self.limit
    }
}

fn is_within(limits: &Limits, adapter: &Adapter, boundary: usize) -> bool {
    let layers = adapter.layers().range(..boundary).count();
    limits.max_layers.is_none_or(|most| layers <= most)
        && limits.max_bytes.is_none_or(|most| adapter.bytes_below(boundary) <= most)
}

fn limit_too_small(limits: &Limits, adapter: &Adapter) -> ChoiceError {
    let first = adapter.layers().first().map_or(0, |layer| layer + 1);
    let (limit, smallest) = match limits.max_bytes {
        Some(most) if adapter.bytes_below(first) > most => {
            (format!("`--max-bytes {most}`"), format!("{} bytes", adapter.bytes_below(first)))
        }
        _ => (format!("`--max-layers {}`", limits.max_layers.unwrap_or(0)), "1 layer".into()),
    };
    ChoiceError::LimitTooSmall { limit, smallest }
}
