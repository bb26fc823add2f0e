//! What commands do before they look for the adapters and base models that they are given: names on the Hugging Face Hub are fetched
//! into its cache. Nothing below the commands opens a connection.

use std::path::{Path, PathBuf};

use super::watcher::Watcher;
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

/// Who is told of what is fetched.
#[derive(Clone, Copy)]
enum Audience<'a> {
    Terminal {
        quiet: bool,
    },
    Caller(&'a dyn Watcher),
    /// Nothing is fetched.
    Nobody,
}

/// Finds what names stand for, with or without the hub.
#[derive(Clone, Copy)]
pub struct Finder<'a> {
    audience: Audience<'a>,
}

impl<'a> Finder<'a> {
    /// As the flags say.
    pub fn of(cli: &Cli) -> Self {
        Self { audience: Audience::Terminal { quiet: cli.quiet } }.online_if_allowed(cli)
    }

    /// As the flags say, in a call from another program.
    pub fn called(cli: &Cli, watcher: &'a dyn Watcher) -> Self {
        Self { audience: Audience::Caller(watcher) }.online_if_allowed(cli)
    }

    /// Looks on this machine alone.
    pub fn offline() -> Self {
        Self { audience: Audience::Nobody }
    }

    #[cfg(feature = "hub")]
    fn online_if_allowed(self, cli: &Cli) -> Self {
        if cli.offline { Self::offline() } else { self }
    }

    #[cfg(not(feature = "hub"))]
    fn online_if_allowed(self, _cli: &Cli) -> Self {
        self
    }

    /// Whether the user forbids connections by a flag.
    pub fn is_offline(self) -> bool {
        matches!(self.audience, Audience::Nobody)
    }

    #[cfg(feature = "hub")]
    fn watch(self) -> Option<Box<dyn Watch + 'a>> {
        match self.audience {
            Audience::Terminal { quiet } => Some(Box::new(Terminal::new(quiet))),
            Audience::Caller(watcher) => Some(Box::new(Watched { watcher, done: 0, total: 0 })),
            Audience::Nobody => None,
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
        if let Some(mut watch) = self.watch() {
            fetch(name, None, Need::Adapter, &mut *watch)?;
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
        self.watch().map_or(Ok(()), |mut watch| fetch_base(name, adapter, need, &mut *watch))
    }

    #[cfg(not(feature = "hub"))]
    fn fetch_base(self, _name: Option<&str>, _adapter: &Path, _wanted: Need) -> Result<()> {
        let _ = self.audience;
        Ok(())
    }
}

/// The bytes that a caller is told of.
#[cfg(feature = "hub")]
struct Watched<'a> {
    watcher: &'a dyn Watcher,
    done: u64,
    total: u64,
}

#[cfg(feature = "hub")]
impl Watched<'_> {
    fn tell(&self) {
        self.watcher.fetches(self.done, self.total);
    }
}

#[cfg(feature = "hub")]
impl Watch for Watched<'_> {
    fn begins(&mut self, _name: &str, _hub: &str) {}

    fn needs(&mut self, bytes: u64) {
        self.total += bytes;
        self.tell();
    }

    fn moves(&mut self, bytes: u64) {
        self.done += bytes;
        self.tell();
    }

    fn moves_back(&mut self, bytes: u64) {
        self.done = self.done.saturating_sub(bytes);
        self.tell();
    }

    fn is_stopped(&self) -> bool {
        self.watcher.is_stopped()
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
