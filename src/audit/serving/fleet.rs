//! The plan of a server for all adapters that it will have.

use schemars::JsonSchema;
use serde::Serialize;

use super::{GivenOptions, ServedAdapter, ServerBuffers, ServerPlan};
use crate::audit::runtimes::base_facts::BaseFacts;
use crate::audit::runtimes::memory::{AdapterMemory, BufferRules};
use crate::audit::runtimes::verdict::LoadReason;
use crate::audit::runtimes::{LoadOutcome, Runtime};

/// An adapter that a server will have.
#[derive(Debug, Clone)]
pub struct FleetMember {
    pub name: String,
    /// `None` if it is more than LoRA on linear modules and embeddings.
    pub served: Option<ServedAdapter>,
    /// Why the runtime does not load it as it was trained.
    pub unmet: Option<LoadReason>,
    /// The bytes of its tensors.
    pub tensor_bytes: u64,
}

/// What is known of the server.
#[derive(Debug, Clone, Copy)]
pub struct ServerSetup<'a> {
    /// The bytes of a value in its buffers.
    pub value_bytes: u64,
    /// Its options, if it has some already.
    pub given: Option<&'a str>,
}

/// What a runtime allocates for the adapters of a server.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ServingPlan {
    pub runtime: &'static str,
    pub version: &'static str,
    /// `buffers`, `tensors` or `unknown`.
    pub memory: &'static str,
    /// The bytes of all tensors, where the runtime allocates these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_bytes: Option<u64>,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotPlan>,
    pub adapters: Vec<PlannedAdapter>,
}

/// The buffers of each slot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SlotPlan {
    /// The options of the server; those that were given, if some were.
    pub flags: String,
    pub are_given: bool,
    pub rank: usize,
    /// How many modules have buffers, and their bytes on one device.
    pub buffers: usize,
    pub slot_bytes: u64,
    /// The same where no option limits the buffers.
    pub unlimited_rank: usize,
    pub unlimited_buffers: usize,
    pub unlimited_slot_bytes: u64,
}

/// What one of the adapters needs.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct PlannedAdapter {
    pub adapter: String,
    /// Why the runtime does not load it as it was trained, or why the plan is without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whether the plan includes it, or it fits into the buffers of given options.
    pub fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// The buffers and the bytes of a slot with options for this adapter alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_bytes: Option<u64>,
    /// What has no buffer with the given options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Whether its rank is above that of the given options.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rank_is_higher: bool,
}

impl ServingPlan {
    pub fn new(runtime: &'static Runtime, base: &BaseFacts, fleet: &[FleetMember], setup: ServerSetup) -> Self {
        let memory = match runtime.memory {
            AdapterMemory::Buffers(_) => "buffers",
            AdapterMemory::Tensors => "tensors",
            AdapterMemory::Unknown => "unknown",
        };
        let tensors = matches!(runtime.memory, AdapterMemory::Tensors);
        let tensor_bytes = tensors.then(|| fleet.iter().map(|member| member.tensor_bytes).sum());
        let empty = Self {
            runtime: runtime.name,
            version: runtime.version,
            memory,
            tensor_bytes,
            problem: None,
            slot: None,
            adapters: Vec::new(),
        };
        let Some(rules) = runtime.memory.buffers() else { return empty };
        match ServerBuffers::of(rules, base) {
            Some(buffers) => Self { ..empty }.planned(&buffers, fleet, setup),
            None => Self { problem: Some(unknown_base(rules, base)), ..empty },
        }
    }

    fn planned(self, buffers: &ServerBuffers, fleet: &[FleetMember], setup: ServerSetup) -> Self {
        let adapters: Vec<PlannedAdapter> =
            fleet.iter().map(|member| PlannedAdapter::new(member, buffers, setup.value_bytes)).collect();
        let served: Vec<&ServedAdapter> = fleet
            .iter()
            .zip(&adapters)
            .filter(|(_, planned)| planned.fits)
            .filter_map(|(one, _)| one.served.as_ref())
            .collect();
        let parse =
            |flags| GivenOptions::parse(buffers.rules, flags).map(|options| (flags, options.plan(buffers, &served)));
        let given = match setup.given.map(parse).transpose() {
            Ok(given) => given,
            Err(problem) => return Self { problem: Some(problem), adapters, ..self },
        };
        let plan = match &given {
            Some((_, plan)) => Some(plan.clone()),
            None => ServerPlan::for_adapters(buffers, &served),
        };
        let highest = served.iter().map(|adapter| adapter.rank).max().unwrap_or(1);
        let (Some(plan), Some(unlimited)) = (plan, ServerPlan::unlimited(buffers, highest)) else {
            return Self { problem: Some("none of the adapters can be planned".into()), adapters, ..self };
        };
        let check = |(planned, member): (PlannedAdapter, &FleetMember)| match (&given, &member.served) {
            (Some((_, plan)), Some(served)) if planned.fits => planned.checked(buffers, plan, served),
            _ => planned,
        };
        let slot = SlotPlan {
            flags: given.as_ref().map_or_else(|| plan.flags(buffers), |(flags, _)| flags.to_string()),
            are_given: given.is_some(),
            rank: plan.rank,
            buffers: plan.buffers.len(),
            slot_bytes: plan.bytes(buffers, setup.value_bytes),
            unlimited_rank: unlimited.rank,
            unlimited_buffers: unlimited.buffers.len(),
            unlimited_slot_bytes: unlimited.bytes(buffers, setup.value_bytes),
        };
        Self { slot: Some(slot), adapters: adapters.into_iter().zip(fleet).map(check).collect(), ..self }
    }

    /// Whether all adapters are in the plan, or fit into the given options.
    pub fn holds(&self) -> bool {
        self.problem.is_none() && self.adapters.iter().all(|adapter| adapter.fits)
    }
}

impl PlannedAdapter {
    fn new(member: &FleetMember, buffers: &ServerBuffers, value_bytes: u64) -> Self {
        let reason = member.unmet.as_ref();
        let refused = reason.is_some_and(|reason| reason.outcome == LoadOutcome::Refuses);
        let problem = reason.map(|reason| format!("{}: {}", reason.outcome, reason.what));
        let named = Self { adapter: member.name.clone(), problem, ..Self::default() };
        let Some(served) = member.served.as_ref().filter(|_| !refused) else {
            let more = "it has more than LoRA on linear modules and embeddings";
            return Self { problem: named.problem.or(Some(more.into())), ..named };
        };
        let Some(alone) = ServerPlan::for_adapters(buffers, &[served]) else {
            let first = served.modules.iter().find(|module| buffers.place_of(module).is_none());
            let why = match first {
                Some(module) => format!("there is no buffer for `{module}`"),
                None => format!("there are no buffers of the rank {}", served.rank),
            };
            return Self { problem: named.problem.or(Some(why)), ..named };
        };
        Self {
            fits: true,
            rank: Some(served.rank),
            buffers: Some(alone.buffers.len()),
            slot_bytes: Some(alone.bytes(buffers, value_bytes)),
            ..named
        }
    }

    /// The same with what does not fit into a plan.
    fn checked(self, buffers: &ServerBuffers, plan: &ServerPlan, served: &ServedAdapter) -> Self {
        let misfit = plan.misfit(buffers, served);
        Self { fits: misfit.is_none(), left_out: misfit.left_out, rank_is_higher: misfit.rank_is_higher, ..self }
    }
}

fn unknown_base(rules: &BufferRules, base: &BaseFacts) -> String {
    let family = base.decoder.as_ref().map(|decoder| decoder.model_type.as_str()).or(base.family.as_deref());
    let family = family.unwrap_or("unknown");
    format!(
        "which buffers it has for a base model of this kind ({family}) is not known; known are {}",
        rules.decoders.join(", ")
    )
}
