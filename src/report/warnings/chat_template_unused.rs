//! `chat-template-unused`: prompts are scored as they are, though the tokenizer comes with a chat template.

use super::Finding;
use crate::report::{Report, SamplesInput};

pub fn find(report: &Report) -> Vec<Finding> {
    let all = report.samples.iter().chain(report.held_out.iter().map(|held_out| &held_out.samples));
    all.filter(|samples| samples.chat_template_unused).take(1).map(finding).collect()
}

fn finding(samples: &SamplesInput) -> Finding {
    let tokenizer = samples.tokenizer.as_deref().unwrap_or("the tokenizer");
    Finding::new(format!(
        "prompts are scored as they are, though `{tokenizer}` comes with a chat template; add `--chat` if the adapter was trained \
         through it"
    ))
}
