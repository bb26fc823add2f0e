//! The facts of a card for the header of the weights, which stays with them wherever they are copied. It has no paths and no command:
//! weights are passed on where nobody looks into their header.

use std::collections::BTreeMap;

use crate::adapter::OWN_PREFIX;
use crate::format::ranges;
use crate::report::{Report, Tool};

/// The key of the BLAKE3 hash of the weights that the output was made of.
pub const SOURCE_BLAKE3: &str = "lora_slim.source_blake3";

/// The entries of `__metadata__`, by key. All begin with [`OWN_PREFIX`].
pub fn notes(report: &Report) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::from([(format!("{OWN_PREFIX}version"), Tool::THIS.version.to_string())]);
    let mut note = |name: &str, value: Option<String>| {
        notes.extend(value.map(|value| (format!("{OWN_PREFIX}{name}"), value)));
    };
    if let Some(output) = &report.output {
        note("kept_layers", Some(ranges(&output.kept_layers).replace(' ', "")));
        note("kept_layers_of", output.stacks.as_ref().map(|stacks| stacks.cut.clone()));
        note("tensors_before", Some(output.tensors_before.to_string()));
        note("bytes_before", Some(output.bytes_before.to_string()));
    }
    let steps = report.steps.iter().filter(|step| step.step != "layers");
    let steps: Vec<String> = steps
        .map(|step| step.setting.as_ref().map_or(step.step.clone(), |setting| format!("{} {setting}", step.step)))
        .collect();
    note("steps", (!steps.is_empty()).then(|| steps.join(", ")));
    note("scale", report.scale.as_ref().map(|scale| scale.scale.to_string()));
    if let Some(samples) = &report.samples {
        note("samples", Some(samples.count.to_string()));
        note("samples_sha256", Some(samples.sha256.clone()));
    }
    let loss = |loss: f64| Some(format!("{loss:.6}"));
    if let (Some(base), Some(written)) = (report.curve.first(), report.written_on_choosing()) {
        note("loss_base", loss(base.loss()));
        note("loss_whole", loss(written.whole.loss));
        note("loss", loss(written.assessment.loss));
    }
    let codes: Vec<&str> = report.warnings.iter().map(|warning| warning.code.as_str()).collect();
    note("warnings", (!codes.is_empty()).then(|| codes.join(",")));
    notes.extend(source_blake3(report).map(|hash| (SOURCE_BLAKE3.to_string(), hash)));
    notes
}

/// The hash of the weights, if these are one file. Zeros take the place of one that is not known yet.
fn source_blake3(report: &Report) -> Option<String> {
    let weights = report.adapter.files.iter().filter(|file| !file.name.ends_with(".json"));
    match weights.collect::<Vec<_>>()[..] {
        [file] => Some(file.blake3.clone().unwrap_or_else(|| "0".repeat(64))),
        _ => None,
    }
}
