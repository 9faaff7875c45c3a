//! ICMP and ICMPv6 echo (RFC 792, RFC 4443), and traceroute with it.

use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dunlin_net::Afi;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Netns;

const HEADER: usize = 8;
/// An 8-octet number follows the ICMP header: sixteen bits of sequence would wrap in a long run.
const PACKET: usize = HEADER + 8;

/// Message types of one family.
struct Types {
    request: u8,
    reply: u8,
    exceeded: u8,
    unreachable: u8,
}

const fn types(afi: Afi) -> Types {
    match afi {
        Afi::Ipv4 => Types {
            request: 8,
            reply: 0,
            exceeded: 11,
            unreachable: 3,
        },
        Afi::Ipv6 => Types {
            request: 128,
            reply: 129,
            exceeded: 3,
            unreachable: 1,
        },
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The echo itself.
    Reply,
    /// The hop limit ran out on the way (a traceroute's answer).
    Exceeded,
    /// Somebody said that there is no way; with the code.
    Unreachable(u8),
}

/// An answer to one of our echoes.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// What it is.
    pub answer: Answer,
    /// Who sent it.
    pub from: IpAddr,
    /// The number of the echo: 64 bits for a reply, the low 16 for an error.
    pub number: u64,
}

/// A raw socket in a namespace that sends echoes to one destination.
#[derive(Debug)]
pub struct EchoSocket {
    socket: Socket,
    afi: Afi,
    destination: SocketAddr,
    identifier: u16,
}

impl EchoSocket {
    /// Opens a socket in `netns` for `destination`.
    ///
    /// # Errors
    /// If the namespace cannot be entered, or raw sockets are not allowed (`CAP_NET_RAW`).
    pub fn open(netns: &Netns, destination: IpAddr) -> Result<EchoSocket> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let afi = Afi::of(destination);
        let (domain, protocol) = match afi {
            Afi::Ipv4 => (Domain::IPV4, Protocol::ICMPV4),
            Afi::Ipv6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = netns.run(|| {
            Socket::new(domain, Type::RAW, Some(protocol)).context("cannot open a raw socket")
        })?;
        socket
            .set_nonblocking(true)
            .context("cannot set up a raw socket")?;
        // Best effort: a probe must not lose answers because the machine is busy.
        let _ = socket.set_recv_buffer_size(1 << 20);
        // Another lab process may probe in the same namespace: begin at our own process number.
        let low = u16::try_from(std::process::id() & 0xffff).unwrap_or(0);
        Ok(EchoSocket {
            socket,
            afi,
            destination: SocketAddr::new(destination, 0),
            identifier: NEXT
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(low.rotate_left(6)),
        })
    }

    /// Sets the hop limit of what is sent.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_hop_limit(&self, hops: u8) -> Result<()> {
        match self.afi {
            Afi::Ipv4 => self.socket.set_ttl_v4(hops.into()),
            Afi::Ipv6 => self.socket.set_unicast_hops_v6(hops.into()),
        }
        .context("cannot set the hop limit")
    }

    /// Sends the echo with this number.
    ///
    /// # Errors
    /// What the kernel says: no route, for one.
    pub fn send(&self, number: u64) -> std::io::Result<()> {
        let mut packet = [0u8; PACKET];
        packet[0] = types(self.afi).request;
        packet[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&number.to_be_bytes()[6..8]);
        packet[8..16].copy_from_slice(&number.to_be_bytes());
        if self.afi == Afi::Ipv4 {
            // The kernel fills in the checksum of ICMPv6 only.
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        self.socket
            .send_to(&packet, &self.destination.into())
            .map(|_| ())
    }

    /// The next answer to an echo of this socket, if one has come.
    pub fn receive(&self) -> Option<Received> {
        let mut raw = [MaybeUninit::<u8>::uninit(); 1024];
        loop {
            let (len, from) = self.socket.recv_from(&mut raw).ok()?;
            let mut buffer = [0u8; 1024];
            for (to, octet) in buffer.iter_mut().zip(&raw[..len]) {
                // SAFETY: recv_from wrote the first `len` octets.
                *to = unsafe { octet.assume_init() };
            }
            let Some(from) = from.as_socket().map(|from| from.ip()) else {
                continue;
            };
            let parsed = parse(self.afi, self.identifier, &buffer[..len]);
            if let Some((answer, number)) = parsed {
                return Some(Received {
                    answer,
                    from,
                    number,
                });
            }
        }
    }

    /// The next answer, waited for until the deadline.
    pub fn receive_until(&self, deadline: Instant) -> Option<Received> {
        loop {
            if let Some(received) = self.receive() {
                return Some(received);
            }
            if !wait_readable(self.socket.as_fd(), deadline) {
                return self.receive();
            }
        }
    }
}

impl AsFd for EchoSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits until `fd` is readable; false when the deadline came first.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// The answer in a packet, if it answers an echo with our identifier.
fn parse(afi: Afi, identifier: u16, packet: &[u8]) -> Option<(Answer, u64)> {
    let types = types(afi);
    // A raw IPv4 socket gives the IP header as well, an IPv6 one does not.
    let icmp = match afi {
        Afi::Ipv4 => after_ipv4_header(packet)?,
        Afi::Ipv6 => packet,
    };
    let kind = *icmp.first()?;
    if kind == types.reply {
        let ours = icmp.get(4..6)? == identifier.to_be_bytes();
        let number = u64::from_be_bytes(icmp.get(8..16)?.try_into().ok()?);
        return ours.then_some((Answer::Reply, number));
    }
    let answer = if kind == types.exceeded {
        Answer::Exceeded
    } else if kind == types.unreachable {
        Answer::Unreachable(*icmp.get(1)?)
    } else {
        return None;
    };
    // An error quotes the packet that caused it, from its IP header on.
    let quoted = icmp.get(8..)?;
    let echo = match afi {
        Afi::Ipv4 => after_ipv4_header(quoted)?,
        Afi::Ipv6 => quoted.get(40..)?,
    };
    let ours = *echo.first()? == types.request && echo.get(4..6)? == identifier.to_be_bytes();
    let number = u16::from_be_bytes(echo.get(6..8)?.try_into().ok()?);
    ours.then_some((answer, number.into()))
}

fn after_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    packet.get(usize::from(packet.first()? & 0x0f) * 4..)
}

/// The Internet checksum (RFC 1071).
fn checksum(data: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in data.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// One echo and its reply: the round-trip time.
///
/// # Errors
/// If the echo could not be sent, was refused on the way, or no reply came within `patience`.
pub fn ping(netns: &Netns, destination: IpAddr, patience: Duration) -> Result<Duration> {
    let socket = EchoSocket::open(netns, destination)?;
    let began = Instant::now();
    socket
        .send(0)
        .with_context(|| format!("cannot send from {} to {destination}", netns.name()))?;
    match socket.receive_until(began + patience) {
        Some(Received {
            answer: Answer::Reply,
            ..
        }) => Ok(began.elapsed()),
        Some(other) => bail!("{} says {:?} for {destination}", other.from, other.answer),
        None => bail!(
            "no reply from {destination} to {} within {} ms",
            netns.name(),
            patience.as_millis()
        ),
    }
}

/// The path to `destination`: who answered at each hop, the destination itself last.
///
/// # Errors
/// If a hop stays silent for `patience`, somebody refuses, or the path is longer than `max_hops`.
pub fn trace(
    netns: &Netns,
    destination: IpAddr,
    max_hops: u8,
    patience: Duration,
) -> Result<Vec<IpAddr>> {
    let socket = EchoSocket::open(netns, destination)?;
    let mut hops = Vec::new();
    for hop in 1..=max_hops {
        socket.set_hop_limit(hop)?;
        socket
            .send(hop.into())
            .with_context(|| format!("cannot send from {} to {destination}", netns.name()))?;
        let deadline = Instant::now() + patience;
        let received = loop {
            match socket.receive_until(deadline) {
                Some(received) if received.number == u64::from(hop) => break received,
                Some(_) => {}
                None => bail!("hop {hop} to {destination} is silent, after {hops:?}"),
            }
        };
        hops.push(received.from);
        match received.answer {
            Answer::Reply => return Ok(hops),
            Answer::Exceeded => {}
            Answer::Unreachable(code) => {
                bail!(
                    "{} says {destination} is unreachable ({code})",
                    received.from
                )
            }
        }
    }
    bail!("no end of the path to {destination} after {hops:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_packet_with_its_checksum_is_zero() {
        let mut packet = [8, 0, 0, 0, 1, 2, 3, 4, 5];
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&packet), 0);
    }

    #[test]
    fn a_reply_to_another_identifier_and_every_truncation_are_ignored() {
        let mut packet = vec![129, 0, 0, 0, 0, 7, 0, 9];
        packet.extend_from_slice(&9u64.to_be_bytes());
        assert_eq!(parse(Afi::Ipv6, 7, &packet), Some((Answer::Reply, 9)));
        assert_eq!(parse(Afi::Ipv6, 8, &packet), None);
        for len in 0..packet.len() {
            assert_eq!(parse(Afi::Ipv6, 7, &packet[..len]), None);
            assert_eq!(parse(Afi::Ipv4, 7, &packet[..len]), None);
        }
    }
}
