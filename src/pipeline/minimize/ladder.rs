//! The adapters of a ladder of sizes: made when they are asked for, and measured as they would be written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::super::chain::{self, Chain};
use super::super::evaluator::Evaluator;
use super::super::request::{Minimize, Objective};
use super::fleet::Place;
use crate::adapter::{Adapter, Capability, Module};
use crate::error::{AdapterError, ChoiceError, Result};
use crate::measure::{self, Measurement, OnProgress, Work};
use crate::model::AdaptedModel;
use crate::model::Family;
use crate::model::family::Role;
use crate::rewrite::dead_weight::BaseWeights;
use crate::rewrite::steps::fit_ranks::FitRanks;
use crate::rewrite::steps::{SharedStep, in_order, to_bf16};
use crate::rewrite::write;
use crate::rewrite::{Basis, Cut, Pair};
use crate::samples::Sample;
use crate::search::allocation::{RankedModule, Ranks, allocate};
use crate::search::minimize::ladder;
use crate::tensors::Dtype;

/// The smallest size, as a share of all numbers.
const SMALLEST_SHARE: f64 = 1.0 / 128.0;

/// A module whose rank may be reduced.
struct Reducible {
    name: String,
    place: Place,
    basis: Arc<Basis>,
    ranked: RankedModule,
}

/// The sizes, the largest first, and the adapters that were made so far.
pub struct Ladder<'a> {
    evaluator: &'a Evaluator<'a>,
    modules: Vec<Reducible>,
    /// The ranks of the modules on each rung.
    rungs: Vec<Vec<usize>>,
    /// What follows the reduced ranks.
    steps: Vec<SharedStep>,
    made: BTreeMap<usize, Arc<Chain>>,
}

impl<'a> Ladder<'a> {
    /// Finds out on these samples what each rank is worth; with what that cost. There are no rungs yet.
    pub fn new(evaluator: &'a Evaluator<'a>, samples: &[Sample], on_progress: OnProgress) -> Result<(Self, Work)> {
        let adapter = evaluator.adapter();
        adapter.require(Capability::ReduceRank)?;
        let compute = &evaluator.request.compute;
        let (found, work) = measure::sensitivities(evaluator.adapted, samples, compute, on_progress)?;
        let (mut modules, mut groups): (Vec<Reducible>, Vec<(usize, Group)>) = (Vec::new(), Vec::new());
        let family = evaluator.adapted.model().config.family;
        for module in adapter.modules().values() {
            let Some((layer, rank)) = module.layer.zip(Pair::rank_of(adapter, module)) else { continue };
            let inside = adapter.inside_layer(&module.name, layer);
            let measured = found.get(layer).and_then(|modules| modules.get(inside));
            // What text does not pass through may matter to images: it stays as it is.
            let Some(measured) = measured.filter(|measured| measured.values.nrows() == rank) else { continue };
            let basis = Basis::new(measured).ok_or_else(|| diverges(adapter, module))?;
            let place = (layer, inside.to_owned());
            let ranked = RankedModule {
                importance: basis.importance.clone(),
                numbers: numbers(adapter, module),
                group: Group::number(&mut groups, family, &place),
            };
            modules.push(Reducible { name: module.name.clone(), place, basis: Arc::new(basis), ranked });
        }
        let mut steps = evaluator.request.steps.clone();
        let has_type = steps.iter().any(|step| step.flag().name == to_bf16().flag().name);
        if !has_type && is_wide(adapter) {
            steps.push(to_bf16());
        }
        Ok((Self { evaluator, modules, rungs: Vec::new(), steps, made: BTreeMap::new() }, work))
    }

    /// The modules that may be reduced, by their places.
    pub fn modules(&self) -> impl Iterator<Item = (&Place, &RankedModule)> {
        self.modules.iter().map(|module| (&module.place, &module.ranked))
    }

    /// Takes the rungs of a fleet: the rank at each place, 0 where there is none. No module gets more ranks than it has.
    pub fn take_rungs(&mut self, rungs: &[BTreeMap<Place, usize>]) {
        let rank = |ranks: &BTreeMap<Place, usize>, module: &Reducible| {
            ranks.get(&module.place).map_or(0, |&rank| rank.min(module.ranked.importance.len()))
        };
        let of_modules = |ranks| self.modules.iter().map(|module| rank(ranks, module)).collect();
        self.rungs = rungs.iter().map(of_modules).collect();
    }

    pub fn count(&self) -> usize {
        self.rungs.len()
    }

    /// The share of all importance that each rung gives up.
    pub fn given_up(&self) -> Vec<f64> {
        let modules: Vec<RankedModule> = self.modules.iter().map(|module| module.ranked.clone()).collect();
        given_up(&modules, &self.rungs)
    }

    /// Makes the rungs of an objective. With a given size, or given ranks, there is one alone.
    pub fn make_rungs(&mut self, minimize: &Minimize) -> Result<()> {
        let modules: Vec<RankedModule> = self.modules.iter().map(|module| module.ranked.clone()).collect();
        match &minimize.objective {
            Objective::Bytes => self.rungs = allocations(&modules, minimize.ranks),
            Objective::Loss { max_bytes } => {
                let ranks = allocate(&modules, self.numbers_within(*max_bytes), minimize.ranks);
                if ranks.iter().all(|&rank| rank == 0) {
                    let smallest = modules.iter().map(|module| module.numbers).min().unwrap_or(0) as u64 * self.width();
                    let smallest = format!("{} bytes", self.fixed_bytes() + smallest);
                    return Err(
                        ChoiceError::LimitTooSmall { limit: format!("`--max-bytes {max_bytes}`"), smallest }.into()
                    );
                }
                self.rungs = vec![ranks];
            }
            Objective::Common(common) => self.take_rungs(std::slice::from_ref(&common.ranks)),
        }
        Ok(())
    }

    /// How many numbers of reducible modules fit into so many bytes.
    fn numbers_within(&self, bytes: u64) -> usize {
        usize::try_from(bytes.saturating_sub(self.fixed_bytes()) / self.width()).unwrap_or(usize::MAX)
    }

    /// The bytes of a number as it will be written.
    fn width(&self) -> u64 {
        let setting = self.steps.iter().filter(|step| step.flag().name == "dtype").find_map(|step| step.setting());
        match setting.as_deref() {
            Some("f32") => 4,
            Some(_) => 2,
            None if is_wide(self.evaluator.adapter()) => 4,
            None => 2,
        }
    }

    /// The bytes of everything that stays at any size.
    fn fixed_bytes(&self) -> u64 {
        let adapter = self.evaluator.adapter();
        let reducible: BTreeSet<&str> = self.modules.iter().map(|module| module.name.as_str()).collect();
        let fixed = adapter
            .tensors()
            .filter(|tensor| !(tensor.key.part.is_of_pair() && reducible.contains(&*tensor.key.module)));
        fixed.map(|tensor| tensor.entry.bytes()).sum()
    }

    /// The modules that may be reduced, by name, with their ranks on a rung and before.
    pub fn ranks(&self, rung: usize) -> impl Iterator<Item = (&str, usize, usize)> {
        let modules = self.modules.iter().zip(&self.rungs[rung]);
        modules.map(|(module, &rank)| (module.name.as_str(), rank, module.ranked.importance.len()))
    }

    /// The adapter of a rung, after all steps.
    pub fn chain(&mut self, rung: usize) -> Result<Arc<Chain>> {
        if let Some(chain) = self.made.get(&rung) {
            return Ok(chain.clone());
        }
        let adapter = self.evaluator.adapter();
        let ranks: BTreeMap<&str, usize> = self.ranks(rung).map(|(name, rank, _)| (name, rank)).collect();
        let whole_name = |layer: usize, inside: &str| format!("{}.{layer}.{inside}", adapter.stack);
        let keeps = |layer, inside: &str| ranks.get(whole_name(layer, inside).as_str()).is_none_or(|&rank| rank > 0);
        let cut = Cut::keeping(adapter, keeps)?;
        let kept = self.modules.iter().filter(|module| ranks[module.name.as_str()] > 0);
        let fitted = kept.map(|module| (module.name.clone(), (module.basis.clone(), ranks[module.name.as_str()])));
        let mut steps = vec![FitRanks::step(fitted.collect())];
        steps.extend(self.steps.iter().cloned());
        let base = BaseWeights::Known(self.evaluator.adapted.model());
        let chain = Arc::new(Chain::make(adapter, &cut, &in_order(steps), base)?);
        self.made.insert(rung, chain.clone());
        Ok(chain)
    }

    /// Measures a rung on the samples with these indices; with what it cost.
    pub fn measure(&mut self, samples: &[usize], rung: usize, on_progress: OnProgress) -> Result<(Measurement, Work)> {
        let chain = self.chain(rung)?;
        let (model, request) = (self.evaluator.adapted.model(), self.evaluator.request);
        let adapted = AdaptedModel::load(model, chain.last())?;
        let samples = (self.evaluator.samples, samples);
        let (mut measured, work) = chain::measure_whole(&[adapted], samples, &request.compute, on_progress)?;
        Ok((measured.remove(0), work))
    }
}

/// The ranks of each size of a ladder, without those that are as another one.
pub fn allocations(modules: &[RankedModule], ranks: Ranks) -> Vec<Vec<usize>> {
    let all = ranks.all_numbers(modules);
    let mut rungs: Vec<Vec<usize>> = Vec::new();
    for share in ladder(SMALLEST_SHARE) {
        let ranks = allocate(modules, (all as f64 * share) as usize, ranks);
        let keeps_some = ranks.iter().any(|&rank| rank > 0);
        if keeps_some && rungs.last() != Some(&ranks) {
            rungs.push(ranks);
        }
    }
    rungs
}

/// The share of all importance that each rung gives up.
pub fn given_up(modules: &[RankedModule], rungs: &[Vec<usize>]) -> Vec<f64> {
    let all: f64 = modules.iter().flat_map(|module| &module.importance).sum();
    let lost = |(module, &rank): (&RankedModule, &usize)| module.importance[rank..].iter().sum::<f64>();
    let lost_by = |ranks: &Vec<usize>| modules.iter().zip(ranks).map(lost).sum::<f64>() / all.max(f64::MIN_POSITIVE);
    rungs.iter().map(lost_by).collect()
}

/// Modules of a layer that some runtimes merge into one matrix, which has either all of them or none.
#[derive(Debug, PartialEq, Eq)]
pub enum Group {
    QueryKeyValue,
    GateUp,
    Alone(String),
}

impl Group {
    /// The number of a module's group among those that are known, to which it is added if it is new.
    pub fn number(known: &mut Vec<(usize, Self)>, family: &Family, (layer, inside): &Place) -> usize {
        let group = match family.role_of(inside) {
            Some(Role::Query | Role::Key | Role::Value) => Self::QueryKeyValue,
            Some(Role::Gate | Role::Up) => Self::GateUp,
            _ => Self::Alone(inside.clone()),
        };
        let group = (*layer, group);
        known.iter().position(|other| *other == group).unwrap_or_else(|| {
            known.push(group);
            known.len() - 1
        })
    }
}

/// The numbers that one rank of a module takes.
fn numbers(adapter: &Adapter, module: &Module) -> usize {
    let size = |name: &str| adapter.weights.get(name).map_or(0, |entry| entry.shape.iter().product::<usize>());
    let rank = Pair::rank_of(adapter, module).unwrap_or(1).max(1);
    module.pair().map_or(0, |(a, b)| (size(a) + size(b)) / rank)
}

/// Whether the pairs have numbers of more than 16 bits.
fn is_wide(adapter: &Adapter) -> bool {
    let mut pairs = adapter.tensors().filter(|tensor| tensor.key.part.is_of_pair());
    pairs.any(|tensor| matches!(write::dtype(tensor.entry), Dtype::F32 | Dtype::F64))
}

fn diverges(adapter: &Adapter, module: &Module) -> crate::Error {
    let path: PathBuf = adapter.path.clone();
    AdapterError::Decomposition { path, module: module.name.clone() }.into()
}
