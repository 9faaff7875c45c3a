//! `dunlin lab exec`: a command in a namespace.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::lab::Lab;
use crate::names;

/// Becomes the command; returns only if that fails.
pub(super) fn replace_process(lab: &Lab, host: &str, command: &[OsString]) -> anyhow::Error {
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let (program, args) = match command.split_first() {
        Some((program, args)) => (program, args),
        None => (&shell, [].as_slice()),
    };
    let mut built = match in_host(lab, host, program) {
        Ok(built) => built,
        Err(error) => return error,
    };
    let error = built.args(args).exec();
    anyhow::Error::new(error).context(format!("cannot run {}", program.display()))
}

/// A command in the namespace of `host`. `ip` run by it knows `proto dunlin` by name.
///
/// # Errors
/// If the lab has no such host.
pub fn in_host(
    lab: &Lab,
    host: &str,
    program: impl AsRef<std::ffi::OsStr>,
) -> anyhow::Result<Command> {
    let mut command = lab.netns(host)?.command(program);
    names::show_to(&mut command, &lab.names_dir());
    Ok(command)
}
