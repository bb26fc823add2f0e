//! From what was chosen to what is written: the cut, the steps after it, and the folder with its report.

use super::alternatives::Row;
use super::steps::{Chain, Samples};
use super::{Request, describe};
use crate::adapter::export::{Form, Format};
use crate::adapter::steps::Step;
use crate::adapter::{Adapter, Cut};
use crate::error::Result;
use crate::files::{Scratch, Staging};
use crate::model::{Family, Model};
use crate::report::{Output, Report, StepDone};
use crate::runtimes::facts::Subject;
use crate::runtimes::{self, RUNTIMES, Verdict};
use crate::settings::Gates;
use crate::sweep::{Profile, Watch};

/// What is written of an adapter.
pub struct Written {
    pub selection: Profile,
    scale: f64,
    family: &'static Family,
}

impl Written {
    /// A row of what was evaluated.
    pub fn new(row: &Row, model: &Model) -> Self {
        Self { selection: row.selection.clone(), scale: row.scale, family: model.config.family }
    }

    pub fn cut_of<'a>(&self, adapter: &'a Adapter) -> Result<Cut<'a>> {
        let keeps = |layer, module: &str| self.selection.at(layer).in_module(module, self.family) != 0.0;
        Cut::keeping(adapter, keeps)?.scaled(self.scale)
    }
}

/// What was made of an adapter, as far as there is anything to write.
#[derive(Default)]
pub struct Made {
    pub output: Option<Output>,
    /// The adapters after the cut and each step, if there are steps.
    pub chain: Option<Chain>,
    pub steps: Vec<StepDone>,
}

/// Cuts an adapter and takes the steps that are asked for, each evaluated on all `sets` of samples.
pub fn make(
    adapter: &Adapter,
    written: &Written,
    model: &Model,
    sets: &[Samples],
    request: &Request,
    watch: Watch,
) -> Result<Made> {
    if written.selection.layers().is_empty() {
        return Ok(Made::default());
    }
    let cut = written.cut_of(adapter)?;
    let mut output = describe::output(adapter, &cut);
    if request.steps.is_empty() {
        return Ok(Made { output: Some(output), ..Made::default() });
    }
    let chain = Chain::make(adapter, &cut, &request.steps)?;
    let steps = chain.evaluate(model, sets, request, watch)?;
    (output.tensors_after, output.bytes_after) = Cut::whole(chain.last())?.kept_size();
    Ok(Made { output: Some(output), chain: Some(chain), steps })
}

/// Writes a cut that was not evaluated, after `steps`, in a form, and the report of it. Where a gate does not hold, the report says
/// so and nothing is written.
pub fn write_cut(
    name: &str,
    adapter: &Adapter,
    cut: &Cut,
    steps: &[Step],
    form: &Form,
    gates: &Gates,
    staging: &Staging,
) -> Result<Report> {
    if steps.is_empty() && matches!(form, Form::Peft) {
        return copy_cut(name, adapter, cut, gates, staging);
    }
    if steps.is_empty() {
        let report = report_of_cut(name, adapter, cut)?.gated(gates);
        return if report.check_gates().is_ok() { write(cut, &report, form, staging) } else { Ok(report) };
    }
    let chain = Chain::make(adapter, cut, steps)?;
    let last = Cut::whole(chain.last())?;
    let mut report = report_of_cut(name, adapter, cut)?;
    report.steps = chain.describe()?;
    if let Some(output) = &mut report.output {
        (output.tensors_after, output.bytes_after) = last.kept_size();
    }
    let report = report.gated(gates);
    if report.check_gates().is_err() {
        return Ok(report);
    }
    adapter.weights.check_unchanged()?;
    write(&last, &report, form, staging).map_err(|error| error.about(&adapter.path))
}

/// The input is hashed while it is copied: one takes about as long as the other.
fn copy_cut(name: &str, adapter: &Adapter, cut: &Cut, gates: &Gates, staging: &Staging) -> Result<Report> {
    let (report, written) = rayon::join(|| report_of_cut(name, adapter, cut), || cut.write(staging));
    written?;
    let mut report = report?.gated(gates);
    if report.check_gates().is_err() {
        return Ok(report);
    }
    report.runtimes = runtimes_of(staging, &report, cut.stack())?;
    publish(cut, &report, staging)?;
    Ok(report)
}

/// The last look at the input: a report of something else than what was read must not be published.
fn publish(cut: &Cut, report: &Report, staging: &Staging) -> Result<()> {
    staging.json(crate::report::REPORT_NAME, report)?;
    cut.check_input_unchanged()?;
    staging.publish()
}

fn report_of_cut(name: &str, adapter: &Adapter, cut: &Cut) -> Result<Report> {
    let output = Some(describe::output(adapter, cut));
    Ok(Report { output, ..Report::of(describe::adapter(name, adapter)?) })
}

/// Writes a cut in a form, and its report, into a new folder and publishes it: all of it, or nothing. Gives back the report as it lies there.
pub fn write(cut: &Cut, report: &Report, form: &Form, staging: &Staging) -> Result<Report> {
    let mut report = report.without_texts();
    report.runtimes = match form {
        Form::Peft => {
            cut.write(staging)?;
            runtimes_of(staging, &report, cut.stack())?
        }
        form => {
            export(cut, form, staging)?;
            runtimes::check_form(form.format(), &RUNTIMES)
        }
    };
    if let Some(output) = &mut report.output {
        output.format = Some(form.format()).filter(|&format| format != Format::Peft);
    }
    publish(cut, &report, staging)?;
    Ok(report)
}

/// Other forms are made of the folder that would have been written. It is made in the temporary folder: what is published is
/// what is wanted, and nothing else.
fn export(cut: &Cut, form: &Form, staging: &Staging) -> Result<()> {
    let folder = Scratch::new()?;
    let peft = Staging::beside(&folder.path().join("peft"))?;
    cut.write(&peft)?;
    form.write(&Adapter::open(peft.path(), Some(cut.stack()))?, staging)
}

/// Which runtimes load the adapter that was written to a folder, which is opened for that as anyone would.
fn runtimes_of(staging: &Staging, report: &Report, stack: &str) -> Result<Vec<Verdict>> {
    let written = Adapter::open(staging.path(), Some(stack))?;
    // Without a base model, the layers that the adapter had are those that there are.
    let had = report.adapter.layers.last().map(|last| last + 1);
    let layers = report.base.as_ref().map(|base| base.layers).or(had);
    let family = report.base.as_ref().map(|base| base.family.as_str());
    Ok(runtimes::check(&Subject::new(&written, layers, family), &RUNTIMES))
}
