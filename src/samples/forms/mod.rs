//! Forms of samples: which columns a record has, and what they mean.
//!
//! Every column is used, refused, or named: a form reads columns through a [`Row`], which keeps account of them. To add a form,
//! write a function that reads a row and add a line to [`FORMS`].

mod answers;
mod columns;
mod context;
mod conversation;
mod exchange;
mod hint;
mod instruction;
mod pair;
mod preference;
mod row;
mod tokens;
mod turns;

use serde_json::{Map, Value};

use super::SampleContent;
use super::remarks::Remarks;
pub use hint::hint;
use row::Row;
pub use row::{Parsed, Problem};

/// The names of columns: those of prompt and completion, where they are not the usual ones, and that of the slice of a record.
#[derive(Debug, Clone, Default)]
pub struct FieldNames {
    pub prompt_field: Option<String>,
    pub completion_field: Option<String>,
    pub slice_field: Option<String>,
}

impl FieldNames {
    /// The columns of prompt and completion.
    pub(super) fn columns(&self) -> [&str; 2] {
        [self.prompt_field.as_deref().unwrap_or("prompt"), self.completion_field.as_deref().unwrap_or("completion")]
    }
}

/// A form of sample.
struct Form {
    /// The columns that a record of this form must have. The second is empty if there is only one.
    columns: [&'static str; 2],
    /// The columns that it is known by, for `--help`.
    help: &'static str,
    /// Whether a sample is text or tokens to which nothing is added.
    is_rendered: bool,
    read: FormReader,
}

/// Reads the samples of a row: mostly one; several of a packed row; none if it has nothing to score. It takes the names of the
/// form's columns.
type FormReader = fn(&mut Row, [&str; 2]) -> Parsed<Vec<SampleContent>>;

impl Form {
    const fn new(columns: [&'static str; 2], help: &'static str, read: FormReader) -> Self {
        Self { columns, help, is_rendered: false, read }
    }

    /// A form whose samples are text or tokens to which nothing is added.
    const fn rendered(column: &'static str, help: &'static str, read: FormReader) -> Self {
        Self { columns: [column, ""], help, is_rendered: true, read }
    }

    /// The names of the columns.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.columns.into_iter().filter(|name| !name.is_empty())
    }
}

/// The first form whose columns a record has reads it.
const FORMS: [Form; 19] = [
    Form::rendered("input_ids", "input_ids/labels", tokens::read),
    Form::new(["prompt", "completion"], "prompt/completion", pair::read),
    Form::new(["messages", ""], "messages", conversation::read),
    Form::new(["chosen", "rejected"], "prompt/chosen/rejected", preference::read),
    Form::new(["conversations", ""], "conversations", conversation::read),
    Form::new(["conversation", ""], "conversation", conversation::read),
    Form::new(["prompt", "response"], "prompt/response", pair::read),
    Form::new(["prompt", "output"], "prompt/output", pair::read),
    Form::new(["prompt", "chosen"], "prompt/chosen", pair::read),
    Form::new(["instruction", "output"], "instruction/input/output", instruction::read),
    Form::new(["instruction", "response"], "instruction/context/response", instruction::read),
    Form::new(["question", "answer"], "question/answer", pair::read),
    Form::new(["question", "response"], "question/response", pair::read),
    Form::new(["question", "answers"], "question/context/answers", answers::read),
    Form::new(["query", "response"], "query/response", pair::read),
    Form::new(["query", "answer"], "query/answer", pair::read),
    Form::new(["input", "output"], "input/output", pair::read),
    Form::new(["inputs", "targets"], "inputs/targets", pair::read),
    Form::rendered("text", "text", text),
];

/// A prompt and a completion whose columns the user names.
const NAMED: Form = Form::new(["", ""], "", pair::read);

/// The columns of all forms, for `--help`.
pub fn all() -> impl Iterator<Item = &'static str> {
    FORMS.iter().map(|form| form.help)
}

/// Whether an object with such keys is a record of a known form.
pub fn recognises(has: impl Fn(&str) -> bool) -> bool {
    FORMS.iter().any(|form| form.names().all(&has))
}

/// Recognises a record by its columns and reads it. `None` if no form has these columns.
pub fn read(
    fields: &Map<String, Value>,
    names: &FieldNames,
    remarks: &mut Remarks,
) -> Option<Parsed<Vec<SampleContent>>> {
    let row = &mut Row::new(fields, remarks);
    if let Some(name) = &names.slice_field {
        row.get(name);
    }
    if names.prompt_field.is_some() || names.completion_field.is_some() {
        let columns = names.columns();
        return columns.iter().all(|name| row.has(name)).then(|| finish(row, &NAMED, columns));
    }
    // Tables have all columns in every record, and those of other forms are null.
    let is_set = |name: &str| row.peek(name).is_some_and(|value| !value.is_null());
    let form = FORMS.iter().find(|form| form.names().all(is_set));
    let form = form.or_else(|| FORMS.iter().find(|form| form.names().all(|name| row.has(name))))?;
    Some(finish(row, form, form.columns))
}

/// Reads a row, and settles what becomes of the columns that were not read.
fn finish(row: &mut Row, form: &Form, columns: [&str; 2]) -> Parsed<Vec<SampleContent>> {
    let left_out = columns::left_out(row, form.is_rendered);
    let contents = (form.read)(row, columns);
    if let Some((column, kind)) = row.unreadable() {
        return Err(Problem::unsupported(column, format!("its values are {kind}")));
    }
    let contents = contents?;
    columns::settle(row, form)?;
    match left_out {
        Some(reason) => {
            row.remarks.leave_out(reason);
            Ok(Vec::new())
        }
        None => Ok(contents),
    }
}

fn text(row: &mut Row, [column, _]: [&str; 2]) -> Parsed<Vec<SampleContent>> {
    Ok(vec![SampleContent::Text(row.string(column)?)])
}
