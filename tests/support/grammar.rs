//! Chat templates by their grammar: bytes choose among its rules, so that nearly all of them parse, and what they do is tried.

/// Takes choices from bytes; none are left behind the last.
struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
    levels: usize,
}

const NAMES: [&str; 8] = ["messages", "a", "b", "n", "loop", "f", "bos_token", "caller"];
const ATTRIBUTES: [&str; 10] =
    ["x", "content", "items()", "index0", "nextitem", "changed(a)", "strip()", "split(',')", "0", "format(a, b=b)"];
const LITERALS: [&str; 10] = ["1", "-3", "0.5", "'a'", "'é\\n'", "none", "true", "[]", "{}", "10**9"];
const OPERATORS: [&str; 14] = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "not in", "and", "or"];
const FILTERS: [&str; 20] = [
    "trim",
    "upper",
    "tojson",
    "list",
    "length",
    "sort",
    "unique|list",
    "map('upper')|list",
    "map('map','list')|list",
    "items|list",
    "join('x')",
    "string",
    "indent(2)",
    "batch(2)|list",
    "slice(3)|list",
    "groupby(0)",
    "int",
    "e",
    "reverse",
    "default(a)",
];
const TESTS: [&str; 6] = ["defined", "string", "mapping", "iterable", "odd", "sameas none"];

impl Choices<'_> {
    fn next(&mut self) -> Option<usize> {
        self.bytes.next().map(|&byte| usize::from(byte))
    }

    fn one(&mut self, of: &[&str]) -> String {
        let choice = self.next().unwrap_or(0);
        of[choice % of.len()].into()
    }

    fn expression(&mut self) -> String {
        let Some(choice) = self.next().filter(|_| self.levels < 30) else { return self.one(&LITERALS) };
        self.levels += 1;
        let text = match choice % 14 {
            0..=2 => self.one(&NAMES),
            3 => self.one(&LITERALS),
            4 => format!("({} {} {})", self.expression(), self.one(&OPERATORS), self.expression()),
            5 => format!("{}.{}", self.one(&NAMES), self.one(&ATTRIBUTES)),
            6 => format!("{}|{}", self.expression(), self.one(&FILTERS)),
            7 => format!("({} is {})", self.expression(), self.one(&TESTS)),
            8 => format!("[{}, {}]", self.expression(), self.expression()),
            9 => format!("{{{}: {}}}", self.expression(), self.expression()),
            10 => format!("{}[{}:{}]", self.expression(), self.expression(), self.expression()),
            11 => format!("({} if {} else {})", self.expression(), self.expression(), self.expression()),
            12 => format!("f({}, {})", self.expression(), self.expression()),
            _ => format!("({} * 1000)", self.expression()),
        };
        self.levels -= 1;
        text
    }

    fn statement(&mut self) -> String {
        let Some(choice) = self.next().filter(|_| self.levels < 30) else { return String::new() };
        self.levels += 1;
        let text = match choice % 11 {
            0 | 1 => format!("{{{{ {} }}}}", self.expression()),
            2 => format!("{{% set a = {} %}}", self.expression()),
            3 => format!("{{% set n = namespace(x={}) %}}", self.expression()),
            4 => format!("{{% set n.x = {} %}}", self.expression()),
            5 => format!("{{% for b in {} %}}{}{{% else %}}x{{% endfor %}}", self.expression(), self.statements()),
            6 => format!(
                "{{% for b in range(9) if {} recursive %}}{}{{% endfor %}}",
                self.expression(),
                self.statements()
            ),
            7 => format!(
                "{{% if {} %}}{}{{% else %}}{}{{% endif %}}",
                self.expression(),
                self.statements(),
                self.statements()
            ),
            8 => format!("{{% macro f(a, b={}) %}}{}{{% endmacro %}}", self.expression(), self.statements()),
            9 => format!("{{% call f({}) %}}{}{{% endcall %}}", self.expression(), self.statements()),
            _ => format!("{{% generation %}}{}{{% endgeneration %}}", self.statements()),
        };
        self.levels -= 1;
        text
    }

    fn statements(&mut self) -> String {
        let count = self.next().unwrap_or(0) % 4;
        (0..=count).map(|_| self.statement()).collect()
    }
}

/// The template that bytes choose.
pub fn template(bytes: &[u8]) -> String {
    let mut choices = Choices { bytes: bytes.iter(), levels: 0 };
    let mut text = String::new();
    while choices.bytes.len() > 0 && text.len() < 100_000 {
        text += &choices.statements();
    }
    text
}
