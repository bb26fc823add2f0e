//! The methods of PEFT as data: what they are called, which numbers their configuration has, what can be done with them.

use crate::adapter::names::Part;

/// A method of PEFT that trains something in each module it wraps.
#[derive(Debug, PartialEq)]
pub struct Method {
    /// `peft_type` in `adapter_config.json`.
    pub peft_type: &'static str,
    pub name: &'static str,
    /// The keys of rank and alpha, where the method has such numbers.
    pub rank: Option<&'static str>,
    pub alpha: Option<&'static str>,
    /// Whether the configuration knows `layers_to_transform`; else modules are named in full.
    pub selects_layers: bool,
    /// Whether its change of the weights is a closed formula that the sweep computes.
    pub is_evaluated: bool,
}

const LORA: Method = Method {
    peft_type: "LORA",
    name: "LoRA",
    rank: Some("r"),
    alpha: Some("lora_alpha"),
    selects_layers: true,
    is_evaluated: true,
};
const OTHER: Method = Method { rank: None, alpha: None, is_evaluated: false, ..LORA };

static METHODS: [Method; 11] = [
    LORA,
    // What is left of the initial rank differs from module to module.
    Method { peft_type: "ADALORA", name: "AdaLoRA", rank: Some("init_r"), ..LORA },
    Method { peft_type: "LOHA", name: "LoHa", alpha: Some("alpha"), ..LORA },
    Method { peft_type: "LOKR", name: "LoKr", alpha: Some("alpha"), ..LORA },
    Method { peft_type: "IA3", name: "IA3", selects_layers: false, ..OTHER },
    Method { peft_type: "OFT", name: "OFT", ..OTHER },
    Method { peft_type: "BOFT", name: "BOFT", ..OTHER },
    Method { peft_type: "HRA", name: "HRA", rank: Some("r"), ..OTHER },
    Method { peft_type: "FOURIERFT", name: "FourierFT", ..OTHER },
    Method { peft_type: "MISS", name: "MiSS", rank: Some("r"), ..OTHER },
    Method { peft_type: "VERA", name: "VeRA", rank: Some("r"), ..OTHER },
];

impl Method {
    /// Whether a tensor of this part belongs to the method. Only known of those that are evaluated.
    pub fn has(&self, part: Part) -> bool {
        match (self.peft_type, part) {
            ("LORA", Part::Factor(_)) => false,
            ("ADALORA", Part::Factor(name)) => name == "lora_E",
            ("ADALORA", part) => matches!(part, Part::LoraA | Part::LoraB),
            ("LOHA", part) => matches!(part, Part::Factor(name) if name.starts_with("hada_")),
            ("LOKR", part) => matches!(part, Part::Factor(name) if name.starts_with("lokr_")),
            _ => true,
        }
    }
}

/// The method of a `peft_type`, unless it is none of these.
pub fn by_peft_type(peft_type: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.peft_type == peft_type)
}

/// The known types, for messages.
pub fn known() -> String {
    METHODS.iter().map(|method| method.peft_type).collect::<Vec<_>>().join(", ")
}
