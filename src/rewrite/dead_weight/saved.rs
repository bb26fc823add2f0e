//! Whole weights in an adapter that are those of the base model, all of their rows or most.
//!
//! PEFT loads them in one of three ways: into a copy of the module (`modules_to_save`), which needs all tensors of the module; into
//! the base model's own weight (`save_embedding_layers`, `bias`), which a tied model has once for embedding and head; or as the rows of
//! some tokens (`trainable_token_indices`), which a tied model uses for the head, too (`set_additional_trainable_modules`).

use std::collections::BTreeMap;

use super::{BaseWeights, ComparedWeight, DeadKind, DeadWeight, Likeness, is_whole};
use crate::adapter::names::Part;
use crate::adapter::{AdapterTensor, Method};
use crate::error::Result;
use crate::model::{EmbeddingOrHead, Model, Tie};

/// The largest share of the rows that may differ: PEFT copies trained rows into the weight at each pass.
const MOST_ROWS: f64 = 0.5;

/// A whole weight and what it replaces.
struct Saved<'a> {
    tensor: AdapterTensor<'a>,
    likeness: Likeness,
    table: Option<EmbeddingOrHead>,
    /// The module of `modules_to_save` that it is in.
    group: Option<&'a str>,
}

impl Saved<'_> {
    fn is_same(&self) -> bool {
        self.likeness == Likeness::Same
    }
}

impl<'a> DeadWeight<'a> {
    /// Compares whole weights with the base model's.
    pub(super) fn find_saved(&mut self, base: BaseWeights) -> Result<()> {
        let adapter = self.adapter;
        if adapter.config.changes_base().is_some() || !Self::needs_base(adapter) {
            return Ok(());
        }
        let model = match base {
            BaseWeights::Known(model) => model,
            BaseWeights::Unknown(reason) => {
                self.not_compared = Some(reason.into());
                return Ok(());
            }
        };
        let mut groups: BTreeMap<&str, Vec<Saved>> = BTreeMap::new();
        for tensor in adapter.tensors().filter(is_whole) {
            let group = adapter.config.saved_ancestor(&tensor.key.module).filter(|_| tensor.key.part == Part::Saved);
            let likeness = likeness(self, model, &tensor)?;
            if likeness == Likeness::OtherSizes {
                self.not_compared = Some(format!("`{}` is not there in this size", tensor.key.module));
            }
            let table = model.vocabulary(adapter, &tensor.key.module).filter(|_| tensor.name.ends_with(".weight"));
            groups.entry(group.unwrap_or(tensor.name)).or_default().push(Saved { tensor, likeness, table, group });
        }
        let mut tables: Vec<Saved> = Vec::new();
        for saved in groups.into_values() {
            match saved.iter().any(|one| one.table.is_some()) {
                // Those with further tensors, such as a head with a bias, go as a whole or not at all.
                true if saved.len() == 1 => tables.extend(saved),
                _ if saved.iter().all(Saved::is_same) => self.drop_all(&saved, DeadKind::EqualToBase),
                _ => {}
            }
        }
        self.find_tables(model, &tables)
    }

    fn drop_all<'s>(&mut self, saved: impl IntoIterator<Item = &'s Saved<'a>>, kind: DeadKind)
    where
        'a: 's,
    {
        self.dropped.extend(saved.into_iter().map(|one| (one.tensor.name, kind)));
    }

    /// Decides on the embedding and the head together, because they may be one weight.
    fn find_tables(&mut self, model: &Model, tables: &[Saved<'a>]) -> Result<()> {
        // Where they are one weight, the last one that is loaded counts.
        if model.tie() == Tie::Untied || tables.iter().all(Saved::is_same) {
            self.drop_all(tables.iter().filter(|one| one.is_same()), DeadKind::EqualToBase);
        }
        let tables: Vec<_> = tables.iter().filter(|one| one.tensor.key.part != Part::BaseCopy).collect();
        let of = |table| {
            let mut found = tables.iter().filter(move |one| one.table == Some(table));
            found.next().filter(|_| found.next().is_none()).copied()
        };
        let (embedding, head) = (of(EmbeddingOrHead::Embedding), of(EmbeddingOrHead::Head));
        match (model.tie(), embedding, head) {
            (Tie::Untied, ..) => {
                for table in [embedding, head].into_iter().flatten() {
                    self.reduce(model, table);
                }
            }
            (Tie::Tied, Some(embedding), Some(head)) => self.reduce_both(model, embedding, head)?,
            (Tie::Tied, Some(embedding), None) if self.is_shared(embedding) => self.reduce(model, embedding),
            _ => {}
        }
        Ok(())
    }

    /// Whether a tied model uses a weight for the embedding and the head.
    fn is_shared(&self, saved: &Saved) -> bool {
        saved.group.is_none() || self.adapter.config.flag("ensure_weight_tying")
    }

    /// Reduces a weight that no other depends on.
    fn reduce(&mut self, model: &Model, saved: &Saved<'a>) {
        match &saved.likeness {
            Likeness::Same => self.drop_all([saved], DeadKind::EqualToBase),
            Likeness::SameBut(tokens) if self.allows_rows(model, saved, tokens) => {
                self.drop_all([saved], DeadKind::MostRowsEqualToBase);
                self.rows.insert(saved.tensor.name, tokens.clone());
            }
            _ => {}
        }
    }

    /// Reduces both weights of a tied model.
    fn reduce_both(&mut self, model: &Model, embedding: &Saved<'a>, head: &Saved<'a>) -> Result<()> {
        let [one, other] =
            [embedding, head].map(|saved| ComparedWeight { store: &self.adapter.weights, name: saved.tensor.name });
        if one.likeness(&other)? == Likeness::Same {
            self.reduce(model, embedding);
            let kind = if embedding.is_same() { DeadKind::EqualToBase } else { DeadKind::CopyOfEmbedding };
            // In a copy of the module, PEFT needs the tensor.
            if self.drops(embedding.tensor.name) || embedding.group.is_none() && head.group.is_none() {
                self.drop_all([head], kind);
            }
        } else if ![embedding, head].iter().any(|saved| self.is_shared(saved)) {
            self.drop_all([embedding, head].into_iter().filter(|saved| saved.is_same()), DeadKind::EqualToBase);
        }
        Ok(())
    }

    /// Whether PEFT computes the same with the rows of some tokens in place of the whole weight.
    fn allows_rows(&self, model: &Model, saved: &Saved, tokens: &[usize]) -> bool {
        let (adapter, module) = (self.adapter, &saved.tensor.key.module);
        let height = saved.tensor.entry.shape.first().copied().unwrap_or(0);
        let is_few = tokens.len() as f64 <= MOST_ROWS * height as f64;
        // PEFT leaves out the bias of a head whose rows are trained.
        let has_bias = saved.table == Some(EmbeddingOrHead::Head) && model.has_head_bias();
        let is_alone = !adapter.modules().contains_key(module) && !adapter.config.flag("trainable_token_indices");
        let is_named = model.name_outside(adapter, module).as_ref() == Some(module);
        let is_matrix = saved.tensor.entry.shape.len() == 2;
        adapter.config.method == Method::Lora && is_few && !has_bias && is_alone && is_named && is_matrix
    }
}

fn likeness(dead: &DeadWeight, model: &Model, tensor: &AdapterTensor) -> Result<Likeness> {
    match model.replaced(dead.adapter, tensor) {
        Some(name) => {
            let base = ComparedWeight { store: model.store(), name: &name };
            ComparedWeight { store: &dead.adapter.weights, name: tensor.name }.likeness(&base)
        }
        None => Ok(Likeness::OtherSizes),
    }
}
