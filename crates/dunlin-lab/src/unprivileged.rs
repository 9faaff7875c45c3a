//! A lab without root: the program runs itself again as root of a user namespace of its own.
//!
//! Inside, `/run` is an empty file system of its own, so that everything has the same names as with real root. All
//! of it ends with the last process inside. A lab that stays up has a *holder*: the process that built it, which then
//! waits to be told to take it down. Its number stands in a file outside; later commands join its namespaces.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::process::{ProcessId, end_with_us, wait_until_ended};

/// Set in the environment of the inner program: what it is there for.
pub(crate) const INSIDE: &str = "DUNLIN_LAB_INSIDE";
const BUILDS: &str = "builds";
const JOINED: &str = "joined";
/// The descriptor on which the holder says that the lab is up.
const READY_FD: &str = "DUNLIN_LAB_READY_FD";

/// Whether this process may make namespaces at once: it is root, here or in the user namespace of a lab.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process runs in a user namespace made for a lab.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the same command again inside new user, network and mount namespaces, waits for it, and returns its exit code.
///
/// # Errors
/// If the machine allows no user namespaces.
pub fn run_inside() -> Result<ExitCode> {
    let mut child = spawn_inside(&mut again(BUILDS)?)?;
    wait(&mut child)
}

/// As [`run_inside`], and returns as soon as the lab is up; the inner process stays, as the holder of the lab `name`.
///
/// # Errors
/// As [`run_inside`], or if a lab of that name has a holder already.
pub fn run_holder(name: &str) -> Result<ExitCode> {
    if holder(name)?.is_some() {
        bail!("lab `{name}` is up already: `dunlin lab down --name {name}` ends it");
    }
    let (ready, theirs) = rustix::pipe::pipe().context("cannot make a pipe")?;
    let mut command = again(BUILDS)?;
    command.env(READY_FD, theirs.as_raw_fd().to_string());
    let mut child = spawn_inside(&mut command)?;
    drop(theirs);
    // Before it can outlive this process: a holder that nobody knows could never be ended.
    if let Some(process) = ProcessId::of(child.id().cast_signed()) {
        fs::write(holder_file(name)?, serde_json::to_vec(&process)?)
            .context("cannot note the holder")?;
    }
    let mut word = [0];
    if File::from(ready).read_exact(&mut word).is_err() {
        // It ended without the word, and has said why.
        let code = wait(&mut child)?;
        forget_holder(name)?;
        return Ok(code);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the same command again inside the namespaces of the holder of `name`, and returns its exit code.
///
/// # Errors
/// If there is no such lab, or it cannot be joined.
pub fn join(name: &str) -> Result<ExitCode> {
    let holder = holder(name)?
        .with_context(|| format!("no lab `{name}` of yours is up: `dunlin lab up` makes one"))?;
    let open = |kind: &str| -> Result<OwnedFd> {
        let path = format!("/proc/{}/ns/{kind}", holder.pid);
        Ok(File::open(&path)
            .with_context(|| format!("cannot open {path}"))?
            .into())
    };
    let namespaces = [
        (open("user")?, LinkNameSpaceType::User),
        (open("mnt")?, LinkNameSpaceType::Mount),
        (open("net")?, LinkNameSpaceType::Network),
    ];
    let mut command = again(JOINED)?;
    // SAFETY: the closure runs between fork and exec; it does three system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            for (fd, kind) in &namespaces {
                move_into_link_name_space(std::os::fd::AsFd::as_fd(fd), Some(*kind))?;
            }
            Ok(())
        });
    }
    let mut child = command.spawn().context("cannot join the lab")?;
    wait(&mut child)
}

/// Tells the holder of `name` to take the lab down, and waits until it has. Says whether there was one.
///
/// # Errors
/// If it does not end.
pub fn end_holder(name: &str) -> Result<bool> {
    let Some(process) = holder(name)? else {
        return Ok(false);
    };
    process.signal(Signal::TERM);
    if !wait_until_ended(process, Instant::now() + Duration::from_secs(30)) {
        bail!(
            "the holder of lab `{name}` (process {}) does not end",
            process.pid
        );
    }
    forget_holder(name)?;
    Ok(true)
}

/// Removes the note of a holder that has ended, if nobody else did.
fn forget_holder(name: &str) -> Result<()> {
    match fs::remove_file(holder_file(name)?) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("cannot remove the note of the holder");
        }
        _ => {}
    }
    // Goes with the last note; stays while there is another.
    let _ = fs::remove_dir(holder_dir()?);
    Ok(())
}

/// The names of this user's labs.
///
/// # Errors
/// If the directory of the notes is not this user's.
pub fn holders() -> Result<Vec<String>> {
    let entries = fs::read_dir(holder_dir()?).context("cannot read the notes of holders")?;
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names
        .filter(|n| crate::config::validate_name(n).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

/// In the holder, once the lab is up: gives the word, lets go of the terminal, and waits to be told to end.
/// Does nothing in any other process.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn hold() -> Result<bool> {
    let Some(fd) = std::env::var(READY_FD)
        .ok()
        .and_then(|fd| fd.parse::<i32>().ok())
    else {
        return Ok(false);
    };
    rustix::process::set_parent_process_death_signal(None)?;
    rustix::process::setsid()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // The descriptor is found by its number in this process's own table: it was inherited for this.
    File::options()
        .write(true)
        .open(format!("/proc/self/fd/{fd}"))
        .and_then(|mut ready| ready.write_all(b"1"))
        .context("cannot give the word")?;
    crate::signals::wait()?;
    Ok(true)
}

fn ready_descriptor() -> Option<i32> {
    std::env::var(READY_FD).ok()?.parse().ok()
}

fn holder_dir() -> Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let path = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if PathBuf::from(&directory).is_dir() => {
            PathBuf::from(directory).join("dunlin-lab")
        }
        _ => std::env::temp_dir().join(format!("dunlin-lab-{uid}")),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    // In a directory that anybody may write to, somebody else may have been first.
    if fs::symlink_metadata(&path)?.uid() != uid {
        bail!(
            "{} belongs to somebody else: set XDG_RUNTIME_DIR",
            path.display()
        );
    }
    Ok(path)
}

fn holder_file(name: &str) -> Result<PathBuf> {
    crate::config::validate_name(name)?;
    Ok(holder_dir()?.join(name))
}

/// The holder of `name`, if it runs; a note of one that has ended is removed.
fn holder(name: &str) -> Result<Option<ProcessId>> {
    let path = holder_file(name)?;
    let Ok(text) = fs::read(&path) else {
        return Ok(None);
    };
    let process: Option<ProcessId> = serde_json::from_slice(&text).ok();
    let running = process.filter(|process| process.is_alive());
    if running.is_none() {
        fs::remove_file(&path).context("cannot remove the note of a holder that has ended")?;
    }
    Ok(running)
}

/// This command line once more.
fn again(what_for: &str) -> Result<Command> {
    let program = std::env::current_exe().context("cannot name this program")?;
    let mut command = Command::new(program);
    command
        .args(std::env::args_os().skip(1))
        .env(INSIDE, what_for);
    Ok(command)
}

fn spawn_inside(command: &mut Command) -> Result<Child> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let (uid_map, gid_map) = (format!("0 {uid} 1"), format!("0 {gid} 1"));
    let inherited = command
        .get_envs()
        .find(|(key, _)| *key == READY_FD)
        .and_then(|(_, value)| value?.to_str()?.parse::<i32>().ok());
    end_with_us(command, Signal::TERM);
    // SAFETY: the closure runs between fork and exec, in a process with one thread; the strings were made before.
    // It opens and writes three files of /proc, which allocates only for paths too long for the stack.
    unsafe {
        command.pre_exec(move || {
            let all = UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS;
            unshare_unsafe(all)?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", &uid_map)?;
            fs::write("/proc/self/gid_map", &gid_map)?;
            if let Some(fd) = inherited {
                let fd = rustix::fd::BorrowedFd::borrow_raw(fd);
                rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
            }
            Ok(())
        });
    }
    match command.spawn() {
        Ok(child) => Ok(child),
        Err(error) => bail!(
            "cannot make a user namespace ({error}). Run as root, or allow them: \
             sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, \
             user.max_user_namespaces"
        ),
    }
}

fn wait(child: &mut Child) -> Result<ExitCode> {
    // Ctrl-C reaches the inner program as well, which cleans up; this one waits for it.
    crate::signals::ignore_interrupts();
    let status = child.wait().context("cannot wait")?;
    let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// First thing inside: mounts of our own, and an empty `/run`. Nothing to do for a process that joined.
///
/// # Errors
/// If the kernel refuses.
pub fn prepare_inside() -> Result<()> {
    if std::env::var_os(INSIDE).is_some_and(|what_for| what_for == JOINED) {
        return Ok(());
    }
    if let Some(fd) = ready_descriptor() {
        // SAFETY: inherited for this process, which does not close it; daemons must not inherit it in turn.
        let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) };
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("cannot make the mounts private")?;
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).context("cannot mount on /run")
}
