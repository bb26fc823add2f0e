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

/// What there is to know of a method.
struct MethodRow {
    method: Method,
    /// `peft_type` in `adapter_config.json`.
    peft_type: &'static str,
    name: &'static str,
    /// The keys of the configuration that hold rank and alpha, if the method has such numbers, with what PEFT takes where they are not
    /// there.
    keys: [Option<NumberKey>; 2],
}

/// A key that holds a number, and its default.
type NumberKey = (&'static str, u64);

const fn row(method: Method, peft_type: &'static str, name: &'static str, keys: [Option<NumberKey>; 2]) -> MethodRow {
    MethodRow { method, peft_type, name, keys }
}

/// In the order of [`Method`].
static METHODS: [MethodRow; 11] = [
    row(Method::Lora, "LORA", "LoRA", [Some(("r", 8)), Some(("lora_alpha", 8))]),
    // The rank that remains of `init_r` differs from module to module.
    row(Method::AdaLora, "ADALORA", "AdaLoRA", [Some(("init_r", 12)), Some(("lora_alpha", 8))]),
    row(Method::LoHa, "LOHA", "LoHa", [Some(("r", 8)), Some(("alpha", 8))]),
    row(Method::LoKr, "LOKR", "LoKr", [Some(("r", 8)), Some(("alpha", 8))]),
    row(Method::Ia3, "IA3", "IA3", [None, None]),
    row(Method::Oft, "OFT", "OFT", [None, None]),
    row(Method::Boft, "BOFT", "BOFT", [None, None]),
    row(Method::Hra, "HRA", "HRA", [Some(("r", 8)), None]),
    row(Method::FourierFt, "FOURIERFT", "FourierFT", [None, None]),
    row(Method::Miss, "MISS", "MiSS", [Some(("r", 64)), None]),
    row(Method::Vera, "VERA", "VeRA", [Some(("r", 256)), None]),
];

impl Method {
    /// In the order of the table.
    pub const ALL: [Method; 11] = [
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

    pub fn peft_type(self) -> &'static str {
        METHODS[self as usize].peft_type
    }

    pub fn name(self) -> &'static str {
        METHODS[self as usize].name
    }

    /// The key of the configuration that holds the rank, if the method has one.
    pub fn rank_key(self) -> Option<&'static str> {
        METHODS[self as usize].keys[0].map(|(key, _)| key)
    }

    /// The key of the configuration that holds alpha, if the method has one.
    pub fn alpha_key(self) -> Option<&'static str> {
        METHODS[self as usize].keys[1].map(|(key, _)| key)
    }

    /// The keys of rank and alpha with their defaults in PEFT 0.21.2.
    pub fn number_keys(self) -> impl Iterator<Item = (&'static str, u64)> {
        METHODS[self as usize].keys.iter().flatten().copied()
    }

    /// Whether the configuration may have `layers_to_transform`; otherwise it has to name modules in full.
    pub const fn selects_layers(self) -> bool {
        !matches!(self, Self::Ia3)
    }

    /// Whether the change of a weight is a product of two matrices.
    pub const fn is_low_rank(self) -> bool {
        matches!(self, Self::Lora | Self::AdaLora)
    }

    /// Whether the configuration may have `rank_pattern` and `alpha_pattern`.
    pub const fn has_patterns(self) -> bool {
        matches!(self, Self::Lora | Self::AdaLora | Self::LoHa | Self::LoKr)
    }

    /// Whether a tensor of this part belongs to the method.
    pub fn has(self, part: Part) -> bool {
        match self {
            Self::Lora => !matches!(part, Part::LoraE | Part::Factor(_)),
            Self::AdaLora => matches!(part, Part::LoraA | Part::LoraB | Part::LoraE),
            Self::LoHa => matches!(part, Part::Factor(name) if name.starts_with("hada_")),
            Self::LoKr => matches!(part, Part::Factor(name) if name.starts_with("lokr_")),
            Self::Ia3 => part == Part::Factor("ia3_l"),
            Self::Oft => part == Part::Factor("oft_R"),
            Self::Boft => matches!(part, Part::Factor("boft_R" | "boft_s")),
            Self::Hra => part == Part::Factor("hra_u"),
            Self::FourierFt => part == Part::Factor("fourierft_spectrum"),
            Self::Miss => part == Part::Factor("miss_block"),
            Self::Vera => matches!(part, Part::Factor("vera_lambda_b" | "vera_lambda_d")),
        }
    }

    /// The method of a `peft_type`, if it is one of these.
    pub fn by_peft_type(peft_type: &str) -> Option<Self> {
        METHODS.iter().find(|row| row.peft_type == peft_type).map(|row| row.method)
    }

    /// All types of adapters that can be read, for messages.
    pub fn known_types() -> String {
        METHODS.iter().map(|row| row.peft_type).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_at_the_place_of_its_method() {
        assert!(METHODS.iter().enumerate().all(|(place, row)| row.method as usize == place));
        assert!(METHODS.iter().map(|row| row.method).eq(Method::ALL));
    }
}
