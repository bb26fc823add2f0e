//! Wrappers that training leaves in the names of tensors: around the whole model, or around a module inside it.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// Segments that no model has, and what puts them into names.
const WRAPPERS: [(&str, &str); 8] = [
    ("_orig_mod", "torch.compile"),
    ("_fsdp_wrapped_module", "FSDP"),
    ("_fpw_module", "FSDP of fairscale and old PyTorch"),
    ("_checkpoint_wrapped_module", "activation checkpointing"),
    ("_forward_module", "Lightning Fabric"),
    ("_original_module", "Lightning Fabric"),
    ("_torch_module", "ONNX Runtime training"),
    ("pretrained_model", "TRL's models with a value head"),
];

/// The attribute of DistributedDataParallel, DataParallel and DeepSpeed. A model could have a module of this name, so that it is a
/// wrapper only at the beginning, beside another wrapper, around a layer, and around what holds the layers.
const MODULE: &str = "module";

const PREFIX: [&str; 2] = ["base_model", "model"];

/// What put a wrapper into names, where its name tells.
fn origin(wrapper: &str) -> Option<&'static str> {
    let known = WRAPPERS.iter().chain(&[(MODULE, "DistributedDataParallel or DeepSpeed")]);
    known.into_iter().find(|(name, _)| *name == wrapper).map(|(_, origin)| *origin)
}

/// A wrapper in a sentence.
pub fn described(wrapper: &str) -> String {
    match origin(wrapper) {
        Some(origin) => format!("the wrapper `{wrapper}` of {origin}"),
        None => format!("`{wrapper}.` before them"),
    }
}

fn is_known(segment: &str) -> bool {
    WRAPPERS.iter().any(|(name, _)| *name == segment)
}

/// A name without wrappers, and these, each once. All that precedes the last `base_model.model.` wraps the adapted model.
pub fn strip(name: &str) -> (Cow<'_, str>, Vec<String>) {
    let segments: Vec<&str> = name.split('.').collect();
    let mut kept: Vec<&str> = Vec::new();
    let mut wrappers: Vec<String> = Vec::new();
    let mut follows_wrapper = true;
    for (place, segment) in segments.iter().enumerate() {
        let is_number = |segment: &&str| !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        let is_around = follows_wrapper
            || kept.ends_with(&PREFIX)
            || kept.last().is_some_and(is_number)
            || segments.get(place + 1).is_some_and(|next| is_known(next))
            || segments.get(place + 2).is_some_and(is_number);
        follows_wrapper = is_known(segment) || *segment == MODULE && is_around;
        match follows_wrapper {
            true => wrappers.push(segment.to_string()),
            false => kept.push(segment),
        }
    }
    let prefixes: Vec<usize> =
        kept.windows(2).enumerate().filter(|(_, two)| *two == PREFIX).map(|(at, _)| at).collect();
    if let Some(&last) = prefixes.last().filter(|&&last| last > 0) {
        let before: Vec<&str> = kept.drain(..last).collect();
        wrappers.push(before.join("."));
    }
    if wrappers.is_empty() {
        return (name.into(), wrappers);
    }
    wrappers.sort();
    wrappers.dedup();
    (kept.join(".").into(), wrappers)
}

/// A name of a configuration without wrappers, and these. Such a name may be the end of a module's, or a regular expression of names.
/// `module` counts where it is among `seen`, the wrappers of the tensors' names: a model may have a module of this name.
pub fn strip_configured(name: &str, seen: &BTreeSet<String>) -> (String, Vec<&'static str>) {
    let mut rest = name.to_string();
    let mut wrappers = Vec::new();
    for wrapper in
        WRAPPERS.iter().map(|(wrapper, _)| *wrapper).chain([MODULE].into_iter().filter(|one| seen.contains(*one)))
    {
        let before = rest.len();
        for segment in [format!(r"{wrapper}\."), format!("{wrapper}.")] {
            while let Some(at) = rest.find(&segment).filter(|&at| begins_segment(&rest, at)) {
                rest.replace_range(at..at + segment.len(), "");
            }
        }
        if rest.len() < before {
            wrappers.push(wrapper);
        }
    }
    (rest, wrappers)
}

/// Whether no letter or digit of a longer segment precedes a place in a name or in a regular expression of names.
fn begins_segment(name: &str, at: usize) -> bool {
    !name[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_names_lose_their_wrappers() {
        let seen = BTreeSet::from(["module".to_string()]);
        for (name, rest, wrappers) in [
            ("_orig_mod.model.layers.0.q", "model.layers.0.q", &["_orig_mod"][..]),
            (r".*\._orig_mod\.model\.layers\.\d+\.q", r".*\.model\.layers\.\d+\.q", &["_orig_mod"]),
            ("module.layers", "layers", &["module"]),
            ("_checkpoint_wrapped_module.q", "q", &["_checkpoint_wrapped_module"]),
            ("my_module.q", "my_module.q", &[]),
            ("q_proj", "q_proj", &[]),
            ("module", "module", &[]),
        ] {
            assert_eq!(strip_configured(name, &seen), (rest.to_string(), wrappers.to_vec()), "{name}");
        }
        assert_eq!(strip_configured("module.q", &BTreeSet::new()).0, "module.q");
    }

    #[test]
    fn wrappers_are_taken_away_wherever_they_are() {
        for (name, inner, wrappers) in [
            ("_orig_mod.base_model.model.model.layers.0.q", "base_model.model.model.layers.0.q", &["_orig_mod"][..]),
            ("base_model.model._orig_mod.model.layers.0.q", "base_model.model.model.layers.0.q", &["_orig_mod"]),
            ("module.base_model.model.h.0.q", "base_model.model.h.0.q", &["module"]),
            ("module._orig_mod.base_model.model.h.0.q", "base_model.model.h.0.q", &["_orig_mod", "module"]),
            ("_orig_mod.module.base_model.model.h.0.q", "base_model.model.h.0.q", &["_orig_mod", "module"]),
            ("module.module.base_model.model.h.0.q", "base_model.model.h.0.q", &["module"]),
            ("base_model.model.module.h.0.q", "base_model.model.h.0.q", &["module"]),
            ("base_model.model.h.0.module.q", "base_model.model.h.0.q", &["module"]),
            ("base_model.model.model.module.h.0.q", "base_model.model.model.h.0.q", &["module"]),
            (
                "base_model.model.h.0._fsdp_wrapped_module._checkpoint_wrapped_module.q",
                "base_model.model.h.0.q",
                &["_checkpoint_wrapped_module", "_fsdp_wrapped_module"],
            ),
            ("base_model.model.h.0.q.lora_A._orig_mod.weight", "base_model.model.h.0.q.lora_A.weight", &["_orig_mod"]),
            ("base_model.model.base_model.model.h.0.q", "base_model.model.h.0.q", &["base_model.model"]),
            ("policy.actor.base_model.model.h.0.q", "base_model.model.h.0.q", &["policy.actor"]),
            ("base_model.model.encoder.module.q", "base_model.model.encoder.module.q", &[]),
            ("base_model.model.module_list.0.my_module.q", "base_model.model.module_list.0.my_module.q", &[]),
            ("base_model.model.h.0.q", "base_model.model.h.0.q", &[]),
            ("base_model.vera_A", "base_model.vera_A", &[]),
            ("", "", &[]),
        ] {
            let (found, stripped) = strip(name);
            assert_eq!((&*found, stripped), (inner, wrappers.iter().map(|name| name.to_string()).collect()), "{name}");
        }
    }
}
