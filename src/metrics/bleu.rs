//! BLEU of a corpus, as sacrebleu computes it with its defaults: `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`.

use std::sync::LazyLock;

use fancy_regex::Regex;

use super::words::{counted, in_common, is_space, split};

/// The longest n-grams.
const ORDER: usize = 4;

/// The number of tokens of predictions and of references, then for each order the number of n-grams of predictions that the
/// references have, then for each order the number of all n-grams of predictions.
pub type BleuCounts = [f64; 2 + 2 * ORDER];

/// What mteval-v13a separates from words: symbols; periods and commas, except between digits; dashes after digits.
/// From sacrebleu's `tokenizer_re.py`, in their order.
static SEPARATED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        (r"([\{-\~\[-\` -\&\(-\+\:-\@\/])", " $1 "),
        (r"([^0-9])([\.,])", "$1 $2 "),
        (r"([\.,])([^0-9])", " $1 $2"),
        (r"([0-9])(-)", "$1 $2 "),
    ];
    rules.into_iter().filter_map(|(rule, separated)| Some((Regex::new(rule).ok()?, separated))).collect()
});

/// The tokens of mteval-v13a (sacrebleu's `tokenizer_13a.py`).
fn tokens(text: &str) -> Vec<String> {
    let text = text.trim_end_matches(is_space);
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let separated = SEPARATED
        .iter()
        .fold(format!(" {text} "), |text, (rule, separated)| rule.replace_all(&text, *separated).into_owned());
    split(&separated).map(String::from).collect()
}

/// The counts of one pair.
pub fn counts(prediction: &str, reference: &str) -> BleuCounts {
    let (predicted, expected) = (tokens(prediction), tokens(reference));
    let mut counts = [0.0; 2 + 2 * ORDER];
    (counts[0], counts[1]) = (predicted.len() as f64, expected.len() as f64);
    for order in 1..=ORDER {
        let common = in_common(&counted(predicted.windows(order)), &counted(expected.windows(order)));
        counts[1 + order] = common as f64;
        counts[1 + ORDER + order] = (predicted.len() + 1).saturating_sub(order) as f64;
    }
    counts
}

/// BLEU of summed counts, from 0 to 100.
pub fn score(counts: &[f64]) -> f64 {
    let (Some(&[predicted, expected]), Some(common), Some(all)) =
        (counts.first_chunk(), counts.get(2..2 + ORDER), counts.get(2 + ORDER..))
    else {
        return 0.0;
    };
    // Without n-grams of an order, its precision does not exist and the product of all is zero.
    if common.iter().all(|&common| common == 0.0) || all.contains(&0.0) {
        return 0.0;
    }
    let mut smoothing = 1.0;
    let precisions = common.iter().zip(all).map(|(&common, &all)| {
        if common > 0.0 {
            return 100.0 * common / all;
        }
        smoothing *= 2.0;
        100.0 / (smoothing * all)
    });
    let mean = precisions.map(f64::ln).sum::<f64>() / ORDER as f64;
    let brevity = if predicted < expected { 1.0 - expected / predicted } else { 0.0 };
    brevity.exp() * mean.exp()
}
