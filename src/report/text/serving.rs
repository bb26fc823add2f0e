//! What servers allocate for adapters.

use std::fmt::Write;

use crate::audit::runtimes::Runtime;
use crate::audit::runtimes::memory::BufferRules;
use crate::audit::serving::{PlannedAdapter, ServingPlan, SlotMemory, SlotPlan};
use crate::format::{bytes, first_names, plural};
use crate::printable::OneLine;
use crate::report::Report;

/// The answer of `plan`.
pub fn plans(plans: &[ServingPlan]) -> String {
    plans.iter().map(plan).collect::<Vec<_>>().join("\n")
}

fn plan(plan: &ServingPlan) -> String {
    let head = format!("{} {}", plan.runtime, plan.version);
    let mut text = match (&plan.slot, &plan.problem, plan.tensor_bytes) {
        (Some(slot), ..) => format!("{head}: {}", sizes(slot, rules(plan).and_then(|rules| rules.everything))),
        (_, Some(problem), _) => format!("{head}: {}\n", OneLine(problem)),
        (_, _, Some(size)) => format!("{head} allocates the tensors that adapters have: {}\n", bytes(size)),
        _ => format!("{head}: what it allocates for adapters has not been looked up\n"),
    };
    text += &adapters(&plan.adapters, plan.slot.as_ref().is_some_and(|slot| slot.are_given));
    if let Some(slot) = plan.slot.as_ref().filter(|slot| !slot.are_given) {
        let excess = rules(plan).map_or("", |rules| rules.excess);
        let name = plan.runtime.to_lowercase();
        let _ = writeln!(text, "\n{}\n\nWith these flags the server {excess}.", slot.flags);
        let _ =
            writeln!(text, "`lora-slim plan ADAPTER --runtime {name} --given FLAGS` says whether another one fits.");
    }
    text
}

fn rules(plan: &ServingPlan) -> Option<&'static BufferRules> {
    Runtime::by_name(plan.runtime)?.memory.buffers()
}

/// The bytes of a slot, with the flags and without limits, for which some servers have a value of their own.
fn sizes(slot: &SlotPlan, everything: Option<&str>) -> String {
    let unlimited = everything.map_or("without flags".into(), |value| format!("with `{value}` modules"));
    let saved = 100.0 * (1.0 - slot.slot_bytes as f64 / slot.unlimited_slot_bytes.max(1) as f64);
    format!(
        "{} per slot, {} {unlimited} ({saved:.0} % less): buffers for {} of {}, rank {}{}\n",
        bytes(slot.slot_bytes),
        bytes(slot.unlimited_slot_bytes),
        slot.buffers,
        plural(slot.unlimited_buffers, "module"),
        slot.rank,
        if slot.rank == slot.unlimited_rank { String::new() } else { format!(" instead of {}", slot.unlimited_rank) }
    )
}

/// A line for each adapter, unless there is one alone, and nothing to say of it.
fn adapters(adapters: &[PlannedAdapter], are_checked: bool) -> String {
    let is_plain = |one: &PlannedAdapter| one.problem.is_none() && one.fits && !are_checked;
    if matches!(adapters, [one] if is_plain(one)) {
        return String::new();
    }
    adapters
        .iter()
        .map(|adapter| format!("  {}: {}\n", OneLine(&adapter.adapter), adapter_line(adapter, are_checked)))
        .collect()
}

fn adapter_line(adapter: &PlannedAdapter, is_checked: bool) -> String {
    let mut parts = Vec::new();
    if let (Some(rank), Some(buffers), Some(size), false) =
        (adapter.rank, adapter.buffers, adapter.slot_bytes, is_checked)
    {
        parts.push(format!("{} per slot alone, {}, rank {rank}", bytes(size), plural(buffers, "module")));
    }
    if !adapter.left_out.is_empty() {
        let names = first_names(&adapter.left_out, 1);
        parts.push(format!("no buffers for {} of it, {}", adapter.left_out.len(), OneLine(names)));
    }
    if adapter.rank_is_higher {
        parts.push(format!("its rank {} is higher than that of the buffers", adapter.rank.unwrap_or_default()));
    }
    if let Some(problem) = &adapter.problem {
        let left_out = if adapter.fits { "" } else { " (not in the plan)" };
        parts.push(format!("{}{left_out}", OneLine(problem)));
    }
    if parts.is_empty() { "fits".into() } else { parts.join("; ") }
}

/// What the adapter that is written saves in servers with buffers; a section of the report.
pub fn saved(report: &Report) -> String {
    report.serving.iter().filter_map(saved_line).collect()
}

fn saved_line(slot: &SlotMemory) -> Option<String> {
    let whole = slot.whole_bytes.filter(|whole| *whole > slot.bytes)?;
    Some(format!(
        "in {} {} → {} of buffers per slot with the flags of `lora-slim plan` ({} without)\n",
        slot.runtime,
        bytes(whole),
        bytes(slot.bytes),
        bytes(slot.unlimited_bytes)
    ))
}
