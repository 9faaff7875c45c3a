use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{DUMP_INTR, Filter, Message, MessageBuf, Messages, Refusal};
use crate::Error;

/// Larger than any datagram the kernel sends (it caps dumps at 32 KiB).
const BUFFER: usize = 64 * 1024;
const RECEIVE_BUFFER: libc::c_int = 4 * 1024 * 1024;
/// The kernel answers while it executes; this only guards against a kernel that does not.
const ANSWER_TIMEOUT_SECS: i64 = 30;

/// A netlink socket, bound to a port of its own.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    port: u32,
    seq: u32,
    buf: Vec<u8>,
}

/// What [`Socket::receive`] gave.
#[derive(Debug)]
pub enum Received<'a> {
    /// Messages.
    Messages(Messages<'a>),
    /// Nothing is there.
    Nothing,
    /// Messages were lost.
    Overrun,
}

/// How a dump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpEnd {
    /// Everything was told.
    Complete,
    /// The tables changed meanwhile: something may be missing or stale.
    Interrupted,
}

impl Socket {
    /// Opens a socket of a protocol (`NETLINK_ROUTE`, `NETLINK_NETFILTER`) with capped acknowledgements, extended errors,
    /// strict checking and a large receive buffer.
    pub fn open(protocol: libc::c_int) -> Result<Socket, Error> {
        let error = |source| Error::Socket {
            what: "opening a netlink socket",
            source,
        };
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
        if fd < 0 {
            return Err(error(io::Error::last_os_error()));
        }
        // SAFETY: the call above has just given us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let port = bind(&fd).map_err(error)?;
        let socket = Socket {
            fd,
            port,
            seq: 1,
            buf: vec![0; BUFFER],
        };
        // Old kernels lack some of these; all work without them.
        for option in [
            libc::NETLINK_CAP_ACK,
            libc::NETLINK_EXT_ACK,
            libc::NETLINK_GET_STRICT_CHK,
        ] {
            let _ = socket.set(libc::SOL_NETLINK, option, &1);
        }
        socket.set_buffer(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_BUFFER);
        let timeout = libc::timeval {
            tv_sec: ANSWER_TIMEOUT_SECS,
            tv_usec: 0,
        };
        socket
            .set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)
            .map_err(error)?;
        Ok(socket)
    }

    /// The port the kernel knows the socket by.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The file descriptor, for `poll`.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Joins a multicast group.
    pub fn join(&self, group: u32) -> Result<(), Error> {
        self.set(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, &group)
            .map_err(|source| Error::Socket {
                what: "joining a netlink group",
                source,
            })
    }

    /// Leaves a multicast group.
    pub fn leave(&self, group: u32) -> Result<(), Error> {
        self.set(libc::SOL_NETLINK, libc::NETLINK_DROP_MEMBERSHIP, &group)
            .map_err(|source| Error::Socket {
                what: "leaving a netlink group",
                source,
            })
    }

    /// Delivers only what `filter` lets through.
    pub fn attach(&self, filter: &Filter) -> Result<(), Error> {
        let error = |source| Error::Socket {
            what: "filtering a netlink socket",
            source,
        };
        let mut code = filter
            .assemble()
            .ok_or_else(|| error(io::Error::from(io::ErrorKind::InvalidInput)))?;
        let len = u16::try_from(code.len()).map_err(|cause| error(io::Error::other(cause)))?;
        let program = libc::sock_fprog {
            len,
            filter: code.as_mut_ptr(),
        };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
            .map_err(error)
    }

    /// The receive buffer, in octets, for tests that want it small.
    pub fn set_receive_buffer(&self, octets: i32) {
        self.set_buffer(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, octets);
    }

    /// Lets the socket send `octets` at once, as far as permitted; gives what it can.
    pub fn ensure_send_buffer(&self, octets: usize) -> usize {
        let now = self.send_buffer();
        if now >= octets {
            return now;
        }
        let ask = i32::try_from(octets).unwrap_or(i32::MAX);
        self.set_buffer(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, ask);
        self.send_buffer()
    }

    /// A fresh sequence number, and room for `count` in all.
    pub fn take_seqs(&mut self, count: u32) -> u32 {
        if self.seq.checked_add(count).is_none() {
            self.seq = 1;
        }
        let first = self.seq;
        self.seq += count;
        first
    }

    /// Sends messages in one datagram.
    pub fn send(&self, what: &'static str, messages: &MessageBuf) -> Result<(), Error> {
        let bytes = messages.bytes().ok_or(Error::TooLarge { what })?;
        loop {
            // SAFETY: the pointer and length are those of a live slice.
            let sent =
                unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
            if sent >= 0 {
                return Ok(());
            }
            let source = io::Error::last_os_error();
            match source.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EMSGSIZE) => return Err(Error::TooLarge { what }),
                _ => return Err(Error::Socket { what, source }),
            }
        }
    }

    /// Receives one datagram. With `wait`, nothing means that the kernel did not answer in time.
    pub fn receive(&mut self, wait: bool) -> Result<Received<'_>, Error> {
        let what = "reading from a netlink socket";
        let flags = libc::MSG_TRUNC | if wait { 0 } else { libc::MSG_DONTWAIT };
        loop {
            // SAFETY: the pointer and length are those of a live, writable slice.
            let len = unsafe {
                let buf = self.buf.as_mut_ptr().cast();
                libc::recv(self.fd.as_raw_fd(), buf, self.buf.len(), flags)
            };
            match usize::try_from(len) {
                Ok(len) => {
                    let read = self.buf.get(..len);
                    // A truncated datagram is a lost one.
                    return Ok(read.map_or(Received::Overrun, |read| {
                        Received::Messages(Messages::new(read))
                    }));
                }
                Err(_) => {
                    let source = io::Error::last_os_error();
                    match source.raw_os_error() {
                        Some(libc::EINTR) => {}
                        Some(libc::EAGAIN) => return Ok(Received::Nothing),
                        Some(libc::ENOBUFS) => return Ok(Received::Overrun),
                        _ => return Err(Error::Socket { what, source }),
                    }
                }
            }
        }
    }

    /// Sends messages, the last of which (number `last`) asks for an acknowledgement, and tells each refusal by sequence
    /// number. Messages that are not told were done.
    pub fn transact(
        &mut self,
        what: &'static str,
        messages: &MessageBuf,
        last: u32,
        on_refusal: impl FnMut(u32, Refusal),
    ) -> Result<(), Error> {
        self.converse(what, messages, last, |_| {}, on_refusal)
    }

    /// As [`Socket::transact`], and tells what else the kernel answers.
    pub fn converse(
        &mut self,
        what: &'static str,
        messages: &MessageBuf,
        last: u32,
        mut on_message: impl FnMut(&Message<'_>),
        mut on_refusal: impl FnMut(u32, Refusal),
    ) -> Result<(), Error> {
        self.send(what, messages)?;
        loop {
            let Received::Messages(answers) = self.receive(true)? else {
                return Err(Error::Lost { what });
            };
            let mut ended = false;
            for message in answers {
                let Some(answer) = message.answer() else {
                    on_message(&message);
                    continue;
                };
                if let Err(refusal) = answer {
                    on_refusal(message.seq, refusal);
                }
                ended |= message.seq == last;
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Sends one request (number `seq`) and gives the kernel's verdict.
    pub fn request(
        &mut self,
        what: &'static str,
        messages: &MessageBuf,
        seq: u32,
    ) -> Result<(), Error> {
        let mut refused = None;
        self.transact(what, messages, seq, |_, refusal| refused = Some(refusal))?;
        match refused {
            None => Ok(()),
            Some(Refusal { errno, message }) => Err(Error::Refused {
                what,
                errno,
                message,
            }),
        }
    }

    /// Sends a dump request (number `seq`) and tells every message of the answer.
    pub fn dump(
        &mut self,
        what: &'static str,
        messages: &MessageBuf,
        seq: u32,
        mut on_message: impl FnMut(&Message<'_>),
    ) -> Result<DumpEnd, Error> {
        self.send(what, messages)?;
        let mut interrupted = false;
        loop {
            let Received::Messages(answers) = self.receive(true)? else {
                return Err(Error::Lost { what });
            };
            for message in answers.filter(|message| message.seq == seq) {
                interrupted |= message.flags & DUMP_INTR != 0;
                match message.answer() {
                    None => on_message(&message),
                    Some(Err(Refusal { errno, message })) => {
                        return Err(Error::Refused {
                            what,
                            errno,
                            message,
                        });
                    }
                    Some(Ok(())) if message.is_done() => {
                        return Ok(if interrupted {
                            DumpEnd::Interrupted
                        } else {
                            DumpEnd::Complete
                        });
                    }
                    Some(Ok(())) => {}
                }
            }
        }
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
        // SAFETY: the pointer and length are those of a live value; the kernel only reads it.
        let result = unsafe {
            let value = std::ptr::from_ref(value).cast();
            libc::setsockopt(self.fd.as_raw_fd(), level, option, value, len)
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Beyond the system's limit if permitted, else up to it.
    fn set_buffer(&self, force: libc::c_int, plain: libc::c_int, octets: libc::c_int) {
        if self.set(libc::SOL_SOCKET, force, &octets).is_err() {
            let _ = self.set(libc::SOL_SOCKET, plain, &octets);
        }
    }

    fn send_buffer(&self) -> usize {
        let mut value: libc::c_int = 0;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the pointers are those of live values, and `len` is the size of the one written to.
        let result = unsafe {
            let value = std::ptr::from_mut(&mut value).cast();
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                value,
                &raw mut len,
            )
        };
        // The kernel doubles what is set, and takes its own overhead from it.
        if result == 0 {
            usize::try_from(value).unwrap_or(0) / 2
        } else {
            0
        }
    }
}

fn bind(fd: &OwnedFd) -> io::Result<u32> {
    // SAFETY: all-zero is a valid `sockaddr_nl`.
    let mut addr: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    addr.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    let mut len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the pointer and length are those of a live `sockaddr_nl`.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const addr).cast(), len) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; the kernel writes at most `len` octets.
    let result = unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut addr).cast(), &raw mut len) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(addr.nl_pid)
}
