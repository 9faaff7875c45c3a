//! The program under test. Cargo builds programs for tests of their own crate alone; the tests that run one from elsewhere
//! get it here.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The `dunlin` program, built once in the profile of this test unless `DUNLIN_UNDER_TEST` names one.
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
    let mut command = Command::new(cargo);
    // What cargo says to this test of its own crate is not for a build of another: build scripts that heed it (ring's does)
    // would run anew each time, and all that depends on them be compiled again.
    for (key, _) in std::env::vars_os() {
        let key_octets = key.as_encoded_bytes();
        if key_octets.starts_with(b"CARGO_PKG_") || key_octets.starts_with(b"CARGO_MANIFEST_") {
            command.env_remove(key);
        }
    }
    let status = command
        .args(["build", "--quiet", "--locked", "-p", "dunlin"])
        .args(["--profile", profile, "--target-dir"])
        .arg(directory.parent().expect("target directory"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "dunlin does not build");
    directory.join("dunlin")
}
