//! How the process holds its memory. Does nothing where the C library is not glibc.

/// Has all threads take memory from the same place: of memory that one thread takes and another gives back, as objects on
/// their way from thread to thread do, far less lies idle. To be called before any thread is started.
pub fn share_among_threads() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the system back what is not in use: after a time that took much more than those that follow.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the locks that it needs, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
