//! The program under limits of the operating system.

use std::time::Duration;

use assert_cmd::Command;

use super::fixture;

/// Address space that is more than enough for the pico models, in KiB.
pub const MEMORY: usize = 1 << 20;

/// Much more than any of these runs takes; what loops for ever ends here.
const PATIENCE: Duration = Duration::from_secs(300);

/// The program behind `limits`, commands of the shell such as `ulimit -v 1000`.
pub fn lora_slim_under(limits: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")]).arg(assert_cmd::cargo::cargo_bin("lora-slim"));
    // Each thread has address space of its own.
    command
        .env("RAYON_NUM_THREADS", "2")
        .env("HF_HUB_CACHE", fixture("no-such-cache"))
        .env("HF_HUB_OFFLINE", "1")
        .timeout(PATIENCE);
    command
}

/// The program with bounded memory.
pub fn bounded() -> Command {
    lora_slim_under(&format!("ulimit -v {MEMORY}"))
}
