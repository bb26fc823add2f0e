//! What is said about sample files once they are read: columns that nobody reads, and samples that are left out.

use std::collections::BTreeMap;

use crate::format::first_names;

/// The most columns that are named.
const MOST_COLUMNS: usize = 100;

/// Remarks on sample files. Each is made once, however many samples it is about.
#[derive(Debug, Default)]
pub struct Remarks {
    /// Columns that are not read, in the order in which they came up.
    unread: Vec<String>,
    sentences: Vec<String>,
    /// Why samples are left out, and how many are.
    left_out: BTreeMap<&'static str, usize>,
}

impl Remarks {
    /// Notes a column that is not read.
    pub fn unread(&mut self, column: &str) {
        if self.unread.len() < MOST_COLUMNS && !self.unread.iter().any(|known| known == column) {
            self.unread.push(column.into());
        }
    }

    /// Adds a sentence.
    pub fn say(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        if !self.sentences.contains(&sentence) {
            self.sentences.push(sentence);
        }
    }

    /// Notes a sample that is left out, for example `whose label is false`.
    pub fn leave_out(&mut self, which: &'static str) {
        *self.left_out.entry(which).or_default() += 1;
    }

    /// Adds what was noted elsewhere.
    pub fn add(&mut self, other: Remarks) {
        other.unread.iter().for_each(|column| self.unread(column));
        other.sentences.into_iter().for_each(|sentence| self.say(sentence));
        other.left_out.into_iter().for_each(|(which, count)| *self.left_out.entry(which).or_default() += count);
    }

    /// One sentence each.
    pub fn into_sentences(self) -> Vec<String> {
        let names = first_names(&self.unread, MOST_COLUMNS);
        let unread = match self.unread.len() {
            0 => None,
            1 => Some(format!("the column {names} of the samples is not read")),
            _ => Some(format!("the columns {names} of the samples are not read")),
        };
        let left_out = self.left_out();
        unread.into_iter().chain(self.sentences).chain(left_out).collect()
    }

    /// One sentence for each reason why samples are left out.
    pub fn left_out(&self) -> Vec<String> {
        let sentence = |(which, count): (&&str, &usize)| match count {
            1 => format!("1 sample {which} is left out"),
            _ => format!("{count} samples {which} are left out"),
        };
        self.left_out.iter().map(sentence).collect()
    }
}
