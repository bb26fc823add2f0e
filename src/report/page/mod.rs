//! The report as one self-contained HTML page: no network, no font, and readable without its script.
//!
//! A section is a template in `sections/` and a line in `SECTIONS`. Templates see the fields of `slim_report.json`, and
//! as `computed` what `computed.rs` adds to them. A section that renders to nothing is left out.

mod chart;
pub mod compare;
mod computed;
mod curve;
mod environment;
mod filters;
mod frontier;
pub mod index;
mod layers;
mod policy;
mod probability;
mod scale;
mod sides;
mod verdict;
mod window;

use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, context};

use super::{Report, Tool};
use crate::error::{PageError, Result};

/// The beginning of every page: `--force` replaces only files that have it.
pub const BEGINNING: &str = "<!doctype html><!-- lora-slim report -->";

/// The sections in their order on the page: their names and templates.
const SECTIONS: &[(&str, &str)] = &[
    ("summary", include_str!("sections/summary.html")),
    ("gates", include_str!("sections/gates.html")),
    ("curve", include_str!("sections/curve.html")),
    ("window", include_str!("sections/window.html")),
    ("frontier", include_str!("sections/frontier.html")),
    ("command", include_str!("sections/command.html")),
    ("serving", include_str!("sections/serving.html")),
    ("probability", include_str!("sections/probability.html")),
    ("trust", include_str!("sections/trust.html")),
    ("slices", include_str!("sections/slices.html")),
    ("alternatives", include_str!("sections/alternatives.html")),
    ("steps", include_str!("sections/steps.html")),
    ("answers", include_str!("sections/answers.html")),
    ("layers", include_str!("sections/layers.html")),
    ("samples", include_str!("sections/samples.html")),
    ("boundaries", include_str!("sections/boundaries.html")),
    ("search", include_str!("sections/search.html")),
    ("inputs", include_str!("sections/inputs.html")),
];

/// What is not a section: the document, the pages of a batch and of a comparison, and parts that sections have in common.
const SHARED: [(&str, &str); 5] = [
    ("document", include_str!("document.html")),
    ("index", include_str!("index.html")),
    ("compare", include_str!("compare.html")),
    ("chart", include_str!("chart.html")),
    ("table", include_str!("table.html")),
];

/// What makes charts answer to the pointer and to keys, and what copies texts and saves tables.
const CHARTS: &str = include_str!("chart.js");
const TOOLS: &str = include_str!("page.js");

/// The whole page. It fails where a template does not fit the report, which is a bug.
pub fn page(report: &Report) -> Result<String> {
    Ok(render(report).map_err(PageError)?)
}

fn render(report: &Report) -> std::result::Result<String, Error> {
    let environment = templates()?;
    let context = context! { computed => computed::of(report), ..Value::from(Serde(report)) };
    let mut main = String::new();
    for (name, _) in SECTIONS {
        let section = environment.get_template(name)?.render(context.clone())?;
        main.extend([section.trim(), "\n"].into_iter().filter(|_| !section.trim().is_empty()));
    }
    document(&environment, &verdict::headline(report), &[CHARTS, TOOLS], main)
}

/// All templates, compiled.
fn templates() -> std::result::Result<Environment<'static>, Error> {
    let mut environment = environment::new()?;
    SHARED.iter().chain(SECTIONS).try_for_each(|&(name, source)| environment.add_template(name, source))?;
    Ok(environment)
}

/// A document with one style and one script, which is all of these, the only ones that it allows itself.
fn document(
    environment: &Environment,
    headline: &str,
    scripts: &[&str],
    main: String,
) -> std::result::Result<String, Error> {
    const STYLE: &str = include_str!("style.css");
    let script = scripts.concat();
    let document = environment.get_template("document")?.render(context! {
        policy => policy::policy(STYLE, &script),
        tool => Serde(Tool::THIS),
        headline,
        style => Value::from_safe_string(STYLE.into()),
        script => Value::from_safe_string(script),
        main => Value::from_safe_string(main),
    })?;
    Ok(format!("{BEGINNING}\n{document}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::AdapterInput;

    #[test]
    fn no_section_needs_more_than_the_adapter() {
        let adapter = AdapterInput {
            path: "a".into(),
            files: vec![],
            rank: None,
            alpha: None,
            layers: vec![0, 1],
            not_copied: vec![],
        };
        let page = page(&Report::of(adapter)).unwrap();
        assert!(page.starts_with(BEGINNING) && page.ends_with("</html>\n"), "{page}");
        let sections: Vec<_> = page.split("<section id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(sections, ["summary", "inputs"]);
    }

    #[test]
    fn a_batch_of_nothing_has_a_page() {
        let page = index::page(&[]).unwrap();
        assert!(page.starts_with(BEGINNING) && page.contains("<h1>0 of 0 adapters done</h1>"), "{page}");
    }
}
