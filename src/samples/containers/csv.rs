//! Tables as text, with the names of the columns in the first row.

use serde_json::{Map, Value};

use super::text::text;
use super::{OnRecord, SampleFile};
use crate::error::Result;
use crate::samples::remarks::Remarks;

/// Texts that pandas, and so `datasets`, reads as null.
const NULLS: [&str; 18] = [
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
];

/// Reads rows whose cells are between `delimiter`s. Cells are text, and an empty cell is null, as pandas and `datasets` read it.
pub fn read(file: &SampleFile, delimiter: u8, remarks: &mut Remarks, on_record: OnRecord) -> Result<()> {
    let text = text(file)?;
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let fail = |error: csv::Error| {
        let line = error.position().map_or(1, |position| position.line() as usize);
        file.malformed(line, format!("not a table: {error}"))
    };
    let columns = reader.headers().map_err(fail)?.clone();
    let is_repeated = |column: &str| columns.iter().filter(|other| *other == column).count() > 1;
    if let Some(column) = columns.iter().take(MOST_COLUMNS).find(|column| is_repeated(column)) {
        return Err(file.malformed(1, format!("several columns are called `{column}`")).into());
    }
    if columns.len() > MOST_COLUMNS {
        return Err(file.malformed(1, format!("more than {MOST_COLUMNS} columns")).into());
    }
    for record in reader.records() {
        let record = record.map_err(fail)?;
        let line = record.position().map_or(1, |position| position.line() as usize);
        if let Some(text) = record.iter().find(|text| NULLS.contains(text)) {
            remarks.say(format!("cells like `{text}` are read as text; `datasets` reads them as null"));
        }
        let cell = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        let fields: Map<String, Value> =
            columns.iter().zip(&record).map(|(column, text)| (column.to_string(), cell(text))).collect();
        on_record(line, Value::Object(fields))?;
    }
    Ok(())
}

/// The most columns of a table.
const MOST_COLUMNS: usize = 1000;
