//! How the process holds its memory, if its allocator is mimalloc.

use std::ffi::{c_int, c_long};

/// `mi_option_purge_delay` of mimalloc 3: how long free memory is kept, milliseconds.
const PURGE_DELAY: c_int = 15;

/// At once: a first load of services takes no longer so, and its peak is a sixth lower than with 50 ms.
const PURGE_AFTER_MS: c_long = 0;

/// Has the process hold little more memory than it uses: what is free goes back to the system, and no page is a huge
/// one, of which a small part would be used. To be called before any thread is started. `MIMALLOC_PURGE_DELAY` in the
/// environment wins.
pub fn hold_little() {
    // SAFETY: it sets a number, and no other thread reads it yet.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_AFTER_MS) };
    // SAFETY: it takes no pointers. A kernel without huge pages refuses, and has none.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn purge_delay() -> c_long {
        // SAFETY: it reads a number.
        unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }
    }

    #[test]
    fn free_memory_goes_back_and_pages_are_small() {
        hold_little();
        assert_eq!(purge_delay(), PURGE_AFTER_MS);
        let status = fs::read_to_string("/proc/self/status").expect("our own status");
        assert!(!status.contains("THP_enabled:\t1"), "{status}");
    }

    /// The library knows its options' names; their numbers are in its header alone.
    #[test]
    fn the_environment_sets_the_option_of_that_number_and_wins() {
        const NAME: &str = "MIMALLOC_PURGE_DELAY";
        if std::env::var_os(NAME).is_some() {
            hold_little();
            assert_eq!(purge_delay(), 77);
            return;
        }
        let this = std::env::current_exe().expect("our own program");
        let again = Command::new(this)
            .args([
                "--exact",
                "memory::tests::the_environment_sets_the_option_of_that_number_and_wins",
            ])
            .env(NAME, "77")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(
            again.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}
