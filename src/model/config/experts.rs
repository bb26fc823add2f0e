//! Which layers have experts, how many and how large they are, and how a token finds its own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields::ConfigFields;
use super::mixers::Block;
use super::{ExpertSizes, MOST_LAYERS};
use crate::error::Result;
use crate::model::family::{ExpertNames, ExpertWeights, Grouping};
use crate::model::routing::{GroupScore, Groups, Routing, Scores};

/// What a dense model of a family with experts may say of them, too.
const KEYS: &str = "num_experts_per_tok moe_intermediate_size shared_expert_intermediate_size moe_latent_size \
    norm_topk_prob routed_scaling_factor n_group topk_group";

impl ConfigFields<'_> {
    pub fn experts(&self, layers: usize, blocks: Option<&[Block]>) -> Result<Option<ExpertSizes>> {
        let Some(experts) = self.family.experts else { return Ok(None) };
        if self.flag("enable_moe_block") == Some(false) {
            return Ok(None);
        }
        // A mixture of none is a dense model, for which the sizes of experts count for nothing.
        let is_dense = blocks.is_some_and(|blocks| !blocks.contains(&Block::Experts));
        if is_dense || self.get("num_experts").and_then(Value::as_u64) == Some(0) {
            for key in KEYS.split_whitespace() {
                self.get(key);
            }
            return Ok(None);
        }
        let intermediate_size = match self.optional_size("moe_intermediate_size")? {
            Some(size) => size,
            None => self.size("intermediate_size")?,
        };
        let count = self.size("num_experts")?;
        let per_token = self.experts_per_token()?;
        let shared_intermediate_size = match self.optional_size("shared_expert_intermediate_size")? {
            Some(size) => size,
            None => self.shared_experts()?.saturating_mul(intermediate_size),
        };
        let share = self.shared_share(shared_intermediate_size > 0)?;
        let routing = self.routing(experts, count, per_token)?;
        Ok(Some(ExpertSizes {
            count,
            shared_scale: share,
            per_token,
            intermediate_size,
            shared_intermediate_size,
            routing: Routing { scale: share * routing.scale, ..routing },
            router_has_bias: self.flag("use_expert_bias") != Some(false),
            input_size: self.optional_size("moe_latent_size")?,
            sparse_layers: match blocks {
                Some(blocks) => (0..blocks.len()).filter(|&layer| blocks[layer] == Block::Experts).collect(),
                None => self.sparse_layers(layers.min(MOST_LAYERS))?,
            },
        }))
    }

    /// How many experts a token goes to. Hunyuan says it for each layer.
    fn experts_per_token(&self) -> Result<usize> {
        const KEY: &str = "num_experts_per_tok";
        let Some(by_layer) = self.get(KEY).and_then(Value::as_array) else { return self.size(KEY) };
        let first = by_layer.first().and_then(Value::as_u64).filter(|first| *first > 0);
        match first.filter(|_| by_layer.iter().all(|one| Some(one) == by_layer.first())) {
            Some(first) => Ok(first as usize),
            None => Err(self.unsupported(format!("another number of experts in each layer (`{KEY}`)")).into()),
        }
    }

    /// The experts that every token goes to, which lie in one MLP.
    fn shared_experts(&self) -> Result<usize> {
        const KEY: &str = "n_shared_experts";
        match self.optional_count(KEY)? {
            Some(count) => Ok(count),
            None if self.family.reads(KEY) => self.size(KEY),
            None => Ok(0),
        }
    }

    pub fn sparse_layers(&self, layers: usize) -> Result<BTreeSet<usize>> {
        let first = self.optional_count("first_k_dense_replace")?.unwrap_or(0);
        if let Some(types) = self.get("mlp_layer_types").and_then(Value::as_array) {
            if types.len() < layers {
                return Err(self.problem("mlp_layer_types", "is too short").into());
            }
            return Ok((0..layers).filter(|&layer| types[layer] == "sparse").collect());
        }
        let step = self.optional_size("decoder_sparse_step")?.unwrap_or(1);
        if self.get("moe_layers").is_some_and(Value::is_array) {
            return Ok(self.layers("moe_layers").filter(|layer| *layer < layers).collect());
        }
        let dense: Vec<usize> = self.layers("mlp_only_layers").collect();
        let end = match self.get("moe_layer_end_index").and_then(Value::as_i64) {
            None | Some(-1) => layers,
            Some(last) => {
                usize::try_from(last).map_err(|_| self.problem("moe_layer_end_index", "is negative"))?.saturating_add(1)
            }
        };
        let is_sparse = |layer: &usize| (layer + 1).is_multiple_of(step) && !dense.contains(layer);
        Ok((first..layers.min(end)).filter(is_sparse).collect())
    }

    /// What the expert for all tokens, and the others, are multiplied by: a half where the mean of both counts.
    fn shared_share(&self, has_shared: bool) -> Result<f64> {
        const KEY: &str = "shared_expert_combination_strategy";
        if !has_shared || !self.family.reads(KEY) {
            return Ok(1.0);
        }
        match self.get(KEY).map(|value| value.as_str().unwrap_or_default()) {
            None | Some("average") => Ok(0.5),
            Some("sum") => Ok(1.0),
            Some(other) => Err(self.unsupported(format!("experts that come together by `{other}` (`{KEY}`)")).into()),
        }
    }

    /// By which scores a router chooses, and whether their weights sum to 1, where the configuration says it.
    fn selection(&self, usual: Scores, sum_to_one: bool) -> Result<(Scores, bool)> {
        const KEY: &str = "expert_selection_fn";
        if !self.family.reads(KEY) {
            return Ok((usual, sum_to_one));
        }
        match self.get(KEY).map(|value| value.as_str().unwrap_or_default()) {
            // The softmax of the chosen outputs.
            None | Some("softmax") => Ok((Scores::Softmax, true)),
            Some("sigmoid") => Ok((Scores::Sigmoid, sum_to_one)),
            Some(other) => Err(self.unsupported(format!("the router `{other}` (`{KEY}`)")).into()),
        }
    }

    fn routing(&self, experts: &ExpertNames, count: usize, per_token: usize) -> Result<Routing> {
        let sum_to_one = match experts.weights {
            ExpertWeights::SumToOne => true,
            ExpertWeights::AsScored => false,
            ExpertWeights::Configured { .. } => self.flag("norm_topk_prob") == Some(true),
        };
        let (scores, sum_to_one) = self.selection(experts.scores, sum_to_one)?;
        Ok(Routing {
            scores,
            // SparseMixer leaves out what is further than twice the jitter from the best.
            nearness: 2.0 * self.float("router_jitter_noise").unwrap_or(0.0),
            sum_to_one,
            least_sum: self.float("moe_norm_min").unwrap_or(0.0),
            scale: self.float("routed_scaling_factor").unwrap_or(1.0),
            added_to_sum: experts.added_to_sum,
            groups: self.groups(experts.grouping, count, per_token)?,
        })
    }

    fn groups(&self, grouping: Grouping, experts: usize, per_token: usize) -> Result<Option<Groups>> {
        let by = match grouping {
            Grouping::Never => return Ok(None),
            Grouping::By(by) => by,
            Grouping::Configured => match self.get("topk_method").map(|method| method.as_str().unwrap_or_default()) {
                None | Some("greedy") => return Ok(None),
                Some("group_limited_greedy") => GroupScore::Largest,
                Some(other) => return Err(self.unsupported(format!("the router `{other}` (`topk_method`)")).into()),
            },
        };
        let groups = Groups { count: self.size("n_group")?, kept: self.size("topk_group")?, by };
        if !groups.fit(experts, per_token) {
            return Err(self.problem("n_group", "does not fit the number of experts, or `topk_group` does not").into());
        }
        Ok((groups.kept < groups.count).then_some(groups))
    }
}
