//! What this crate asks of the process it runs in, once, for speed.
//!
//! - candle keeps a pool of threads of its own for element-wise work. The sweep gives each processor a stream, and two pools
//!   that wait for each other cost a fifth of the time. `CANDLE_NUM_THREADS=1` keeps that pool from starting threads.
//! - Before every product candle counts the processors, for which it reads `/proc/cpuinfo`, unless `RAYON_NUM_THREADS` is
//!   set; it is set to the number that rayon takes anyway.
//! - glibc returns every large block to the system when it is freed, and the system clears fresh pages for the next one,
//!   which costs another fifth. Its allocator is told to keep them.
//!
//! candle reads these two variables and has no other interface for them (`candle_core::utils`, version 0.11.1). Variables
//! that are set already stay as they are.

use std::sync::Once;

static ONCE: Once = Once::new();

/// Makes these settings if they have not been made and this is the only thread of the process, as far as the operating
/// system can tell. In a process with other threads a library must not make them: the host sets the variables itself.
pub fn prepare() {
    if is_only_thread() {
        // SAFETY: no other thread is there, and this one starts none meanwhile.
        unsafe { prepare_alone() };
    }
}

/// Makes these settings if they have not been made.
///
/// # Safety
/// This is the only thread of the process: the C library reads its environment and the settings of its allocator without
/// synchronisation.
pub unsafe fn prepare_alone() {
    ONCE.call_once(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        for (variable, value) in [("CANDLE_NUM_THREADS", "1"), ("RAYON_NUM_THREADS", &processors)] {
            if std::env::var_os(variable).is_none() {
                // SAFETY: promised by the caller.
                unsafe { std::env::set_var(variable, value) };
            }
        }
        // SAFETY: promised by the caller.
        unsafe { keep_freed_memory() };
    });
}

#[cfg(target_os = "linux")]
fn is_only_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

#[cfg(not(target_os = "linux"))]
fn is_only_thread() -> bool {
    false
}

/// # Safety
/// As for [`prepare_alone`].
unsafe fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const KEPT: i32 = 1 << 30;
        const PADDING: i32 = 64 << 20;
        // SAFETY: promised by the caller; the C library takes any values.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
            libc::mallopt(libc::M_TOP_PAD, PADDING);
        }
    }
}
