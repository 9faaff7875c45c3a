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
pub mod http;
pub mod witness;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

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

/// The `dunlin` program, built in the profile of this test unless `DUNLIN_UNDER_TEST` names one.
///
/// # Panics
/// If it does not build.
pub fn dunlin() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    if let Some(path) = std::env::var_os("DUNLIN_UNDER_TEST") {
        return path.into();
    }
    // target/PROFILE/deps/this-test
    let own = std::env::current_exe().expect("own name");
    let directory = own.ancestors().nth(2).expect("target directory");
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "-p", "dunlin"])
        .args(["--profile", profile, "--target-dir"])
        .arg(directory.parent().expect("target directory"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "dunlin does not build");
    directory.join("dunlin")
}
