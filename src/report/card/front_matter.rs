//! The YAML at the head of a README, which the Hugging Face Hub reads. Its lines stay as they are; what is missing is added.

use crate::export::Format;

const FENCE: &str = "---\n";

/// The front matter between its fences, and what follows it; an empty one if there is none.
pub fn split(readme: &str) -> (&str, &str) {
    let Some(rest) = readme.strip_prefix(FENCE) else { return ("", readme) };
    if let Some(body) = rest.strip_prefix(FENCE) {
        return ("", body);
    }
    match rest.find("\n---\n") {
        Some(end) => (&rest[..=end], &rest[end + 1 + FENCE.len()..]),
        None => ("", readme),
    }
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
        let there: Vec<&str> = inside.split(',').map(unquoted).filter(|tag| !tag.is_empty()).collect();
        // A colon is no trouble within a word, as far as the hub's YAML goes, but quotes make it certain.
        let more = tags.iter().filter(|tag| !there.contains(&tag.as_str())).map(|tag| format!("\"{tag}\""));
        let all: Vec<String> =
            (!inside.trim().is_empty()).then(|| inside.trim().to_string()).into_iter().chain(more).collect();
        return format!("{head}tags: [{}]\n{}", all.join(", "), joined(tail));
    }
    let item = |line: &str| line.trim_start().strip_prefix("- ").map(|tag| unquoted(tag).to_string());
    let count = tail.iter().take_while(|line| item(line).is_some()).count();
    if !value.is_empty() || count == 0 {
        return yaml.into();
    }
    let there: Vec<String> = tail[..count].iter().filter_map(|line| item(line)).collect();
    let indent = &tail[0][..tail[0].len() - tail[0].trim_start().len()];
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
        for unknown in ["tags: one\n", "tags: [a,\n  b]\n", "tags:\nlicense: mit\n"] {
            let (unknown, rest) = (of(unknown), "base_model: org/base\nlibrary_name: peft\n---\n");
            assert!(unknown.ends_with(rest) && !unknown.contains("lora-slim"), "{unknown}");
        }
    }

    #[test]
    fn only_fences_make_front_matter() {
        assert_eq!(split("---\na: 1\n---\n# x\n"), ("a: 1\n", "# x\n"));
        assert_eq!(split("---\n---\n# x\n"), ("", "# x\n"));
        for without in ["# x\n---\na: 1\n---\n", "---\nnever closed\n", "", "---"] {
            assert_eq!(split(without), ("", without));
        }
    }
}
