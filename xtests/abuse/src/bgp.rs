//! BGP as bytes: messages built by hand, right or wrong, over a plain TCP connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dunlin_lab::netns::Netns;
use socket2::{Domain, Socket, Type};

use crate::PATIENCE;

/// Message types.
pub mod kind {
    /// OPEN.
    pub const OPEN: u8 = 1;
    /// UPDATE.
    pub const UPDATE: u8 = 2;
    /// NOTIFICATION.
    pub const NOTIFICATION: u8 = 3;
    /// KEEPALIVE.
    pub const KEEPALIVE: u8 = 4;
    /// ROUTE-REFRESH.
    pub const ROUTE_REFRESH: u8 = 5;
}

/// The marker, a length and a type: 19 octets whatever they say.
pub fn header(len: u16, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.push(kind);
    bytes
}

/// A message whose header says the truth about its body.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).expect("a body that fits");
    let mut bytes = header(len, kind);
    bytes.extend_from_slice(body);
    bytes
}

/// A message of so many octets in all, zeros after the header.
pub fn of_length(len: u16, kind: u8) -> Vec<u8> {
    let mut bytes = header(len, kind);
    bytes.resize(usize::from(len).max(19), 0);
    bytes
}

/// A KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    message(kind::KEEPALIVE, &[])
}

/// What an OPEN says.
#[derive(Clone, Debug)]
pub struct Open {
    /// The version octet.
    pub version: u8,
    /// My AS, in both places.
    pub asn: u32,
    /// Seconds.
    pub hold_time: u16,
    /// The BGP identifier.
    pub id: Ipv4Addr,
    /// Capabilities, code and value.
    pub capabilities: Vec<(u8, Vec<u8>)>,
}

impl Open {
    /// A good one: IPv4 and IPv6 unicast, four-octet AS, route refresh, no extended messages.
    pub fn new(asn: u32, id: Ipv4Addr) -> Open {
        Open {
            version: 4,
            asn,
            hold_time: 90,
            id,
            capabilities: vec![
                (1, vec![0, 1, 0, 1]),
                (1, vec![0, 2, 0, 1]),
                (2, vec![]),
                (65, asn.to_be_bytes().to_vec()),
            ],
        }
    }

    /// As a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![self.version];
        let two_octets = u16::try_from(self.asn).unwrap_or(23456);
        body.extend_from_slice(&two_octets.to_be_bytes());
        body.extend_from_slice(&self.hold_time.to_be_bytes());
        body.extend_from_slice(&self.id.octets());
        let mut parameter = Vec::new();
        for (code, value) in &self.capabilities {
            parameter.push(*code);
            parameter.push(u8::try_from(value.len()).expect("a short capability"));
            parameter.extend_from_slice(value);
        }
        let len = u8::try_from(parameter.len()).expect("few capabilities");
        body.extend_from_slice(&[len + 2, 2, len]);
        body.extend_from_slice(&parameter);
        message(kind::OPEN, &body)
    }
}

/// A path attribute.
pub fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![
        flags,
        code,
        u8::try_from(value.len()).expect("a short value"),
    ];
    bytes.extend_from_slice(value);
    bytes
}

/// An UPDATE that announces IPv4 prefixes as they are on the wire.
pub fn update(attributes: &[Vec<u8>], prefixes: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let len = u16::try_from(attributes.len()).expect("few attributes");
    let mut body = vec![0, 0];
    body.extend_from_slice(&len.to_be_bytes());
    body.extend_from_slice(&attributes);
    body.extend_from_slice(prefixes);
    message(kind::UPDATE, &body)
}

/// ORIGIN, AS_PATH (one number) and NEXT_HOP, all good.
pub fn good_attributes(asn: u32, next_hop: Ipv4Addr) -> Vec<Vec<u8>> {
    let mut path = vec![2, 1];
    path.extend_from_slice(&asn.to_be_bytes());
    vec![
        attribute(0x40, 1, &[0]),
        attribute(0x40, 2, &path),
        attribute(0x40, 3, &next_hop.octets()),
    ]
}

/// How many IPv4 prefixes an UPDATE announces in the old form, all of 32 bits.
///
/// # Panics
/// If it is no UPDATE.
pub fn host_prefixes(body: &[u8]) -> u32 {
    let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let attributes = 2 + length(0);
    let rest = body.len() - attributes - 2 - length(attributes);
    u32::try_from(rest / 5).expect("few")
}

/// A NOTIFICATION as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// What follows.
    pub data: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With this as the last message, then FIN.
    Told(Notification),
    /// Without a word.
    Silent,
    /// RST.
    Reset,
    /// Not at all until the deadline.
    StillOpen,
}

/// One TCP connection with an agent.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Dials port 179 of `to` in the namespace, from the address `from`.
    ///
    /// # Panics
    /// If nobody answers.
    #[track_caller]
    pub fn dial(netns: &Netns, from: Ipv4Addr, to: Ipv4Addr) -> Connection {
        let stream = try_dial(netns, from, to, 179).expect("the agent listens");
        Connection::new(stream)
    }

    /// Over a stream that is connected.
    ///
    /// # Panics
    /// If the socket takes no options.
    pub fn new(stream: TcpStream) -> Connection {
        stream.set_nodelay(true).expect("an option");
        Connection {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Writes. What cannot be written because the other end has closed is not an error here: its answer counts.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Closes our direction.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// The next whole message: type and body. `None` at the end, however it comes.
    ///
    /// # Panics
    /// If the agent sends what is no message.
    pub fn receive(&mut self, deadline: Instant) -> Result<(u8, Vec<u8>), End> {
        loop {
            if let Some(header) = self.buffer.get(..19) {
                assert_eq!(header[..16], [0xff; 16], "the agent's marker");
                let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
                let kind = header[18];
                assert!(len >= 19, "the agent's message length {len}");
                if self.buffer.len() >= len {
                    let body = self.buffer[19..len].to_vec();
                    self.buffer.drain(..len);
                    return Ok((kind, body));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(End::StillOpen);
            }
            self.stream.set_read_timeout(Some(left)).expect("a timeout");
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(End::Silent),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(End::StillOpen);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Reset),
            }
        }
    }

    /// Reads on until the connection ends, or for `patience`; tells how.
    pub fn end_within(&mut self, patience: Duration) -> End {
        let deadline = Instant::now() + patience;
        let mut told = None;
        loop {
            match self.receive(deadline) {
                Ok((kind::NOTIFICATION, body)) if body.len() >= 2 => {
                    told = Some(Notification {
                        code: body[0],
                        subcode: body[1],
                        data: body[2..].to_vec(),
                    });
                }
                Ok(_) => {}
                Err(end) => return told.map_or(end, End::Told),
            }
        }
    }

    /// Reads on until the connection ends; tells how.
    pub fn end(&mut self) -> End {
        self.end_within(PATIENCE)
    }

    /// Reads on until a message of this type comes.
    ///
    /// # Panics
    /// If the connection ends before.
    #[track_caller]
    pub fn await_message(&mut self, wanted: u8) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.receive(deadline) {
                Ok((kind, body)) if kind == wanted => return body,
                Ok((kind::NOTIFICATION, body)) => panic!("NOTIFICATION {body:?}, not {wanted}"),
                Ok(_) => {}
                Err(end) => panic!("{end:?} instead of a message of type {wanted}"),
            }
        }
    }

    /// Exchanges OPENs and KEEPALIVEs: Established as far as this side can tell.
    ///
    /// # Panics
    /// If the agent does not go along.
    #[track_caller]
    pub fn establish(&mut self, open: &Open) {
        self.send(&open.encode());
        self.await_message(kind::OPEN);
        self.await_message(kind::KEEPALIVE);
        self.send(&keepalive());
    }
}

/// Dials a TCP port in the namespace from an address of it.
///
/// # Errors
/// As the socket says.
pub fn try_dial(
    netns: &Netns,
    from: Ipv4Addr,
    to: Ipv4Addr,
    port: u16,
) -> std::io::Result<TcpStream> {
    let dialled = netns.run(|| {
        Ok((|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into())?;
            socket.connect_timeout(&SocketAddr::new(IpAddr::V4(to), port).into(), PATIENCE)?;
            Ok(TcpStream::from(socket))
        })())
    });
    dialled.expect("the namespace can be entered")
}
