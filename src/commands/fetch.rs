//! What commands do before they look for the adapters and base models that they are given: names on the Hugging Face Hub are fetched
//! into its cache. Nothing below the commands opens a connection.

use std::path::{Path, PathBuf};

use crate::cli::{Cli, CutArgs};
use crate::error::Result;
use crate::export::Format;
use crate::hub::{self, Need};
#[cfg(feature = "hub")]
use {
    super::output::remark,
    crate::cli::progress::{self, ByteProgress},
    crate::hub::fetch::Watch,
    crate::pipeline::fetch::{fetch, fetch_base},
    crate::printable::OneLine,
};

/// Finds what names stand for, with or without the hub.
#[derive(Debug, Clone, Copy)]
pub struct Finder {
    #[cfg(feature = "hub")]
    may_fetch: bool,
    #[cfg(feature = "hub")]
    quiet: bool,
}

impl Finder {
    /// As the flags say.
    pub fn of(cli: &Cli) -> Self {
        #[cfg(not(feature = "hub"))]
        let _ = cli;
        Self {
            #[cfg(feature = "hub")]
            may_fetch: !cli.offline,
            #[cfg(feature = "hub")]
            quiet: cli.quiet,
        }
    }

    /// Looks on this machine alone.
    pub fn offline() -> Self {
        Self {
            #[cfg(feature = "hub")]
            may_fetch: false,
            #[cfg(feature = "hub")]
            quiet: true,
        }
    }

    /// The place of an adapter.
    pub fn adapter(self, name: &str) -> Result<PathBuf> {
        self.fetch_adapter(name)?;
        hub::find(name, None)
    }

    /// The place of an adapter, if it is there or can be fetched.
    pub fn fetch_adapter(self, name: &str) -> Result<Option<PathBuf>> {
        #[cfg(feature = "hub")]
        if self.may_fetch {
            fetch(name, None, Need::Adapter, &mut Terminal::new(self.quiet))?;
        }
        Ok(hub::find(name, None).ok())
    }

    /// Sees to it that the base model is there which the user names, or else the adapter in a folder. One that is not is found missing
    /// when it is opened.
    pub fn base(self, name: Option<&str>, adapter: &Path) -> Result<()> {
        self.fetch_base(name, adapter, Need::Base)
    }

    /// Sees to it that a base model is there, if the user names one.
    pub fn named_base(self, name: Option<&str>) -> Result<()> {
        name.map_or(Ok(()), |_| self.base(name, Path::new("")))
    }

    /// The same for commands that read no more than its configuration.
    pub fn base_config(self, name: Option<&str>, adapter: &Path) -> Result<()> {
        self.fetch_base(name, adapter, Need::BaseConfig)
    }

    /// The same for `cut`, which reads the configuration alone of a base model that the user does not name, and only for other formats.
    pub fn base_of_cut(self, args: &CutArgs, adapter: &Path) -> Result<()> {
        match &args.base {
            None if args.runtime.format == Format::Peft => Ok(()),
            None => self.fetch_base(None, adapter, Need::BaseConfig),
            name => self.named_base(name.as_deref()),
        }
    }

    #[cfg(feature = "hub")]
    fn fetch_base(self, name: Option<&str>, adapter: &Path, need: Need) -> Result<()> {
        match self.may_fetch {
            true => fetch_base(name, adapter, need, &mut Terminal::new(self.quiet)),
            false => Ok(()),
        }
    }

    #[cfg(not(feature = "hub"))]
    fn fetch_base(self, _name: Option<&str>, _adapter: &Path, _wanted: Need) -> Result<()> {
        Ok(())
    }
}

/// One line on standard error, and a bar if that is a terminal.
#[cfg(feature = "hub")]
struct Terminal {
    quiet: bool,
    progress: Option<ByteProgress>,
}

#[cfg(feature = "hub")]
impl Terminal {
    fn new(quiet: bool) -> Self {
        Self { quiet, progress: None }
    }
}

#[cfg(feature = "hub")]
impl Watch for Terminal {
    fn begins(&mut self, name: &str, hub: &str) {
        remark(&format!("fetching `{}` from {}\n", OneLine(name), OneLine(hub)), self.quiet);
        self.progress = Some(ByteProgress::new(self.quiet));
    }

    fn needs(&mut self, bytes: u64) {
        self.progress.iter().for_each(|progress| progress.needs(bytes));
    }

    fn moves(&mut self, bytes: u64) {
        self.progress.iter().for_each(|progress| progress.moves(bytes));
    }

    fn moves_back(&mut self, bytes: u64) {
        self.progress.iter().for_each(|progress| progress.moves_back(bytes));
    }

    fn is_stopped(&self) -> bool {
        progress::interrupted()
    }
}
