//! Several reports side by side: what each adapter keeps and costs, and first of all what makes their figures incomparable.

mod compared;
mod differences;
mod stored;

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::Result;
pub use compared::ComparedReport;
pub use differences::ReportDifference;
use stored::StoredReport;

/// Reports side by side.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ReportComparison {
    /// In what the reports differ, those differences first that make figures incomparable.
    pub differences: Vec<ReportDifference>,
    pub reports: Vec<ComparedReport>,
}

impl ReportComparison {
    /// Reads reports: files of JSON, or folders that hold one.
    ///
    /// # Errors
    /// A file that cannot be read or is not a report of `slim`, `scan` or `cut`, and a report of a later version of this program.
    pub fn read(paths: &[impl AsRef<Path>]) -> Result<Self> {
        let stored: Vec<StoredReport> =
            paths.iter().map(|path| StoredReport::read(path.as_ref())).collect::<Result<_>>()?;
        let compared = |(place, (path, report)): (usize, (_, &StoredReport))| {
            let name = AsRef::<Path>::as_ref(path).display().to_string();
            report.compared(label(place), name)
        };
        let reports: Vec<ComparedReport> = paths.iter().zip(&stored).enumerate().map(compared).collect();
        Ok(Self { differences: differences::between(&stored), reports })
    }

    /// The names of all scores, in the order of their first report.
    pub fn metrics(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for score in self.reports.iter().flat_map(|report| &report.scores) {
            if !names.contains(&score.metric.as_str()) {
                names.push(&score.metric);
            }
        }
        names
    }
}

/// `A` to `Z`, then numbers.
fn label(place: usize) -> String {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    LETTERS.get(place..place + 1).map_or_else(|| (place + 1).to_string(), String::from)
}
