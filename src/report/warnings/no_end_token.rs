//! `no-end-token`: samples get no token at their end, because the tokenizer names none.

use super::Finding;
use crate::report::{Report, SamplesInput};

pub fn find(report: &Report) -> Vec<Finding> {
    let all = report.samples.iter().chain(report.held_out.iter().map(|held_out| &held_out.samples));
    all.filter(|samples| samples.end_token_missing).take(1).map(finding).collect()
}

fn finding(samples: &SamplesInput) -> Finding {
    let tokenizer = samples.tokenizer.as_deref().unwrap_or("the tokenizer");
    Finding::new(format!("samples get no token at their end, because `{tokenizer}` and the files beside it name none"))
}
