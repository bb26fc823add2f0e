//! How templates are rendered: everything is escaped, and a missing field is an error.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value};

use super::filters;
use crate::printable;

/// An environment without templates.
pub fn new() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(write_escaped);
    // `{% if base %}` may ask for a part that the report does not have; printing it fails.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    environment.set_syntax(syntax);
    // No template can get around the escaping.
    ["safe", "escape", "e"].into_iter().for_each(|filter| environment.remove_filter(filter));
    filters::add_to(&mut environment);
    Ok(environment)
}

/// Writes what `{{ value }}` stands for: as it is if a template or this program made it, otherwise escaped.
fn write_escaped(output: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) if value.is_safe() => output.write_str(text)?,
        Some(text) => output.write_str(&escape(text))?,
        None => output.write_str(&escape(&plain(value)))?,
    }
    Ok(())
}

/// A value as Rust displays it: a whole f64 without `.0`, and none without an exponent.
pub fn plain(value: &Value) -> String {
    match (value.kind(), f64::try_from(value.clone())) {
        (ValueKind::Number, Ok(number)) if !value.is_integer() => number.to_string(),
        _ => value.to_string(),
    }
}

/// Text that is safe between tags and in a quoted attribute. Characters that HTML does not allow are replaced, and those that are not
/// seen are shown by their number: in a path they would hide what it is. The joiners stay, because samples need them in many scripts.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(character),
            '\u{200c}' | '\u{200d}' => escaped.push(character),
            _ if character.is_control() => escaped.push('\u{fffd}'),
            _ if printable::is_printable(character) => escaped.push(character),
            _ => escaped += &printable::number(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    fn render(template: &str, context: Value) -> Result<String, Error> {
        new()?.render_str(template, context)
    }

    #[test]
    fn nothing_breaks_out() {
        let hostile = "<script>alert(1)</script>\"' onload=\"x\0\u{202e}&amp;";
        let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; onload=&quot;x\u{fffd}[U+202E]&amp;amp;";
        let template = "{% macro bold(text) %}<b>{{ text }}</b>{% endmacro %}\
                        {% set title %}{{ hostile }}{% endset %}\
                        <p title=\"{{ title }}\" lang=\"{{ hostile }}\">{{ hostile }}{{ bold(hostile) }}{{ [hostile] | join }}<br></p>";
        let page = render(template, context! { hostile }).unwrap();
        let expected = format!("<p title=\"{escaped}\" lang=\"{escaped}\">{escaped}<b>{escaped}</b>{escaped}<br></p>");
        assert_eq!(page, expected);
        // Nor do keys, and texts inside of other values.
        let nested = render("{{ value }}", context! { value => context! { hostile => [hostile] } }).unwrap();
        assert!(!nested.contains(['<', '>', '"', '\0', '\u{202e}']), "{nested}");
    }

    #[test]
    fn no_filter_turns_text_into_markup() {
        for filter in ["safe", "escape", "e", "tojson"] {
            assert!(render(&format!("{{{{ text | {filter} }}}}"), context! { text => "<b>" }).is_err(), "{filter}");
        }
        assert_eq!(
            render("{{ '<i>' ~ text | replace('b', 'u') }}", context! { text => "<b>" }).unwrap(),
            "&lt;i&gt;&lt;u&gt;"
        );
    }

    #[test]
    fn a_missing_field_is_an_error() {
        assert_eq!(render("{% if missing %}x{% endif %}", context! {}).unwrap(), "");
        for template in
            ["{{ missing }}", "{{ missing.field }}", "{% for x in missing %}{% endfor %}", "{{ missing | loss }}"]
        {
            assert!(render(template, context! {}).is_err(), "{template}");
        }
    }

    #[test]
    fn numbers_are_plain() {
        let numbers = context! { numbers => [16.0, 0.1, 1e-7, 1e21] };
        let shown = render("{% for number in numbers %}{{ number }} {% endfor %}{{ 3 }}", numbers).unwrap();
        assert_eq!(shown, "16 0.1 0.0000001 1000000000000000000000 3");
    }
}
