//! A real Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager in a network namespace,
//! asked through `kubectl`, and hosts on one bridge with it.
//!
//! The programs are built from the modules that `e2e/go.mod` pins, by `script/build-control-plane.sh`.
#![forbid(unsafe_code)]

pub mod agent;
pub mod control;
pub mod kubectl;
pub mod network;
pub mod proxy;
pub mod router;
pub mod token;
pub mod traffic;
pub mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Long enough for anything that happens at all on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

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
    // Many questions are a process each.
    let mut pause = Duration::from_millis(10);
    loop {
        match found() {
            Ok(value) => return value,
            Err(missing) if Instant::now() > deadline => {
                panic!("{what}: not within {patience:?}: {missing}")
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// The control plane's program, built if need be; else why these tests cannot run here.
///
/// # Errors
/// If a test with it cannot run here: no root, no Go.
///
/// # Panics
/// If it does not build.
pub fn control_plane() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| build("control-plane")).clone()
}

/// The same for kube-proxy's program.
///
/// # Errors
/// If it cannot run here: no root, no Go.
///
/// # Panics
/// If it does not build.
pub fn kube_proxy() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| build("kube-proxy")).clone()
}

fn build(program: &str) -> Result<PathBuf, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root, to make network namespaces".into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../script/build-control-plane.sh");
    let output = Command::new(&script).arg(program).output().expect("bash");
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
        Some(3) => Err(format!("needs Go, to build the {program} of Kubernetes")),
        _ => panic!("{}: {output:?}", script.display()),
    }
}
