//! A node between its pods, pods elsewhere, and clients outside, with real packets.
//!
//! `pod` and `neighbour` – node – `far` (pods of another node, by a router that knows the way back to everything, and the
//! node's way to all that it does not know) and `outside`.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use dunlin_dataplane::proxy::Element;
use dunlin_kernel::sysctl::Sysctl;
use dunlin_net::Afi;
use dunlin_net::service::Protocol;
use socket2::{Domain, Socket, Type};

use super::{DEADLINE, Space, run};

/// How long nothing must come where nothing may.
pub const SILENCE: Duration = Duration::from_millis(300);

pub struct World {
    pub pod: Space,
    pub neighbour: Space,
    pub far: Space,
    pub outside: Space,
}

/// The addresses of a family.
#[derive(Clone, Copy, Debug)]
pub struct Addrs {
    /// Of a service; nobody has it.
    pub service: &'static str,
    /// The pod's and its neighbour's.
    pub pods: [&'static str; 2],
    /// A pod elsewhere.
    pub far: &'static str,
    /// A client.
    pub outside: &'static str,
    /// The node's, towards pods, elsewhere and outside.
    pub node: [&'static str; 3],
}

pub fn addrs(afi: Afi) -> Addrs {
    match afi {
        Afi::Ipv4 => Addrs {
            service: "10.96.0.1",
            pods: ["10.244.1.2", "10.244.1.3"],
            far: "10.244.2.2",
            outside: "192.0.2.9",
            node: ["10.244.1.1", "203.0.113.1", "192.0.2.1"],
        },
        Afi::Ipv6 => Addrs {
            service: "fd10::1",
            pods: ["fd00:1::2", "fd00:1::3"],
            far: "fd00:2::2",
            outside: "2001:db8::9",
            node: ["fd00:1::1", "2001:db8:1::1", "2001:db8::1"],
        },
    }
}

/// What is inside: the node's addresses and its pods'.
pub fn near() -> Vec<Element> {
    let nets = [
        "10.244.1.0/24",
        "203.0.113.1/32",
        "192.0.2.1/32",
        "fd00:1::/64",
        "2001:db8:1::1/128",
        "2001:db8::1/128",
    ];
    let near = |net: &str| Element::Near(net.parse().unwrap());
    nets.into_iter().map(near).collect()
}

/// A further client outside.
pub fn other_client(afi: Afi, number: u8) -> IpAddr {
    let text = match afi {
        Afi::Ipv4 => format!("198.51.100.{number}"),
        Afi::Ipv6 => format!("2001:db8:2::{number:x}"),
    };
    text.parse().unwrap()
}

/// So many of those there are, from 1.
pub const OTHER_CLIENTS: u8 = 40;

impl World {
    /// In the namespace of the calling thread, which becomes the node's.
    pub fn new() -> World {
        let (pod, neighbour, far, outside) =
            (Space::new(), Space::new(), Space::new(), Space::new());
        run("ip link set lo up");
        for (space, name, own, peers) in [
            (
                &pod,
                "p",
                ["10.244.1.1/32", "fd00:1::1/128"],
                ["10.244.1.2/32", "fd00:1::2/128"],
            ),
            (
                &neighbour,
                "n",
                ["10.244.1.1/32", "fd00:1::1/128"],
                ["10.244.1.3/32", "fd00:1::3/128"],
            ),
            (
                &far,
                "f",
                ["203.0.113.1/24", "2001:db8:1::1/64"],
                ["203.0.113.2/24", "2001:db8:1::2/64"],
            ),
            (
                &outside,
                "u",
                ["192.0.2.1/24", "2001:db8::1/64"],
                ["192.0.2.9/24", "2001:db8::9/64"],
            ),
        ] {
            run(&format!("ip link add {name}0 type veth peer name {name}1"));
            space.take(&format!("{name}1"));
            space.run("ip link set lo up");
            space.run(format!("ip link set {name}1 up"));
            run(&format!("ip link set {name}0 up"));
            for (own, peer) in own.into_iter().zip(peers) {
                let (family, nodad) = match own.contains(':') {
                    true => ("-6", " nodad"),
                    false => ("-4", ""),
                };
                run(&format!("ip addr add {own} dev {name}0{nodad}"));
                space.run(format!("ip addr add {peer} dev {name}1{nodad}"));
                let bare = |net: &str| net.split('/').next().unwrap().to_owned();
                let (gateway, peer) = (bare(own), bare(peer));
                // To a pod by its link alone, as to any pod; elsewhere that is known already.
                if matches!(name, "p" | "n") {
                    run(&format!("ip {family} route add {peer} dev {name}0"));
                    space.run(format!("ip {family} route add {gateway} dev {name}1"));
                }
                space.run(format!(
                    "ip {family} route add default via {gateway} dev {name}1"
                ));
            }
        }
        far.run("ip addr add 10.244.2.2/32 dev f1");
        far.run("ip addr add fd00:2::2/128 dev f1 nodad");
        outside.with(|| {
            for number in 1..=OTHER_CLIENTS {
                run(&format!("ip addr add 198.51.100.{number}/32 dev u1"));
                run(&format!(
                    "ip addr add 2001:db8:2::{number:x}/128 dev u1 nodad"
                ));
            }
        });
        for route in [
            "ip route add 198.51.100.0/24 via 192.0.2.9",
            "ip -6 route add 2001:db8:2::/64 via 2001:db8::9",
            "ip route add default via 203.0.113.2",
            "ip -6 route add default via 2001:db8:1::2",
        ] {
            run(route);
        }
        let sysctl = Sysctl::default();
        sysctl.forward_ipv4().unwrap();
        sysctl.forward_ipv6().unwrap();
        World {
            pod,
            neighbour,
            far,
            outside,
        }
    }
}

/// Where something is asked from.
#[derive(Clone, Copy)]
pub enum From<'a> {
    /// The node itself.
    Node,
    /// Somewhere else.
    Space(&'a Space),
}

impl From<'_> {
    fn with<T: Send + 'static>(self, task: impl FnOnce() -> T + Send + 'static) -> T {
        match self {
            From::Node => task(),
            From::Space(space) => space.with(task),
        }
    }
}

/// What a server says of itself and of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where the server listens.
    pub by: SocketAddr,
    /// Whom the server sees.
    pub seen: IpAddr,
}

fn answer(text: &str) -> Answer {
    let (by, seen) = text.trim().split_once(' ').unwrap();
    Answer {
        by: by.parse().unwrap(),
        seen: seen.parse().unwrap(),
    }
}

/// Answers everybody until the test is over.
pub fn serve(space: From<'_>, protocol: Protocol, at: SocketAddr) {
    space.with(move || match protocol {
        Protocol::Tcp => {
            let listener = std::net::TcpListener::bind(at).unwrap();
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let seen = stream.peer_addr().unwrap().ip();
                    std::thread::spawn(move || {
                        // A line for each octet.
                        let mut octet = [0];
                        while stream.read_exact(&mut octet).is_ok() {
                            let _ = writeln!(stream, "{at} {seen}");
                        }
                    });
                }
            });
        }
        _ => {
            let socket = UdpSocket::bind(at).unwrap();
            std::thread::spawn(move || {
                while let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
                    let _ = socket.send_to(format!("{at} {}", peer.ip()).as_bytes(), peer);
                }
            });
        }
    });
}

/// A client's end of a flow.
pub enum Client {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Client {
    /// From an address (and port) of its own, or any.
    pub fn open(
        space: From<'_>,
        protocol: Protocol,
        from: Option<SocketAddr>,
        to: SocketAddr,
    ) -> std::io::Result<Client> {
        space.with(move || {
            let kind = if protocol == Protocol::Tcp {
                Type::STREAM
            } else {
                Type::DGRAM
            };
            let socket = Socket::new(Domain::for_address(to), kind, None)?;
            if let Some(from) = from {
                socket.set_reuse_address(true)?;
                socket.bind(&from.into())?;
            }
            if protocol == Protocol::Tcp {
                socket.connect_timeout(&to.into(), DEADLINE)?;
                let stream: TcpStream = socket.into();
                stream.set_read_timeout(Some(DEADLINE))?;
                return Ok(Client::Tcp(stream));
            }
            socket.connect(&to.into())?;
            Ok(Client::Udp(socket.into()))
        })
    }

    /// Asks who answers, and waits as long for it as `patience` says.
    pub fn ask_within(&mut self, patience: Duration) -> std::io::Result<Answer> {
        let mut buf = [0; 128];
        match self {
            Client::Tcp(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.write_all(b"?")?;
                let mut len = 0;
                while buf[..len].last() != Some(&b'\n') {
                    match stream.read(&mut buf[len..])? {
                        0 => return Err(ErrorKind::UnexpectedEof.into()),
                        more => len += more,
                    }
                }
                Ok(answer(std::str::from_utf8(&buf[..len]).unwrap()))
            }
            Client::Udp(socket) => {
                socket.set_read_timeout(Some(patience))?;
                socket.send(b"?")?;
                let len = socket.recv(&mut buf)?;
                Ok(answer(std::str::from_utf8(&buf[..len]).unwrap()))
            }
        }
    }

    pub fn ask(&mut self) -> Answer {
        self.ask_within(DEADLINE).unwrap()
    }
}

/// One flow, one question.
pub fn ask(space: From<'_>, protocol: Protocol, to: SocketAddr) -> Answer {
    Client::open(space, protocol, None, to).unwrap().ask()
}

/// As [`ask`], from an address.
pub fn ask_from(space: From<'_>, protocol: Protocol, from: SocketAddr, to: SocketAddr) -> Answer {
    Client::open(space, protocol, Some(from), to).unwrap().ask()
}

/// Whether the client is told at once that nobody is there. A sender on the node itself may hear it from the call that
/// sends.
pub fn is_refused(space: From<'_>, protocol: Protocol, to: SocketAddr) -> bool {
    let asked =
        Client::open(space, protocol, None, to).and_then(|mut client| client.ask_within(DEADLINE));
    asked.is_err_and(|error| match error.kind() {
        ErrorKind::ConnectionRefused => true,
        ErrorKind::PermissionDenied => matches!(space, From::Node),
        _ => false,
    })
}

/// Whether nothing comes back, neither answer nor refusal.
pub fn is_silent(
    space: From<'_>,
    protocol: Protocol,
    from: Option<SocketAddr>,
    to: SocketAddr,
) -> bool {
    let silent =
        |error: std::io::Error| matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock);
    space.with(move || {
        let kind = if protocol == Protocol::Tcp {
            Type::STREAM
        } else {
            Type::DGRAM
        };
        let socket = Socket::new(Domain::for_address(to), kind, None).unwrap();
        if let Some(from) = from {
            socket.bind(&from.into()).unwrap();
        }
        if protocol == Protocol::Tcp {
            return socket
                .connect_timeout(&to.into(), SILENCE)
                .is_err_and(silent);
        }
        socket.connect(&to.into()).unwrap();
        let socket: UdpSocket = socket.into();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket.send(b"?").unwrap();
        socket.recv(&mut [0; 64]).is_err_and(silent)
    })
}
