//! `dunlin lab exec`: a command in a namespace, with the name of our route protocol known to it.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::lab::Lab;

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
    let names = lab.manifest_dir().with_file_name("rt_protos");
    if let Some(target) = protocol_names_file() {
        with_file_in_place(&mut command, &names, &target);
    }
    Ok(command)
}

/// Where iproute2 reads the names of route protocols.
pub(crate) fn protocol_names_file() -> Option<PathBuf> {
    ["/etc/iproute2/rt_protos", "/usr/share/iproute2/rt_protos"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

/// The command sees `file` where the machine has `target`; the machine does not.
fn with_file_in_place(command: &mut Command, file: &Path, target: &Path) {
    let as_c = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (Ok(file), Ok(target)) = (as_c(file), as_c(target)) else {
        return;
    };
    // SAFETY: the closure runs between fork and exec; it does three system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            // Only a name is at stake: where mounts are forbidden, numbers are shown.
            let _ = unshare_unsafe(UnshareFlags::NEWNS)
                .and_then(|()| mount_change(c"/", private))
                .and_then(|()| mount_bind(file.as_c_str(), target.as_c_str()));
            Ok(())
        });
    }
}
