//! What a fleet of adapters of one base model keeps: the same modules at the same rank, for runtimes that hold one buffer for all.
//!
//! Each adapter says on its own samples what each rank of each module is worth to it. The sum of the shares makes one ladder, and
//! a size is taken only if each adapter, on its own samples, passes the test that it would have to pass alone.

use std::collections::BTreeMap;

use super::super::curve::{self, BoundaryChoice};
use super::super::evaluator::Evaluator;
use super::super::subject::{OpenedAdapter, Subject};
use super::super::{Base, Request};
use super::fleet::{Common, Place};
use super::ladder::{Group, allocations, given_up};
use super::trials::Trials;
use crate::error::{Error, Kind, Result};
use crate::measure::OnProgress;
use crate::model::Family;
use crate::search::allocation::{RankedModule, Ranks};
use crate::search::minimize::{Judged, LadderSearch, Stage};

/// Chooses for the adapters of requests that differ in the adapters and samples. Those that cannot be evaluated, or do not help, have no part
/// in it: their own evaluation says why. `None` where nothing smaller can be shown to hold for all of them.
pub fn choose(base: &Base, requests: &[&Request], ranks: Ranks, on_progress: OnProgress) -> Result<Option<Common>> {
    let skip = &mut |_: usize, error: Error| unless_interrupted(error);
    let opened = OpenedAdapter::open_all(base, requests, skip)?;
    let subjects = Subject::all(&opened, base, &mut *on_progress, skip)?;
    let mut measured: Vec<(&Subject, BoundaryChoice)> = Vec::new();
    for subject in &subjects {
        let samples = &subject.inputs.choosing.samples;
        let is_allowed = |_, boundary| subject.allows(boundary);
        match curve::choose(&[&subject.adapted], samples, subject.request, &is_allowed, &mut *on_progress) {
            Ok(mut choices) => measured.push((subject, choices.remove(0))),
            Err(error) => unless_interrupted(error)?,
        }
    }
    let helping = measured.iter().filter(|(_, chosen)| chosen.choice.boundary() > 0);
    let evaluators: Vec<Evaluator> = helping
        .map(|(subject, chosen)| Evaluator {
            adapted: &subject.adapted,
            samples: &subject.inputs.choosing.samples,
            curve: &chosen.curve,
            request: subject.request,
        })
        .collect();
    let mut members: Vec<Trials> = Vec::new();
    for evaluator in &evaluators {
        match Trials::new(evaluator, &mut *on_progress) {
            Ok(trials) => members.push(trials),
            Err(error) => unless_interrupted(error)?,
        }
    }
    search(members, base.model.config.family, ranks, on_progress)
}

fn search(mut members: Vec<Trials>, family: &Family, ranks: Ranks, on_progress: OnProgress) -> Result<Option<Common>> {
    let choices = || members.iter().map(|member| &member.evaluator.request.choice);
    let (margin, confidence) =
        choices().fold((1.0, 0.0), |(m, c): (f64, f64), one| (m.min(one.margin), c.max(one.confidence)));
    if members.is_empty() {
        return Ok(None);
    }
    let (places, modules): (Vec<Place>, Vec<RankedModule>) = fleet(&members, family).into_iter().unzip();
    let rungs = allocations(&modules, ranks);
    let given_up = given_up(&modules, &rungs);
    let ranks_of = |ranks: &Vec<usize>| places.iter().cloned().zip(ranks.iter().copied()).collect();
    let rungs: Vec<BTreeMap<Place, usize>> = rungs.iter().map(ranks_of).collect();
    members.iter_mut().for_each(|member| member.ladder.take_rungs(&rungs));
    let mut tested_at = confidence;
    let chosen = LadderSearch { given_up: &given_up, margin, confidence }.run(&mut |stage, rung| {
        if let Stage::Testing { confidence } = stage {
            tested_at = confidence;
        }
        let mut all = Judged { cost: f64::NEG_INFINITY, holds: true };
        for member in &mut members {
            let one = member.judge(stage, rung, &mut *on_progress)?;
            all = Judged { cost: all.cost.max(one.cost), holds: all.holds && one.holds };
            if !all.holds && stage != Stage::Ranking {
                break;
            }
        }
        Ok(all)
    })?;
    Ok(chosen.map(|rung| Common {
        ranks: rungs[rung].iter().filter(|(_, rank)| **rank > 0).map(|(place, rank)| (place.clone(), *rank)).collect(),
        confidence: tested_at,
        adapters: members.len(),
    }))
}

/// The modules that any of the adapters has. A rank is worth the sum of what it is worth to each, as a share of all that is worth
/// something to it.
fn fleet(members: &[Trials], family: &Family) -> BTreeMap<Place, RankedModule> {
    let mut fleet: BTreeMap<Place, RankedModule> = BTreeMap::new();
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for member in members {
        let all: f64 = member.ladder.modules().flat_map(|(_, module)| &module.importance).sum();
        for (place, module) in member.ladder.modules() {
            let group = Group::number(&mut groups, family, place);
            let empty = || RankedModule { importance: Vec::new(), numbers: module.numbers, group };
            let joined = &mut fleet.entry(place.clone()).or_insert_with(empty).importance;
            joined.resize(joined.len().max(module.importance.len()), 0.0);
            let shares = module.importance.iter().map(|importance| importance / all.max(f64::MIN_POSITIVE));
            joined.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
        }
    }
    fleet
}

/// Errors of one adapter are reported where it is evaluated.
fn unless_interrupted(error: Error) -> Result<()> {
    if error.kind() == Kind::Interrupted { Err(error) } else { Ok(()) }
}
