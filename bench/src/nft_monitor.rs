//! What nf_tables tells of its changes, in the kernel's own words: no program's figures are asked for.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::netns::Netns;

const NFNLGRP_NFTABLES: u32 = 7;
const SUBSYSTEM: u16 = 10 << 8;
const NEWSET: u16 = SUBSYSTEM | 9;
const GETSET: u16 = SUBSYSTEM | 10;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const DELSETELEM: u16 = SUBSYSTEM | 14;
/// A transaction has taken effect.
const NEWGEN: u16 = SUBSYSTEM | 15;
/// `NLMSG_DONE` and `NLMSG_ERROR` end a dump.
const ENDS: [u16; 2] = [2, 3];
const HEADER: usize = 16;

/// How often a waiting thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// What has been heard so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Heard {
    /// Transactions.
    pub(crate) transactions: u64,
    /// Elements that were added or deleted.
    pub(crate) elements: u64,
    /// When something was heard last.
    pub(crate) last: Option<Instant>,
    /// Not everything was heard.
    pub(crate) lost: bool,
}

/// Hears, on a thread of its own, until dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    shared: Arc<(Mutex<Heard>, Condvar)>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Hears of transactions; with `elements`, of each element too.
    pub(crate) fn new(namespace: &Netns, elements: bool) -> Result<Monitor> {
        let socket = namespace.run(open)??;
        if !elements {
            only_transactions(&socket)?;
        }
        set(
            &socket,
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP,
            &NFNLGRP_NFTABLES,
        )?;
        let shared = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let ends = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (shared, ends) = (shared.clone(), ends.clone());
            move || hear(&socket, &shared, &ends)
        });
        Ok(Monitor {
            shared,
            ends,
            thread: Some(thread),
        })
    }

    pub(crate) fn heard(&self) -> Heard {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done`; gives when what made it so was heard.
    pub(crate) fn wait(
        &self,
        deadline: Instant,
        what: &str,
        done: impl Fn(&Heard) -> bool,
    ) -> Result<Instant> {
        let mut heard = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let (true, Some(last)) = (done(&heard), heard.last) {
                return Ok(last);
            }
            interrupt::check(deadline, what)?;
            let waited = self.shared.1.wait_timeout(heard, LOOK);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until nothing has been heard for so long.
    pub(crate) fn wait_quiet(&self, quiet: Duration, deadline: Instant) -> Result<()> {
        interrupt::wait_for(
            deadline,
            Duration::from_millis(20),
            "an end of changes",
            || {
                let last = self.heard().last;
                Ok(last.is_none_or(|last| last.elapsed() >= quiet))
            },
        )?;
        Ok(())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How many elements the named sets of all tables have, together.
pub(crate) fn elements(namespace: &Netns) -> Result<u64> {
    namespace.run(|| {
        let socket = open()?;
        let mut request = Vec::from(20u32.to_ne_bytes());
        request.extend(GETSET.to_ne_bytes());
        request.extend(0x301u16.to_ne_bytes());
        // The number, the port, and a family: any.
        request.extend([0; 12]);
        // SAFETY: the pointer and length are those of a live slice.
        let sent = unsafe {
            libc::send(
                socket.as_raw_fd(),
                request.as_ptr().cast(),
                request.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error()).context("asking for nf_tables sets");
        }
        let mut buf = vec![0; 1 << 16];
        let (mut count, mut ended) = (0, false);
        while !ended {
            let Some(read) = receive(&socket, &mut buf)? else {
                bail!("nf_tables sets cannot be read");
            };
            for (kind, body) in messages(read) {
                ended |= ENDS.contains(&kind);
                if kind == NEWSET {
                    count += set_count(body);
                }
            }
        }
        Ok(count)
    })?
}

/// `NFTA_SET_COUNT`, from Linux 6.16 on.
fn set_count(body: &[u8]) -> u64 {
    const COUNT: u16 = 20;
    let mut rest = body.get(4..).unwrap_or_default();
    while let (Some(len), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        if kind & 0x3FFF == COUNT
            && let Some(count) = rest.get(4..).and_then(|rest| rest.first_chunk())
        {
            return u64::from(u32::from_be_bytes(*count));
        }
        let len = usize::from(len).max(4).next_multiple_of(4);
        rest = rest.get(len..).unwrap_or_default();
    }
    0
}

fn hear(socket: &OwnedFd, shared: &(Mutex<Heard>, Condvar), ends: &AtomicBool) {
    let mut buf = vec![0; 1 << 16];
    while !ends.load(Ordering::Relaxed) {
        let (mut transactions, mut elements, mut lost) = (0, 0, false);
        match receive(socket, &mut buf) {
            Ok(None) => continue,
            Err(_) => lost = true,
            Ok(Some(read)) => {
                for (kind, _) in messages(read) {
                    transactions += u64::from(kind == NEWGEN);
                    elements += u64::from([NEWSETELEM, DELSETELEM].contains(&kind));
                }
            }
        }
        let mut heard = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.transactions += transactions;
        heard.elements += elements;
        heard.lost |= lost;
        heard.last = Some(Instant::now());
        shared.1.notify_all();
    }
}

/// Kind and body of the messages of a datagram.
fn messages(mut read: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(*read.first_chunk()?) as usize;
        let kind = u16_at(read, 4)?;
        let body = read.get(HEADER..len)?;
        read = read.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let octets = octets.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*octets))
}

fn open() -> Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("opening a netlink socket");
    }
    // SAFETY: the call above has just given us this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // A socket without a port hears nothing.
    // SAFETY: all-zero is a valid `sockaddr_nl`, and the pointer and length are those of a live one.
    let bound = unsafe {
        let mut any: libc::sockaddr_nl = std::mem::zeroed();
        any.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        let len = size_of_val(&any) as libc::socklen_t;
        libc::bind(fd, (&raw const any).cast(), len)
    };
    if bound != 0 {
        return Err(io::Error::last_os_error()).context("binding a netlink socket");
    }
    const BUFFER: libc::c_int = 128 << 20;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)?;
    let timeout = libc::timeval {
        tv_sec: 0,
        tv_usec: libc::suseconds_t::from(LOOK.subsec_micros()),
    };
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
    Ok(socket)
}

/// Lets nothing wake us but the ends of transactions: the elements of a large one would take time from what is measured.
fn only_transactions(socket: &OwnedFd) -> Result<()> {
    let op = |code: u16, jf: u8, k: u32| libc::sock_filter { code, jt: 0, jf, k };
    // Loads give numbers in network order.
    let wanted = u32::from(u16::from_be_bytes(NEWGEN.to_ne_bytes()));
    let mut code = [
        op(0x28, 0, 4),
        op(0x15, 1, wanted),
        op(0x06, 0, u32::MAX),
        op(0x06, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: code.as_mut_ptr(),
    };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and length are those of a live value.
    let result = unsafe {
        let value = std::ptr::from_ref(value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, value, len)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error()).context("setting up a netlink socket")
    }
}

/// One datagram; `None` if none came in time.
fn receive<'a>(socket: &OwnedFd, buf: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    // SAFETY: the pointer and length are those of a live, writable slice.
    let len = unsafe { libc::recv(socket.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), 0) };
    match usize::try_from(len) {
        Ok(len) => Ok(buf.get(..len)),
        Err(_) => {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Ok(None),
                _ => Err(error),
            }
        }
    }
}
