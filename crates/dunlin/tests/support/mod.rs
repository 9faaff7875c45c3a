//! What the tests of commands share.

use std::process::Command;

/// A shell script in a network namespace of its own, with the program as `$DUNLIN`.
pub(crate) fn in_namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(["--net", "sh", "-c", script])
        .env("DUNLIN", env!("CARGO_BIN_EXE_dunlin"))
        .env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
