//! HTTP/1.1 by hand, over any stream.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use dunlin_lab::netns::Netns;

use crate::{PATIENCE, bgp};

/// The port that [`crate::agent::Agent`]s serve metrics on.
pub const METRICS_PORT: u16 = 9179;

/// An answer: its status and its body. The status is 0 if there was no answer at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// As the first line says.
    pub status: u16,
    /// What follows the head.
    pub body: String,
}

fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Response {
    // The server may answer, and close, before it has read all.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Response {
        status: status.unwrap_or(0),
        body: body.to_owned(),
    }
}

/// Connects to the metrics port of the namespace.
///
/// # Panics
/// If nobody listens.
pub fn connect_metrics(netns: &Netns) -> TcpStream {
    let localhost = Ipv4Addr::LOCALHOST;
    let stream = bgp::try_dial(netns, localhost, localhost, METRICS_PORT).expect("metrics");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Asks the metrics port for a path.
pub fn get(netns: &Netns, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(&mut connect_metrics(netns), request.as_bytes())
}

/// Says anything to the metrics port.
pub fn say_to_metrics(netns: &Netns, request: &[u8]) -> Response {
    exchange(&mut connect_metrics(netns), request)
}

/// Connects to the admin socket.
///
/// # Panics
/// If nobody listens.
pub fn connect_admin(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("the admin socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let writing = Some(Duration::from_secs(10));
    stream.set_write_timeout(writing).expect("a timeout");
    stream
}

/// Says anything to the admin socket.
pub fn say_to_admin(socket: &Path, request: &[u8]) -> Response {
    exchange(&mut connect_admin(socket), request)
}

/// Posts a body as a query.
pub fn query(socket: &Path, body: &[u8]) -> Response {
    let mut request = format!(
        "POST /v1/query HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    say_to_admin(socket, &request)
}
