//! What happens when a mapped file shrinks while it is read.
//!
//! A page of a map behind the end of its file cannot be read: the system raises SIGBUS, which kills the process without a
//! message. The handler here prints one message with the path and exits with the code of a failed read. It may run at any
//! moment, so it finds the maps in a table of fixed size, without locks, whose items are never freed.

use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::printable::OneLine;

/// The most maps at once whose files the message can name.
const SLOTS: usize = 1024;

static MAPS: [AtomicPtr<WatchedMap>; SLOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS];

/// A map, and the message for when reading it fails.
#[cfg_attr(not(unix), allow(dead_code))]
struct WatchedMap {
    start: usize,
    end: usize,
    message: Box<[u8]>,
}

/// Keeps a map in the table while it lives.
#[derive(Debug)]
pub struct MapGuard(Option<usize>);

impl MapGuard {
    pub fn new(map: &[u8], path: &Path) -> Self {
        let start = map.as_ptr() as usize;
        let message = format!("error: cannot read `{}`: it became shorter meanwhile\n", OneLine(path.display()));
        let watched = WatchedMap { start, end: start + map.len(), message: message.into_bytes().into() };
        // Leaked: the handler may be reading it when the map goes away.
        let watched: *mut WatchedMap = Box::into_raw(Box::new(watched));
        let free = |slot: &AtomicPtr<WatchedMap>| {
            slot.compare_exchange(ptr::null_mut(), watched, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        Self(MAPS.iter().position(free))
    }
}

impl Drop for MapGuard {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            MAPS[slot].store(ptr::null_mut(), Ordering::Release);
        }
    }
}

/// Makes the process print a message and exit with the code of a failed read when a mapped file shrinks. Only programs call
/// this: a library leaves signals to its host.
pub fn install_sigbus_handler() {
    #[cfg(unix)]
    handler::install();
}

#[cfg(unix)]
mod handler {
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;

    use super::{MAPS, WatchedMap};
    use crate::error::Kind;

    /// The previous handler: the standard library has one that reports stack overflows.
    static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

    pub fn install() {
        // SAFETY: plain calls of the C library with structures that live long enough; all-zero is a valid `sigaction`. The
        // handler makes only calls that are allowed in handlers.
        unsafe {
            let mut previous: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut previous) != 0 {
                return;
            }
            let _ = PREVIOUS.set(previous);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        }
    }

    extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system passes a valid `siginfo_t`, whose address is set for this signal.
        let address = unsafe { (*info).si_addr() } as usize;
        for slot in &MAPS {
            // SAFETY: items of the table are leaked, so they are never freed.
            let watched: Option<&WatchedMap> = unsafe { slot.load(Ordering::Acquire).as_ref() };
            if let Some(watched) = watched.filter(|map| (map.start..map.end).contains(&address)) {
                // SAFETY: both may be called in a handler; the buffer is a live slice.
                unsafe {
                    libc::write(libc::STDERR_FILENO, watched.message.as_ptr().cast(), watched.message.len());
                    libc::_exit(i32::from(Kind::Io.exit_code()));
                }
            }
        }
        // Not one of ours: the instruction runs again, under the previous handler.
        if let Some(previous) = PREVIOUS.get() {
            // SAFETY: the system filled in the structure.
            unsafe { libc::sigaction(libc::SIGBUS, previous, std::ptr::null_mut()) };
        }
    }
}
