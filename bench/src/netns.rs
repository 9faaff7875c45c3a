//! Network namespaces without names: they live as long as a file handle or a process inside, so
//! nothing is left behind however the program ends.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A network namespace of our own, with `lo` up.
#[derive(Debug)]
pub(crate) struct Netns {
    file: File,
}

impl Netns {
    /// Makes an empty namespace. Needs `CAP_SYS_ADMIN`.
    pub(crate) fn new() -> Result<Self> {
        let made = std::thread::spawn(|| {
            // SAFETY: unshare takes no pointers, and changes this short-lived thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            File::open("/proc/thread-self/ns/net")
        });
        let file = made
            .join()
            .expect("the thread does not panic")
            .context("cannot make a network namespace (this needs root)")?;
        let namespace = Self { file };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs `work` on a thread inside the namespace and waits for it.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| enter(self.fd()).map(|()| work()));
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that will run inside the namespace and dies with this program's main thread.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let fd = self.fd();
        // SAFETY: the closure makes two system calls that take no memory, which is allowed
        // between fork and exec.
        unsafe {
            command.pre_exec(move || {
                enter(fd)?;
                die_with_parent()
            });
        }
        command
    }

    /// Runs `ip` with space-separated arguments inside the namespace.
    pub(crate) fn ip(&self, args: &str) -> Result<()> {
        self.ip_batch(&format!("{args}\n"))
    }

    /// Runs a list of `ip` commands, one a line, in one process.
    pub(crate) fn ip_batch(&self, lines: &str) -> Result<()> {
        let mut child = self
            .command("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run ip; is iproute2 installed?")?;
        let mut stdin = child.stdin.take().expect("piped above");
        let written = stdin.write_all(lines.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "ip -batch failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        written.context("cannot write to ip -batch")
    }
}

/// Moves the calling thread into the network namespace behind `fd`.
fn enter(fd: RawFd) -> io::Result<()> {
    // SAFETY: setns takes no pointers; `fd` is checked by the kernel.
    if unsafe { libc::setns(fd, libc::CLONE_NEWNET) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Between fork and exec: have the kernel end this process when the thread that made it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: prctl with these arguments takes no pointers.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Two namespaces joined by a veth: the daemon alone in one, the driver in the other.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) daemon: Netns,
    pub(crate) driver: Netns,
}

/// The daemon's address and link; the driver owns the upper half of the same subnet.
pub(crate) const DAEMON_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 99, 0, 1);
const DAEMON_MAC: &str = "02:00:00:00:00:01";
const DRIVER_MAC: &str = "02:00:00:00:00:02";
/// The daemon's end of the veth.
pub(crate) const DAEMON_LINK: &str = "uplink";

/// Where the driver's addresses are.
pub(crate) const DRIVER_RANGE: &str = "10.99.128.0/17";

/// The driver's `n`-th source address, all on the daemon's link.
pub(crate) fn driver_address(n: u32) -> std::net::Ipv4Addr {
    let first = u32::from(std::net::Ipv4Addr::new(10, 99, 128, 1));
    std::net::Ipv4Addr::from(first + n)
}

impl Bed {
    /// Builds the bed for `sessions` source addresses. The driver answers for the whole upper half
    /// of 10.99.0.0/16 through one local route. Neighbour entries are permanent: those do not
    /// count against the host-wide `gc_thresh`, which is not ours to change.
    pub(crate) fn new(sessions: u32) -> Result<Self> {
        let bed = Self {
            daemon: Netns::new()?,
            driver: Netns::new()?,
        };
        bed.daemon.ip(&format!(
            "link add {DAEMON_LINK} address {DAEMON_MAC} type veth \
             peer name probe address {DRIVER_MAC} netns /proc/{}/fd/{}",
            std::process::id(),
            bed.driver.fd()
        ))?;
        let mut lines = format!(
            "addr add {DAEMON_ADDRESS}/16 dev {DAEMON_LINK}\nlink set {DAEMON_LINK} up\n\
             route add default via {} dev {DAEMON_LINK}\n",
            driver_address(0)
        );
        for n in 0..sessions {
            let address = driver_address(n);
            let _ = writeln!(
                lines,
                "neigh add {address} lladdr {DRIVER_MAC} dev {DAEMON_LINK} nud permanent"
            );
        }
        bed.daemon.ip_batch(&lines)?;
        bed.driver.ip_batch(&format!(
            "addr add 10.99.0.2/16 dev probe\nlink set probe up\n\
             route add local {DRIVER_RANGE} dev lo\n\
             neigh add {DAEMON_ADDRESS} lladdr {DAEMON_MAC} dev probe nud permanent\n"
        ))?;
        Ok(bed)
    }
}
