//! From the files of samples to the tokens of those that choose the boundary and of those that are held out.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::base::Base;
use super::request::{HeldOutSource, Request};
use crate::adapter::Adapter;
use crate::error::{ChoiceError, FileError, Result};
use crate::files;
use crate::model::AdaptedModel;
use crate::report::SamplesInput;
use crate::samples::excerpt::Excerpt;
use crate::samples::{self, RawSample, Sample, SampleContent, SampleLimits, TextModel};

/// The seed of the draw of held-out samples: the same command holds out the same ones.
const SEED: u64 = 0;

/// Encoded samples, and how the report describes them.
pub struct Prepared {
    pub samples: Vec<Sample>,
    /// Excerpts of each sample, if the report quotes samples and these are text.
    pub excerpts: Vec<Option<Excerpt>>,
    pub description: SamplesInput,
    /// What the files hold that is not used, or not as it is written, one sentence each.
    pub remarks: Vec<String>,
}

/// The samples that choose, those that are held out, and the tokenizer that encoded them.
pub struct Inputs {
    pub choosing: Prepared,
    pub held_out: Option<Prepared>,
    /// Absent if no sample is text and no answers are generated.
    pub text: Option<Arc<TextModel>>,
}

/// Reads and encodes the samples that choose, and those that are held out.
pub fn prepare(request: &Request, adapted: &AdaptedModel, base: &Base) -> Result<Inputs> {
    let mut raws = samples::read::read(&request.samples.path, &request.samples.read)?;
    raws.truncate(request.samples.most.unwrap_or(usize::MAX));
    let held_out = match &request.samples.held_out {
        None => None,
        Some(HeldOutSource::Share(share)) => Some((hold_out(&mut raws, *share)?, &request.samples.path)),
        Some(HeldOutSource::File(path)) => Some((samples::read::read(path, &request.samples.read)?, path)),
    };
    let text = find_text(request, adapted, base, raws.iter().chain(held_out.iter().flat_map(|(raws, _)| raws)))?;
    request.gates.check_samples(raws.len())?;
    let choosing = encode(request, adapted, text.as_deref(), raws, &request.samples.path)?;
    let held_out = held_out.map(|(raws, path)| encode(request, adapted, text.as_deref(), raws, path)).transpose()?;
    if let Some(held_out) = &held_out {
        warn_of_common_samples(&choosing.samples, &held_out.samples, base);
    }
    Ok(Inputs { choosing, held_out, text })
}

/// Splits off a random share of the samples. Equal samples stay together: one that also took part in the choice would confirm it.
/// Both parts keep the order of the file.
fn hold_out(raws: &mut Vec<RawSample>, share: f64) -> Result<Vec<RawSample>> {
    let (all, wanted) = (raws.len(), (share * raws.len() as f64).round() as usize);
    let mut equal: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, raw) in raws.iter().enumerate() {
        equal.entry(format!("{:?}", raw.content)).or_default().push(place);
    }
    let mut groups: Vec<Vec<usize>> = equal.into_values().collect();
    fastrand::Rng::with_seed(SEED).shuffle(&mut groups);
    let mut held: HashSet<usize> = HashSet::new();
    for group in groups {
        if held.len() + group.len() <= wanted {
            held.extend(group);
        }
    }
    if held.is_empty() || held.len() == all {
        return Err(ChoiceError::NothingHeldOut { share, samples: all }.into());
    }
    let (held_out, choosing): (Vec<_>, Vec<_>) =
        std::mem::take(raws).into_iter().enumerate().partition(|(place, _)| held.contains(place));
    *raws = choosing.into_iter().map(|(_, raw)| raw).collect();
    Ok(held_out.into_iter().map(|(_, raw)| raw).collect())
}

/// The tokenizer and chat template, if any of the samples is text.
fn find_text<'a>(
    request: &Request,
    adapted: &AdaptedModel,
    base: &Base,
    mut raws: impl Iterator<Item = &'a RawSample> + Clone,
) -> Result<Option<Arc<TextModel>>> {
    let is_text = |raw: &RawSample| !matches!(raw.content, SampleContent::Tokens { .. });
    let needs_text = request.scoring.is_some() || raws.clone().any(is_text);
    let text = if needs_text { find_text_model(request, adapted.adapter(), base)? } else { None };
    if let Some(text) = text.as_ref().filter(|text| !request.samples.encode.chat && text.template.is_some())
        && raws.any(|raw| matches!(raw.content, SampleContent::Completion { .. } | SampleContent::Instruction { .. }))
    {
        base.warn(format!(
            "prompts are scored as they are, though `{}` comes with a chat template; add `--chat` if the adapter was \
             trained through it",
            text.path.display()
        ));
    }
    Ok(text)
}

/// The tokenizer, with the chat template that the user names.
fn find_text_model(request: &Request, adapter: &Adapter, base: &Base) -> Result<Option<Arc<TextModel>>> {
    let text = find_tokenizer(request, adapter, base)?;
    match (text, &request.samples.chat_template) {
        (Some(text), Some(path)) => {
            let mut text = Arc::unwrap_or_clone(text);
            text.read_template(path)?;
            Ok(Some(Arc::new(text)))
        }
        (text, _) => Ok(text),
    }
}

/// The tokenizer that the user names, or the adapter's own (which it was trained with), or the base model's.
fn find_tokenizer(request: &Request, adapter: &Adapter, base: &Base) -> Result<Option<Arc<TextModel>>> {
    if let Some(path) = &request.samples.tokenizer {
        let missing = || FileError::read(path)(std::io::ErrorKind::NotFound.into());
        return Ok(Some(Arc::new(TextModel::read(path)?.ok_or_else(missing)?)));
    }
    match TextModel::read(&adapter.path)? {
        Some(text) => Ok(Some(Arc::new(text))),
        None => base.text(),
    }
}

fn encode(
    request: &Request,
    adapted: &AdaptedModel,
    text: Option<&TextModel>,
    raws: Vec<RawSample>,
    path: &Path,
) -> Result<Prepared> {
    let model = adapted.model();
    let (options, records) = (request.samples.encode, raws.len());
    let raws = samples::encode::separate(raws, text, options, path)?;
    let remark = (raws.len() > records).then(|| {
        format!(
            "conversations of `{}` became a sample per scored turn, {} samples in all: the chat template renders earlier turns \
             differently once later ones follow",
            path.display(),
            raws.len()
        )
    });
    let excerpts = raws.iter().map(|raw| Excerpt::of(&raw.content).filter(|_| request.samples.quote)).collect();
    let mut samples = samples::encode::encode(raws, text, options, path, &model.path)?;
    // An adapter may bring an embedding or a head of another size.
    let limits = SampleLimits {
        context: model.longest_sequence(),
        truncate: request.samples.truncate,
        vocabulary: adapted.vocab_size()?,
        scored_vocabulary: adapted.head_size()?,
    };
    let truncated = samples::check(&mut samples, limits, path)?;
    let answers: Vec<usize> = samples.iter().map(Sample::answers).collect();
    let description = SamplesInput {
        path: path.display().to_string(),
        sha256: files::sha256(path)?,
        count: samples.len(),
        tokens: samples.iter().map(|sample| sample.ids.len()).sum(),
        answer_tokens: answers.iter().sum(),
        per_sample: answers,
        truncated,
        chat: options.chat,
        scored: options.scored,
        tokenizer: text.map(|text| text.path.display().to_string()),
    };
    Ok(Prepared { samples, excerpts, description, remarks: remark.into_iter().collect() })
}

/// Held-out samples from their own file may also be among those that choose.
fn warn_of_common_samples(choosing: &[Sample], held_out: &[Sample], base: &Base) {
    let seen: HashSet<&[u32]> = choosing.iter().map(|sample| sample.ids.as_slice()).collect();
    let common = held_out.iter().filter(|sample| seen.contains(sample.ids.as_slice())).count();
    if common > 0 {
        base.warn(format!(
            "{common} of the {} held-out samples are also among those that choose: they confirm too easily",
            held_out.len()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_samples_are_held_out_together() {
        let text = |word: usize| SampleContent::Completion { prompt: format!("{word}?"), completion: "yes".into() };
        // Ten different ones, every third of them twice.
        let words: Vec<usize> =
            (0..10).flat_map(|word| std::iter::repeat_n(word, 1 + usize::from(word % 3 == 0))).collect();
        let raws: Vec<RawSample> =
            words.iter().enumerate().map(|(line, &word)| RawSample { line, content: text(word) }).collect();
        for share in [0.1, 0.3, 0.5, 0.9] {
            let mut choosing = raws.clone();
            let held_out = hold_out(&mut choosing, share).unwrap();
            assert!(held_out.iter().all(|held| choosing.iter().all(|raw| raw.content != held.content)));
            let wanted = (share * 14.0).round() as usize;
            assert!((wanted.saturating_sub(1)..=wanted).contains(&held_out.len()), "{share}: {}", held_out.len());
            let mut together = [choosing, held_out].concat();
            together.sort_by_key(|raw| raw.line);
            assert_eq!(together, raws);
        }
        let mut same: Vec<RawSample> = (0..4).map(|line| RawSample { line, content: text(0) }).collect();
        assert!(hold_out(&mut same, 0.5).is_err());
    }
}
