//! HTML that is escaped by construction: names are literals of this program, and every value and text that goes into an
//! [`Element`] is escaped on its way.

use std::fmt::{self, Display, Write};

/// An element of HTML or SVG, being built.
#[derive(Debug, Clone)]
pub struct Element {
    name: &'static str,
    attributes: String,
    content: String,
}

/// An element without attributes and content.
pub fn el(name: &'static str) -> Element {
    Element { name, attributes: String::new(), content: String::new() }
}

impl Element {
    pub fn attr(mut self, name: &'static str, value: impl Display) -> Self {
        let _ = write!(self.attributes, " {name}=\"{}\"", escape(&value.to_string()));
        self
    }

    pub fn class(self, name: &'static str) -> Self {
        if name.is_empty() { self } else { self.attr("class", name) }
    }

    pub fn text(mut self, text: impl Display) -> Self {
        self.content += &escape(&text.to_string());
        self
    }

    pub fn add(mut self, child: Element) -> Self {
        let _ = write!(self.content, "{child}");
        self
    }

    pub fn all(self, children: impl IntoIterator<Item = Element>) -> Self {
        children.into_iter().fold(self, Self::add)
    }

    /// Style or script, which must not be escaped: literals of this program only.
    pub fn code(mut self, code: &'static str) -> Self {
        self.content += code;
        self
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        const BLOCKS: [&str; 14] =
            ["article", "body", "dl", "figure", "h2", "h3", "head", "li", "main", "p", "section", "svg", "table", "tr"];
        const VOID: [&str; 2] = ["meta", "br"];
        write!(f, "<{}{}>{}", self.name, self.attributes, self.content)?;
        if !VOID.contains(&self.name) {
            write!(f, "</{}>", self.name)?;
        }
        // A line for each block, for those who read the source or compare two pages.
        if BLOCKS.contains(&self.name) { f.write_char('\n') } else { Ok(()) }
    }
}

/// Text as it may stand between tags and in a quoted attribute. Characters that HTML cannot hold are replaced, and those
/// that turn the direction of what follows are shown by their number: in a path they would hide what it is.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(character),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(escaped, "[U+{:04X}]", character as u32);
            }
            _ if character.is_control() => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out() {
        let hostile = "<script>alert(1)</script>\"' onload=\"x\0\u{202e}&amp;";
        let page = el("p").attr("title", hostile).text(hostile).add(el("br")).to_string();
        let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; onload=&quot;x\u{fffd}[U+202E]&amp;amp;";
        assert_eq!(page, format!("<p title=\"{escaped}\">{escaped}<br></p>\n"));
    }
}
