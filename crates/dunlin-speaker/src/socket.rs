//! Socket options, and unsafe code for those that no safe crate sets.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, RawFd};

use dunlin_bgp::session::{Password, PeerConfig, TransportError, Ttl};
use dunlin_net::{Afi, IpNet};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A connection to which the transport settings of its peer have been applied. Only such a one is used.
#[must_use]
pub(crate) struct Secured(mio::net::TcpStream);

impl Secured {
    pub(crate) fn into_stream(self) -> mio::net::TcpStream {
        self.0
    }
}

/// How many connections the kernel keeps until they are accepted (cut to `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A listening socket. `Ok(None)` for an IPv6 wildcard where there is no IPv6.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<Option<mio::net::TcpListener>> {
    let socket = match Socket::new(domain(addr.ip()), Type::STREAM, Some(Protocol::TCP)) {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) && is_any_v6(addr) => {
            return Ok(None);
        }
        socket => socket?,
    };
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // How far a connection comes from is read off its SYN (RFC 5082). Where that cannot be, such connections are refused.
    let _ = set_option(socket.as_raw_fd(), libc::IPPROTO_TCP, TCP_SAVE_SYN, &1_i32);
    // The answers to SYNs come from here: with 255 they also pass a peer that checks the TTL (RFC 5082).
    set_ttl(&socket, Afi::of(addr.ip()), 255)?;
    match socket.bind(&SockAddr::from(addr)) {
        Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) && is_any_v6(addr) => {
            return Ok(None);
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)?;
    Ok(Some(mio::net::TcpListener::from_std(socket.into())))
}

fn is_any_v6(addr: SocketAddr) -> bool {
    addr.is_ipv6() && addr.ip().is_unspecified()
}

fn domain(addr: IpAddr) -> Domain {
    match Afi::of(addr) {
        Afi::Ipv4 => Domain::IPV4,
        Afi::Ipv6 => Domain::IPV6,
    }
}

/// Begins a connection. Whether it succeeds is told by the socket becoming writable.
pub(crate) fn dial(
    config: &PeerConfig,
    remote: SocketAddr,
    local: Option<IpAddr>,
) -> Result<Secured, TransportError> {
    let socket = Socket::new(domain(remote.ip()), Type::STREAM, Some(Protocol::TCP))
        .map_err(|error| transport_error(&error))?;
    let stream: std::net::TcpStream = socket.into();
    apply(&stream, remote.ip(), config)?;
    let socket = Socket::from(stream);
    socket
        .set_nonblocking(true)
        .and_then(|()| socket.set_tcp_nodelay(true))
        .map_err(settings_error)?;
    if let Some(local) = local {
        // The port is chosen when the peer is known, so that one port can serve many peers. Without it: fewer peers.
        let _ = set_option(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            &1_i32,
        );
        socket
            .bind(&SockAddr::from(SocketAddr::new(local, 0)))
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EADDRNOTAVAIL) => TransportError::SourceAddress,
                _ => transport_error(&error),
            })?;
    }
    match socket.connect(&SockAddr::from(remote)) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
            Err(transport_error(&error))
        }
        Ok(()) | Err(_) => Ok(Secured(mio::net::TcpStream::from_std(socket.into()))),
    }
}

/// Makes an accepted connection that of a peer.
pub(crate) fn secure(
    stream: mio::net::TcpStream,
    remote: IpAddr,
    config: &PeerConfig,
) -> Result<Secured, TransportError> {
    apply(&stream, remote, config)?;
    if let Ttl::Security { hops } = config.transport.ttl {
        // From here on the kernel drops what comes from further, but something may have come before.
        match syn_ttl(&stream, Afi::of(remote)) {
            Some(ttl) if ttl >= min_ttl(hops) => {}
            Some(_) => return Err(TransportError::TooFar { hops }),
            None => return Err(TransportError::DistanceUnknown),
        }
    }
    stream.set_nodelay(true).map_err(settings_error)?;
    Ok(Secured(stream))
}

/// Not in `libc`: `linux/tcp.h`.
const TCP_SAVE_SYN: i32 = 27;
const TCP_SAVED_SYN: i32 = 28;

/// The TTL (hop limit) that the SYN of an accepted connection came with. None where the kernel does not have it, as when it
/// answered with a SYN cookie.
fn syn_ttl(socket: &impl AsRawFd, afi: Afi) -> Option<u8> {
    // IP and TCP headers with all their options: the kernel gives them whole or not at all.
    let mut header = [0_u8; 256];
    let mut len = libc::socklen_t::try_from(header.len()).ok()?;
    // SAFETY: the kernel writes at most `len` octets to `header`; both live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_SAVED_SYN,
            header.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let header = header.get(..usize::try_from(len).ok()?)?;
    if result != 0 {
        return None;
    }
    let version = header.first()? >> 4;
    match (afi, version) {
        (Afi::Ipv4, 4) => header.get(8).copied(),
        (Afi::Ipv6, 6) => header.get(7).copied(),
        _ => None,
    }
}

/// The least TTL of packets that left with 255 and came over this many links.
fn min_ttl(hops: u8) -> u8 {
    255 - (hops.max(1) - 1)
}

/// Applies the transport settings of a peer to a socket of its own, living or not yet connected.
pub(crate) fn apply(
    socket: &impl AsRawFd,
    remote: IpAddr,
    config: &PeerConfig,
) -> Result<(), TransportError> {
    let afi = Afi::of(remote);
    let apply = || {
        let (ttl, min_ttl) = match config.transport.ttl {
            Ttl::System => (None, 0),
            Ttl::Hops(hops) => (Some(hops.max(1)), 0),
            Ttl::Security { hops } => (Some(255), min_ttl(hops)),
        };
        if let Some(ttl) = ttl {
            set_ttl(socket, afi, ttl)?;
        }
        set_min_ttl(socket, afi, min_ttl)?;
        set_md5_key(socket, remote.into(), config.transport.password.as_ref())
    };
    apply().map_err(settings_error)
}

pub(crate) fn set_ttl(socket: &impl AsRawFd, afi: Afi, ttl: u8) -> io::Result<()> {
    let (level, name) = match afi {
        Afi::Ipv4 => (libc::IPPROTO_IP, libc::IP_TTL),
        Afi::Ipv6 => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    };
    set_option(socket.as_raw_fd(), level, name, &i32::from(ttl))
}

fn set_min_ttl(socket: &impl AsRawFd, afi: Afi, ttl: u8) -> io::Result<()> {
    let (level, name) = match afi {
        Afi::Ipv4 => (libc::IPPROTO_IP, libc::IP_MINTTL),
        Afi::Ipv6 => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    set_option(socket.as_raw_fd(), level, name, &i32::from(ttl))
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    addr: libc::sockaddr_storage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: i32,
    key: [u8; 80],
}

const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;

/// Sets, or without a password takes away, the TCP MD5 key for the peers of a prefix (RFC 2385).
pub(crate) fn set_md5_key(
    socket: &impl AsRawFd,
    peers: IpNet,
    password: Option<&Password>,
) -> io::Result<()> {
    let addr = SockAddr::from(SocketAddr::new(peers.addr(), 0));
    let key = password.map_or(&[][..], Password::expose);
    // SAFETY: all zeros is a value of every field.
    let mut sig: TcpMd5Sig = unsafe { mem::zeroed() };
    // SAFETY: a `SockAddr` is a `sockaddr_storage` of which `len` octets are used; both live through the copy.
    unsafe {
        std::ptr::copy_nonoverlapping(
            addr.as_ptr().cast::<u8>(),
            (&raw mut sig.addr).cast::<u8>(),
            addr.len() as usize,
        );
    }
    for (to, from) in sig.key.iter_mut().zip(key) {
        *to = *from;
    }
    sig.key_len = u16::try_from(key.len()).unwrap_or(u16::MAX);
    sig.flags = TCP_MD5SIG_FLAG_PREFIX;
    sig.prefix_len = peers.prefix_len();
    let set = set_option(
        socket.as_raw_fd(),
        libc::IPPROTO_TCP,
        libc::TCP_MD5SIG_EXT,
        &sig,
    );
    match set {
        // There was none to take away, or the kernel has no MD5 at all.
        Err(error)
            if password.is_none()
                && matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOPROTOOPT)) =>
        {
            Ok(())
        }
        set => set,
    }
}

pub(crate) fn set_option<T>(fd: RawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(mem::size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `len` octets from `value`, which lives through the call.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const *value).cast(), len) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether FIN or RST has come. An error is none: then the connection is looked at as if there had been neither.
pub(crate) fn has_ended(fd: RawFd) -> bool {
    /// Of `enum` in `net/tcp_states.h`.
    const ESTABLISHED: u8 = 1;
    // The first octet of `struct tcp_info` is the state, and as many are given as there is room for.
    let mut state = 0_u8;
    let mut len: libc::socklen_t = 1;
    // SAFETY: the kernel writes at most `len` octets to `state`; both live through the call.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut len,
        )
    };
    result == 0 && len == 1 && state != ESTABLISHED
}

/// Closes a connection with RST: nothing of it stays in the kernel.
pub(crate) fn abort(stream: mio::net::TcpStream) {
    // SAFETY: the descriptor is taken out of the stream, so it has one owner.
    let socket = unsafe { Socket::from_raw_fd(stream.into_raw_fd()) };
    // If this fails, the close below is an ordinary one.
    let _ = socket.set_linger(Some(std::time::Duration::ZERO));
}

/// The error of an ended connection or attempt, as sessions know it.
pub(crate) fn transport_error(error: &io::Error) -> TransportError {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => TransportError::Refused,
        Some(libc::ECONNRESET | libc::EPIPE) => TransportError::Reset,
        Some(libc::ETIMEDOUT) => TransportError::TimedOut,
        Some(libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::EACCES | libc::EPERM) => {
            TransportError::Unreachable
        }
        Some(libc::ENETUNREACH | libc::ENETDOWN) => TransportError::NoRoute,
        Some(libc::EADDRNOTAVAIL) => TransportError::SourceAddress,
        number => TransportError::Os(number.unwrap_or(0)),
    }
}

fn settings_error(error: io::Error) -> TransportError {
    refused_setting(error.raw_os_error().unwrap_or(0))
}

/// What an error number of a setting means: for lack of memory, the kernel refuses keys alone.
pub(crate) fn refused_setting(number: i32) -> TransportError {
    match number {
        libc::ENOMEM => TransportError::NoRoomForKey,
        number => TransportError::Settings(number),
    }
}

/// A second descriptor of a listener, to set keys on from another thread.
pub(crate) fn share(listener: &mio::net::TcpListener) -> io::Result<std::os::fd::OwnedFd> {
    // SAFETY: the listener is open and outlives the borrow.
    let fd = unsafe { BorrowedFd::borrow_raw(listener.as_raw_fd()) };
    fd.try_clone_to_owned()
}
