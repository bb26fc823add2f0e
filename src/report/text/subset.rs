//! What is left of the layers below the boundary.

use std::fmt::Write;

use crate::format::ranges;
use crate::report::Report;
use crate::report::subset::Removed;

/// What was dropped, and what that costs, in two lines.
pub fn lines(report: &Report) -> String {
    let Some(subset) = &report.subset else { return String::new() };
    let noun = if subset.blocks { "block" } else { "layer" };
    let mut text = match subset.removed.as_slice() {
        [] => format!("no other {noun} can go"),
        [one] => format!("1 other {noun} can go: {}", removed_parts(std::slice::from_ref(one))),
        removed => format!("{} other {noun}s can go: {}", removed.len(), removed_parts(removed)),
    };
    let _ = write!(text, "; loss {:.4}", subset.assessment.loss);
    if let Some(gain) = subset.assessment.gain_kept {
        let _ = write!(text, ", {:.1} % of the adapter's gain kept", gain * 100.0);
    }
    text + "\n"
}

/// The dropped parts as text: whole layers, and layers of which only one block was dropped.
pub fn removed_parts(removed: &[Removed]) -> String {
    let layers_of = |block: Option<&str>| -> Vec<usize> {
        let of_kind = removed.iter().filter(|part| part.block.as_deref() == block);
        let mut layers: Vec<usize> = of_kind.map(|part| part.layer).collect();
        layers.sort_unstable();
        layers
    };
    let kinds = [(None, ""), (Some("attention"), "attention of "), (Some("mlp"), "MLP of ")];
    let lists = kinds.into_iter().map(|(block, words)| (layers_of(block), words));
    let lists =
        lists.filter(|(layers, _)| !layers.is_empty()).map(|(layers, words)| words.to_string() + &ranges(&layers));
    lists.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_by_kind() {
        let part = |layer, block: Option<&str>| Removed { layer, block: block.map(String::from) };
        assert_eq!(removed_parts(&[part(4, None), part(2, None), part(3, None)]), "2-4");
        let blocks = [part(7, Some("mlp")), part(1, Some("attention")), part(6, Some("mlp"))];
        assert_eq!(removed_parts(&blocks), "attention of 1; MLP of 6-7");
    }
}
