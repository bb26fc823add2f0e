//! What the process of a tokenizer may take of the machine.

/// Bytes of memory (address space). A tokenizer.json of 64 MiB takes ten times as much, and a text of 4 MiB a gigabyte.
pub const MEMORY: u64 = 2 << 30;

/// Bytes of stack.
pub const STACK: usize = 64 << 20;

/// Seconds of processor time that a tokenizer has from the start, for all of its life.
const FLOOR: f64 = 10.0;

/// Further seconds for each byte of text, and of a tokenizer.json: several times as much as slow tokenizers take.
const PER_BYTE: f64 = 10.0 / (1 << 20) as f64;
const PER_BYTE_OF_FILE: f64 = 2.0 / (1 << 20) as f64;

/// Further seconds for each question.
const PER_QUESTION: f64 = 0.005;

/// How much a question has a tokenizer work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Bytes of a tokenizer.json.
    File(usize),
    /// Bytes of text, or as many as tokens may become.
    Text(usize),
}

impl Size {
    /// The seconds that are granted for it.
    fn seconds(self) -> f64 {
        PER_QUESTION
            + match self {
                Self::File(bytes) => PER_BYTE_OF_FILE * bytes as f64,
                Self::Text(bytes) => PER_BYTE * bytes as f64,
            }
    }
}

/// The processor time that was granted so far. It is one account for all questions, so that many small texts do not have the floor
/// each.
#[derive(Debug)]
pub struct Time {
    seconds: f64,
    /// The limit that was set, in whole seconds.
    set: u64,
}

impl Default for Time {
    fn default() -> Self {
        Self { seconds: FLOOR, set: 0 }
    }
}

impl Time {
    /// Grants time for a question, and gives the seconds granted in all.
    pub fn grant(&mut self, size: Size) -> u64 {
        self.seconds += size.seconds();
        self.seconds.ceil() as u64
    }

    /// As [`grant`](Self::grant), and has the system end this process when it is spent.
    pub fn enforce(&mut self, size: Size) {
        let seconds = self.grant(size);
        if seconds > self.set {
            self.set = seconds;
            system::limit_time(seconds);
        }
    }
}

pub use system::{end_with_parent, limit_memory, memory, was_time};

#[cfg(unix)]
mod system {
    #[cfg(target_env = "gnu")]
    use libc::__rlimit_resource_t as Resource;
    #[cfg(not(target_env = "gnu"))]
    use libc::c_int as Resource;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    /// The bytes of memory that a tokenizer's process may have: [`MEMORY`](super::MEMORY), or what this one may have.
    pub fn memory() -> u64 {
        current(libc::RLIMIT_AS).map_or(super::MEMORY, |limit| super::MEMORY.min(limit.rlim_cur))
    }

    /// Lowers this process's limit of memory, and has it leave no core file. macOS does not enforce the limit.
    pub fn limit_memory() {
        let most = current(libc::RLIMIT_AS).map_or(u64::MAX, |limit| limit.rlim_cur);
        set(libc::RLIMIT_AS, most.min(super::MEMORY + taken()));
        set(libc::RLIMIT_CORE, 0);
    }

    /// Ends this process as soon as nobody can write to its standard input any more, whatever it works on.
    pub fn end_with_parent() {
        let watch = || loop {
            let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: 0, revents: 0 };
            // SAFETY: a plain call of the C library with one valid structure.
            let found = unsafe { libc::poll(&mut input, 1, -1) };
            if found > 0 {
                std::process::exit(0);
            }
        };
        // Without this thread the process ends after its answer.
        let _ = std::thread::Builder::new().stack_size(64 << 10).spawn(watch);
    }

    /// Sets the processor time of this process, all of its life, after which the system ends it.
    pub fn limit_time(seconds: u64) {
        set(libc::RLIMIT_CPU, seconds);
    }

    /// Whether a process was ended because its time was spent.
    pub fn was_time(status: ExitStatus) -> bool {
        status.signal() == Some(libc::SIGXCPU)
    }

    /// The bytes that the program and its libraries take before it does anything: with those of a GPU, more than a gigabyte.
    fn taken() -> u64 {
        let status = crate::files::read_text("/proc/self/status".as_ref(), 1 << 20).unwrap_or_default();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
        let kibibytes = size.and_then(|size| size.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    fn current(resource: Resource) -> Option<libc::rlimit> {
        // SAFETY: a plain call of the C library with a structure that lives long enough; all-zero is a valid `rlimit`.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            (libc::getrlimit(resource, &mut limit) == 0).then_some(limit)
        }
    }

    /// Sets a limit, as far as the one that a process cannot raise allows.
    fn set(resource: Resource, to: u64) {
        let Some(mut limit) = current(resource) else { return };
        limit.rlim_cur = limit.rlim_max.min(to as libc::rlim_t);
        // SAFETY: a plain call of the C library with a valid structure.
        unsafe { libc::setrlimit(resource, &limit) };
    }
}

#[cfg(not(unix))]
mod system {
    pub fn memory() -> u64 {
        super::MEMORY
    }

    pub fn limit_memory() {}

    pub fn end_with_parent() {}

    pub fn limit_time(_: u64) {}

    pub fn was_time(_: std::process::ExitStatus) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_one_account() {
        let mut time = Time::default();
        assert_eq!(time.grant(Size::Text(0)), 11);
        assert_eq!(time.grant(Size::File(10 << 20)), 31);
        assert_eq!(time.grant(Size::Text(1 << 20)), 41);
        let many = (0..1000).map(|_| time.grant(Size::Text(10))).last();
        assert_eq!(many, Some(46));
    }
}
