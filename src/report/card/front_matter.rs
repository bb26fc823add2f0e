//! The YAML at the head of a README, which the Hugging Face Hub reads. Its lines stay as they are; what is missing is added.

use crate::export::Format;

const FENCE: &str = "---\n";

/// The front matter between its fences, and what follows it; `None` without fences. As the hub reads it, blanks may stand before them.
pub fn split(readme: &str) -> Option<(&str, &str)> {
    let mut rest = readme.trim_start();
    let is_fence = |line: &str| line.trim_end() == FENCE.trim_end();
    let first = rest.split_inclusive('\n').next().filter(|line| is_fence(line))?;
    rest = &rest[first.len()..];
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        if is_fence(line) {
            return Some((&rest[..end], &rest[end + line.len()..]));
        }
        end += line.len();
    }
    None
}

/// Whether all lines are of the forms that model cards have: a key in plain letters with a value, or with lines that belong to it.
/// Others might be broken by lines in between.
pub fn is_simple(yaml: &str) -> bool {
    let is_key = |line: &str| {
        let (key, value) = line.split_once(':').unwrap_or_default();
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
        !key.is_empty()
            && !key.starts_with('-')
            && key.chars().all(is_plain)
            && (value.is_empty() || value.starts_with(' '))
    };
    let belongs = |line: &str| line.starts_with([' ', '#']) || line.starts_with("- ") || line.trim().is_empty();
    let mut lines = yaml.lines().skip_while(|line| line.trim().is_empty() || line.starts_with('#'));
    lines.next().is_none_or(is_key) && lines.all(|line| belongs(line) || is_key(line))
}

/// Front matter with its fences that names the base model, the library and the tags.
pub fn completed(front_matter: &str, format: Format, base: Option<&str>) -> String {
    let mut yaml = front_matter.to_string();
    let has = |yaml: &str, key: &str| yaml.lines().any(|line| value_of(line, key).is_some());
    if let Some(base) = base.filter(|_| !has(&yaml, "base_model")) {
        yaml += &format!("base_model: {base}\n");
    }
    if let Some(library) = library(format).filter(|_| !has(&yaml, "library_name")) {
        yaml += &format!("library_name: {library}\n");
    }
    let of_base = base.map(|base| format!("base_model:adapter:{base}"));
    let tags: Vec<String> = ["lora", "lora-slim"].map(String::from).into_iter().chain(of_base).collect();
    format!("{FENCE}{}{FENCE}", with_tags(&yaml, &tags))
}

/// The library that loads what is written, as the hub calls it.
fn library(format: Format) -> Option<&'static str> {
    match format {
        Format::Peft => Some("peft"),
        Format::Mlx => Some("mlx"),
        Format::Gguf => None,
    }
}

/// What a line gives a key, if it does.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(':').map(str::trim)
}

/// The YAML with further tags, in the form that its tags have. A form that is not known stays as it is.
fn with_tags(yaml: &str, tags: &[String]) -> String {
    let lines: Vec<&str> = yaml.lines().collect();
    let Some(place) = lines.iter().position(|line| value_of(line, "tags").is_some()) else {
        return format!("{yaml}tags:\n{}", items("", tags.iter()));
    };
    let value = value_of(lines[place], "tags").unwrap_or_default();
    let (head, tail) = (joined(&lines[..place]), &lines[place + 1..]);
    if let Some(inside) = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        if inside.contains(['[', ']', '#', '{']) {
            return yaml.into();
        }
        let inside = inside.trim().trim_end_matches(',').trim_end();
        let there: Vec<&str> = inside.split(',').map(unquoted).collect();
        // A colon is no trouble within a word, as far as the hub's YAML goes, but quotes make it certain.
        let more = tags.iter().filter(|tag| !there.contains(&tag.as_str())).map(|tag| format!("\"{tag}\""));
        let all: Vec<String> = (!inside.is_empty()).then(|| inside.to_string()).into_iter().chain(more).collect();
        return format!("{head}tags: [{}]\n{}", all.join(", "), joined(tail));
    }
    let item = |line: &str| line.trim_start().strip_prefix("- ").map(|tag| unquoted(tag).to_string());
    let count = tail.iter().take_while(|line| item(line).is_some()).count();
    let there: Vec<String> = tail[..count].iter().filter_map(|line| item(line)).collect();
    let is_plain = |tag: &String| !tag.starts_with(['>', '|', '{', '[', '&', '*']) && !tag.contains('#');
    let goes_on = tail.get(count).is_some_and(|line| line.starts_with(' '));
    if !value.is_empty() || goes_on || !there.iter().all(is_plain) {
        return yaml.into();
    }
    let indent = tail.first().filter(|_| count > 0).map_or("", |line| &line[..line.len() - line.trim_start().len()]);
    let more = items(indent, tags.iter().filter(|tag| !there.contains(tag)));
    format!("{head}{}\n{}{more}{}", lines[place], joined(&tail[..count]), joined(&tail[count..]))
}

fn unquoted(tag: &str) -> &str {
    tag.trim().trim_matches(['"', '\''])
}

fn items<'a>(indent: &str, tags: impl Iterator<Item = &'a String>) -> String {
    tags.map(|tag| format!("{indent}- {tag}\n")).collect()
}

fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> String {
        completed(yaml, Format::Peft, Some("org/base"))
    }

    #[test]
    fn what_is_missing_is_added() {
        let all =
            "base_model: org/base\nlibrary_name: peft\ntags:\n- lora\n- lora-slim\n- base_model:adapter:org/base\n";
        assert_eq!(of(""), format!("---\n{all}---\n"));
        assert_eq!(of(all), format!("---\n{all}---\n"));
        let gguf = completed("", Format::Gguf, None);
        assert_eq!(gguf, "---\ntags:\n- lora\n- lora-slim\n---\n");
    }

    #[test]
    fn what_is_there_stays() {
        let block = "tags:\n  - lora\n  - mine\nlibrary_name: other\nbase_model:\n  - org/other\n# a comment\n";
        let expected = "tags:\n  - lora\n  - mine\n  - lora-slim\n  - base_model:adapter:org/base\nlibrary_name: other\n\
                        base_model:\n  - org/other\n# a comment\n";
        assert_eq!(of(block), format!("---\n{expected}---\n"));
        let inline = "tags: [lora, 'mine']\nlibrary_name: peft\nbase_model: x\n";
        let expected =
            "tags: [lora, 'mine', \"lora-slim\", \"base_model:adapter:org/base\"]\nlibrary_name: peft\nbase_model: x\n";
        assert_eq!(of(inline), format!("---\n{expected}---\n"));
        for unknown in [
            "tags: one\n",
            "tags: [a,\n  b]\n",
            "tags: [a, b] # c\n",
            "tags: # c\n- a\n",
            "tags:\n- a # c\n",
            "tags:\n- >-\n  a\n",
            "tags:\n- a\n  b\n",
        ] {
            let (unknown, rest) = (of(unknown), "base_model: org/base\nlibrary_name: peft\n---\n");
            assert!(unknown.ends_with(rest) && !unknown.contains("lora-slim"), "{unknown}");
        }
        let all = "lora\n- lora-slim\n- base_model:adapter:org/base\n";
        assert!(of("tags:\nlicense: mit\n").starts_with(&format!("---\ntags:\n- {all}license: mit\n")));
        assert!(of("tags: [a, b,]\n").starts_with("---\ntags: [a, b, \"lora\","));
    }

    #[test]
    fn only_lines_that_are_understood_are_added_to() {
        for simple in ["", "a: 1\n\n# c\nb-c:\n  d: e\n- f\n", "# c\na:\n"] {
            assert!(is_simple(simple), "{simple}");
        }
        for other in [
            "\"base_model\": x\n",
            "base_model : x\n",
            "{license: mit}\n",
            "Some prose.\n",
            "- a\n",
            "a:b\n",
            "a: 1\n...\n",
        ] {
            assert!(!is_simple(other), "{other}");
        }
    }

    #[test]
    fn only_fences_make_front_matter() {
        for readme in ["---\na: 1\n---\n# x\n", "\n---  \na: 1\n--- \n# x\n"] {
            assert_eq!(split(readme), Some(("a: 1\n", "# x\n")));
        }
        assert_eq!(split("---\na: 1\n---"), Some(("a: 1\n", "")));
        assert_eq!(split("---\n---\n# x\n"), Some(("", "# x\n")));
        for without in ["# x\n---\na: 1\n---\n", "---\nnever closed\n", "", "---"] {
            assert_eq!(split(without), None);
        }
    }
}
