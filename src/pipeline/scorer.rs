//! A program of the user's own that scores answers: one that runs all the time, reads a JSON object per answer from a line of its
//! standard input, and writes a number per line.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use serde::Serialize;

use crate::error::{MetricError, Result};

/// How to run a scorer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScorerOptions {
    /// A command line of the shell.
    pub command: String,
    /// How long it may take for one answer.
    pub limit: Duration,
}

impl ScorerOptions {
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);
}

/// An answer to be scored, as the program reads it.
#[derive(Debug, Serialize)]
pub struct ScorerTask<'a> {
    /// The line, or the place, of the sample in its file.
    pub line: usize,
    pub prompt: &'a str,
    pub reference: &'a str,
    pub answer: &'a str,
}

/// The most bytes of a line that hold a number.
const LONGEST_LINE: u64 = 256;

/// The largest number whose sums are still exact enough.
const LARGEST: f64 = 1e12;

/// A running scorer.
pub struct Scorer {
    options: ScorerOptions,
    process: Mutex<Process>,
}

struct Process {
    child: Child,
    /// Lines for its input. A thread writes them, because a program that does not read would block its writer for ever.
    asked: Option<Sender<String>>,
    /// Lines of its output. Only one waits: a program that writes more than it is asked for must not fill the memory.
    lines: Receiver<std::io::Result<String>>,
    /// Scores by the line that was asked for: equal answers have equal scores, and each is paid for once.
    known: HashMap<String, f64>,
}

impl Scorer {
    /// Starts the program.
    pub fn start(options: &ScorerOptions) -> Result<Self> {
        let failed = |reason: std::io::Error| MetricError::Scorer {
            command: options.command.clone(),
            problem: format!("it cannot be started ({reason})"),
        };
        let mut child = shell(&options.command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let asked = child.stdin.take().map(writer);
        let lines = reader(child.stdout.take());
        let process = Process { asked, child, lines, known: HashMap::new() };
        Ok(Self { options: options.clone(), process: Mutex::new(process) })
    }

    /// The score of an answer.
    pub fn score(&self, answer: &ScorerTask) -> Result<f64> {
        let line = serde_json::to_string(answer).map_err(|error| self.failed(error.to_string()))?;
        let mut process = self.process.lock().map_err(|_| self.failed("it is in use".into()))?;
        if let Some(&score) = process.known.get(&line) {
            return Ok(score);
        }
        let score = self.ask(&mut process, &line).map_err(|problem| self.failed(problem))?;
        process.known.insert(line, score);
        Ok(score)
    }

    fn ask(&self, process: &mut Process, line: &str) -> std::result::Result<f64, String> {
        if process.lines.try_recv().is_ok() {
            return Err("it wrote more lines than it was asked for".into());
        }
        let asked = process.asked.as_ref().ok_or("it has no standard input")?;
        if asked.send(format!("{line}\n")).is_err() {
            return Err(ended(&mut process.child));
        }
        let answer = match process.lines.recv_timeout(self.options.limit) {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(format!("its output cannot be read ({error})")),
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("it wrote no number within {} s", self.options.limit.as_secs_f64()));
            }
            Err(RecvTimeoutError::Disconnected) => return Err(ended(&mut process.child)),
        };
        let number = answer.trim().parse::<f64>().ok().filter(|number| number.abs() <= LARGEST);
        number.ok_or_else(|| format!("`{}` is not a number up to 1e12", answer.trim_end()))
    }

    fn failed(&self, problem: String) -> crate::Error {
        MetricError::Scorer { command: self.options.command.clone(), problem }.into()
    }
}

/// Starts a thread that writes what it is sent. It ends, and closes the input, once nothing more can be sent.
fn writer(mut stdin: ChildStdin) -> Sender<String> {
    let (send, asked) = channel::<String>();
    std::thread::spawn(move || {
        let mut write = |line: String| stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush());
        asked.into_iter().try_for_each(|line| write(line).ok());
    });
    send
}

/// Starts a thread that reads line by line.
fn reader(stdout: Option<ChildStdout>) -> Receiver<std::io::Result<String>> {
    let (send, lines) = sync_channel(1);
    std::thread::spawn(move || {
        let Some(mut stdout) = stdout.map(BufReader::new) else { return };
        loop {
            let mut line = String::new();
            match stdout.by_ref().take(LONGEST_LINE).read_line(&mut line) {
                Ok(0) => break,
                read => {
                    if send.send(read.map(|_| line)).is_err() {
                        break;
                    }
                }
            }
        }
    });
    lines
}

/// How a program ended that was to go on.
fn ended(child: &mut Child) -> String {
    match child.wait() {
        Ok(status) => format!("it ended early ({status})"),
        Err(error) => format!("it ended early ({error})"),
    }
}

impl Drop for Process {
    /// At the end of its input a scorer ends by itself; one that does not must not outlive this process.
    fn drop(&mut self) {
        drop(self.asked.take());
        for _ in 0..20 {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                _ => return,
            }
        }
        kill(&mut self.child);
        let _ = self.child.wait();
    }
}

#[cfg(not(windows))]
fn shell(command: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).process_group(0);
    shell
}

/// Ends the shell and everything that it started.
#[cfg(not(windows))]
fn kill(child: &mut Child) {
    let _ = Command::new("kill").args(["-9", "--", &format!("-{}", child.id())]).status();
}

#[cfg(windows)]
fn kill(child: &mut Child) {
    let _ = child.kill();
}

#[cfg(windows)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}
