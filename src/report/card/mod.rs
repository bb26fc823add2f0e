//! The model card of what is written: README.md says what the adapter is, of what it was made, how, and what was measured.
//!
//! Everything is made from the report, so the same run gives the same card. What the author of the source wrote stays as it is around
//! it: the card has marks, and only what is between them is written anew.

mod front_matter;
mod notes;
mod section;

pub use notes::notes;

use super::Report;

/// The file that the Hugging Face Hub shows.
pub const FILE_NAME: &str = "README.md";

const BEGIN: &str = "<!-- lora-slim begins: written by the program, and replaced by it -->";
const END: &str = "<!-- lora-slim ends -->";

/// The README of what is written, for a source that has `readme` and a base model of this name on the hub.
pub fn card(report: &Report, readme: &str, base: Option<&str>) -> String {
    let readme = readme.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let (front_matter, body) = match front_matter::split(&readme) {
        Some((yaml, body)) if front_matter::is_simple(yaml) => {
            (front_matter::completed(yaml, report.format(), base), body)
        }
        Some((_, body)) => (readme[..readme.len() - body.len()].to_string(), body),
        None => (front_matter::completed("", report.format(), base), readme.as_str()),
    };
    let section = format!("{BEGIN}\n{}\n{END}\n", section::section(report, base).trim_end());
    let body = match of_an_earlier_run(body) {
        Some((before, after)) => format!("{before}{section}{after}"),
        None if body.trim().is_empty() => format!("\n{section}"),
        None => format!("{}\n\n{section}", body.trim_end()),
    };
    front_matter + &body
}

/// A README without the section that an earlier run wrote, if it has one.
pub fn without_card(readme: &str) -> Option<String> {
    of_an_earlier_run(readme).map(|(before, after)| format!("{}\n{after}", before.trim_end()))
}

/// What is before and behind the section that an earlier run wrote, if there is one.
fn of_an_earlier_run(body: &str) -> Option<(&str, &str)> {
    let begin = body.find(BEGIN)?;
    let end = begin + body[begin..].find(END)? + END.len();
    Some((&body[..begin], body[end..].strip_prefix('\n').unwrap_or(&body[end..])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::AdapterInput;

    fn report() -> Report {
        Report::of(AdapterInput {
            path: "me/mine".into(),
            files: vec![],
            rank: Some(8),
            alpha: None,
            layers: vec![0, 1],
            not_copied: vec![],
        })
    }

    #[test]
    fn the_authors_words_stay() {
        let once = card(&report(), "---\nlicense: mit\n---\n# Mine\n\nWhat I wrote.\n", Some("org/base"));
        assert!(once.starts_with("---\nlicense: mit\n"), "{once}");
        assert!(once.contains("# Mine\n\nWhat I wrote.\n\n<!-- lora-slim begins"), "{once}");
        assert_eq!(card(&report(), &once, Some("org/base")), once, "again, it is the same");
        let followed = format!("{once}\n## More\n");
        assert_eq!(card(&report(), &followed, Some("org/base")), followed);
    }

    #[test]
    fn front_matter_that_is_not_understood_stays() {
        let readme = "---\n\"tags\": x\n---\n# Mine\n";
        let once = card(&report(), readme, Some("org/base"));
        assert!(once.starts_with("---\n\"tags\": x\n---\n# Mine\n\n<!-- lora-slim begins"), "{once}");
        assert_eq!(without_card(&once).unwrap(), readme);
        assert_eq!(without_card(readme), None);
    }

    #[test]
    fn nothing_in_a_name_ends_the_section() {
        let mut report = report();
        report.adapter.path = format!("a`{END}`b\n| <script>");
        let once = card(&report, "", None);
        assert_eq!(once.matches(END).count(), 1, "{once}");
        assert_eq!(card(&report, &once, None), once);
    }
}
