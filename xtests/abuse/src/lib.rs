//! What the tests of this crate share: real agents in network namespaces of their own, and a BGP speaker of bare bytes that
//! may say anything.
//!
//! Everything is asked from outside: sockets, the command, `/metrics`, the kernel. Nothing of the agent's own code is linked
//! in but the words of its API.
#![forbid(unsafe_code)]
// A test that cannot run here says why on standard error; figures are told there, too.
#![allow(clippy::print_stderr)]

pub mod agent;
pub mod bgp;
pub mod cluster;
pub mod flows;
pub mod http;
pub mod services;
pub mod tables;
pub mod witness;

use std::time::{Duration, Instant};

pub use dunlin_built::dunlin;

/// Long enough for anything that happens at all on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether tests with namespaces can run; says why not.
pub fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root, to make network namespaces");
    }
    root
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// With what was missing last, when the time is over.
#[track_caller]
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut found: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match found() {
            Ok(value) => return value,
            Err(missing) if Instant::now() > deadline => {
                panic!("{what}: not within {patience:?}: {missing}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
