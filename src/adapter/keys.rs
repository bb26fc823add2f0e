//! What the keys of `adapter_config.json` are to this program.
//!
//! A key is read where the configuration is parsed, read by another room ([`READ_ELSEWHERE`]), known to change nothing in a finished
//! adapter ([`HARMLESS`], [`of_method`]), or named to the user. The tables have every field of the configurations of PEFT 0.21.2.

use super::Method;
use crate::account::{Account, Harmless};
use crate::format::first_names;

/// Keys that are read, but not where the configuration is parsed.
const READ_ELSEWHERE: [Harmless; 7] = [
    ("base_model_name_or_path", "names the base model"),
    ("revision", "names the revision of the base model"),
    ("bias", "says which biases the tensors hold"),
    ("init_lora_weights", "says whether the base weights were changed, too"),
    ("ensure_weight_tying", "read where embedding and head are put together"),
    ("fan_in_fan_out", "PEFT corrects it to the layer; the factors have the same shapes either way"),
    ("feedforward_modules", "IA3 is not computed; a cut restricts it"),
];

/// Keys of every method that change nothing in a finished adapter.
const HARMLESS: [Harmless; 8] = [
    ("task_type", "chooses PEFT's wrapper of the model, which computes the same"),
    ("auto_mapping", "names the class of the base model"),
    ("peft_version", "says which version wrote the file"),
    ("inference_mode", "says whether the adapter is frozen"),
    ("runtime_config", "PEFT ignores it in a file"),
    ("megatron_core", "only counts with `megatron_config`"),
    ("init_weights", "how training began"),
    ("module_dropout", "only counts in training"),
];

/// Keys of LoRA that change nothing in a finished adapter.
const OF_LORA: [Harmless; 7] = [
    ("lora_dropout", "only counts in training"),
    ("loftq_config", "how training began; `init_lora_weights` says so, too"),
    ("eva_config", "how training began"),
    ("corda_config", "how training began; `init_lora_weights` says so, too"),
    ("lora_ga_config", "how training began; `init_lora_weights` says so, too"),
    ("velora_config", "compresses what the backward pass needs"),
    ("qalora_group_size", "only counts with `use_qalora`"),
];

const OF_ADALORA: [Harmless; 9] = [
    ("r", "AdaLoRA trains with `init_r`"),
    ("target_r", "the tensors have the rank that is left"),
    ("tinit", "when training pruned ranks"),
    ("tfinal", "when training pruned ranks"),
    ("deltaT", "when training pruned ranks"),
    ("beta1", "how training chose the ranks"),
    ("beta2", "how training chose the ranks"),
    ("orth_reg_weight", "a term of the loss of training"),
    ("total_step", "when training pruned ranks"),
];

const OF_LOHA: [Harmless; 2] = [
    ("rank_dropout", "only counts in training"),
    ("use_effective_conv2d", "the shapes of convolutions, which are not computed"),
];

const OF_LOKR: [Harmless; 5] = [
    ("rank_dropout", "only counts in training"),
    ("rank_dropout_scale", "only counts in training"),
    ("use_effective_conv2d", "the shapes of convolutions, which are not computed"),
    ("decompose_both", "the tensors show it"),
    ("decompose_factor", "the tensors show it"),
];

/// Of a method that is not computed here. A cut copies the key for PEFT.
const PASSED_ON: &str = "the method is not computed here";

#[rustfmt::skip]
const OF_OFT: [Harmless; 7] = [
    ("r", PASSED_ON), ("oft_block_size", PASSED_ON), ("coft", PASSED_ON), ("eps", PASSED_ON), ("block_share", PASSED_ON),
    ("use_cayley_neumann", PASSED_ON), ("num_cayley_neumann_terms", PASSED_ON),
];

#[rustfmt::skip]
const OF_BOFT: [Harmless; 4] = [
    ("boft_block_size", PASSED_ON), ("boft_block_num", PASSED_ON), ("boft_n_butterfly_factor", PASSED_ON),
    ("boft_dropout", "only counts in training"),
];

#[rustfmt::skip]
const OF_FOURIERFT: [Harmless; 4] = [
    ("n_frequency", PASSED_ON), ("scaling", PASSED_ON), ("random_loc_seed", PASSED_ON), ("n_frequency_pattern", PASSED_ON),
];

#[rustfmt::skip]
const OF_VERA: [Harmless; 4] = [
    ("projection_prng_key", PASSED_ON), ("save_projection", PASSED_ON), ("d_initial", PASSED_ON),
    ("vera_dropout", "only counts in training"),
];

/// Keys of one method that change nothing in a finished adapter, or that only PEFT has a use for.
fn of_method(method: Method) -> Vec<Harmless> {
    match method {
        Method::Lora => OF_LORA.to_vec(),
        // Its configuration has the fields of LoRA's, too.
        Method::AdaLora => [&OF_LORA[..], &OF_ADALORA].concat(),
        Method::LoHa => OF_LOHA.to_vec(),
        Method::LoKr => OF_LOKR.to_vec(),
        Method::Ia3 => vec![("init_ia3_weights", "how training began")],
        Method::Oft => OF_OFT.to_vec(),
        Method::Boft => OF_BOFT.to_vec(),
        Method::Hra => vec![("apply_GS", PASSED_ON)],
        Method::FourierFt => OF_FOURIERFT.to_vec(),
        Method::Miss => vec![("mini_r", PASSED_ON), ("miss_dropout", "only counts in training")],
        Method::Vera => OF_VERA.to_vec(),
    }
}

/// Whether a key changes nothing in a finished adapter, so that PEFT's default serves as well as its value.
pub fn is_harmless(key: &str, method: Method) -> bool {
    HARMLESS.iter().chain(&of_method(method)).any(|(name, reason)| *name == key && *reason != PASSED_ON)
}

/// Fields of PEFT that are not used here and that matter elsewhere, with what they do there.
const NOT_USED: [(&str, &str); 1] =
    [("megatron_config", "PEFT loads such an adapter only where Megatron is installed")];

/// A sentence each on the keys that are set and that nobody asked for, if there are any.
pub fn remarks(account: &Account, method: Method) -> Vec<String> {
    let known = [&READ_ELSEWHERE[..], &HARMLESS, &of_method(method)].concat();
    let (fields, unknown): (Vec<&str>, Vec<&str>) =
        account.unread(&known).into_iter().partition(|key| NOT_USED.iter().any(|(name, _)| name == key));
    let meant = fields.into_iter().filter_map(|key| NOT_USED.iter().find(|(name, _)| *name == key));
    let mut remarks: Vec<String> =
        meant.map(|(key, effect)| format!("`{key}` in adapter_config.json is not used here: {effect}")).collect();
    if !unknown.is_empty() {
        let (names, method) = (first_names(&unknown, 8), method.name());
        remarks.push(format!(
            "{names} in adapter_config.json: PEFT 0.21.2 has no such field for {method} and ignores it, and so does lora-slim"
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_in_two_tables() {
        for method in Method::ALL {
            let keys = [&READ_ELSEWHERE[..], &HARMLESS, &of_method(method)].concat();
            let twice = |(place, key): &(usize, &Harmless)| keys[..*place].iter().any(|(name, _)| *name == key.0);
            assert_eq!(keys.iter().enumerate().find(twice), None, "{method:?}");
        }
    }
}
