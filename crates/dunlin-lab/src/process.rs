//! Processes of a lab, told apart from a later process with the same number by their start time.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde::{Deserialize, Serialize};

/// The environment variable every process of a lab carries, with the lab's name: what a crash leaves is found by it.
pub const LAB_VARIABLE: &str = "DUNLIN_LAB";
/// How long processes in the middle of an exec are waited for, all together, before one look leaves them out.
const EXEC_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an environment that are asked for at first, and at most: the kernel gives no program more than 6 MiB.
const USUAL_ENVIRONMENT: usize = 32 << 10;
const MAX_ENVIRONMENT: usize = 8 << 20;

/// A process, for certain: its number and when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// Clock ticks between boot and its start (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
}

impl ProcessId {
    /// The running process with this number, if there is one (a zombie is not running).
    pub fn of(pid: i32) -> Option<ProcessId> {
        let (state, process) = ProcessId::read(pid)?;
        (!matches!(state, 'Z' | 'X')).then_some(process)
    }

    /// The process with this number and its state, a zombie too.
    fn read(pid: i32) -> Option<(char, ProcessId)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name may hold spaces and brackets; fields count from the last bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some((state, ProcessId { pid, start_ticks }))
    }

    /// This process.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn own() -> Result<ProcessId> {
        let pid = std::process::id().cast_signed();
        ProcessId::of(pid).context("cannot read /proc/self/stat: is /proc mounted?")
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        ProcessId::of(self.pid) == Some(self)
    }

    /// A handle that cannot come to mean another process; readable when the process has ended. `None` if it has.
    pub fn pidfd(self) -> Option<OwnedFd> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Alive after the handle was opened means that the handle is of the right process.
        self.is_alive().then_some(fd)
    }

    /// Sends a signal; says whether the process was there to get it.
    pub fn signal(self, signal: Signal) -> bool {
        self.pidfd()
            .is_some_and(|fd| pidfd_send_signal(fd, signal).is_ok())
    }

    /// Its resident memory in KiB (`VmRSS`).
    pub fn resident_kib(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// Asks every process to end, kills what has not ended after `patience`, and returns when all have.
/// Says how many were running.
pub fn stop_all(processes: &[ProcessId], patience: Duration) -> usize {
    let handles: Vec<_> = processes.iter().filter_map(|p| p.pidfd()).collect();
    for fd in &handles {
        let _ = pidfd_send_signal(fd, Signal::TERM);
        // A stopped process (SIGSTOP) gets its signals only once it is continued.
        let _ = pidfd_send_signal(fd, Signal::CONT);
    }
    let deadline = Instant::now() + patience;
    let left: Vec<_> = handles
        .iter()
        .filter(|fd| !wait_end(fd, deadline))
        .collect();
    for fd in &left {
        let _ = pidfd_send_signal(fd, Signal::KILL);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    for fd in left {
        wait_end(fd, deadline);
    }
    handles.len()
}

/// Kills the process without asking and waits for its end.
pub fn kill(process: ProcessId) -> bool {
    let Some(fd) = process.pidfd() else {
        return false;
    };
    let _ = pidfd_send_signal(&fd, Signal::KILL);
    wait_end(&fd, Instant::now() + Duration::from_secs(5))
}

/// Waits for a process to end by itself; says whether it did before the deadline.
pub fn wait_until_ended(process: ProcessId, deadline: Instant) -> bool {
    // The first thread of a process may be a zombie while the others still run and hold its files.
    let handle = Pid::from_raw(process.pid)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .filter(|_| ProcessId::read(process.pid).is_some_and(|(_, found)| found == process));
    handle.is_none_or(|fd| wait_end(&fd, deadline))
}

fn wait_end(fd: &OwnedFd, deadline: Instant) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::IN)];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::event::Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    // Reap it when it is our child; ECHILD otherwise.
    let _ = waitid(
        WaitId::PidFd(rustix::fd::AsFd::as_fd(fd)),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    );
    true
}

/// Starts a daemon that outlives this process: a session of its own (Ctrl-C does not reach it), its output in `log`.
///
/// # Errors
/// If the log cannot be created or the program cannot be started.
pub fn start_daemon(command: &mut Command, log: &Path, dies_with_us: bool) -> Result<ProcessId> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone().context("cannot duplicate a file")?;
    if dies_with_us {
        end_with_us(command, Signal::KILL);
    }
    // SAFETY: the closure runs between fork and exec; it does one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let pid = child.id().cast_signed();
    ProcessId::of(pid).with_context(|| {
        format!(
            "{} ended at once; {} ends: {}",
            command.get_program().display(),
            log.display(),
            tail(log)
        )
    })
}

/// The command's process will get the signal when the thread that starts it ends, whatever ends it.
pub(crate) fn end_with_us(command: &mut Command, signal: Signal) {
    let us = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec; it does up to three system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(signal))?;
            // Who died before that was said sends no signal.
            if rustix::process::getppid() != Some(us) {
                libc::_exit(1);
            }
            Ok(())
        });
    }
}

/// Every process that carries the mark of the lab called `name`, other than this process and its ancestors.
pub fn marked(name: &str) -> Vec<ProcessId> {
    let mark = format!("{LAB_VARIABLE}={name}");
    let own = ancestors();
    let deadline = Instant::now() + EXEC_PATIENCE;
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| !own.contains(pid))
        .filter(|pid| {
            let all = environment(*pid, deadline).unwrap_or_default();
            all.split(|byte| *byte == 0).any(|v| v == mark.as_bytes())
        })
        .filter_map(ProcessId::of)
        .collect()
}

/// The environment with which a process runs its program. In the middle of an exec there is none to see for a moment:
/// then what comes after is waited for. `None` if this process may not see it.
fn environment(pid: i32, deadline: Instant) -> Option<Vec<u8>> {
    loop {
        let all = read_environment(pid).ok()?;
        if !all.is_empty() || !may_be_in_exec(pid) || Instant::now() > deadline {
            return Some(all);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// In one read: an exec between two would end the file early.
fn read_environment(pid: i32) -> std::io::Result<Vec<u8>> {
    let mut all = vec![0; USUAL_ENVIRONMENT];
    loop {
        let read = File::open(format!("/proc/{pid}/environ"))?.read(&mut all)?;
        if read < all.len() || read >= MAX_ENVIRONMENT {
            all.truncate(read);
            return Ok(all);
        }
        all.resize(all.len() * 4, 0);
    }
}

/// Whether a process whose environment was just seen empty is in the middle of an exec, or was.
fn may_be_in_exec(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    // The first one here is field 3 of proc_pid_stat(5).
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |field: usize| -> u64 {
        let text = fields.get(field - 3);
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let (memory, code, environment) = (number(23), number(26), number(50)..number(51));
    // A kernel thread and a zombie have no memory. The place of the code is set last, after the environment's.
    memory > 0 && (code == 0 || !environment.is_empty())
}

fn ancestors() -> Vec<i32> {
    let mut chain = vec![std::process::id().cast_signed()];
    while let Some(pid) = chain.last().copied().filter(|pid| *pid > 1) {
        let parent = fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| {
                let (_, rest) = stat.rsplit_once(')')?;
                rest.split_whitespace().nth(1)?.parse::<i32>().ok()
            });
        match parent {
            Some(parent) if parent > 0 => chain.push(parent),
            _ => break,
        }
    }
    chain
}

/// The last lines of a log, as one.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut lines: Vec<_> = text.lines().rev().take(3).collect();
    lines.reverse();
    lines.join(" | ")
}
