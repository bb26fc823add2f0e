//! Chat templates that make much out of little: values, texts, names, levels. Each has to be refused in bounded memory and time.

use std::fs;
use std::time::{Duration, Instant};

use super::refused;
use super::text::{CHAT, with_prompts};

/// More than any of these takes on a machine that does other work, and less than doing what they ask.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names with numbers: `k0=1,k1=1,…`.
fn numbered(count: usize, name: impl Fn(usize) -> String) -> String {
    (0..count).map(name).collect::<Vec<_>>().join(",")
}

/// A list that holds itself twice, fifty times over.
fn doubled(then: &str) -> String {
    format!("{{% set n=namespace(x=[1]) %}}{{% for i in range(50) %}}{{% set n.x=[n.x,n.x] %}}{{% endfor %}}{then}")
}

/// Two equal tuples that are doubled in the same way.
fn doubled_tuples(then: &str) -> String {
    let one = |name: &str| {
        format!(
            "{{% set {name}=namespace(x=(1,)) %}}{{% for i in range(50) %}}{{% set {name}.x=({name}.x,{name}.x) %}}{{% endfor %}}"
        )
    };
    one("n") + &one("m") + then
}

/// A statement that runs ten million times.
fn often(before: &str, statement: &str) -> String {
    format!("{before}{{% for i in range(100000) %}}{{% for j in range(100) %}}{statement}{{% endfor %}}{{% endfor %}}")
}

/// A list that grows by what an expression makes.
fn kept(before: &str, expression: &str) -> String {
    let keep = format!("{{% set n.x=[{expression},n.x] %}}");
    often(&format!("{before}{{% set n=namespace(x=[]) %}}"), &keep)
}

fn values() -> Vec<String> {
    let dict = format!("{{% set d=dict({}) %}}", numbered(900, |at| format!("k{at}=1")));
    vec![
        doubled("{{ n.x }}"),
        doubled("{{ n.x|tojson }}"),
        doubled("{{ [n.x,n.x]|sort }}"),
        doubled("{{ [n.x,n.x]|groupby(0) }}"),
        doubled("{{ '%s'|format(n.x) }}"),
        doubled("{{ raise_exception(n.x) }}"),
        doubled_tuples("{{ n.x==m.x }}"),
        doubled_tuples("{{ {n.x:1}[m.x] }}"),
        doubled_tuples("{{ [n.x,m.x]|unique|list }}"),
        "{% set ns=namespace(x=1) %}{% set ns.x=ns %}{{ ns }}".into(),
        "{% for a in range(3) %}{{ loop.changed(loop) }}{% endfor %}".into(),
        kept("", &format!("[{}]", "1,".repeat(100_000))),
        kept(&dict, "d|items"),
        kept("", "range(1000)|batch(1)|list"),
        kept("", "('a'*100000)|list"),
        kept("{% set k='k'*30000000 %}", "messages[0][k]"),
        often("", &format!("{{% set x={{ {} }} %}}", numbered(5000, |at| format!("'k{at}':1")))),
        often(&dict, "{% for k,v in d.items() %}{% endfor %}"),
        often(&dict, "{% set x=d|tojson(sort_keys=true) %}"),
        often(&dict, "{% set x=dict(**d) %}"),
        "{{ range(100000)|unique|list }}".into(),
        "{{ [1]|slice(100000000)|list }}".into(),
    ]
}

fn texts() -> Vec<String> {
    let long = "{% set a='a'*30000000 %}{% set b='a'*30000000 %}";
    vec![
        "{{ ('{0:9999}'*100000).format(1) }}".into(),
        "{{ ('%9999d'*100000)|format(*([1]*100000)) }}".into(),
        format!("{long}{{{{ ('%.1s'*100000)|format(*([a]*100000)) }}}}"),
        "{{ ('{0'~'.a'*20000000~'}').format(messages) }}".into(),
        format!("{long}{{{{ ([a,b]*50000)|sort|length }}}}"),
        often(long, "{% set x=a==b %}"),
        often(long, "{% set x=a|length %}"),
        often(long, "{% set x=a|int(0) %}"),
        often(long, "{% set x=a.startswith((b,b,b,b)) %}"),
        often(long, "{% set x=a.isprintable() %}"),
        often("{% set a='a'*8000000 %}{% set d={a~1:1,a~2:1,a~3:1} %}{% set k=a~4 %}", "{% set x=d[k] %}"),
        "{% set a='a'*30000000 %}{{ a.strip('b'*30000000~'a') }}".into(),
        "{{ messages|map(attribute='a.'*60000000)|list }}".into(),
        "{{ ('a,'*60000000).split(',')|length }}".into(),
        "{{ ('\\n'*120000000).splitlines()|length }}".into(),
        "{{ ('\\n'*60000000)|indent|length }}".into(),
        "{{ ('é'*60000000)[::-1]|length }}".into(),
        "{{ ('\\u0001'*60000000)|tojson|length }}".into(),
        "{{ ['\\u0001'*60000000]|string|length }}".into(),
        "{{ ('\"'*60000000)|e|length }}".into(),
        format!("{{{{ dict({})|tojson(separators=(',','x'*10000000)) }}}}", numbered(900, |at| format!("k{at}=1"))),
    ]
}

fn levels() -> Vec<String> {
    let chain = |before: &str, part: &str, after: &str| format!("{before}{}{after}", part.repeat(100_000));
    vec![
        chain("{{ ", "-", "1 }}"),
        chain("{{ ", "not ", "1 }}"),
        chain("{{ 'a'", "|trim", " }}"),
        chain("{{ a", ".a", " }}"),
        chain("{{ a", "()", " }}"),
        chain("{{ a", "[0]", " }}"),
        chain("{{ 1", "**1", " }}"),
        chain("{{ 1", " or 1", " }}"),
        chain("{{ ", "{1:", " }}"),
        chain("{% set ", "(", "a %}"),
        "{% call a() %}".repeat(50_000),
        "{% generation %}".repeat(50_000),
        "{{ 'abc'|map(*(['map']*100000))|list }}".into(),
        format!("{{% set x=1 %}}{}", "{% set x=cycler(x) %}".repeat(40_000)),
        format!("{{% set x=1 %}}{}", "{% set x=[joiner(x)] %}".repeat(40_000)),
        "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% endcall %}{% endmacro %}{{ g() }}".into(),
    ]
}

fn names() -> Vec<String> {
    let unused = |count| (0..count).map(|at| format!("{{% set a{at}=1 %}}")).collect::<String>();
    let branches: String = (0..20_000).map(|at| format!("{{% if a{at} %}}{{% set b{at}=1 %}}{{% endif %}}")).collect();
    vec![
        format!("{{{{ dict({}) }}}}", numbered(100_000, |at| format!("a{at}=1"))),
        format!("{{% macro f({}) %}}{{% endmacro %}}", numbered(100_000, |at| format!("a{at}"))),
        format!("{{{{ 1|{}b }}}}", "a.".repeat(400_000)),
        often("", &format!("{{% if false %}}{}{{% endif %}}", unused(40_000))),
        format!(
            "{{% macro f() %}}{{% if false %}}{}{{% endif %}}{{% endmacro %}}{}",
            unused(40_000),
            often("", "{{ f() }}")
        ),
        branches,
        format!("{}{}", unused(30_000), "{% if a %}".repeat(190) + &"{% endif %}".repeat(190)),
        "{% raw %}".repeat(90_000),
        "x".repeat(2_000_000),
    ]
}

fn all_refused(templates: &[String]) {
    let setup = with_prompts();
    for template in templates {
        fs::write(setup.path("base/chat_template.jinja"), template).unwrap();
        let start = Instant::now();
        refused(&setup, &CHAT, "chat template");
        assert!(start.elapsed() < PATIENCE, "{:.100}: {:?}", template, start.elapsed());
    }
}

#[test]
fn values_of_templates() {
    all_refused(&values());
}

#[test]
fn texts_of_templates() {
    all_refused(&texts());
}

#[test]
fn levels_of_templates() {
    all_refused(&levels());
}

#[test]
fn names_of_templates() {
    all_refused(&names());
}
