//! A mapped file that shrinks while it is read.
//!
//! A page of a map that lies behind the end of its file cannot be read: the system raises SIGBUS, which kills a process without a
//! word. The program asks here for a word: one sentence with the path, and the exit code of a failed read. Maps are named in a
//! table that a signal handler may read at any moment: fixed, without locks, and nothing in it is ever freed.

use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Maps at once that can be named. Of others the sentence names none.
const SLOTS: usize = 1024;

static MAPS: [AtomicPtr<Named>; SLOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS];

/// A map, and what is said when reading it fails.
#[cfg_attr(not(unix), allow(dead_code))]
struct Named {
    start: usize,
    end: usize,
    sentence: Box<[u8]>,
}

/// Names a map as long as this lives.
#[derive(Debug)]
pub struct Watch(Option<usize>);

impl Watch {
    pub fn over(map: &[u8], path: &Path) -> Self {
        let start = map.as_ptr() as usize;
        let sentence = format!("error: cannot read `{}`: it became shorter meanwhile\n", path.display());
        let named = Named { start, end: start + map.len(), sentence: sentence.into_bytes().into() };
        // Leaked: the handler may be reading it when the map goes away.
        let named: *mut Named = Box::into_raw(Box::new(named));
        let free = |slot: &AtomicPtr<Named>| {
            slot.compare_exchange(ptr::null_mut(), named, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        Self(MAPS.iter().position(free))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            MAPS[slot].store(ptr::null_mut(), Ordering::Release);
        }
    }
}

/// Has the process say so and end with the exit code of a failed read when a mapped file becomes shorter. For programs: a library
/// has no business with signals.
pub fn end_with_a_word() {
    #[cfg(unix)]
    handler::install();
}

#[cfg(unix)]
mod handler {
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;

    use super::{MAPS, Named};
    use crate::error::Kind;

    /// What handled the signal before, as the standard library does to tell stack overflows.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

    pub fn install() {
        // SAFETY: plain calls of the C library with structures that live long enough; all-zero is a valid `sigaction`. The
        // handler does only what handlers may.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before) != 0 {
                return;
            }
            let _ = BEFORE.set(before);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        }
    }

    extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system hands over a valid `siginfo_t`, whose address is set for this signal.
        let address = unsafe { (*info).si_addr() } as usize;
        for slot in &MAPS {
            // SAFETY: what is in the table was leaked, so it is there for ever.
            let named: Option<&Named> = unsafe { slot.load(Ordering::Acquire).as_ref() };
            if let Some(named) = named.filter(|named| (named.start..named.end).contains(&address)) {
                // SAFETY: both may be called in a handler; the buffer is a live slice.
                unsafe {
                    libc::write(libc::STDERR_FILENO, named.sentence.as_ptr().cast(), named.sentence.len());
                    libc::_exit(i32::from(Kind::Io.exit_code()));
                }
            }
        }
        // None of ours: the instruction is tried again, under whatever handled the signal before.
        if let Some(before) = BEFORE.get() {
            // SAFETY: it is the structure that the system gave.
            unsafe { libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut()) };
        }
    }
}
