//! `lora-slim push`: upload an adapter to the Hugging Face Hub.

use std::fmt::Write;

use super::fetch::Finder;
use super::output::{print, remark};
use crate::cli::PushArgs;
use crate::error::{PushError, Result};
use crate::format::{bytes, plural};
use crate::hub::hf::{self, Hf};
use crate::pipeline::push::Upload;
use crate::printable::OneLine;

pub fn run(args: PushArgs, finder: Finder, quiet: bool) -> Result<bool> {
    let repository = hf::repository(&args.repository)?;
    let upload = Upload::of(&args.folder)?;
    let visibility = if args.private { ", private" } else { "" };
    if args.dry_run {
        let text = format!("would upload to {repository}{visibility}\n{}", render(&upload));
        return print(&text).map(|()| true);
    }
    if finder.is_offline() {
        return Err(PushError::Offline { name: repository }.into());
    }
    let hf = Hf::find()?;
    let folder = upload.alone()?;
    remark(&format!("uploading {} to {repository}{visibility}\n", total(&upload)), quiet);
    let said = hf.upload(folder.path(), &repository, args.private)?;
    if !quiet {
        print(&said)?;
    }
    Ok(true)
}

fn render(upload: &Upload) -> String {
    let mut text = String::new();
    for (name, size) in upload.files() {
        let _ = writeln!(text, "  {:>10}  {}", bytes(*size), OneLine(name));
    }
    let _ = writeln!(text, "{}", total(upload));
    text
}

fn total(upload: &Upload) -> String {
    format!("{}, {}", plural(upload.files().len(), "file"), bytes(upload.bytes()))
}
