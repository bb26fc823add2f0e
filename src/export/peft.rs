//! PEFT's own folder: `adapter_config.json` and `adapter_model.safetensors`.

use super::{Exporter, Format, FormatEntry};
use crate::adapter::{Adapter, WEIGHTS_NAME};
use crate::error::Result;
use crate::files::Staging;
use crate::rewrite::Cut;
use crate::rewrite::steps::PlannedChanges;

pub const ENTRY: FormatEntry = FormatEntry {
    name: "peft",
    help: "A PEFT folder: adapter_config.json and adapter_model.safetensors",
    description: "a PEFT folder",
    file_name: WEIGHTS_NAME,
    exporter: |_, _| Ok(Box::new(PeftFolder)),
};

#[derive(Debug)]
struct PeftFolder;

impl Exporter for PeftFolder {
    fn format(&self) -> Format {
        Format::Peft
    }

    fn check(&self, _adapter: &Adapter, _planned: PlannedChanges) -> Result<()> {
        Ok(())
    }

    fn write(&self, adapter: &Adapter, staging: &Staging) -> Result<()> {
        Cut::whole(adapter)?.write(staging)
    }
}
