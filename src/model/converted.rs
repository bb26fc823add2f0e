//! What PEFT makes of LoRA on single experts.
//!
//! transformers 5 has one parameter for the matrices of all experts of a layer. PEFT turns LoRA that was trained on single experts into
//! LoRA on that parameter, but not for every model type, and where it does, it takes the names in `target_modules` for those of the
//! experts alone: modules of the same names beside them are not wrapped any more (`transformers_weight_conversion.py`).

use super::Model;
use crate::adapter::targets::{MovedModule, TargetModules, last_segment};
use crate::adapter::{Adapter, Method, Module};

/// The names in `target_modules` that PEFT 0.21.2 takes for those of experts, with the model types of transformers 5.24.
#[rustfmt::skip]
const CONVERTED: [(&[&str], &[&str]); 2] = [
    (&["gate_proj", "up_proj", "down_proj"], &[
        "afmoe", "cohere2_moe", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "ernie4_5_moe", "exaone_moe", "flex_olmo",
        "glm4_moe", "glm4_moe_lite", "glm4v_moe", "glm_moe_dsa", "hunyuan_v1_moe", "longcat_flash", "mellum", "olmoe", "qwen3_moe",
        "qwen3_next", "solar_open",
    ]),
    (&["w1", "w2", "w3"], &["minimax", "minimax_m2", "mixtral"]),
];

/// Model types whose experts became one parameter, too, and whose names in `target_modules` PEFT does not convert. It does convert
/// the tensors of the first, so that those that `target_parameters` names are loaded.
const UNCONVERTED: [&[&str]; 2] = [
    &["lfm2_moe", "nemotron_h", "phimoe", "qwen2_moe", "qwen3_5_moe_text", "qwen3_vl_moe"],
    &["qwen3_5_moe", "qwen3_vl_moe_text"],
];

/// What PEFT refuses beside LoRA on parameters, and why that is so for single experts.
const NOT_OF_PARAMETERS: [(&str, &str); 3] = [
    (
        "lora_dropout",
        "`lora_dropout` is not 0, which PEFT refuses for experts with transformers 5; it only counts in training and can be set to 0",
    ),
    ("use_dora", "DoRA on experts, which are a parameter in transformers 5"),
    ("lora_bias", "`lora_bias` on experts, which are a parameter in transformers 5"),
];

impl Model {
    fn is_of(&self, types: &[&str]) -> bool {
        let own = self.names.model_type.as_deref().unwrap_or(self.config.family.model_types[0]);
        types.contains(&own)
    }

    /// Whether PEFT converts the tensors of single experts, and not their names in `target_modules`. That holds for all multimodal
    /// models around a text model whose names it would convert, unless they are listed themselves.
    fn converts_tensors_alone(&self) -> bool {
        let [of_names, of_all] = UNCONVERTED;
        let text = self.config.family.model_types;
        let is_text = self.names.model_type.as_deref().is_none_or(|own| text.contains(&own));
        let converted = || CONVERTED.iter().flat_map(|(_, types)| *types).chain(of_names);
        self.is_of(of_names) || !is_text && !self.is_of(of_all) && converted().any(|one| text.contains(one))
    }

    /// Whether PEFT leaves a module out because it converts the names of experts, or does not.
    pub(super) fn is_lost_in_conversion(&self, adapter: &Adapter, module: &Module) -> bool {
        let is_parameter = adapter.config.targets.wraps_by_parameter(&module.name);
        let [_, of_all] = UNCONVERTED;
        match MovedModule::parse(&module.name) {
            _ if adapter.config.method != Method::Lora => false,
            Some(moved) => moved.is_expert() && (self.is_of(of_all) || self.converts_tensors_alone() && !is_parameter),
            None if is_parameter => false,
            None => {
                CONVERTED.iter().any(|(names, types)| names.contains(&last_segment(&module.name)) && self.is_of(types))
            }
        }
    }

    /// Why PEFT refuses to convert an adapter, if it does.
    pub fn refused_conversion(&self, adapter: &Adapter) -> Option<&'static str> {
        let config = &adapter.config;
        if config.method != Method::Lora {
            return None;
        }
        let names = |name: &str| match &config.targets.modules {
            TargetModules::List(list) => list.iter().any(|target| last_segment(target) == name),
            // The modules with tensors are those that a pattern matched.
            _ => adapter.modules().keys().any(|module| last_segment(module) == name),
        };
        let is_half = |[gate, up]: [&str; 2]| names(gate) != names(up);
        let halves = [["gate_proj", "up_proj"], ["w1", "w3"]].into_iter().zip(CONVERTED);
        if halves.into_iter().any(|(pair, (_, types))| self.is_of(types) && is_half(pair)) {
            return Some(
                "`target_modules` has one of gate and up without the other, which are one parameter of the experts in transformers 5",
            );
        }
        let is_moved = |module: &String| MovedModule::parse(module).is_some();
        let has_moved = adapter.modules().keys().any(is_moved);
        let is_named = CONVERTED.iter().any(|(own, types)| self.is_of(types) && own.iter().any(|name| names(name)));
        let is_converted = CONVERTED.iter().any(|(_, types)| self.is_of(types)) && (has_moved || is_named);
        if let Some((_, why)) = NOT_OF_PARAMETERS.iter().find(|(key, _)| is_converted && config.is_set_to_more(key)) {
            return Some(why);
        }
        let is_router = |module: &String| MovedModule::parse(module).is_some_and(|moved| !moved.is_expert());
        let has_router = names("gate") && adapter.modules().keys().any(is_router);
        (has_router && (self.converts_tensors_alone() || self.is_of(UNCONVERTED[1])))
            .then_some("`target_modules` names the router, which is no linear module in transformers 5")
    }

    /// What PEFT computes otherwise of single experts that it converts, one sentence each.
    pub(super) fn conversion_remarks(&self, adapter: &Adapter) -> Vec<String> {
        let is_expert = |module: &&Module| MovedModule::parse(&module.name).is_some_and(|moved| moved.is_expert());
        let experts: Vec<&Module> = adapter.modules().values().filter(is_expert).collect();
        let is_converted = CONVERTED.iter().any(|(_, types)| self.is_of(types));
        let config = &adapter.config;
        let trained = "the losses are those of the adapter as it was trained";
        if let Some(why) = self.refused_conversion(adapter) {
            return vec![format!("PEFT refuses this adapter: {why}; {trained}")];
        }
        if experts.is_empty() || !is_converted || config.method != Method::Lora {
            return Vec::new();
        }
        let stabilised = config.is_rank_stabilised().then(|| {
            format!("with rsLoRA, PEFT makes gate and up of single experts √2 times as strong with transformers 5: {trained}")
        });
        let has_own_alpha = |module: &&Module| Some(config.alpha_of(&module.name)) != config.alpha;
        let patterns = experts.iter().copied().find(has_own_alpha).map(|module| {
            let name = &module.name;
            format!("PEFT ignores `alpha_pattern` for single experts such as `{name}` with transformers 5: {trained}")
        });
        stabilised.into_iter().chain(patterns).collect()
    }
}
