//! Which sizes the factors of a module must share, for every method whose change is a product of them.

use std::collections::BTreeMap;

use crate::adapter::names::Part;

/// The sizes that have to be equal: dimension of one part, dimension of another.
const PAIRS: [((Part, usize), (Part, usize)); 8] = [
    ((Part::Factor("lora_E"), 0), (Part::LoraA, 0)),
    ((Part::Factor("lora_E"), 0), (Part::LoraB, 1)),
    ((Part::Factor("hada_w1_a"), 1), (Part::Factor("hada_w1_b"), 0)),
    ((Part::Factor("hada_w2_a"), 1), (Part::Factor("hada_w2_b"), 0)),
    ((Part::Factor("hada_w1_a"), 0), (Part::Factor("hada_w2_a"), 0)),
    ((Part::Factor("hada_w1_b"), 1), (Part::Factor("hada_w2_b"), 1)),
    ((Part::Factor("lokr_w1_a"), 1), (Part::Factor("lokr_w1_b"), 0)),
    ((Part::Factor("lokr_w2_a"), 1), (Part::Factor("lokr_w2_b"), 0)),
];

/// Parts that are matrices, but for those of convolutions.
const MATRICES: [&str; 11] = [
    "lora_E",
    "hada_w1_a",
    "hada_w1_b",
    "hada_w2_a",
    "hada_w2_b",
    "lokr_w1",
    "lokr_w1_a",
    "lokr_w1_b",
    "lokr_w2",
    "lokr_w2_a",
    "lokr_w2_b",
];

/// The part of a module whose shape does not fit the others.
pub fn misshapen<'a>(parts: &BTreeMap<Part, &str>, shape_of: impl Fn(&str) -> Option<&'a [usize]>) -> Option<Part> {
    let is_convolution = ["hada_t1", "lokr_t2"].iter().any(|name| parts.contains_key(&Part::Factor(name)));
    let shape = |part: Part| parts.get(&part).and_then(|name| shape_of(name));
    for part in MATRICES.map(Part::Factor) {
        if shape(part).is_some_and(|shape| shape.len() != 2 && !is_convolution) {
            return Some(part);
        }
    }
    let size = |(part, dim): (Part, usize)| shape(part).and_then(|shape| shape.get(dim));
    let differ = |a, b| matches!((size(a), size(b)), (Some(a), Some(b)) if a != b);
    PAIRS.into_iter().find(|&(a, b)| !is_convolution && differ(a, b)).map(|(a, _)| a.0)
}
