//! The rotary embeddings that a `config.json` describes, for the whole model or for each type of layer.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::ropes_by_window;
use crate::error::Result;
use crate::model::family::Positions;
use crate::model::rope::{Rope, Scaling};

impl Fields<'_> {
    /// The rotary embeddings, and for each layer the place of its own.
    pub fn ropes(
        &self,
        context: usize,
        head_dim: usize,
        windows: &[Option<usize>],
    ) -> Result<(Vec<Rope>, Vec<Option<usize>>)> {
        if !matches!(self.family.positions, Positions::Rotary | Positions::RotaryNeighbours) {
            return Ok((Vec::new(), vec![None; windows.len()]));
        }
        // `rope_parameters` (transformers 5), or `rope_scaling` beside `rope_theta` (transformers 4).
        let parameters = ["rope_parameters", "rope_scaling"].into_iter().find_map(|key| self.get(key)?.as_object());
        let of_type = |layer_type: &str| parameters.and_then(|parameters| parameters.get(layer_type)?.as_object());
        let full = self.rope(of_type("full_attention").or(parameters), "rope_theta", context, head_dim)?;
        let local = match of_type("sliding_attention") {
            Some(parameters) => Some(self.rope(Some(parameters), "rope_local_base_freq", context, head_dim)?),
            None => {
                self.float("rope_local_base_freq").map(|theta| Rope { theta, dim: full.dim, scaling: Scaling::None })
            }
        };
        let (ropes, mut places) = ropes_by_window(full, local, windows);
        for (layer, place) in places.iter_mut().enumerate() {
            let windowless = self.family.ropes_only_in_windows && windows[layer].is_none();
            if windowless || !self.has_rope(layer) {
                *place = None;
            }
        }
        Ok((ropes, places))
    }

    /// SmolLM3 leaves rotary embedding out of some layers: `no_rope_layers` has 0 for them, or they come at an interval.
    pub fn has_rope(&self, layer: usize) -> bool {
        match self.get("no_rope_layers").and_then(Value::as_array) {
            Some(used) => !used.get(layer).is_some_and(|used| *used == 0 || *used == Value::Bool(false)),
            None => {
                self.own_float("no_rope_layer_interval").is_none_or(|every| !(layer + 1).is_multiple_of(every as usize))
            }
        }
    }

    /// One rotary embedding from its parameters, or from the fields of the configuration where it has none.
    fn rope(
        &self,
        parameters: Option<&Map<String, Value>>,
        theta: &str,
        context: usize,
        head_dim: usize,
    ) -> Result<Rope> {
        let number = |key: &str| parameters.and_then(|parameters| parameters.get(key)?.as_f64());
        let theta = number("rope_theta").or_else(|| self.float(theta)).unwrap_or(10_000.0);
        let own = self.own_float("partial_rotary_factor");
        let part = own.map_or(1.0, |own| number("partial_rotary_factor").unwrap_or(own));
        let name = parameters.and_then(|parameters| parameters.get("rope_type").or(parameters.get("type")));
        if name.is_some_and(|name| !name.is_string() && !name.is_null()) {
            return Err(self.problem("rope_type", "is not a name").into());
        }
        let name = name.and_then(Value::as_str);
        let need = |key: &'static str| number(key).ok_or_else(|| self.problem(key, "is missing"));
        let list = |key: &'static str| {
            let list = parameters.and_then(|parameters| parameters.get(key)?.as_array());
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
        let scaling = match name {
            // With text alone the three positions of a multimodal rotary embedding are one.
            "default" | "mrope" => Scaling::None,
            "linear" => Scaling::Linear { factor: need("factor")? },
            "dynamic" => Scaling::Dynamic { factor: need("factor")?, context: context as f64 },
            "llama3" => Scaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_context,
            },
            "yarn" => Scaling::Yarn {
                factor: need("factor")?,
                original_context,
                beta_fast: number("beta_fast").unwrap_or(32.0),
                beta_slow: number("beta_slow").unwrap_or(1.0),
                truncate: parameters.and_then(|p| p.get("truncate")?.as_bool()).unwrap_or(true),
                attention_factor: number("attention_factor"),
                mscale: number("mscale").zip(number("mscale_all_dim")),
            },
            "longrope" => Scaling::LongRope {
                short: list("short_factor")?,
                long: list("long_factor")?,
                factor: number("factor").unwrap_or(context as f64 / original_context),
                original_context,
                attention_factor: number("attention_factor"),
            },
            other => {
                return Err(self.unsupported(format!("the rope type `{other}`")).into());
            }
        };
        Ok(Rope { theta, dim: (head_dim as f64 * part) as usize, scaling })
    }
}
