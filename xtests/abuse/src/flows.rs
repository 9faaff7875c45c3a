//! Servers that say who they are, clients of Services, and who reaches whom.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use dunlin_lab::netns::Netns;
use socket2::{Domain, Socket, Type};

use crate::services::{CLIENT, Delivered, Service};
use crate::{PATIENCE, wait_for};

/// A SYN is sent again after one second and after three.
const CONNECT: Duration = Duration::from_secs(10);

/// Answers everybody at `at`, by TCP for as long as the client asks and by UDP: a line that says who answers.
///
/// # Panics
/// If the address is taken.
pub fn serve(netns: &Netns, at: SocketAddr) {
    let (tcp, udp) = netns
        .run(|| Ok((TcpListener::bind(at)?, UdpSocket::bind(at)?)))
        .expect("a server");
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            thread::spawn(move || {
                let mut asked = BufReader::new(stream.try_clone().expect("a descriptor"));
                let mut line = String::new();
                while asked.read_line(&mut line).is_ok_and(|len| len > 0) {
                    if writeln!(stream, "{at}").is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        }
    });
    thread::spawn(move || {
        while let Ok((_, client)) = udp.recv_from(&mut [0; 64]) {
            let _ = udp.send_to(at.to_string().as_bytes(), client);
        }
    });
}

/// A client's end of a flow.
#[derive(Debug)]
pub enum Flow {
    /// A connection.
    Tcp(TcpStream),
    /// Datagrams from one port.
    Udp(UdpSocket),
}

impl Flow {
    /// Begins a flow in a namespace.
    ///
    /// # Errors
    /// If nobody takes the connection.
    pub fn open(netns: &Netns, protocol: &str, to: SocketAddr) -> io::Result<Flow> {
        let opened = netns.run(|| {
            let kind = if protocol == "TCP" {
                Type::STREAM
            } else {
                Type::DGRAM
            };
            Ok((|| {
                let socket = Socket::new(Domain::for_address(to), kind, None)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                if protocol != "TCP" {
                    socket.connect(&to.into())?;
                    return Ok(Flow::Udp(socket.into()));
                }
                socket.connect_timeout(&to.into(), CONNECT)?;
                socket.set_tcp_nodelay(true)?;
                Ok(Flow::Tcp(socket.into()))
            })())
        });
        opened.expect("the namespace can be entered")
    }

    /// Who answers now.
    ///
    /// # Errors
    /// If nobody does.
    pub fn ask(&mut self) -> io::Result<SocketAddr> {
        let mut buffer = [0; 64];
        let len = match self {
            Flow::Tcp(stream) => {
                stream.write_all(b"?\n")?;
                let mut answer = BufReader::new(&*stream);
                let mut line = Vec::new();
                answer.read_until(b'\n', &mut line)?;
                let len = line.len().min(buffer.len());
                buffer[..len].copy_from_slice(&line[..len]);
                len
            }
            Flow::Udp(socket) => {
                socket.send(b"?")?;
                socket.recv(&mut buffer)?
            }
        };
        let text = String::from_utf8_lossy(&buffer[..len]);
        let answer = text.trim().parse();
        answer.map_err(|_| io::Error::new(io::ErrorKind::UnexpectedEof, format!("{text:?}")))
    }

    /// The same, where it may be that nothing comes for as long as this.
    ///
    /// # Errors
    /// If nobody answers by then.
    pub fn ask_within(&mut self, patience: Duration) -> io::Result<SocketAddr> {
        let set = |patience| match &self {
            Flow::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Flow::Udp(socket) => socket.set_read_timeout(Some(patience)),
        };
        set(patience)?;
        let answer = self.ask();
        match &self {
            Flow::Tcp(stream) => stream.set_read_timeout(Some(PATIENCE))?,
            Flow::Udp(socket) => socket.set_read_timeout(Some(PATIENCE))?,
        }
        answer
    }
}

/// Who answers a new flow.
///
/// # Errors
/// If nobody does.
pub fn ask(netns: &Netns, protocol: &str, to: SocketAddr) -> io::Result<SocketAddr> {
    // A datagram that nobody delivers yet is lost.
    let patience = match protocol {
        "TCP" => PATIENCE,
        _ => Duration::from_secs(1),
    };
    Flow::open(netns, protocol, to)?.ask_within(patience)
}

/// New connections to a Service reach one of its endpoints, from the node and from outside, in both families.
///
/// # Errors
/// If one does not.
pub fn delivers(bed: &Delivered, service: &Service) -> Result<(), String> {
    for host in ["n1", CLIENT] {
        for ipv6 in [false, true] {
            let answered = ask(&bed.netns(host), service.protocol, service.at(ipv6));
            let by = answered.map_err(|error| format!("{host} to {service:?}: {error}"))?;
            if !service.answers(ipv6).contains(&by) {
                return Err(format!("{host} to {service:?}: {by} answers"));
            }
        }
    }
    Ok(())
}

/// Waits until new connections to all of these do.
#[track_caller]
pub fn await_delivery(bed: &Delivered, services: &[Service]) {
    for service in services {
        wait_for("new connections reach the endpoints", PATIENCE, || {
            delivers(bed, service)
        });
    }
}

/// Flows from the node and from outside, in both families, and who has them.
///
/// # Panics
/// If nobody answers.
pub fn connect(bed: &Delivered, services: &[Service]) -> Vec<(Flow, SocketAddr)> {
    let mut flows = Vec::new();
    for service in services {
        for (host, ipv6) in [("n1", false), ("n1", true), (CLIENT, false), (CLIENT, true)] {
            let netns = bed.netns(host);
            let mut flow = Flow::open(&netns, service.protocol, service.at(ipv6)).expect("a flow");
            let by = flow.ask().expect("an answer");
            flows.push((flow, by));
        }
    }
    flows
}

/// Each of them is answered, and by who has it.
///
/// # Panics
/// If one is not.
#[track_caller]
pub fn all_go_on(flows: &mut [(Flow, SocketAddr)]) {
    for (flow, by) in flows {
        let answered = flow.ask();
        let answered = answered.unwrap_or_else(|error| panic!("a connection to {by}: {error}"));
        assert_eq!(answered, *by);
    }
}

/// Ends what runs beside a test when the test is over, however.
#[derive(Debug)]
pub struct EndsAll<'a>(pub &'a AtomicBool);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
