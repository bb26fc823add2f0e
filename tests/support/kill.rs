//! Killing the program at random moments, and what must be true afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::fixture;

/// Every file below a folder, by its path in it. Links are read as what they lead to.
pub type Contents = BTreeMap<PathBuf, Vec<u8>>;

pub fn contents(folder: &Path) -> Contents {
    let mut all = Contents::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(path.strip_prefix(folder).unwrap().into(), fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// What killed runs leave behind until the next one, below a folder.
pub fn strays(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("lora-slim")).collect()
}

/// A command that is to survive being killed. It runs in `folder`, where it reads `inputs` and writes `output`.
pub struct Case {
    pub name: &'static str,
    pub folder: TempDir,
    pub args: Vec<String>,
    /// Entries of the folder that are never to change.
    pub inputs: Vec<&'static str>,
    /// The entry of the folder that is written: absent, as before the command, or as after it, and nothing else.
    pub output: &'static str,
    /// Fills the folder's `output` with what stands there before the command.
    pub before: Box<dyn Fn(&Path)>,
}

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After this long.
    AfterStart(Duration),
    /// This long after it began to write.
    AfterFirstWrite(Duration),
}

/// How long a run takes that nobody kills: in all, and from its first write on.
struct Undisturbed {
    whole: Duration,
    writing: Duration,
}

impl Case {
    fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("lora-slim"));
        command.current_dir(self.folder.path()).args(&self.args).stdout(Stdio::null()).stderr(Stdio::null());
        command
            .env("HF_HUB_CACHE", fixture("no-such-cache"))
            .env("HF_HUB_OFFLINE", "1")
            .env("TMPDIR", self.temporary());
        command
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join(self.output)
    }

    fn prepare(&self) {
        let _ = fs::remove_dir_all(self.output());
        (self.before)(self.folder.path());
    }

    /// Whether the run has begun to write, beside its output or on the way to it.
    fn has_begun(&self) -> bool {
        let place = self.folder.path().join(format!(".lora-slim-{}", self.output)).join("new");
        let has_entries = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
        has_entries(&place) || has_entries(&self.temporary())
    }

    fn wait_for_first_write(&self, child: &mut Child) {
        while !self.has_begun() && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
    }

    fn measure(&self) -> Undisturbed {
        let started = Instant::now();
        let mut child = self.command().spawn().unwrap();
        self.wait_for_first_write(&mut child);
        let writing = Instant::now();
        assert!(child.wait().unwrap().success(), "{}", self.name);
        Undisturbed { whole: started.elapsed(), writing: writing.elapsed() }
    }

    fn kill_at(&self, moment: Moment) {
        let mut child = self.command().spawn().unwrap();
        let delay = match moment {
            Moment::AfterStart(delay) => delay,
            Moment::AfterFirstWrite(delay) => {
                self.wait_for_first_write(&mut child);
                delay
            }
        };
        std::thread::sleep(delay);
        let _ = child.kill();
        child.wait().unwrap();
    }

    /// Kills `count` runs, each at a moment that `random` draws: one half anywhere, the other while the run writes.
    pub fn kill_often(&self, count: usize, random: &mut fastrand::Rng) {
        fs::create_dir_all(self.temporary()).unwrap();
        self.prepare();
        let inputs: Vec<Contents> = self.inputs.iter().map(|input| contents(&self.folder.path().join(input))).collect();
        let before = contents(&self.output());
        let undisturbed = self.measure();
        let after = contents(&self.output());
        assert!(!after.is_empty(), "{}", self.name);
        for round in 0..count {
            let part = random.f64();
            let moment = match round % 2 {
                0 => Moment::AfterStart(undisturbed.whole.mul_f64(part)),
                _ => Moment::AfterFirstWrite(undisturbed.writing.mul_f64(part)),
            };
            self.prepare();
            self.kill_at(moment);
            let said = format!("{}, {moment:?}", self.name);
            let found = contents(&self.output());
            assert!(found == before || found == after, "{said}: {:?}", found.keys());
            assert!(self.output().exists() || before.is_empty(), "{said}: what was to be replaced is gone");

            let finished = self.command().status().unwrap();
            let may_be_there = found == after && before.is_empty();
            let expected = finished.success() || may_be_there && finished.code() == Some(2);
            assert!(expected, "{said}: the next run ends with {finished}");
            assert!(contents(&self.output()) == after, "{said}: the next run wrote something else");
            assert_eq!(strays(self.folder.path()), Vec::<String>::new(), "{said}");
            assert_eq!(strays(&self.temporary()), Vec::<String>::new(), "{said}");
            for (name, input) in self.inputs.iter().zip(&inputs) {
                assert!(contents(&self.folder.path().join(name)) == *input, "{said}: `{name}` has changed");
            }
        }
    }
}

/// How many runs to kill in all: a few, or as many as the environment says.
pub fn kills() -> usize {
    std::env::var("LORA_SLIM_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(20)
}

/// Random moments that can be had again: the seed is told when a test fails.
pub fn random() -> fastrand::Rng {
    let seed = std::env::var("LORA_SLIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("LORA_SLIM_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
