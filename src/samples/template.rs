//! Chat templates: Jinja as transformers renders it, with bounded work.

use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, merge_maps};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use super::{Message, TemplateContext};

/// The budget of a template: one unit for each step and for each 64 bytes of output. A template is somebody else's program: it
/// must stop, and it gets at most 128 MB.
const FUEL: u64 = 2_000_000;

/// The number of characters that are kept of a template's own error message.
const LONGEST_MESSAGE: usize = 1000;

/// The number of digits in a width that a template may pad to.
const LONGEST_WIDTH: usize = 4;

/// The marks at the ends of what a template says is the assistant's. They are no characters of any text.
const START: char = '\u{FDD0}';
const END: char = '\u{FDD1}';

/// A conversation as the model reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// The byte spans of `text` that come from `{% generation %}` blocks, as transformers finds them: the assistant's turns of a
    /// template that marks them. Empty if it marks nothing.
    pub generation: Vec<Range<usize>>,
}

/// A model's chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Self {
        // A mark is written at each end of `{% generation %}` and taken out of the text again.
        let source =
            [("generation", START), ("endgeneration", END)].iter().fold(source.to_string(), |text, (tag, mark)| {
                ["{% TAG %}", "{%- TAG %}", "{% TAG -%}", "{%- TAG -%}"].iter().fold(text, |text, form| {
                    let (open, close) = form.split_once("TAG").unwrap_or_default();
                    let writing = format!("{open}if true %}}{{{{ '{mark}' }}}}{{% endif{close}");
                    text.replace(&form.replace("TAG", tag), &writing)
                })
            });
        Self { source, bos_token: bos_token.into(), eos_token: eos_token.into() }
    }

    /// The text of `messages`, followed, with `prompt`, by the opening of the assistant's turn.
    pub fn render(&self, messages: &[Message], context: &TemplateContext, prompt: bool) -> Result<Rendered, String> {
        let mut environment = Environment::new();
        environment.set_syntax(syntax()?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: &str| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message.chars().take(LONGEST_MESSAGE).collect::<String>()))
        });
        // With today's date in a prompt, a loss would depend on the day it was computed.
        environment.add_function("strftime_now", |_format: String| "2024-07-26".to_string());
        let special = minijinja::context! { bos_token => &self.bos_token, eos_token => &self.eos_token };
        let given = minijinja::context! {
            messages => Serde(messages),
            add_generation_prompt => prompt,
            tools => Serde(&context.tools),
            documents => Serde(&context.documents),
            ..merge_maps([Value::from(Serde(&context.kwargs)), special])
        };
        let text = environment.render_str(&self.source, given).map_err(|error| error.to_string())?;
        Ok(without_marks(&text))
    }
}

/// Takes the marks of `{% generation %}` out of a text.
fn without_marks(text: &str) -> Rendered {
    let mut rendered = Rendered::default();
    let mut start = None;
    for piece in text.split_inclusive([START, END]) {
        rendered.text.push_str(piece.trim_end_matches([START, END]));
        let place = rendered.text.len();
        if piece.ends_with(START) {
            start = Some(place);
        } else if piece.ends_with(END) {
            rendered.generation.extend(start.take().map(|start| start..place));
        }
    }
    rendered
}

/// The methods of Python's strings, lists and dictionaries. The budget pays for their output after they made it, so the one that
/// makes a lot from little, `'{:1000000}'.format(1)`, is checked before.
fn unknown_method(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let is_wide = |format: &str| {
        format.split(|character: char| !character.is_ascii_digit()).any(|number| number.len() > LONGEST_WIDTH)
    };
    if method == "format" && value.as_str().is_some_and(is_wide) {
        return Err(Error::new(ErrorKind::InvalidOperation, "the width of a format is too large"));
    }
    pycompat::unknown_method_callback(state, value, method, arguments)
}

/// transformers trims around blocks.
fn syntax() -> Result<SyntaxConfig, String> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| error.to_string())
}

/// JSON as Python writes it for templates: not escaped for HTML, as minijinja's own filter does.
fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let fail = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let json = serde_json::to_value(&value).map_err(fail)?;
    match indent {
        Some(_) => serde_json::to_string_pretty(&json).map_err(fail),
        None => {
            let mut out = Vec::new();
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonStyle);
            serde::Serialize::serialize(&json, &mut serializer).map_err(fail)?;
            Ok(String::from_utf8_lossy(&out).into_owned())
        }
    }
}

/// `json.dumps` puts a space behind commas and colons.
struct PythonStyle;

impl serde_json::ser::Formatter for PythonStyle {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_python_idioms() {
        let source = "{%- for m in messages %}{{ m['role'].upper() }}:{{ m.content.strip() }}\n\
                      {% generation %}x{% endgeneration %}{% endfor %}{{ [1, '<'] | tojson }}{{ eos_token }}";
        let template = ChatTemplate::new(source, "", "</s>");
        let text = template.render(&[Message::new("user", " hi ")], &TemplateContext::default(), false);
        assert_eq!(text.unwrap().text, "USER:hi\nx[1, \"<\"]</s>");
    }

    #[test]
    fn an_endless_template_stops() {
        let source = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}\
                      {% endfor %}{% endfor %}";
        assert!(ChatTemplate::new(source, "", "").render(&[], &TemplateContext::default(), false).is_err());
    }

    #[test]
    fn a_template_can_refuse() {
        let template = ChatTemplate::new("{{ raise_exception('no system role') }}", "", "");
        assert!(template.render(&[], &TemplateContext::default(), false).unwrap_err().contains("no system role"));
    }
}
