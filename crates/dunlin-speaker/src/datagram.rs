//! Datagrams with what must be known of them: TTL, interface and addresses, both ways. For BFD over UDP and for Neighbor
//! Discovery over ICMPv6.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use dunlin_net::Afi;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::socket::{set_option, set_ttl};

/// Datagrams read by one call.
const BATCH: usize = 32;

/// Room for the TTL, the addresses and the count of drops.
const CONTROL: usize = 128;

/// What the kernel keeps for us while we are busy.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Precedence "internetwork control" (RFC 2474), as routers give to packets of this kind.
pub(crate) const TRAFFIC_CLASS: i32 = 0xc0;

fn udp(afi: Afi) -> io::Result<Socket> {
    let domain = match afi {
        Afi::Ipv4 => Domain::IPV4,
        Afi::Ipv6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if afi == Afi::Ipv6 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn bind(socket: &Socket, afi: Afi, port: u16) -> io::Result<()> {
    let any: IpAddr = match afi {
        Afi::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Afi::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SockAddr::from(SocketAddr::new(any, port)))
}

/// A socket that receives at this port of all addresses.
pub(crate) fn listen(afi: Afi, port: u16) -> io::Result<mio::net::UdpSocket> {
    let socket = udp(afi)?;
    let fd = socket.as_raw_fd();
    let (level, ttl, info) = match afi {
        Afi::Ipv4 => (libc::IPPROTO_IP, libc::IP_RECVTTL, libc::IP_PKTINFO),
        Afi::Ipv6 => (
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVHOPLIMIT,
            libc::IPV6_RECVPKTINFO,
        ),
    };
    set_option(fd, level, ttl, &1_i32)?;
    set_option(fd, level, info, &1_i32)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &1_i32)?;
    // The kernel cuts it to what it allows.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    bind(&socket, afi, port)?;
    Ok(mio::net::UdpSocket::from_std(socket.into()))
}

/// A socket that sends from this port with the TTL that both encapsulations ask for. Nothing is read from it.
pub(crate) fn sender(afi: Afi, port: u16) -> io::Result<Socket> {
    let socket = udp(afi)?;
    set_ttl(&socket, afi, 255)?;
    let (level, class) = match afi {
        Afi::Ipv4 => (libc::IPPROTO_IP, libc::IP_TOS),
        Afi::Ipv6 => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    };
    set_option(socket.as_raw_fd(), level, class, &TRAFFIC_CLASS)?;
    // The least there is: what somebody sends to this port is nothing to us.
    socket.set_recv_buffer_size(0)?;
    bind(&socket, afi, port)?;
    Ok(socket)
}

/// One datagram's buffers.
#[repr(C, align(16))]
struct Slot<const PAYLOAD: usize> {
    control: [u8; CONTROL],
    name: libc::sockaddr_storage,
    payload: [u8; PAYLOAD],
    iov: libc::iovec,
}

/// A datagram as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    /// The index of the interface it came by.
    pub(crate) interface: u32,
    /// The TTL or hop limit it came with; 0 if it is not known.
    pub(crate) ttl: u8,
    pub(crate) payload: &'a [u8],
    /// How many the kernel has dropped before it.
    pub(crate) overruns: u32,
}

/// How a datagram is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: SocketAddr,
    /// The source address; none means the kernel chooses.
    pub(crate) local: Option<IpAddr>,
    /// The index of the interface to send by; 0 means the kernel chooses.
    pub(crate) interface: u32,
    pub(crate) octets: &'a [u8],
}

/// Buffers for one call of `recvmmsg`, of datagrams of at most so many octets; what is longer is cut.
pub(crate) struct Batch<const PAYLOAD: usize> {
    slots: Box<[Slot<PAYLOAD>]>,
    headers: Box<[libc::mmsghdr]>,
    filled: usize,
}

// SAFETY: the pointers inside are set before each call to what the batch itself owns, and are not used after it.
unsafe impl<const PAYLOAD: usize> Send for Batch<PAYLOAD> {}

impl<const PAYLOAD: usize> Batch<PAYLOAD> {
    pub(crate) fn new() -> Batch<PAYLOAD> {
        // SAFETY: all zeros is a value of these plain C structures and arrays.
        let slot = || unsafe { mem::zeroed::<Slot<PAYLOAD>>() };
        // SAFETY: as above.
        let header = || unsafe { mem::zeroed::<libc::mmsghdr>() };
        Batch {
            slots: (0..BATCH).map(|_| slot()).collect(),
            headers: (0..BATCH).map(|_| header()).collect(),
            filled: 0,
        }
    }

    /// Reads what is there, up to the size of the batch. Whether there may be more.
    pub(crate) fn read(&mut self, socket: &impl AsRawFd) -> io::Result<bool> {
        self.filled = 0;
        for (slot, header) in self.slots.iter_mut().zip(&mut self.headers) {
            slot.iov = libc::iovec {
                iov_base: slot.payload.as_mut_ptr().cast(),
                iov_len: PAYLOAD,
            };
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut slot.name).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t; // 128
            header.msg_iov = &raw mut slot.iov;
            header.msg_iovlen = 1;
            header.msg_control = slot.control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
            header.msg_flags = 0;
        }
        // SAFETY: all headers point into the slots, which live through the call and are written by the kernel alone.
        let read = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint, // 32
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        match usize::try_from(read) {
            Ok(read) => {
                self.filled = read.min(BATCH);
                Ok(self.filled == BATCH)
            }
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                error if error.kind() == io::ErrorKind::Interrupted => Ok(true),
                error => Err(error),
            },
        }
    }

    /// The datagrams of the last call.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Received<'_>> {
        let read = self.slots.iter().zip(&self.headers).take(self.filled);
        read.filter_map(|(slot, header)| {
            let mut about = About::default();
            about.read(&header.msg_hdr);
            let payload = slot.payload.get(..header.msg_len as usize)?;
            Some(Received {
                from: address(&slot.name)?,
                to: about.to?,
                interface: about.interface,
                ttl: about.ttl,
                payload,
                overruns: about.overruns,
            })
        })
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<IpAddr> {
    let name = ptr::from_ref(name);
    // SAFETY: a `sockaddr_storage` has room and alignment for the address of each family, and all octets are values.
    match unsafe { i32::from((*name).ss_family) } {
        libc::AF_INET => {
            // SAFETY: as above.
            let addr = unsafe { (*name.cast::<libc::sockaddr_in>()).sin_addr.s_addr };
            Some(Ipv4Addr::from(addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let addr = unsafe { (*name.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr };
            Some(Ipv6Addr::from(addr).into())
        }
        _ => None,
    }
}

/// What the kernel says beside a datagram. Without a TTL it is as if from far away.
#[derive(Default)]
struct About {
    ttl: u8,
    interface: u32,
    to: Option<IpAddr>,
    overruns: u32,
}

impl About {
    fn read(&mut self, header: &libc::msghdr) {
        // SAFETY: the kernel has filled the control buffer and set its length; the macros stay inside it.
        let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
        while !at.is_null() {
            // SAFETY: `at` points to a whole header inside the buffer.
            let (level, kind) = unsafe { ((*at).cmsg_level, (*at).cmsg_type) };
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    let ttl: i32 = data(at);
                    self.ttl = u8::try_from(ttl).unwrap_or(0);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = data(at);
                    self.interface = u32::try_from(info.ipi_ifindex).unwrap_or(0);
                    self.to = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = data(at);
                    self.interface = info.ipi6_ifindex;
                    self.to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => self.overruns = data(at),
                _ => {}
            }
            // SAFETY: as above.
            at = unsafe { libc::CMSG_NXTHDR(header, at) };
        }
    }
}

/// The data of a control message whose level and type say that it is a `T`, a plain C structure.
fn data<T>(at: *const libc::cmsghdr) -> T {
    // SAFETY: the kernel puts a whole `T` behind a header of this type; it need not be aligned.
    unsafe { libc::CMSG_DATA(at).cast::<T>().read_unaligned() }
}

/// Sends a packet, from the address and by the interface that it names.
pub(crate) fn send(socket: &impl AsRawFd, outgoing: &Outgoing<'_>) -> io::Result<()> {
    let to = SockAddr::from(outgoing.to);
    let interface = outgoing.interface;
    let mut control = Control([0; CONTROL]);
    let mut iov = libc::iovec {
        iov_base: outgoing.octets.as_ptr().cast_mut().cast(),
        iov_len: outgoing.octets.len(),
    };
    // SAFETY: all zeros is a value of this plain C structure.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = to.as_ptr().cast_mut().cast();
    header.msg_namelen = to.len();
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // Room to write one; its length when it is written.
    header.msg_controllen = CONTROL;
    header.msg_controllen = match (outgoing.to.ip(), outgoing.local) {
        (IpAddr::V4(_), local) => {
            let local = match local.map(|local| local.to_canonical()) {
                Some(IpAddr::V4(local)) => local,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: i32::try_from(interface).unwrap_or(0),
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(local.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(&header, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        (IpAddr::V6(_), local) => {
            let local = match local {
                Some(IpAddr::V6(local)) => local,
                _ => Ipv6Addr::UNSPECIFIED,
            };
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: local.octets(),
                },
                ipi6_ifindex: interface,
            };
            put(&header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    };
    // SAFETY: all pointers are to what lives through the call; the kernel only reads.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A buffer for a control message, aligned as its header must be.
#[repr(C, align(16))]
struct Control([u8; CONTROL]);

/// Writes one control message to the buffer of `header`; gives its length.
fn put<T>(header: &libc::msghdr, level: i32, kind: i32, value: T) -> usize {
    let size = mem::size_of::<T>() as libc::c_uint; // at most 20
    // SAFETY: the buffer is aligned, zeroed, and has room for one header and a `T` of at most 20 octets.
    unsafe {
        let at = libc::CMSG_FIRSTHDR(header);
        (*at).cmsg_level = level;
        (*at).cmsg_type = kind;
        (*at).cmsg_len = libc::CMSG_LEN(size) as usize;
        libc::CMSG_DATA(at).cast::<T>().write_unaligned(value);
        libc::CMSG_SPACE(size) as usize
    }
}

/// Waits until the descriptor is readable, or for so long: to the nanosecond, where epoll knows milliseconds.
pub(crate) fn wait(fd: RawFd, timeout: Option<Duration>) -> io::Result<()> {
    let mut fds = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: one descriptor, and a time that lives through the call or none.
    let ready = unsafe { libc::ppoll(&raw mut fds, 1, timeout, ptr::null()) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}
