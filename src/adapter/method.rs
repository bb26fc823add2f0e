//! The methods of PEFT: what they are called, which numbers their configurations have, which tensors are theirs.
//!
//! What can be done with an adapter of a method is in [`Capability`](super::Capability).

use super::names::Part;

/// A method of PEFT that trains parameters in each module that it wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Lora,
    AdaLora,
    LoHa,
    LoKr,
    Ia3,
    Oft,
    Boft,
    Hra,
    FourierFt,
    Miss,
    Vera,
}

/// What a configuration of a method has.
struct Description {
    /// `peft_type` in `adapter_config.json`.
    peft_type: &'static str,
    name: &'static str,
    rank_key: Option<&'static str>,
    alpha_key: Option<&'static str>,
}

impl Method {
    pub const ALL: [Self; 11] = [
        Self::Lora,
        Self::AdaLora,
        Self::LoHa,
        Self::LoKr,
        Self::Ia3,
        Self::Oft,
        Self::Boft,
        Self::Hra,
        Self::FourierFt,
        Self::Miss,
        Self::Vera,
    ];

    const fn description(self) -> Description {
        let (peft_type, name, rank_key, alpha_key) = match self {
            Self::Lora => ("LORA", "LoRA", Some("r"), Some("lora_alpha")),
            // The rank that remains of `init_r` differs from module to module.
            Self::AdaLora => ("ADALORA", "AdaLoRA", Some("init_r"), Some("lora_alpha")),
            Self::LoHa => ("LOHA", "LoHa", Some("r"), Some("alpha")),
            Self::LoKr => ("LOKR", "LoKr", Some("r"), Some("alpha")),
            Self::Ia3 => ("IA3", "IA3", None, None),
            Self::Oft => ("OFT", "OFT", None, None),
            Self::Boft => ("BOFT", "BOFT", None, None),
            Self::Hra => ("HRA", "HRA", Some("r"), None),
            Self::FourierFt => ("FOURIERFT", "FourierFT", None, None),
            Self::Miss => ("MISS", "MiSS", Some("r"), None),
            Self::Vera => ("VERA", "VeRA", Some("r"), None),
        };
        Description { peft_type, name, rank_key, alpha_key }
    }

    pub const fn peft_type(self) -> &'static str {
        self.description().peft_type
    }

    pub const fn name(self) -> &'static str {
        self.description().name
    }

    /// The key of the configuration that holds the rank, if the method has one.
    pub const fn rank_key(self) -> Option<&'static str> {
        self.description().rank_key
    }

    /// The key of the configuration that holds alpha, if the method has one.
    pub const fn alpha_key(self) -> Option<&'static str> {
        self.description().alpha_key
    }

    /// Whether the configuration may have `layers_to_transform`; otherwise it has to name modules in full.
    pub const fn selects_layers(self) -> bool {
        !matches!(self, Self::Ia3)
    }

    /// Whether the change of a weight is a product of two matrices.
    pub const fn is_low_rank(self) -> bool {
        matches!(self, Self::Lora | Self::AdaLora)
    }

    /// Whether a tensor of this part belongs to the method. Known only of methods that can be evaluated; true of all others.
    pub fn has(self, part: Part) -> bool {
        match self {
            Self::Lora => !matches!(part, Part::LoraE | Part::Factor(_)),
            Self::AdaLora => matches!(part, Part::LoraA | Part::LoraB | Part::LoraE),
            Self::LoHa => matches!(part, Part::Factor(name) if name.starts_with("hada_")),
            Self::LoKr => matches!(part, Part::Factor(name) if name.starts_with("lokr_")),
            _ => true,
        }
    }

    /// The method of a `peft_type`, if it is one of these.
    pub fn by_peft_type(peft_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.peft_type() == peft_type)
    }

    /// All types of adapters that can be read, for messages.
    pub fn known_types() -> String {
        Self::ALL.map(Self::peft_type).join(", ")
    }
}
