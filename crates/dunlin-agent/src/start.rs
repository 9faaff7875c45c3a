//! What must hold before the agent touches anything, and what it claims for itself.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, Mode, flock};

use crate::config::AgentConfig;

/// Everything claimed: nobody else runs as this node, and whoever asks finds us.
#[derive(Debug)]
pub(crate) struct Claims {
    /// Held for the life of the process; the kernel lets go of it, also after a crash.
    _lock: File,
    pub(crate) socket: AdminSocket,
    pub(crate) metrics: Option<TcpListener>,
    /// Whether this is the same boot as at the last start, so that what the kernel was given then may still stand.
    pub(crate) same_boot: bool,
}

/// The admin socket; its path goes when this goes.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // A rest is harmless: the next agent takes a socket nobody answers on for stale.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Claims the state directory, the admin socket and the metrics port. Creates what is missing.
pub(crate) fn claim(config: &AgentConfig) -> Result<Claims> {
    claim_at(config, Path::new("/proc/sys/kernel/random/boot_id"))
}

pub(crate) fn claim_at(config: &AgentConfig, boot_id: &Path) -> Result<Claims> {
    // What others may read is said file by file; nobody else ever writes.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    create_dir(&config.state_dir, 0o700)?;
    create_dir(&config.cni_conf_dir, 0o755)?;
    let lock = lock(&config.state_dir)?;
    let same_boot = same_boot(&config.state_dir, boot_id)?;
    let socket = bind_socket(&config.socket)?;
    let metrics = config.metrics_addr.map(bind_metrics).transpose()?;
    Ok(Claims {
        _lock: lock,
        socket,
        metrics,
        same_boot,
    })
}

fn create_dir(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("cannot create the directory {}", path.display()))
}

/// One agent a state directory.
fn lock(state_dir: &Path) -> Result<File> {
    let path = state_dir.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
        let mut holder = String::new();
        let _ = (&mut file).take(32).read_to_string(&mut holder);
        bail!(
            "another agent (process {}) uses the state directory {}: stop it, or give this one another --state-dir",
            holder.trim(),
            state_dir.display()
        );
    }
    // For whoever finds it locked; only told, never acted upon.
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

/// Compares the boot id with the one of the last start, and notes it for the next.
fn same_boot(state_dir: &Path, source: &Path) -> Result<bool> {
    let now = std::fs::read_to_string(source)
        .with_context(|| format!("cannot read {}", source.display()))?;
    let path = state_dir.join("boot-id");
    let last = match std::fs::read_to_string(&path) {
        Ok(last) => last,
        // Unreadable content is as good as none: the worst is a restart that looks like a reboot.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidData
            ) =>
        {
            String::new()
        }
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    if last == now {
        return Ok(true);
    }
    let new = state_dir.join("boot-id.new");
    std::fs::write(&new, &now)
        .and_then(|()| std::fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(false)
}

/// Binds the admin socket; a stale one, which nobody answers on, is replaced.
fn bind_socket(path: &Path) -> Result<AdminSocket> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_dir(parent, 0o755)?;
    }
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("cannot look at {}", path.display())),
        Ok(found) if !found.file_type().is_socket() => bail!(
            "{} exists and is no socket: remove it, or give another --socket",
            path.display()
        ),
        Ok(_) => remove_stale(path)?,
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    let socket = AdminSocket {
        listener,
        path: path.to_owned(),
    };
    // Root and the socket's group may ask; until here the umask kept it to root, since asking takes write access.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    socket.listener.set_nonblocking(true)?;
    Ok(socket)
}

fn remove_stale(path: &Path) -> Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => bail!(
            "another agent is serving {}: stop it, or give this one another --socket",
            path.display()
        ),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(socket = %path.display(), "removing the stale socket of an agent that is gone");
            std::fs::remove_file(path)
                .with_context(|| format!("cannot remove the stale socket {}", path.display()))
        }
        Err(e) => {
            Err(e).with_context(|| format!("cannot tell whether {} is in use", path.display()))
        }
    }
}

fn bind_metrics(addr: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(addr).with_context(|| {
        format!(
            "cannot serve metrics on {addr}: give another --metrics-addr, or `--metrics-addr off`"
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Raises the limit on open files as far as it goes: a session takes one, and two while connections collide.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit on open files: large clusters may need more");
    }
}

#[cfg(test)]
mod tests;
