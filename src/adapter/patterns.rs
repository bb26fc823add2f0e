//! `rank_pattern` and `alpha_pattern`: values by patterns of module names, matched as PEFT does.
//!
//! PEFT tries `re.match(rf"(.*\.)?({key})$", module)` for one key after the other and takes the first that matches
//! (`get_pattern_key`). Trainers write one key for each module, so that trying all keys on all modules would take minutes. Keys
//! that are plain names therefore share a tree that a module's name is looked up in once; only the others are compiled.

use std::collections::{BTreeSet, HashMap};

use fancy_regex::Regex;
use serde_json::Value;

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
}

/// Plain names from their ends: each node has the places of the names that begin there. A dot in a name is any character to PEFT,
/// and to this tree.
#[derive(Debug, Clone, Default)]
struct NameTree {
    children: HashMap<(usize, char), usize>,
    /// The nodes where names begin.
    places: HashMap<usize, Vec<usize>>,
    nodes: usize,
}

impl NameTree {
    fn insert(&mut self, name: &str, place: usize) {
        let mut node = 0;
        for character in name.chars().rev() {
            let next = self.nodes + 1;
            node = *self.children.entry((node, character)).or_insert(next);
            self.nodes = self.nodes.max(node);
        }
        self.places.entry(node).or_default().push(place);
    }

    /// The places of the names that `module` is, or ends with behind a dot.
    fn matching(&self, module: &str) -> Vec<usize> {
        let (mut nodes, mut places) = (vec![0], Vec::new());
        for (at, character) in module.char_indices().rev() {
            let child = |node: usize, character| self.children.get(&(node, character)).copied();
            let any = |node| child(node, '.').filter(|_| character != '.' && character != '\n');
            nodes = nodes.into_iter().flat_map(|node| [child(node, character), any(node)]).flatten().collect();
            if nodes.is_empty() {
                break;
            }
            if at == 0 || module[..at].ends_with('.') {
                places.extend(nodes.iter().filter_map(|node| self.places.get(node)).flatten());
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

    /// Patterns without values. A pattern that this regex engine does not take matches nothing.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut compiled = Self::default();
        for (place, pattern) in patterns.into_iter().enumerate() {
            if is_name(pattern) {
                compiled.names.insert(pattern, place);
                continue;
            }
            match Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")) {
                Ok(regex) => compiled.expressions.push((place, regex)),
                Err(_) => compiled.unread.push(place),
            }
        }
        compiled
    }

    /// The value of the first pattern that matches.
    pub fn value(&self, module: &str) -> Option<f64> {
        let name = self.names.matching(module).into_iter().min();
        let earlier = self.expressions.iter().take_while(|(place, _)| name.is_none_or(|name| *place < name));
        let expression = earlier.filter(|(_, regex)| is_match(regex, module)).map(|(place, _)| *place).next();
        *self.values.get(expression.or(name)?)?
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

/// Whether a pattern is a name to a regex engine too, but for its dots.
fn is_name(pattern: &str) -> bool {
    !pattern.is_empty() && !pattern.contains(['\\', '^', '$', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\n'])
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
        let names = ["h.1.q", "q", "h.1", "1.q", "a.b.c", "é.q", "x", ".", "..", "q_proj", "h-1"];
        let modules =
            ["h.1.q", "hx1.q", "h.11q", "a.h.1.q", "ah.1.q", "é.q", "ö.q", "x", "a.x", "ax", ".x", "x.", "", "."];
        let plain = ModulePatterns::new(names);
        assert!(plain.expressions.is_empty());
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
