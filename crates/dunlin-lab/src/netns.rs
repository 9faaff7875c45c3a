//! Network namespaces by name, as `ip netns` keeps them: a file in [`NETNS_DIR`] on which the namespace is mounted.
//!
//! Naming them there, and not in a directory of our own, lets an operator say `ip netns exec dunlin-n1 …`.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Where `ip netns` looks for named namespaces.
pub const NETNS_DIR: &str = "/run/netns";

/// An open network namespace.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
    fd: Arc<OwnedFd>,
}

impl Netns {
    /// Opens the namespace called `name`.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn open(name: &str) -> Result<Netns> {
        let path = path_of(name);
        let file = File::open(&path)
            .with_context(|| format!("no network namespace {name} ({})", path.display()))?;
        Ok(Netns {
            name: name.to_owned(),
            fd: Arc::new(file.into()),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file it is mounted on.
    pub fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    /// Runs `work` in the namespace, on a thread of its own. Sockets that it opens stay in the namespace.
    ///
    /// # Errors
    /// If the namespace cannot be entered, or whatever `work` says.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter()?;
                    work()
                })
                .join()
                .map_err(|_| anyhow!("a thread in namespace {} panicked", self.name))?
        })
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn enter(&self) -> Result<()> {
        enter(self.fd.as_fd()).with_context(|| format!("cannot enter namespace {}", self.name))
    }

    /// A command that will run in the namespace. File systems (and so `/sys` and bpffs) stay as they are.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let fd = Arc::clone(&self.fd);
        // SAFETY: the closure runs between fork and exec; it does one system call and allocates nothing.
        unsafe {
            command.pre_exec(move || enter(fd.as_fd()));
        }
        command
    }

    /// Writes a sysctl of the namespace: `sysctl("net/ipv4/ip_forward", "1")`.
    ///
    /// # Errors
    /// If the kernel refuses the write.
    pub fn sysctls(&self, values: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in values {
                let path = Path::new("/proc/sys").join(key);
                fs::write(&path, value).with_context(|| {
                    format!("cannot set {} = {value} in {}", path.display(), self.name)
                })?;
            }
            Ok(())
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn enter(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(
        fd,
        Some(LinkNameSpaceType::Network),
    )?)
}

fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Whether a namespace of that name exists.
pub fn exists(name: &str) -> bool {
    path_of(name).exists()
}

/// Creates the namespaces, each with its loopback still down. What was created before an error stays;
/// the caller knows the names and deletes them.
///
/// # Errors
/// If a name is taken or the kernel refuses.
pub fn create(names: &[String]) -> Result<()> {
    prepare_directory()?;
    let threads = thread::available_parallelism().map_or(1, |n| n.get().min(8));
    let share = names.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = names
            .chunks(share)
            .map(|names| scope.spawn(move || names.iter().try_for_each(|name| create_one(name))))
            .collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow!("a thread creating namespaces panicked"))??;
        }
        Ok(())
    })
}

/// Leaves the calling thread in the new namespace: only for threads that end soon.
fn create_one(name: &str) -> Result<()> {
    let path = path_of(name);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("cannot create namespace {name}"))?;
    // SAFETY: only the network namespace of this thread changes; no file descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
        .with_context(|| format!("cannot create a network namespace for {name}"))?;
    mount_bind("/proc/thread-self/ns/net", &path)
        .with_context(|| format!("cannot mount a namespace on {}", path.display()))
}

/// Makes the directory a shared mount, as `ip netns add` does, so that deletion reaches every mount namespace.
fn prepare_directory() -> Result<()> {
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    let what = || format!("cannot prepare {NETNS_DIR}");
    fs::create_dir_all(NETNS_DIR).with_context(what)?;
    match mount_change(NETNS_DIR, shared) {
        Err(Errno::INVAL) => {
            mount_bind_recursive(NETNS_DIR, NETNS_DIR).with_context(what)?;
            mount_change(NETNS_DIR, shared).with_context(what)
        }
        other => other.with_context(what),
    }
}

/// Removes the name. The namespace ends with the last process or open file in it. Says whether it was there.
///
/// # Errors
/// If the kernel refuses.
pub fn delete(name: &str) -> Result<bool> {
    let path = path_of(name);
    match unmount(&path, UnmountFlags::DETACH) {
        // EINVAL: a file without a mount, left by a crash between the two steps.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("cannot unmount {name}")),
    }
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}
