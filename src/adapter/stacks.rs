//! Which stack of layers an adapter is looked at in, and the two stacks of a model with an encoder and a decoder.

use std::collections::BTreeSet;
use std::path::Path;

use super::Adapter;
use super::names::{self, Key, Stacks, stack_and_layer};
use crate::error::{AdapterError, Result};

/// One of the two stacks of a model that reads with one and writes with the other, such as T5 and Whisper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Encoder,
    Decoder,
}

impl Side {
    pub const ALL: [Side; 2] = [Self::Encoder, Self::Decoder];

    /// As `--stack` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }

    /// The side of a stack, by the beginning of its name: `encoder.block`, `model.decoder.layers`.
    pub fn of(stack: &str) -> Option<Self> {
        let mut segments = stack.split('.').take(2);
        segments.find_map(|segment| Self::ALL.into_iter().find(|side| side.name() == segment))
    }
}

/// What the attention of a decoder to its encoder is called.
const CROSS_ATTENTION: [&str; 4] = ["EncDecAttention", "encoder_attn", "crossattention", "cross_attn"];

/// The stack to look at: the `wanted` one, by its name or its side, or else the decoder's, as far as the names or `is_decoder` tell.
pub(super) fn find(
    path: &Path,
    keys: &[Key],
    wanted: Option<&str>,
    is_decoder: &dyn Fn(&str) -> bool,
) -> Result<String> {
    let modules: BTreeSet<&str> = keys.iter().map(|key| key.module.as_str()).collect();
    let stacks = names::find_stacks(modules);
    let names = || stacks.all.keys().map(|stack| format!("`{stack}`")).collect();
    let only = |is_it: &dyn Fn(&str) -> bool| {
        let mut found = stacks.all.keys().copied().filter(|stack| is_it(stack));
        found.next().filter(|_| found.next().is_none())
    };
    let on_side = |side: &str| only(&|stack| Side::of(stack).is_some_and(|own| own.name() == side));
    if let Some(wanted) = wanted {
        let found = stacks.all.contains_key(wanted).then_some(wanted).or_else(|| on_side(wanted));
        let unknown = || AdapterError::UnknownStack { path: path.into(), stack: wanted.into(), stacks: names() };
        return Ok(found.ok_or_else(unknown)?.into());
    }
    match stacks.decoder.or_else(|| only(is_decoder)).or_else(|| on_side(Side::Decoder.name())) {
        Some(stack) => Ok(stack.into()),
        None if stacks.all.is_empty() => Err(AdapterError::NoLayers { path: path.into() }.into()),
        None => Err(AdapterError::SeveralStacks { path: path.into(), stacks: names() }.into()),
    }
}

/// Whether the model that these modules are of has an encoder and a decoder: they lie in both, or in the attention of one to the other.
pub fn has_encoder_and_decoder<'a>(modules: impl Iterator<Item = &'a str>) -> bool {
    let (mut has_encoder, mut has_decoder, mut has_cross_attention) = (false, false, false);
    for module in modules {
        match stack_and_layer(module).and_then(|(stack, _)| Side::of(stack)) {
            Some(Side::Encoder) => has_encoder = true,
            Some(Side::Decoder) => {
                has_decoder = true;
                has_cross_attention |= module.split('.').any(|segment| CROSS_ATTENTION.contains(&segment));
            }
            None => {}
        }
    }
    has_decoder && (has_encoder || has_cross_attention)
}

impl Adapter {
    /// The stacks of layers that it has tensors in, with these layers.
    pub fn stacks(&self) -> Stacks<'_> {
        names::find_stacks(self.keys.iter().map(|key| key.module.as_str()))
    }

    /// The names of the stacks beside the one that is looked at.
    pub fn other_stacks(&self) -> Vec<&str> {
        self.stacks().all.into_keys().filter(|stack| *stack != self.stack).collect()
    }

    /// Whether the base model has an encoder and a decoder.
    pub fn is_of_encoder_and_decoder(&self) -> bool {
        has_encoder_and_decoder(self.keys.iter().map(|key| key.module.as_str()))
    }

    /// The option that names the other side of a model with an encoder and a decoder, if the adapter has tensors there, and the stack.
    pub fn other_side(&self) -> Option<(&'static str, &str)> {
        if !self.is_of_encoder_and_decoder() {
            return None;
        }
        let others = self.other_stacks().into_iter();
        others.filter_map(|stack| Some((Side::of(stack)?.name(), stack))).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_by_the_beginnings_of_names() {
        for (stack, side) in [
            ("encoder.block", Some(Side::Encoder)),
            ("model.decoder.layers", Some(Side::Decoder)),
            ("decoder.bert.encoder.layer", Some(Side::Decoder)),
            ("vision_tower.vision_model.encoder.layers", None),
            ("model.layers", None),
        ] {
            assert_eq!(Side::of(stack), side, "{stack}");
        }
    }

    #[test]
    fn a_decoder_alone_has_no_encoder() {
        let of = |names: &[&str]| has_encoder_and_decoder(names.iter().copied());
        assert!(!of(&["model.decoder.layers.0.self_attn.q_proj"]));
        assert!(of(&["model.decoder.layers.0.encoder_attn.q_proj"]));
        assert!(of(&["encoder.block.0.layer.0.SelfAttention.q", "decoder.block.0.layer.0.SelfAttention.q"]));
        assert!(!of(&["text_model.encoder.layers.0.q_proj", "vision_model.encoder.layers.0.q_proj", "lm_head"]));
    }
}
