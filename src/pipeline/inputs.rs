//! From the files of samples to the tokens of those that choose the boundary and of those that are held out.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::base::Base;
use super::own_answers;
use super::request::{HeldOutSource, Request};
use crate::adapter::Adapter;
use crate::error::{ChoiceError, FileError, Result};
use crate::files;
use crate::format::plural;
use crate::measure::OnProgress;
use crate::model::AdaptedModel;
use crate::report::{LeftOut, SamplesInput};
use crate::samples::checks::{self, Repeats};
use crate::samples::excerpt::Excerpt;
use crate::samples::read::{RawFile, RawFiles, ReadOptions};
use crate::samples::{
    self, EncodeOptions, LongerSamples, RawSample, Sample, SampleContent, SampleLimits, TextModel, TooLong,
};

/// The seed of the draw of held-out samples: the same command holds out the same ones.
const SEED: u64 = 0;

/// Encoded samples, and how the report describes them.
pub struct Prepared {
    pub samples: Vec<Sample>,
    /// Excerpts of each sample, if the report quotes samples and these are text.
    pub excerpts: Vec<Option<Excerpt>>,
    pub description: SamplesInput,
    /// The names of the slices, by their numbers; empty without `--slice-by`.
    pub slices: Vec<String>,
    /// What the files hold that is not used, or not as it is written, one sentence each.
    pub remarks: Vec<String>,
    /// Held-out samples that were left out.
    pub left_out: LeftOut,
}

impl Prepared {
    /// Leaves out the samples that are also among those that choose.
    fn apart_from(mut self, choosing: &[Sample]) -> Result<Self> {
        let repeated = checks::repeated(&self.samples, choosing);
        let count = |what: Repeats| repeated.iter().filter(|&&repeats| repeats == what).count();
        self.left_out = LeftOut { copies: count(Repeats::Exactly), near_duplicates: count(Repeats::Nearly) };
        if self.left_out == LeftOut::default() {
            return Ok(self);
        }
        if count(Repeats::Nothing) == 0 {
            return Err(ChoiceError::NothingUnseen { samples: self.samples.len() }.into());
        }
        let mut repeats = repeated.iter();
        self.samples.retain(|_| repeats.next() == Some(&Repeats::Nothing));
        let mut repeats = repeated.iter();
        self.excerpts.retain(|_| repeats.next() == Some(&Repeats::Nothing));
        Ok(self)
    }

    /// Checks the samples, and describes those that are left.
    fn checked(mut self, text: Option<&TextModel>) -> Result<Self> {
        let odd = checks::check(&mut self.samples, text)?;
        let answers: Vec<usize> = self.samples.iter().map(Sample::answers).collect();
        self.description = SamplesInput {
            count: self.samples.len(),
            tokens: self.samples.iter().map(|sample| sample.ids.len()).sum(),
            answer_tokens: answers.iter().sum(),
            per_sample: answers,
            per_sample_ends: self.samples.iter().map(|sample| sample.ends.len()).collect(),
            draws: odd.draws,
            copies: odd.copies,
            near_duplicates: odd.near_duplicates,
            contradictory: odd.contradictory,
            empty: odd.empty,
            ..self.description
        };
        Ok(self)
    }
}

/// The samples that choose, those that are held out, and the tokenizer that encoded them.
pub struct Inputs {
    pub choosing: Prepared,
    pub held_out: Option<Prepared>,
    /// Absent if no sample is text and no answers are generated.
    pub text: Option<Arc<TextModel>>,
}

/// Reads and encodes the samples that choose, and those that are held out.
pub fn prepare(request: &Request, adapted: &AdaptedModel, base: &Base, on_progress: OnProgress) -> Result<Inputs> {
    let options = &request.samples;
    let mut raws = samples::read::read_all(&options.paths, &options.read)?;
    truncate(&mut raws.files, options.most.unwrap_or(usize::MAX));
    let held_out = match &options.held_out {
        None => None,
        Some(HeldOutSource::Share(share)) => {
            let files = hold_out(&mut raws.files, *share)?;
            Some(RawFiles { files, remarks: Vec::new(), slices: raws.slices.clone() })
        }
        Some(HeldOutSource::File(path)) => {
            let read = ReadOptions { split: None, ..options.read.clone() };
            Some(samples::read::read_all(std::slice::from_ref(path), &read)?)
        }
    };
    let all = raws.files.iter().chain(held_out.iter().flat_map(|raws| &raws.files));
    let text = find_text(request, adapted, base, all.flat_map(|file| &file.samples))?;
    raws.remarks.extend(text.iter().flat_map(|text| text.remark.iter().chain(&text.randomness)).cloned());
    let choosing = encode(request, adapted, text.as_deref(), raws, &mut *on_progress)?.checked(text.as_deref())?;
    request.gates.check_samples(choosing.description.draws)?;
    let held_out = held_out.map(|raws| {
        let encoded = encode(request, adapted, text.as_deref(), raws, &mut *on_progress)?;
        encoded.apart_from(&choosing.samples)?.checked(text.as_deref())
    });
    let held_out = held_out.transpose()?;
    let checking = held_out.as_ref().map_or(0, |samples| samples.samples.len());
    tracing::info!("{} that choose, and {checking} that check", plural(choosing.samples.len(), "sample"));
    Ok(Inputs { choosing, held_out, text })
}

/// Keeps only the first samples, `most` of them.
fn truncate(files: &mut Vec<RawFile>, mut most: usize) {
    for file in &mut *files {
        file.samples.truncate(most);
        most -= file.samples.len();
    }
    files.retain(|file| !file.samples.is_empty());
}

/// Splits off a random share of the samples. Equal samples and those of one record stay together: one that also took part in the
/// choice would confirm it. Both parts keep the order of the files.
fn hold_out(files: &mut Vec<RawFile>, share: f64) -> Result<Vec<RawFile>> {
    let raws: Vec<&RawSample> = files.iter().flat_map(|file| &file.samples).collect();
    let (all, wanted) = (raws.len(), (share * raws.len() as f64).round() as usize);
    let mut groups = inseparable(&raws);
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
    let mut held_out = Vec::new();
    let mut place = 0;
    for file in &mut *files {
        let (kept, taken): (Vec<_>, Vec<_>) = std::mem::take(&mut file.samples).into_iter().partition(|_| {
            place += 1;
            !held.contains(&(place - 1))
        });
        held_out.push(RawFile { samples: taken, ..file.clone() });
        file.samples = kept;
    }
    files.retain(|file| !file.samples.is_empty());
    held_out.retain(|file| !file.samples.is_empty());
    Ok(held_out)
}

/// The places of samples that are equal or of one record, in the order of their contents.
fn inseparable(raws: &[&RawSample]) -> Vec<Vec<usize>> {
    let contents: Vec<String> = raws.iter().map(|raw| format!("{:?}", raw.content)).collect();
    let groups = samples::draws::groups(raws.iter().zip(&contents).map(|(raw, content)| (raw.record, content)));
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, &group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(place);
    }
    let mut members: Vec<Vec<usize>> = members.into_values().collect();
    members.sort_by_key(|places| places.iter().map(|&place| &contents[place]).min());
    members
}

/// The tokenizer and chat template, if any of the samples is text.
fn find_text<'a>(
    request: &Request,
    adapted: &AdaptedModel,
    base: &Base,
    mut raws: impl Iterator<Item = &'a RawSample>,
) -> Result<Option<Arc<TextModel>>> {
    let is_text = |raw: &RawSample| !matches!(raw.content, SampleContent::Tokens { .. });
    let needs_text = request.scores_answers() || request.samples.own_answers || raws.any(is_text);
    if needs_text { find_text_model(request, adapted.adapter(), base) } else { Ok(None) }
}

/// The tokenizer that the user names, or the adapter's own (which it was trained with), or the base model's.
fn find_text_model(request: &Request, adapter: &Adapter, base: &Base) -> Result<Option<Arc<TextModel>>> {
    if let Some(path) = &request.samples.tokenizer {
        files::inputs::declare(path);
        let missing = || FileError::read(path)(std::io::ErrorKind::NotFound.into());
        return Ok(Some(Arc::new(TextModel::read(path)?.ok_or_else(missing)?.with(&request.samples.template)?)));
    }
    match TextModel::read(&adapter.path)? {
        Some(text) => Ok(Some(Arc::new(text.with(&request.samples.template)?))),
        None => base.text(&request.samples.template),
    }
}

fn encode(
    request: &Request,
    adapted: &AdaptedModel,
    text: Option<&TextModel>,
    raws: RawFiles,
    on_progress: OnProgress,
) -> Result<Prepared> {
    let model = adapted.model();
    // An adapter may bring an embedding or a head of another size.
    let limits = SampleLimits {
        context: model.longest_sequence(),
        longer: if request.samples.truncate {
            LongerSamples::Cut
        } else if model.ends_at_context() {
            LongerSamples::Refused
        } else {
            LongerSamples::Kept
        },
        vocabulary: adapted.vocab_size()?,
        scored_vocabulary: adapted.head_size()?,
    };
    // One token more tells that a sample is cut.
    let most_tokens = request.samples.truncate.then(|| limits.context.saturating_add(1));
    let options = EncodeOptions { most_tokens, ..request.samples.encode };
    let (path, sha256) = described(&raws.files);
    let all = raws.files.iter().flat_map(|file| &file.samples);
    let unread = text.and_then(|text| samples::unread::by_template(all.clone(), text));
    let chat_template_unused =
        text.is_some_and(|text| text.template.is_some()) && all.clone().any(|raw| is_plain(raw, options));
    let end_token_missing =
        text.is_some_and(|text| text.eos_token.is_none()) && all.clone().any(|raw| gets_end(raw, options));
    let mut remarks: Vec<String> = raws.remarks.into_iter().chain(unread).collect();
    let (mut samples, mut excerpts, mut too_long) = (Vec::new(), Vec::new(), TooLong::default());
    for file in raws.files {
        let records = file.samples.len();
        let quote = request.samples.quote;
        let mut see = |raw: &RawSample| excerpts.push(if quote { Excerpt::of(&raw.content) } else { None });
        let paths = (file.path.as_path(), model.path.as_path());
        let mut encoded = samples::encode::encode_with(file.samples, text, options, paths, &mut see)?;
        if encoded.len() > records {
            remarks.push(format!(
                "conversations of `{}` became a sample per scored turn, {} samples in all: the chat template renders earlier \
                 turns differently once later ones follow",
                file.path.display(),
                encoded.len()
            ));
        }
        let found = samples::check(&mut encoded, limits, &file.path)?;
        too_long = TooLong { cut: too_long.cut + found.cut, kept: too_long.kept + found.kept };
        samples.extend(encoded);
    }
    if request.samples.own_answers {
        own_answers::replace(&mut samples, adapted, text, (request, Path::new(&path)), on_progress)?;
    }
    let stops = samples::ends::stops(&adapted.model().stops, text);
    samples::ends::mark(&mut samples, &stops, text)?;
    if request.samples.ignore_end {
        samples::ends::ignore(&mut samples, Path::new(&path))?;
    }
    if too_long.kept > 0 {
        remarks.push(format!(
            "{} longer than the model's context of {} tokens, where it was not trained; `--truncate` cuts there",
            if too_long.kept == 1 { "1 sample is".into() } else { format!("{} samples are", too_long.kept) },
            limits.context
        ));
    }
    let slices = number_slices(&mut samples, &raws.slices);
    let description = SamplesInput {
        path,
        sha256,
        truncated: too_long.cut,
        chat: options.chat,
        chat_template_unused,
        end_token_missing,
        scored: options.scored,
        own_answers: request.samples.own_answers,
        ignores_ends: request.samples.ignore_end,
        tokenizer: text.map(|text| text.path.display().to_string()),
        ..SamplesInput::default()
    };
    Ok(Prepared { samples, excerpts, description, slices, remarks, left_out: LeftOut::default() })
}

/// Numbers the slices of samples in the order of their names, which it returns. `of_records` has the name of each record's.
fn number_slices(samples: &mut [Sample], of_records: &[String]) -> Vec<String> {
    let named = samples.iter().filter_map(|sample| of_records.get(sample.record));
    let names: BTreeSet<&String> = named.collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    for sample in samples {
        let name = of_records.get(sample.record);
        sample.slice = name.and_then(|name| names.binary_search(name).ok()).unwrap_or(0);
    }
    names
}

/// Whether a sample has a prompt that is scored as it is, without the chat template.
fn is_plain(raw: &RawSample, options: EncodeOptions) -> bool {
    matches!(raw.content, SampleContent::Completion { .. } | SampleContent::Instruction { .. }) && !options.chat
}

/// Whether the end token belongs behind a sample.
fn gets_end(raw: &RawSample, options: EncodeOptions) -> bool {
    is_plain(raw, options) || matches!(raw.content, SampleContent::Text(_))
}

/// The paths of files as one text, and the hash of their bytes: of several files, that of the list of their hashes.
fn described(files: &[RawFile]) -> (String, String) {
    let paths: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    let hashes: Vec<&str> = files.iter().map(|file| file.sha256.as_str()).collect();
    let sha256 = match hashes.as_slice() {
        [only] => only.to_string(),
        several => files::sha256_of(several.concat().as_bytes()),
    };
    (paths.join(", "), sha256)
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
        let raws: Vec<RawSample> = words
            .iter()
            .enumerate()
            .map(|(line, &word)| RawSample { line, record: line, content: text(word) })
            .collect();
        // Two files.
        let files = |raws: &[RawSample]| {
            let file = |samples: &[RawSample]| RawFile {
                path: "s.jsonl".into(),
                sha256: String::new(),
                samples: samples.to_vec(),
            };
            let (first, second) = raws.split_at(raws.len() / 2);
            vec![file(first), file(second)]
        };
        let samples = |files: Vec<RawFile>| files.into_iter().flat_map(|file| file.samples).collect::<Vec<_>>();
        for share in [0.1, 0.3, 0.5, 0.9] {
            let mut choosing = files(&raws);
            let held_out = samples(hold_out(&mut choosing, share).unwrap());
            let choosing = samples(choosing);
            assert!(held_out.iter().all(|held| choosing.iter().all(|raw| raw.content != held.content)));
            let wanted = (share * 14.0).round() as usize;
            assert!((wanted.saturating_sub(1)..=wanted).contains(&held_out.len()), "{share}: {}", held_out.len());
            let mut together = [choosing, held_out].concat();
            together.sort_by_key(|raw| raw.line);
            assert_eq!(together, raws);
        }
        // The parts of one record, and an equal one of another.
        let part = |record, word| RawSample { line: 1, record, content: text(word) };
        let parts = [part(0, 1), part(0, 2), part(1, 3), part(2, 2), part(3, 4)];
        assert_eq!(inseparable(&parts.iter().collect::<Vec<_>>()), [vec![0, 1, 3], vec![2], vec![4]]);
        let same: Vec<RawSample> = (0..4).map(|line| RawSample { line, record: line, content: text(0) }).collect();
        assert!(hold_out(&mut files(&same), 0.5).is_err());
    }
}
