//! A tokenizer in a process of its own: this program, started again with a command that its help does not list.
//!
//! ```text
//! this process  ── question ─▶  the other: limits of memory, stack and time; Engine
//!               ◀── answer ──
//! ```
//! What would end this process then ends that one: memory, stack or time that run out. It also ends when this one does, because its
//! input ends.

use std::ffi::OsString;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;

use super::engine::{Answer, Engine, Question};
use super::limits::{self, Time};
use super::wire::PipeMessage;
use crate::format;

/// The command of the program that runs a tokenizer.
pub const COMMAND: &str = "tokenizer-process";

/// The longest question, in bytes: a tokenizer.json that a GGUF file became.
pub const LONGEST_QUESTION: u64 = 256 << 20;

/// The longest answer, in bytes. A tokenizer decides how many tokens a text has, and how long a token is.
const LONGEST_ANSWER: u64 = 128 << 20;

/// How much is read of what an ended process said.
const LAST_WORDS: u64 = 4096;

/// The words that start a program that has [`COMMAND`], once they are known.
static PROGRAM: OnceLock<Vec<OsString>> = OnceLock::new();

/// Has tokenizers run in processes of `program`, which is a `lora-slim` of this version. Without this call they run in the process that
/// uses them, where a file that was made to do harm can take all memory and time; a panic is an error in both.
pub fn isolate_tokenizers(program: impl Into<PathBuf>) {
    isolate_by(vec![program.into().into()]);
}

/// As [`isolate_tokenizers`], with a program and its first arguments, which are followed by [`COMMAND`]. Without a word they stay in
/// the process that uses them.
pub fn isolate_by(words: Vec<OsString>) {
    if !words.is_empty() {
        let _ = PROGRAM.set(words);
    }
}

/// As [`isolate_tokenizers`], with the program that is running.
pub fn isolate_in_this_program() {
    // The file may be replaced while it runs; Linux still finds the one that was started.
    let running = Path::new("/proc/self/exe");
    let program = if running.exists() { Ok(running.into()) } else { std::env::current_exe() };
    if let Ok(program) = program {
        isolate_tokenizers(program);
    }
}

pub fn program() -> Option<&'static [OsString]> {
    PROGRAM.get().map(Vec::as_slice)
}

/// What [`prepare`] starts.
type Starting = JoinHandle<Result<TokenizerProcess, Silence>>;

/// A process that is started, or about to be, for the next tokenizer.
static PREPARED: Mutex<Option<Starting>> = Mutex::new(None);

/// Processes that were told to end, and may not have.
static ENDING: Mutex<Vec<SharedChild>> = Mutex::new(Vec::new());

/// All processes that may be working.
static WORKING: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());

/// Whether [`interrupt`] was called.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends the processes of all tokenizers, whatever they work on. From then on every question is answered by
/// `Silence::Interrupted`.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
    for child in lock(&WORKING).iter().filter_map(Weak::upgrade) {
        let _ = lock(&child).kill();
    }
}

/// Ends an interruption: tokenizers work again. For programs that go on after it.
pub fn resume() {
    // The prepared process may be among those that were ended.
    let prepared = lock(&PREPARED).take();
    drop(prepared.map(JoinHandle::join));
    INTERRUPTED.store(false, Ordering::SeqCst);
}

/// A child process that one thread asks and another one may end.
type SharedChild = Arc<Mutex<Child>>;

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process for the next tokenizer, beside other work. If none comes, it ends with this one.
pub fn prepare() {
    let Some(program) = program() else { return };
    let mut prepared = lock(&PREPARED);
    if prepared.is_none() {
        *prepared = std::thread::Builder::new().spawn(|| TokenizerProcess::start(program)).ok();
    }
}

/// Why a process gave no answer.
#[derive(Debug)]
pub enum Silence {
    /// It was ended because it took too much, in words.
    TookTooMuch(String),
    /// The user ended it.
    Interrupted,
    /// It could not be started or spoken to, or something else ended it.
    Broken(io::Error),
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// A running process, which ends with this value.
#[derive(Debug)]
pub struct TokenizerProcess {
    child: EndingChild,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// The time that the other process grants itself.
    time: Time,
    /// What it took too much of, once it did. It has ended then.
    excess: Option<String>,
}

impl TokenizerProcess {
    /// The process that was prepared, or another.
    pub fn prepared_or_new(program: &[OsString]) -> Result<Self, Silence> {
        let prepared = lock(&PREPARED).take();
        match prepared.map(JoinHandle::join) {
            Some(Ok(Ok(process))) => Ok(process),
            _ => Self::start(program),
        }
    }

    fn start(program: &[OsString]) -> Result<Self, Silence> {
        // Those that have ended are remembered by the system until they are asked.
        lock(&ENDING).retain(|child| matches!(lock(child).try_wait(), Ok(None)));
        let (program, arguments) = program.split_first().ok_or(io::Error::from(ErrorKind::NotFound))?;
        let mut command = Command::new(program);
        command.args(arguments).arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C goes to all of a group; this process decides what it means.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => {
                let from = BufReader::with_capacity(1 << 16, from);
                let child = EndingChild(Arc::new(Mutex::new(child)));
                let mut working = lock(&WORKING);
                working.retain(|child| child.strong_count() > 0);
                working.push(Arc::downgrade(&child.0));
                drop(working);
                Ok(Self { child, to, from, time: Time::default(), excess: None })
            }
            _ => Err(io::Error::from(ErrorKind::BrokenPipe).into()),
        }
    }

    /// Asks the other process. Once it took too much, there are no answers any more.
    pub fn ask(&mut self, question: &Question) -> Result<Answer, Silence> {
        if let Some(excess) = &self.excess {
            return Err(Silence::TookTooMuch(excess.clone()));
        }
        let answered = self.try_ask(question);
        if let Err(Silence::TookTooMuch(excess)) = &answered {
            self.excess = Some(excess.clone());
        }
        answered
    }

    fn try_ask(&mut self, question: &Question) -> Result<Answer, Silence> {
        // A process that starts after this look is not asked, and one that has started is ended.
        if INTERRUPTED.load(Ordering::SeqCst) {
            return Err(Silence::Interrupted);
        }
        let granted = self.time.grant(question.size());
        let answer = question.send(&mut self.to).and_then(|()| PipeMessage::read(&mut self.from, LONGEST_ANSWER));
        match answer {
            Ok(Some(message)) => Ok(message.answer()?),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                // Nobody reads the rest of the answer.
                self.child.kill();
                let longest = format::bytes(LONGEST_ANSWER);
                Err(Silence::TookTooMuch(format!("it makes more than {longest} of one text")))
            }
            Ok(None) | Err(_) if INTERRUPTED.load(Ordering::SeqCst) => Err(Silence::Interrupted),
            Ok(None) | Err(_) => Err(self.why_silent(granted)),
        }
    }

    /// Whether it may still answer.
    pub fn is_running(&mut self) -> bool {
        self.excess.is_none() && matches!(lock(&self.child.0).try_wait(), Ok(None))
    }

    /// Why a process that no longer answers has ended.
    fn why_silent(&mut self, granted: u64) -> Silence {
        let mut child = lock(&self.child.0);
        let mut words = Vec::new();
        if let Some(said) = child.stderr.take() {
            let _ = said.take(LAST_WORDS).read_to_end(&mut words);
        }
        let status = match child.wait() {
            Ok(status) => status,
            Err(error) => return error.into(),
        };
        match took_too_much(status, &String::from_utf8_lossy(&words), granted) {
            Some(reason) => Silence::TookTooMuch(reason),
            None => Silence::Broken(io::Error::other(format!("its process ended: {status}"))),
        }
    }
}

/// A child process, which is told to end with this value.
#[derive(Debug)]
struct EndingChild(SharedChild);

impl EndingChild {
    fn kill(&self) {
        let _ = lock(&self.0).kill();
    }
}

impl Drop for EndingChild {
    fn drop(&mut self) {
        self.kill();
        // Nobody waits for it here: that would take as long as its start.
        lock(&ENDING).push(Arc::clone(&self.0));
    }
}

/// What a process took too much of, by how it ended and what Rust's runtime said.
fn took_too_much(status: ExitStatus, words: &str, granted: u64) -> Option<String> {
    let bytes = |bytes: u64| format::bytes(bytes);
    if limits::was_time(status) {
        Some(format!("it takes more than {granted} s of processor time"))
    } else if words.contains("overflowed its stack") {
        Some(format!("it takes more than {} of stack", bytes(limits::STACK as u64)))
    } else if words.contains("memory allocation of") {
        Some(format!("it takes more than {} of memory", bytes(limits::memory())))
    } else {
        None
    }
}

/// The other process: answers the questions on standard input until it ends, and gives whether it could.
pub fn serve() -> bool {
    limits::limit_memory();
    limits::end_with_parent();
    // A panic is an answer. Nobody reads more than the last words of this process.
    std::panic::set_hook(Box::new(|_| {}));
    let thread = std::thread::Builder::new().stack_size(limits::STACK).spawn(answer_all);
    thread.is_ok_and(|thread| matches!(thread.join(), Ok(Ok(()))))
}

fn answer_all() -> io::Result<()> {
    let (mut from, mut to) = (io::stdin().lock(), io::BufWriter::new(io::stdout().lock()));
    let (mut engine, mut time, mut ids) = (Engine::default(), Time::default(), Vec::new());
    while let Some(message) = PipeMessage::read(&mut from, LONGEST_QUESTION)? {
        let question = message.question(&mut ids)?;
        time.enforce(question.size());
        engine.answer(question).send(&mut to)?;
        to.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn the_end_of_a_process_is_told_in_words() {
        use std::os::unix::process::ExitStatusExt;
        let signal = ExitStatus::from_raw;
        let told = |signal, words| took_too_much(signal, words, 20);
        assert_eq!(told(signal(libc::SIGXCPU), "").unwrap(), "it takes more than 20 s of processor time");
        assert!(told(signal(libc::SIGABRT), "memory allocation of 99 bytes failed\n").unwrap().ends_with("of memory"));
        assert!(
            told(signal(libc::SIGABRT), "\nthread '<unnamed>' has overflowed its stack").unwrap().contains("stack")
        );
        assert_eq!(told(signal(libc::SIGKILL), ""), None);
    }
}
