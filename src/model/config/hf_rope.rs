//! The rotary embeddings that a `config.json` describes, for the whole model or for each type of layer.

use serde_json::{Map, Value};

use super::fields::ConfigFields;
use super::hf::NAMED;
use super::{HeadSizes, Rotary};
use crate::account::{Account, Harmless};
use crate::error::Result;
use crate::format::first_names;
use crate::model::family::RotaryLayers;
use crate::model::rope::{QueryGrowth, Rope, RopeScaling};

/// Parameters that change nothing here.
const HARMLESS: &[Harmless] = &[
    ("mrope_section", "the positions of text are the same on all axes"),
    ("mrope_interleaved", "the positions of text are the same on all axes"),
    ("max_position_embeddings", "the configuration says it"),
    ("finetuned", "nothing in transformers reads it"),
];

/// The names that `rope_parameters` has for the layers that see all tokens, and for those with a window.
const BY_LAYER: [&str; 2] = ["full_attention", "sliding_attention"];

impl ConfigFields<'_> {
    pub fn rotary(&self, context: usize, heads: &[HeadSizes], windows: &[Option<usize>]) -> Result<Rotary> {
        if !self.family.positions.are_rotary() {
            return Ok(Rotary::none(windows.len()));
        }
        if self.family.null_base_is_none && self.has_null_base() {
            return Ok(Rotary::none(windows.len()));
        }
        let rotary = self.given_rotary(context, heads, windows)?;
        // Granite 4 has a word for it, and any other one means none, whatever the parameters are.
        let is_off =
            self.family.reads("position_embedding_type") && self.text("position_embedding_type") != Some("rope");
        Ok(if is_off { Rotary::none(windows.len()) } else { rotary })
    }

    /// Whether the base of the rotary embedding is `null`, in its parameters or beside them. Nothing else of the parameters counts
    /// then.
    fn has_null_base(&self) -> bool {
        let object = |key: &str| self.get(key).and_then(Value::as_object).filter(|object| !object.is_empty());
        let account = object("rope_scaling").or(object("rope_parameters")).map(Account::of);
        let base = account.as_ref().and_then(|account| account.get("rope_theta"));
        let is_null = base.or_else(|| self.get("rope_theta")).is_some_and(Value::is_null);
        if let Some(account) = account.filter(|_| is_null) {
            account.get("rope_type");
            self.unread_rope_keys.borrow_mut().extend(account.unread(HARMLESS).into_iter().map(String::from));
        }
        is_null
    }

    fn given_rotary(&self, context: usize, heads: &[HeadSizes], windows: &[Option<usize>]) -> Result<Rotary> {
        let used = self.get("no_rope_layers").and_then(Value::as_array).filter(|used| !used.is_empty());
        let lists_layers = matches!(self.family.rotary_layers, RotaryLayers::AllButEvery(_));
        if lists_layers && used.is_some_and(|used| used.len() < windows.len()) {
            return Err(self.problem("no_rope_layers", "is too short").into());
        }
        let head_dim_where = |is_full: bool| {
            let found = heads
                .iter()
                .zip(windows)
                .find(|(_, window)| window.is_none() == is_full)
                .or(heads.iter().zip(windows).next());
            found.map_or(0, |(heads, _)| heads.head_dim)
        };
        let head_dim = head_dim_where(true);
        // `rope_parameters` (transformers 5), or `rope_scaling` beside `rope_theta` (transformers 4), which comes first.
        let object = |key: &str| self.get(key).and_then(Value::as_object);
        let (current, old) = (object("rope_parameters"), object("rope_scaling"));
        if self.family.rope_by_type {
            return self.rotary_of_types(current, context, [head_dim, head_dim_where(false)], windows);
        }
        if let Some(theta) = self.family.base_in_windows {
            return self.rotary_by_type([current, old], theta, [context, head_dim], windows);
        }
        let parameters = old.filter(|old| !old.is_empty()).or(current);
        let of_type = |layer_type: &str| parameters.and_then(|parameters| parameters.get(layer_type)?.as_object());
        let by_layer = BY_LAYER.map(of_type);
        if by_layer.iter().any(Option::is_some) && !self.family.reads("rope_local_base_freq") {
            return Err(self.unsupported("rotary embeddings by the type of layer (`rope_parameters`)".into()).into());
        }
        let full = self.rope(by_layer[0].or(parameters), "rope_theta", context, head_dim)?;
        let local = match by_layer[1] {
            Some(parameters) => Some(self.rope(Some(parameters), "rope_local_base_freq", context, head_dim)?),
            None => self.float("rope_local_base_freq").map(|theta| Rope {
                theta,
                dim: full.dim,
                scaling: RopeScaling::None,
                query_growth: None,
            }),
        };
        if let Some(rotary) = self.rotary_by_theta(&full, windows.len())? {
            return Ok(rotary);
        }
        let rotary = Rotary::new(full, local, windows, |layer| self.is_rotary(layer, windows[layer]));
        Ok(match self.growth_without_rotation(head_dim) {
            Some(still) => rotary.with_others(still),
            None => rotary,
        })
    }

    /// The embeddings of a family that gives each layer a base, 0 being none (`layer_rope_theta`).
    fn rotary_by_theta(&self, rope: &Rope, layers: usize) -> Result<Option<Rotary>> {
        let Some(list) = self.get("layer_rope_theta").and_then(Value::as_array) else { return Ok(None) };
        let bases: Option<Vec<f64>> = list.iter().map(|base| base.as_f64().filter(|base| *base >= 0.0)).collect();
        let bases = bases.filter(|bases| bases.len() >= layers);
        let bases = bases.ok_or_else(|| self.problem("layer_rope_theta", "has not one base for each layer"))?;
        let mut rotary = Rotary::default();
        for theta in bases.into_iter().take(layers) {
            let known = rotary.ropes.iter().position(|rope| rope.theta == theta);
            if known.is_none() && theta > 0.0 {
                rotary.ropes.push(Rope { theta, ..rope.clone() });
            }
            let place = known.unwrap_or(rotary.ropes.len().saturating_sub(1));
            rotary.by_layer.push((theta > 0.0).then_some(place));
        }
        Ok(Some(rotary))
    }

    /// How queries grow in layers without rotary embedding, as an embedding that does not rotate.
    fn growth_without_rotation(&self, head_dim: usize) -> Option<Rope> {
        let (is_on, per_fold) = (self.flag("attn_temperature_tuning") == Some(true), self.float("attn_scale"));
        let growth = QueryGrowth { per_fold: per_fold?, context: self.float("floor_scale")?, first: 1 };
        let still = Rope { theta: 1.0, dim: head_dim, scaling: RopeScaling::Still, query_growth: Some(growth) };
        is_on.then_some(still)
    }

    /// The embeddings of a family in which parameters count by the type of layer alone (`convert_rope_params_to_dict` of OLMo 3).
    fn rotary_by_type(
        &self,
        [current, old]: [Option<&Map<String, Value>>; 2],
        base_in_windows: f64,
        [context, head_dim]: [usize; 2],
        windows: &[Option<usize>],
    ) -> Result<Rotary> {
        let of_type = |layer_type: &str| current.and_then(|current| current.get(layer_type)?.as_object()).cloned();
        let [full, local] = BY_LAYER.map(of_type);
        let mut full = full.unwrap_or_default();
        full.extend(old.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        let full = self.rope(Some(&full), "rope_theta", context, head_dim)?;
        let mut local = local.unwrap_or_default();
        local.entry("rope_theta").or_insert_with(|| base_in_windows.into());
        let local = self.rope(Some(&local), "rope_theta", context, head_dim)?;
        Ok(Rotary::new(full, Some(local), windows, |layer| self.is_rotary(layer, windows[layer])))
    }

    /// The embeddings of a family in which each type of layer has parameters of its own, and the whole has none.
    fn rotary_of_types(
        &self,
        parameters: Option<&Map<String, Value>>,
        context: usize,
        [full_dim, local_dim]: [usize; 2],
        windows: &[Option<usize>],
    ) -> Result<Rotary> {
        let usual = [
            serde_json::json!({"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25}),
            serde_json::json!({"rope_type": "default", "rope_theta": 1e4}),
        ];
        let of_type = |place: usize| match parameters {
            Some(parameters) => parameters.get(BY_LAYER[place]).and_then(Value::as_object),
            None => usual[place].as_object(),
        };
        let rope = |place: usize, head_dim: usize| -> Result<Option<Rope>> {
            let is_used = windows.iter().any(|window| window.is_none() == (place == 0));
            match of_type(place) {
                Some(parameters) if parameters.contains_key("rope_theta") => {
                    self.rope(Some(parameters), "rope_theta", context, head_dim).map(Some)
                }
                _ if is_used => Err(self.problem("rope_parameters", "lacks the parameters of a type of layer").into()),
                _ => Ok(None),
            }
        };
        let (full, local) = (rope(0, full_dim)?, rope(1, local_dim)?);
        Ok(match (full, local) {
            (Some(full), local) => Rotary::new(full, local, windows, |_| true),
            (None, Some(local)) => Rotary::new(local, None, windows, |_| true),
            (None, None) => Rotary::none(windows.len()),
        })
    }

    /// Whether a layer with this window has rotary embedding. SmolLM3 leaves it out of some layers: `no_rope_layers` has 0
    /// for them, or they come at an interval.
    pub fn is_rotary(&self, layer: usize, window: Option<usize>) -> bool {
        let usual = match self.family.rotary_layers {
            RotaryLayers::All => return true,
            RotaryLayers::InWindows => return window.is_some(),
            RotaryLayers::InWindowsOrDense => return window.is_some() || self.is_rotary_without_experts(layer),
            RotaryLayers::InWindowsIfAny => return window.is_some() || self.float("sliding_window").is_none(),
            RotaryLayers::AllButEvery(interval) => interval,
        };
        let interval = self.float("no_rope_layer_interval").map_or(usual, |interval| interval as usize);
        let used = self.get("no_rope_layers").and_then(Value::as_array);
        if let Some(used) = used.filter(|used| !used.is_empty()) {
            return !used.get(layer).is_some_and(|used| *used == 0 || *used == Value::Bool(false));
        }
        !(layer + 1).is_multiple_of(interval)
    }

    /// Whether a layer without a window has rotary embedding because it has no experts.
    fn is_rotary_without_experts(&self, layer: usize) -> bool {
        let is_dense = self.sparse_layers(layer + 1).is_ok_and(|sparse| !sparse.contains(&layer));
        is_dense && self.float("prefix_dense_sliding_window_pattern") == Some(1.0)
    }

    /// The part of each head that is rotated, if the family rotates parts.
    fn rotary_part(&self, head_dim: usize) -> Option<f64> {
        // MiniMax M2 gives the size.
        let by_size = self.float("rotary_dim").map(|size| size / head_dim as f64);
        let is_given = self.get("partial_rotary_factor").is_some();
        by_size.filter(|_| !is_given).or_else(|| self.float("partial_rotary_factor"))
    }

    /// One rotary embedding from its parameters, or from the fields of the configuration for those it lacks.
    fn rope(
        &self,
        parameters: Option<&Map<String, Value>>,
        theta: &str,
        context: usize,
        head_dim: usize,
    ) -> Result<Rope> {
        let account = parameters.map(Account::of);
        let value = |key: &str| account.as_ref().and_then(|account| account.get(key));
        let number = |key: &str| value(key).and_then(Value::as_f64);
        if ["rope_theta", "rope_type"].iter().any(|key| value(key).is_some_and(Value::is_null)) {
            return Err(self.problem("rope_parameters", "has a null in place of its base or its type").into());
        }
        let theta = match self.family.base_without_parameters.filter(|_| parameters.is_none()) {
            Some(base) => base,
            None => number("rope_theta").or_else(|| self.float(theta)).unwrap_or(10_000.0),
        };
        let own = self.rotary_part(head_dim);
        let part = own.map_or(1.0, |own| number("partial_rotary_factor").unwrap_or(own));
        let name = value("rope_type").or(value("type"));
        if name.is_some_and(|name| !name.is_string() && !name.is_null()) {
            return Err(self.problem("rope_type", "is not a name").into());
        }
        let name = name.and_then(Value::as_str);
        let need = |key: &'static str| number(key).ok_or_else(|| self.problem(key, "is missing"));
        let list = |key: &'static str| {
            let list = value(key).and_then(Value::as_array);
            let numbers = list.and_then(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
            numbers.ok_or_else(|| self.problem(key, "is not a list of numbers"))
        };
        // Phi-3 keeps the original context outside the parameters, and there it takes precedence.
        let original_context = self
            .float("original_max_position_embeddings")
            .or(number("original_max_position_embeddings"))
            .unwrap_or(context as f64);
        // The first Phi-3 files called it `su`, the next ones `yarn`.
        let name = match name.unwrap_or("default") {
            "su" => "longrope",
            "yarn" if parameters.is_some_and(|parameters| parameters.contains_key("long_factor")) => "longrope",
            name => name,
        };
        if own.is_none()
            && !["default", "proportional"].contains(&name)
            && number("partial_rotary_factor").is_some_and(|part| part != 1.0)
        {
            return Err(self.unsupported("a scaled rotary embedding on a part of each head".into()).into());
        }
        let alpha = value("alpha").filter(|_| self.family.has_rope_alpha && name == "dynamic");
        let alpha = match alpha.map(|alpha| alpha.as_f64().ok_or_else(|| self.problem("alpha", "is not a number"))) {
            Some(alpha) => Some(alpha?).filter(|alpha| *alpha != 0.0),
            None => None,
        };
        if alpha.is_some_and(|alpha| alpha <= 0.0) {
            return Err(self.problem("alpha", "is not a positive number").into());
        }
        if alpha.is_some() {
            // Published files have them beside it, and the base alone counts.
            for key in ["factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"] {
                value(key);
            }
        }
        let dim = head_dim as f64;
        let theta = alpha.map_or(theta, |alpha| theta * alpha.powf(dim / (dim - 2.0)));
        let scaling = match name {
            "dynamic" if alpha.is_some() => RopeScaling::None,
            // With text alone the three positions of a multimodal rotary embedding are one.
            "default" | "mrope" if parameters.is_none() => self.family.rope_scaling.clone(),
            "default" | "mrope" => RopeScaling::None,
            "proportional" => {
                let part = number("partial_rotary_factor").unwrap_or(1.0);
                let pairs = (part * head_dim as f64 / 2.0).floor();
                RopeScaling::Proportional { pairs: pairs as usize, factor: number("factor").unwrap_or(1.0) }
            }
            // transformers takes the frequencies of short sequences for all.
            "longrope" if self.family.reads("short_mscale") => RopeScaling::LongRope {
                short: list("short_factor")?,
                long: list("long_factor").and_then(|_| list("short_factor"))?,
                factor: 1.0,
                original_context,
                attention_factor: None,
                factors: Some((need("short_mscale")?, need("long_mscale")?)),
            },
            other if self.family.reads("short_mscale") => {
                return Err(self.unsupported(format!("the rope type `{other}`")).into());
            }
            "linear" => RopeScaling::Linear { factor: need("factor")? },
            "dynamic" => RopeScaling::Dynamic { factor: need("factor")?, context: context as f64 },
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_context,
            },
            "yarn" => RopeScaling::Yarn {
                factor: need("factor")?,
                original_context,
                beta_fast: number("beta_fast").unwrap_or(32.0),
                beta_slow: number("beta_slow").unwrap_or(1.0),
                truncate: value("truncate").is_none_or(|truncate| *truncate == Value::Bool(true)),
                attention_factor: number("attention_factor"),
                mscale: number("mscale").zip(number("mscale_all_dim")),
            },
            "longrope" => RopeScaling::LongRope {
                short: list("short_factor")?,
                long: list("long_factor")?,
                factor: number("factor").unwrap_or(context as f64 / original_context),
                original_context,
                attention_factor: number("attention_factor"),
                factors: None,
            },
            other => {
                return Err(self.unsupported(format!("the rope type `{other}`")).into());
            }
        };
        let query_growth = match self.family.query_growth {
            Some(_) if parameters.is_some() => {
                Some(QueryGrowth { per_fold: need("llama_4_scaling_beta")?, context: original_context, first: 0 })
            }
            growth => growth,
        };
        if let Some(account) = account {
            let known: Vec<Harmless> =
                HARMLESS.iter().copied().chain(BY_LAYER.map(|name| (name, "read before"))).collect();
            self.unread_rope_keys.borrow_mut().extend(account.unread(&known).into_iter().map(String::from));
        }
        let dim = match self.family.number("rotary_dim") {
            Some(_) => self.size("rotary_dim")?,
            None => (dim * part) as usize,
        };
        Ok(Rope { theta, dim, scaling, query_growth })
    }

    /// Names the rotary parameters that nobody asked for.
    pub fn unread_rope_keys(&self) -> Option<String> {
        let unread: Vec<String> = self.unread_rope_keys.borrow().iter().cloned().collect();
        let names = first_names(&unread, NAMED);
        (!unread.is_empty())
            .then(|| format!("`{}` has rotary parameters that are not used: {names}", self.path.display()))
    }
}
