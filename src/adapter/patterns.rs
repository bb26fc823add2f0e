//! `rank_pattern` and `alpha_pattern`: values by patterns of module names, matched as PEFT does.
//!
//! PEFT tries `re.match(rf"(.*\.)?({key})$", module)` for one key after the other and takes the first that matches
//! (`get_pattern_key`). Trainers write one key for each module, so that trying all keys on all modules would take minutes. Keys
//! that are plain names therefore share a tree that a module's name is looked up in once; only the others are compiled.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use fancy_regex::{Regex, RegexBuilder};
use serde_json::Value;

/// The most patterns of one key that are more than names. Each takes time and memory to compile, and is tried on each module.
pub const MOST_EXPRESSIONS: usize = 1000;

/// The most characters in all names of one key: those of some 90,000 modules.
const MOST_CHARACTERS: usize = 4 << 20;

/// What the expressions of one key may take together: bytes when they are compiled, and steps of backtracking for a module. The least
/// for each of them is enough for what people write.
const BYTES: usize = 64 << 20;
const LEAST_BYTES: usize = 128 << 10;
const STEPS: usize = 200_000;
const LEAST_STEPS: usize = 1000;

/// Compiles one of `count` expressions of a key; `None` if this engine does not take it.
pub(super) fn compiled(expression: &str, count: usize) -> Option<Regex> {
    let bytes = (BYTES / count.max(1)).clamp(LEAST_BYTES, 10 << 20);
    let mut builder = RegexBuilder::new(expression);
    builder.backtrack_limit((STEPS / count.max(1)).max(LEAST_STEPS));
    builder.delegate_size_limit(bytes).delegate_dfa_size_limit(bytes);
    builder.build().ok()
}

/// The patterns of one key of the configuration, compiled.
#[derive(Debug, Clone, Default)]
pub struct ModulePatterns {
    /// By the place of the pattern; `None` for a value that is not a number.
    values: Vec<Option<f64>>,
    names: NameTree,
    /// The patterns that are more than names, with their places.
    expressions: Vec<(usize, Regex)>,
    /// The places of the patterns that this regex engine does not take.
    unread: Vec<usize>,
    /// The first pattern that matches, by module: each is asked for its rank and alpha again and again.
    first: Arc<Mutex<HashMap<String, Option<usize>>>>,
}

/// Plain names from their ends: each node has the places of the names that begin there.
#[derive(Debug, Clone, Default)]
struct NameTree {
    /// A dot in a name, which is any character to PEFT, is `None`.
    children: HashMap<(usize, Option<char>), usize>,
    /// The nodes where names begin, and those where whole names do, before which nothing may stand.
    places: HashMap<usize, Vec<usize>>,
    whole: HashMap<usize, Vec<usize>>,
    nodes: usize,
}

/// A pattern that a name is compared with, and no more.
#[derive(Debug)]
struct PlainName {
    /// `None` is any character.
    characters: Vec<Option<char>>,
    /// Whether it is the name from its beginning, behind `^`.
    is_whole: bool,
}

impl PlainName {
    /// Reads names as trainers write them: `layers.1.q_proj`, `layers\\.1\\.q_proj`, `^model.layers.1.q_proj$`. `None` for anything that
    /// is more than that to a regex engine.
    fn parse(pattern: &str) -> Option<Self> {
        let is_whole = pattern.starts_with('^');
        let rest = pattern.strip_prefix('^').unwrap_or(pattern);
        let mut rest = rest.strip_suffix('$').filter(|rest| !rest.ends_with('\\')).unwrap_or(rest).chars();
        let mut characters = Vec::new();
        while let Some(character) = rest.next() {
            characters.push(match character {
                '.' => None,
                '\\' => Some(rest.next().filter(|escaped| ['.', '-', '_'].contains(escaped))?),
                '^' | '$' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '\n' => return None,
                character => Some(character),
            });
        }
        (!characters.is_empty()).then_some(Self { characters, is_whole })
    }
}

impl NameTree {
    fn insert(&mut self, name: &PlainName, place: usize) {
        let mut node = 0;
        for &character in name.characters.iter().rev() {
            let next = self.nodes + 1;
            node = *self.children.entry((node, character)).or_insert(next);
            self.nodes = self.nodes.max(node);
        }
        let places = if name.is_whole { &mut self.whole } else { &mut self.places };
        places.entry(node).or_default().push(place);
    }

    /// The places of the names that `module` is, or ends with behind a dot.
    fn matching(&self, module: &str) -> Vec<usize> {
        let (mut nodes, mut places) = (vec![0], Vec::new());
        for (at, character) in module.char_indices().rev() {
            let child = |node: usize, character| self.children.get(&(node, character)).copied();
            let any = |node| child(node, None).filter(|_| character != '\n');
            nodes = nodes.into_iter().flat_map(|node| [child(node, Some(character)), any(node)]).flatten().collect();
            if nodes.is_empty() {
                break;
            }
            if at == 0 || module[..at].ends_with('.') {
                places.extend(nodes.iter().filter_map(|node| self.places.get(node)).flatten());
            }
            if at == 0 {
                places.extend(nodes.iter().filter_map(|node| self.whole.get(node)).flatten());
            }
        }
        places
    }
}

impl ModulePatterns {
    /// Reads the value of a key of a configuration. `None` if it is no object, a value in it is not as it should be, or a pattern
    /// cannot be read: what PEFT would make of it is not known then. No patterns where the key is absent or null.
    pub fn of(value: Option<&Value>, is_value: fn(&Value) -> bool) -> Option<Self> {
        let patterns = match value {
            None | Some(Value::Null) => return Some(Self::default()),
            Some(value) => value.as_object()?,
        };
        let compiled = Self::new(patterns.keys().map(String::as_str));
        let is_whole = compiled.unread.is_empty() && patterns.values().all(is_value);
        is_whole.then(|| Self { values: patterns.values().map(Value::as_f64).collect(), ..compiled })
    }

    /// Patterns without values. A pattern that this regex engine does not take matches nothing, and so do those that are too many.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut read = Self::default();
        let (mut expressions, mut characters) = (Vec::new(), 0);
        for (place, pattern) in patterns.into_iter().enumerate() {
            characters += pattern.len();
            match PlainName::parse(pattern) {
                _ if characters > MOST_CHARACTERS => read.unread.push(place),
                Some(name) => read.names.insert(&name, place),
                None => expressions.push((place, pattern)),
            }
        }
        let count = expressions.len();
        for (place, pattern) in expressions {
            let is_one_of_few = read.expressions.len() < MOST_EXPRESSIONS;
            let regex = is_one_of_few.then(|| compiled(&format!(r"^(?:.*\.)?(?:{pattern})$"), count)).flatten();
            match regex {
                Some(regex) => read.expressions.push((place, regex)),
                None => read.unread.push(place),
            }
        }
        read
    }

    /// The value of the first pattern that matches.
    pub fn value(&self, module: &str) -> Option<f64> {
        if self.values.is_empty() {
            return None;
        }
        let mut known = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match known.get(module) {
            Some(place) => *place,
            None => *known.entry(module.into()).or_insert(self.first_match(module)),
        };
        *self.values.get(place?)?
    }

    fn first_match(&self, module: &str) -> Option<usize> {
        let name = self.names.matching(module).into_iter().min();
        let earlier = self.expressions.iter().take_while(|(place, _)| name.is_none_or(|name| *place < name));
        let expression = earlier.filter(|(_, regex)| is_match(regex, module)).map(|(place, _)| *place).next();
        expression.or(name)
    }

    /// The places of the patterns that match none of `modules`.
    pub fn unmatched<'a>(&self, modules: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
        let mut unmatched: BTreeSet<usize> = (0..self.values.len()).collect();
        for module in modules {
            for place in self.matching(module) {
                unmatched.remove(&place);
            }
        }
        unmatched.into_iter().collect()
    }

    /// The places of all patterns that match.
    pub fn matching(&self, module: &str) -> Vec<usize> {
        let expressions = self.expressions.iter().filter(|(_, regex)| is_match(regex, module)).map(|(place, _)| *place);
        self.names.matching(module).into_iter().chain(expressions).collect()
    }
}

fn is_match(regex: &Regex, module: &str) -> bool {
    regex.is_match(module).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn patterns(value: Value) -> ModulePatterns {
        ModulePatterns::of(Some(&value), Value::is_number).unwrap()
    }

    #[test]
    fn the_first_pattern_that_matches_decides() {
        let both = patterns(json!({"mlp.*": 1, "layers.1.mlp.up": 2, "up": 3, r"^model\.x": 4}));
        for (module, value) in [
            ("model.layers.1.mlp.up", Some(1.0)),
            ("layers.1.mlp.up", Some(1.0)),
            ("layers.1.attn.up", Some(3.0)),
            ("layers.1.attn.setup", None),
            ("model.x", Some(4.0)),
            ("up", Some(3.0)),
        ] {
            assert_eq!(both.value(module), value, "{module}");
        }
        let later = patterns(json!({"layers.1.mlp.up": 2, "mlp.*": 1, "v": 1}));
        assert_eq!(later.value("model.layers.1.mlp.up"), Some(2.0));
        assert_eq!(later.value("model.layers.2.mlp.up"), Some(1.0));
        for wrong in [json!([1]), json!({"q": "4"}), json!({"q": null}), json!({"q(": 1})] {
            assert!(ModulePatterns::of(Some(&wrong), Value::is_number).is_none(), "{wrong}");
        }
    }

    #[test]
    fn names_match_as_regular_expressions_do() {
        let names = [
            "h.1.q",
            "q",
            "h.1",
            "1.q",
            "a.b.c",
            "é.q",
            "x",
            ".",
            "..",
            "q_proj",
            "h-1",
            r"h\.1\.q",
            "^h.1.q$",
            "^q",
            "q$",
            r"^a\.h\.1\.q",
            r"h\-1",
            "^.",
            r"1\.q$",
        ];
        let modules =
            ["h.1.q", "hx1.q", "h.11q", "a.h.1.q", "ah.1.q", "é.q", "ö.q", "x", "a.x", "ax", ".x", "x.", "", "."];
        let plain = ModulePatterns::new(names);
        assert!(plain.expressions.is_empty() && plain.unread.is_empty());
        for module in modules {
            let regex = |name: &str| Regex::new(&format!(r"^(?:.*\.)?(?:{name})$")).unwrap();
            let expected: Vec<usize> = (0..names.len()).filter(|&at| is_match(&regex(names[at]), module)).collect();
            let mut found = plain.matching(module);
            found.sort();
            assert_eq!(found, expected, "{module}");
        }
    }

    /// A key for each module, as trainers write them: none is compiled, and a module's name walks down one branch.
    #[test]
    fn thousands_of_names_are_looked_up_at_once() {
        let module = |at: usize| format!("model.layers.{}.mlp.experts.{}.up_proj", at / 100, at % 100);
        let names: Map<String, Value> = (0..2000).map(|at| (module(at), json!(at))).collect();
        let compiled = patterns(Value::Object(names));
        assert!(compiled.expressions.is_empty());
        for at in 0..2000 {
            assert_eq!(compiled.names.matching(&module(at)).len(), 1);
            assert_eq!(compiled.value(&module(at)), Some(at as f64));
        }
    }
}
