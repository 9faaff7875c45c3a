//! A lab without root: the program runs itself again as root of a user namespace of its own.
//!
//! Inside, `/run` is an empty file system of its own, so that everything has the same names as with real root. All
//! of it ends with the last process inside.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::Signal;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Set in the environment of the inner program.
pub(crate) const INSIDE: &str = "DUNLIN_LAB_INSIDE";

/// Whether this process may make namespaces at once: it is root, here or in the user namespace of a lab.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process is the inner one.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the same command again inside new user, network and mount namespaces, waits for it, and returns its exit code.
///
/// # Errors
/// If the machine allows no user namespaces.
pub fn run_inside() -> Result<ExitCode> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let (uid_map, gid_map) = (format!("0 {uid} 1"), format!("0 {gid} 1"));
    let program = std::env::current_exe().context("cannot name this program")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    // SAFETY: the closure runs between fork and exec, in a process with one thread; the strings were made before.
    // It opens and writes three files of /proc, which allocates only for paths short enough to stay on the stack.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            let all = UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS;
            unshare_unsafe(all)?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", &uid_map)?;
            fs::write("/proc/self/gid_map", &gid_map)?;
            Ok(())
        });
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => bail!(
            "cannot make a user namespace ({error}). Run as root, or allow them: \
             sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, \
             user.max_user_namespaces"
        ),
    };
    // Ctrl-C reaches the inner program as well, which cleans up; this one waits for it.
    crate::signals::ignore_interrupts();
    let status = child.wait().context("cannot wait")?;
    let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// First thing inside: mounts of our own, and an empty `/run`.
///
/// # Errors
/// If the kernel refuses.
pub fn prepare_inside() -> Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("cannot make the mounts private")?;
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).context("cannot mount on /run")
}
