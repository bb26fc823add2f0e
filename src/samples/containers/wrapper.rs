//! An object around lists of records: `{"data": […]}`, or `{"train": […], "test": […]}`.

use super::SampleFile;
use crate::error::Result;
use crate::files::json_stream;
use crate::format::first_names;
use crate::samples::remarks::Remarks;
use crate::samples::{forms, splits};

/// Keys under which records are kept.
const KEYS: [&str; 8] = ["data", "examples", "instances", "samples", "records", "items", "rows", "dataset"];

/// The most keys that a remark names.
const MOST_KEYS: usize = 20;

/// The key of the list of records, if a file is one object and that is no record itself.
pub fn list_of_records(file: &SampleFile, text: &str, remarks: &mut Remarks) -> Result<Option<String>> {
    let Ok(Some(end)) = json_stream::first_value(text) else { return Ok(None) };
    if !text[end..].trim().is_empty() {
        return Ok(None);
    }
    let Ok(keys) = json_stream::keys(text) else { return Ok(None) };
    let lists: Vec<&str> = keys.iter().filter(|(_, is_list)| *is_list).map(|(key, _)| key.as_str()).collect();
    let is_record = forms::recognises(|name| keys.iter().any(|(key, _)| key == name));
    if is_record || lists.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = lists.iter().copied().filter(|name| splits::named(name).is_some()).collect();
    let chosen = if !names.is_empty() {
        splits::choose(file.path, &names, file.split)?
    } else if let Some(key) = KEYS.iter().find(|key| lists.contains(key)) {
        key
    } else {
        return Ok(None);
    };
    let others: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).filter(|key| *key != chosen).collect();
    // Other splits are left alone on purpose.
    let others: Vec<&str> = others.into_iter().filter(|key| !names.contains(key)).collect();
    if !others.is_empty() {
        remarks.say(format!("{} beside `{chosen}` is not read", first_names(&others, MOST_KEYS)));
    }
    Ok(Some(chosen.into()))
}
