//! What the layers of a GGUF file are: their mixers, sizes and experts. The tensors say which layer is what, the keys how it computes.

use std::collections::BTreeSet;

use super::gguf_keys::Keys;
use super::{ByLayer, ExpertSizes, HeadSizes, LatentSizes, MOST_LAYERS, MambaConfig, MixerSizes, PerLayerSizes};
use crate::error::Result;
use crate::kernel::delta_rule::DeltaSizes;
use crate::kernel::recurrent::ConvolutionSizes;
use crate::kernel::state_space::SpaceSizes;
use crate::model::activation::Gating;
use crate::model::family::{ExpertNames, ExpertWeights, Grouping, MixerKind, Role, Split};
use crate::model::routing::{GroupScore, Groups, Routing, Scores};

/// How a router's outputs become scores, by the numbers of `expert_gating_func`.
const SOFTMAX_ROUTER: usize = 1;
const SIGMOID_ROUTER: usize = 2;

impl Keys<'_> {
    pub fn refuse_unsupported(&self) -> Result<()> {
        if self.boolean("attention.causal") == Some(false) {
            return Err(self.unsupported("attention to later tokens (`attention.causal`)".into()).into());
        }
        if self.family.gguf.rope_is_off && self.boolean("rope.scaling.finetuned") != Some(false) {
            return Err(self
                .unsupported("Mamba layers beside rotary embedding (`rope.scaling.finetuned`)".into())
                .into());
        }
        Ok(())
    }

    /// The number that norms add before the root. Some files have it under the name of the other kind of norm.
    pub fn norm_eps(&self) -> Result<f64> {
        let (own, other) = match self.family.norms.centre() {
            true => ("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"),
            false => ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"),
        };
        let (own_number, other) = (self.number(own), self.number(other));
        Ok(own_number.or(other).ok_or_else(|| self.missing(own))?)
    }

    /// The layers with a weight, with its shape.
    fn shapes(&self, layers: usize, name: &'static str) -> impl Iterator<Item = &[usize]> {
        (0..layers.min(MOST_LAYERS)).filter_map(move |layer| self.shape(layer, name))
    }

    /// Key and value heads: as many as the keys of a layer have, else what the file says.
    pub fn kv_heads(&self, layers: usize, heads: usize, head_dim: usize) -> Result<usize> {
        if self.family.other_mixer() == Some(MixerKind::Latent) {
            return Ok(heads);
        }
        let keys = self.shapes(layers, "attn_k").next().and_then(|shape| shape.first());
        match keys {
            Some(rows) => Ok(rows / head_dim.max(1)),
            // One number for each layer, if none has attention.
            None if self.metadata.integers(&self.key("attention.head_count_kv")).is_some() => Ok(heads),
            None => Ok(self.optional("attention.head_count_kv")?.unwrap_or(heads)),
        }
    }

    /// What differs from layer to layer, in layers of these windows.
    pub fn by_layer(&self, heads: HeadSizes, windows: &[Option<usize>]) -> Result<ByLayer> {
        let mut by_layer = ByLayer::same(windows.len(), heads, 0);
        self.read_heads(&mut by_layer, windows)?;
        for (layer, size) in by_layer.mlp_sizes.iter_mut().enumerate() {
            *size = self.mlp_size(layer).unwrap_or(0);
        }
        // Layers without an MLP have any size.
        let some = by_layer.mlp_sizes.iter().copied().find(|size| *size > 0);
        let some = some.or(self.expert_size(windows.len())?);
        let some = match some {
            Some(size) => size,
            None => self.size("feed_forward_length")?,
        };
        by_layer.mlp_sizes.iter_mut().filter(|size| **size == 0).for_each(|size| *size = some);
        Ok(by_layer)
    }

    /// The heads of each layer, and what they read: layers with a window may have other ones, some have no values but their keys, and
    /// the last may read the keys of the last layer of their kind.
    fn read_heads(&self, by_layer: &mut ByLayer, windows: &[Option<usize>]) -> Result<()> {
        let local = self.optional("attention.key_length_swa")?;
        self.optional("attention.value_length_swa")?;
        let sharing = self.optional("attention.shared_kv_layers")?.unwrap_or(0);
        let may_lack_values = self.family.flag("attention_k_eq_v").is_some();
        let first = windows.len().saturating_sub(sharing);
        if self.family.other_mixer() == Some(MixerKind::Latent) {
            return Ok(());
        }
        for (layer, window) in windows.iter().enumerate() {
            let own = (0..first).rev().find(|other| windows[*other].is_some() == window.is_some());
            let own = own.filter(|_| layer >= first);
            let heads = &mut by_layer.heads[layer];
            heads.head_dim = local.filter(|_| window.is_some()).unwrap_or(heads.head_dim);
            let Some(rows) = self.shape(own.unwrap_or(layer), "attn_k").and_then(|shape| shape.first()) else {
                continue;
            };
            heads.kv_heads = rows / heads.head_dim.max(1);
            by_layer.keys_of[layer] = own;
            if may_lack_values && own.is_none() && self.shape(layer, "attn_v").is_none() {
                by_layer.keys_are_values.insert(layer);
            }
        }
        Ok(())
    }

    /// The inputs that each layer has of its own.
    pub fn per_layer(&self) -> Result<Option<PerLayerSizes>> {
        let size = self.optional("embedding_length_per_layer_input")?.filter(|size| *size > 0);
        let Some((size, names)) = size.zip(self.family.gguf.outer.layer_inputs) else { return Ok(None) };
        let vocab_size = self.weights.store.height(&format!("{}.weight", names[0]))?;
        Ok(Some(PerLayerSizes { size, vocab_size }))
    }

    /// The numbers of each layer's xIELU, in the order of [`Xielu`](crate::model::activation::Xielu).
    pub fn activations(&self, layers: usize) -> Result<Vec<[f32; 4]>> {
        if self.family.gating != Gating::Xielu {
            return Ok(Vec::new());
        }
        // These keys are not those of the architecture.
        let lists = ["alpha_p", "alpha_n", "beta", "eps"].map(|name| self.metadata.floats(&format!("xielu.{name}")));
        let number = |list: &Option<Vec<f32>>, layer: usize| list.as_ref().and_then(|list| list.get(layer).copied());
        let of_layer = |layer: usize| {
            let [squares, exponentials, slope, end] = lists.each_ref().map(|list| number(list, layer));
            squares
                .zip(exponentials)
                .zip(slope.zip(end))
                .map(|((squares, exponentials), (slope, end))| [squares, exponentials, slope, end])
        };
        let all: Option<Vec<[f32; 4]>> = (0..layers.min(MOST_LAYERS)).map(of_layer).collect();
        Ok(all.ok_or_else(|| self.absent("xielu.alpha_p"))?)
    }

    pub fn intermediate_size(&self, by_layer: &ByLayer) -> Result<usize> {
        match by_layer.mlp_sizes.first() {
            Some(size) => Ok(*size),
            None => self.size("feed_forward_length"),
        }
    }

    /// The size of a layer's MLP by the map that leaves it.
    fn mlp_size(&self, layer: usize) -> Option<usize> {
        self.family.gguf_modules(Role::Down).find_map(|name| self.shape(layer, name)?.get(1).copied())
    }

    /// What mixes tokens in each layer.
    pub fn mixers(&self, layers: usize) -> Vec<MixerKind> {
        let names_of = |kind: MixerKind| {
            let roles = self.family.roles().filter(move |role| role.is_linear() && role.mixer() == Some(kind));
            let names = |role| self.splits_of(role).flat_map(Split::names).chain(self.family.gguf_modules(role));
            roles.flat_map(names).collect::<Vec<_>>()
        };
        let other = self.family.other_mixer().map(|kind| (kind, names_of(kind)));
        let attention = names_of(MixerKind::Attention);
        let has = |layer: usize, names: &[&str]| names.iter().any(|name| self.shape(layer, name).is_some());
        let kind = |layer: usize| match &other {
            Some((kind, names)) if has(layer, names) && (*kind != MixerKind::Latent) => *kind,
            Some((MixerKind::Latent, _)) => MixerKind::Latent,
            _ if self.family.layers_are_single_blocks && !has(layer, &attention) => MixerKind::Absent,
            _ => MixerKind::Attention,
        };
        (0..layers.min(MOST_LAYERS)).map(kind).collect()
    }

    fn splits_of(&self, role: Role) -> impl Iterator<Item = Split> {
        self.family.gguf.splits.iter().filter(move |(divided, _)| *divided == role).map(|&(_, split)| split)
    }

    /// The sizes of the family's mixer beside attention.
    pub fn other_mixer(&self, hidden_size: usize) -> Result<Option<MixerSizes>> {
        let size = |name: &str| self.size(name);
        Ok(match self.family.other_mixer() {
            None | Some(MixerKind::Attention | MixerKind::AttentionAndMamba | MixerKind::Absent) => None,
            Some(MixerKind::DeltaNet) => {
                let value_heads = size("ssm.time_step_rank")?;
                Some(MixerSizes::Delta(DeltaSizes {
                    key_heads: size("ssm.group_count")?,
                    value_heads,
                    key_size: size("ssm.state_size")?,
                    value_size: size("ssm.inner_size")? / value_heads.max(1),
                    taps: size("ssm.conv_kernel")?,
                }))
            }
            Some(MixerKind::Mamba) => Some(MixerSizes::Mamba(self.mamba()?)),
            Some(MixerKind::ShortConvolution) => {
                Some(MixerSizes::Short(ConvolutionSizes { channels: hidden_size, taps: size("shortconv.l_cache")? }))
            }
            Some(MixerKind::Latent) => Some(MixerSizes::Latent(self.latent()?)),
        })
    }

    fn mamba(&self) -> Result<MambaConfig> {
        let heads = self.size("ssm.time_step_rank")?;
        Ok(MambaConfig {
            sizes: SpaceSizes {
                heads,
                head_size: self.size("ssm.inner_size")? / heads.max(1),
                state_size: self.size("ssm.state_size")?,
                groups: self.size("ssm.group_count")?,
                taps: self.size("ssm.conv_kernel")?,
            },
            limits: [self.family.number("time_step_min").unwrap_or(0.0), f64::INFINITY],
            has_norm: true,
            gate_first: true,
            input_scale: 1.0,
            output_scale: 1.0,
            scales_of_parts: [1.0; 5],
        })
    }

    fn latent(&self) -> Result<LatentSizes> {
        let (head, rotated) = (self.size("attention.key_length_mla")?, self.size("rope.dimension_count")?);
        // Those of attention among the short vectors themselves, which llama.cpp computes with.
        self.optional("attention.key_length")?;
        Ok(LatentSizes {
            heads: self.size("attention.head_count")?,
            query_rank: self.optional("attention.q_lora_rank")?,
            rank: self.size("attention.kv_lora_rank")?,
            plain: head.saturating_sub(rotated),
            rotated,
            value: self.size("attention.value_length_mla")?,
            is_interleaved: self.family.flag("rope_interleave") == Some(true),
        })
    }

    /// What the scale of scores of latent attention is multiplied by: llama.cpp has 0.1 · `mscale_all_dim`.
    pub fn latent_scale(&self) -> f64 {
        if self.family.other_mixer() != Some(MixerKind::Latent) {
            return 1.0;
        }
        let (multiplier, factor) =
            (self.number("rope.scaling.yarn_log_multiplier"), self.number("rope.scaling.factor"));
        multiplier
            .zip(factor.filter(|factor| *factor > 1.0))
            .map_or(1.0, |(all, factor)| (1.0 + all * factor.ln()).powi(2))
    }

    pub fn experts(&self, layers: usize, intermediate_size: usize) -> Result<Option<ExpertSizes>> {
        let Some(names) = self.family.experts else { return Ok(None) };
        let (count, per_token) = (self.optional("expert_count")?.unwrap_or(0), self.optional("expert_used_count")?);
        let routing = self.routing(names, count, per_token.unwrap_or(0))?;
        let may_be_dense = self.family.roles().any(|role| role == Role::Down);
        let has_experts =
            |layer: usize| ["ffn_gate_inp", "ffn_down_exps"].iter().any(|name| self.shape(layer, name).is_some());
        let sparse_layers: BTreeSet<usize> =
            (0..layers.min(MOST_LAYERS)).filter(|&layer| !may_be_dense || has_experts(layer)).collect();
        if count == 0 || sparse_layers.is_empty() {
            return Ok(None);
        }
        let shared = self.shapes(layers, "ffn_down_shexp").next().and_then(|shape| shape.get(1).copied());
        let has_shared = self.family.roles().any(|role| role == Role::SharedDown);
        Ok(Some(ExpertSizes {
            count,
            per_token: per_token.ok_or_else(|| self.missing("expert_used_count"))?,
            intermediate_size: self.expert_size(layers)?.unwrap_or(intermediate_size),
            shared_intermediate_size: shared.filter(|_| has_shared).unwrap_or(0),
            shared_scale: 1.0,
            router_has_bias: (0..layers.min(MOST_LAYERS)).any(|layer| self.has(layer, "exp_probs_b.bias")),
            input_size: self.optional("moe_latent_size")?,
            routing,
            sparse_layers,
        }))
    }

    /// The size of an expert, by the maps of a layer or else by what the file says.
    fn expert_size(&self, layers: usize) -> Result<Option<usize>> {
        let said = self.optional("expert_feed_forward_length")?;
        Ok(self.shapes(layers, "ffn_up_exps").next().and_then(|shape| shape.get(1).copied()).or(said))
    }

    fn routing(&self, names: &ExpertNames, count: usize, per_token: usize) -> Result<Routing> {
        let is_sigmoid = matches!(names.scores, Scores::Sigmoid | Scores::SigmoidOfInputs);
        let usual = if is_sigmoid { SIGMOID_ROUTER } else { SOFTMAX_ROUTER };
        // 0 says that the file does not say it.
        let function = self.optional("expert_gating_func")?.filter(|function| *function > 0);
        if function.is_some_and(|function| function != usual) {
            return Err(self
                .unsupported("a router with other scores than its family's (`expert_gating_func`)".into())
                .into());
        }
        let said = self.boolean("expert_weights_norm");
        let sum_to_one = match names.weights {
            ExpertWeights::SumToOne => true,
            ExpertWeights::AsScored => false,
            ExpertWeights::Configured { sum_to_one_in_gguf } => said.unwrap_or(sum_to_one_in_gguf),
        };
        Ok(Routing {
            scores: names.scores,
            nearness: 2.0 * self.family.number("router_jitter_noise").unwrap_or(0.0),
            least_sum: self.family.number("moe_norm_min").unwrap_or(0.0),
            scale: self.number("expert_weights_scale").filter(|scale| *scale != 0.0).unwrap_or(1.0),
            added_to_sum: names.added_to_sum,
            groups: self.groups(names.grouping, count, per_token)?,
            ..Routing::plain(sum_to_one)
        })
    }

    fn groups(&self, grouping: Grouping, experts: usize, per_token: usize) -> Result<Option<Groups>> {
        let (count, kept) = (self.optional("expert_group_count")?, self.optional("expert_group_used_count")?);
        let by = match grouping {
            Grouping::Never => return Ok(None),
            Grouping::By(by) => by,
            Grouping::Configured => GroupScore::Largest,
        };
        let (Some(count), Some(kept)) = (count.filter(|count| *count > 0), kept.filter(|kept| *kept > 0)) else {
            return Ok(None);
        };
        let groups = Groups { count, kept, by };
        if !groups.fit(experts, per_token) {
            return Err(self.unsupported("groups that the experts do not fit (`expert_group_count`)".into()).into());
        }
        Ok((kept < count).then_some(groups))
    }
}
