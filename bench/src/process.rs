//! Daemons as processes: started in a namespace, measured through /proc, ended by process id.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::netns::Netns;

/// A directory for configurations, sockets and logs of one run; removed at the end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A fresh directory that daemons which drop their privileges can enter too.
    pub(crate) fn new() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "dunlin-bench-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let scratch = Self(path);
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755))?;
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that only its owner may read (OpenBGPD insists).
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<String> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path.display().to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What has been used so far by a daemon's processes, all threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_secs: f64,
    pub(crate) peak_mb: f64,
    pub(crate) resident_mb: f64,
    /// Over all threads.
    pub(crate) voluntary_switches: u64,
}

impl Usage {
    fn plus(self, other: Usage) -> Usage {
        Usage {
            cpu_secs: self.cpu_secs + other.cpu_secs,
            peak_mb: self.peak_mb + other.peak_mb,
            resident_mb: self.resident_mb + other.resident_mb,
            voluntary_switches: self.voluntary_switches + other.voluntary_switches,
        }
    }
}

/// Running processes that together are one daemon; dropping them ends them.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    children: Vec<(String, Child, PathBuf)>,
}

impl Processes {
    /// Starts one more process inside `namespace`, with a private `/run` and `/var/tmp`, so that it
    /// neither meets nor leaves files of other daemons on this machine. If `ready` is given, waits
    /// until that path exists.
    pub(crate) fn start(
        &mut self,
        namespace: &Netns,
        scratch: &Scratch,
        argv: &[String],
        ready: Option<&Path>,
    ) -> Result<()> {
        let (program, args) = argv.split_first().expect("a program");
        let log_path = scratch.path().join(format!("log-{}", self.children.len()));
        let log = fs::File::create(&log_path)?;
        let mut command = namespace.command(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        with_private_run(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        self.children.push((program.clone(), child, log_path));
        let Some(path) = ready else { return Ok(()) };
        let deadline = Instant::now() + Duration::from_secs(20);
        let what = format!("{program} to make {}", path.display());
        interrupt::wait_for(deadline, Duration::from_millis(5), &what, || {
            self.check_alive()?;
            Ok(path.exists())
        })?;
        Ok(())
    }

    /// An error with the end of its log if one of the processes has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        for (program, child, log) in &mut self.children {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{program} ended with {status}; its log ends:\n{}",
                    tail(log)
                );
            }
        }
        Ok(())
    }

    /// The end of every process's log.
    pub(crate) fn logs(&self) -> String {
        let tails = self
            .children
            .iter()
            .map(|(program, _, log)| format!("{program}: {}", tail(log)));
        tails.collect::<Vec<_>>().join("\n")
    }

    /// The process started first; it lives in the daemon's namespace.
    pub(crate) fn first_pid(&self) -> Result<u32> {
        let (_, child, _) = self.children.first().context("no process was started")?;
        Ok(child.id())
    }

    /// The sum over all processes, with those they started. What of the latter ends meanwhile counts for its parent.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let mut pids = self.pids();
        let started = pids.split_off(self.children.len());
        let started = started.into_iter().filter_map(|pid| usage(&[pid]).ok());
        Ok(started.fold(usage(&pids)?, Usage::plus))
    }

    /// The processes and all their descendants.
    fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self
            .children
            .iter()
            .map(|(_, child, _)| child.id())
            .collect();
        let parents = parents();
        let mut next = 0;
        while let Some(&pid) = pids.get(next) {
            pids.extend(
                parents
                    .iter()
                    .filter(|(_, parent)| *parent == pid)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        pids
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for pid in self.pids() {
            if let Ok(pid) = libc::pid_t::try_from(pid) {
                // SAFETY: kill takes no pointers; our children are not reaped yet, so their ids
                // are still theirs.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        for (_, child, _) in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// The sum over some processes.
pub(crate) fn usage(pids: &[u32]) -> Result<Usage> {
    let mut sum = Usage {
        cpu_secs: 0.0,
        peak_mb: 0.0,
        resident_mb: 0.0,
        voluntary_switches: 0,
    };
    for pid in pids {
        sum.cpu_secs += cpu_secs(*pid)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        sum.peak_mb += field(&status, "VmHWM:") as f64 / 1024.0;
        sum.resident_mb += field(&status, "VmRSS:") as f64 / 1024.0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            sum.voluntary_switches += field(&status, "voluntary_ctxt_switches:");
        }
    }
    Ok(sum)
}

/// Gives the command its own empty `/run` and `/var/tmp`.
fn with_private_run(command: &mut Command) {
    fn call(result: libc::c_int) -> io::Result<()> {
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
    // SAFETY: between fork and exec, only system calls on constant strings.
    unsafe {
        command.pre_exec(|| {
            call(libc::unshare(libc::CLONE_NEWNS))?;
            let none = std::ptr::null();
            call(libc::mount(
                none,
                c"/".as_ptr(),
                none,
                libc::MS_REC | libc::MS_PRIVATE,
                none.cast(),
            ))?;
            for path in [c"/run", c"/var/tmp"] {
                let tmpfs = c"tmpfs".as_ptr();
                call(libc::mount(tmpfs, path.as_ptr(), tmpfs, 0, none.cast()))?;
            }
            for path in [c"/run/frr", c"/run/openbgpd"] {
                call(libc::mkdir(path.as_ptr(), 0o755))?;
            }
            Ok(())
        });
    }
}

/// `(process, parent)` of every process on the machine.
fn parents() -> Vec<(u32, u32)> {
    let parent = |pid| stat(pid)?.get(1)?.parse().ok();
    let parents = all_pids()
        .into_iter()
        .filter_map(|pid| Some((pid, parent(pid)?)));
    parents.collect()
}

/// Every process on the machine.
pub(crate) fn all_pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.collect()
}

/// The fields after the name in `/proc/PID/stat`: number 0 is the state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// When a process was started, in seconds since boot, to a hundredth.
pub(crate) fn started_secs(pid: u32) -> Option<f64> {
    let ticks: u64 = stat(pid)?.get(19)?.parse().ok()?;
    Some(ticks as f64 / ticks_per_sec())
}

fn ticks_per_sec() -> f64 {
    // SAFETY: sysconf takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ticks as f64
}

/// User and system time of a process, all threads, and of the processes it started that have ended.
fn cpu_secs(pid: u32) -> Result<f64> {
    let fields = stat(pid).with_context(|| format!("process {pid} is gone"))?;
    let ticks = fields
        .iter()
        .skip(11)
        .take(4)
        .filter_map(|t| t.parse::<u64>().ok());
    Ok(ticks.sum::<u64>() as f64 / ticks_per_sec())
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}
