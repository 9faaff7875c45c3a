//! The API without a process for each request: HTTP/1.1 through `kubectl proxy`, as an administrator.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_lab::process::{self, ProcessId, start_daemon};
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::{PATIENCE, wait_for};

/// No answer for so long means that there is none.
const SILENCE: Duration = Duration::from_secs(60);

/// A running `kubectl proxy`; ended when dropped.
#[derive(Debug)]
pub struct Proxy {
    process: ProcessId,
    socket: PathBuf,
}

/// A connection to it, for one request after another.
#[derive(Debug)]
pub struct Connection(BufReader<UnixStream>);

impl Proxy {
    /// Starts one on a socket in the directory.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(kubectl: &Kubectl, directory: &Path) -> Proxy {
        let socket = directory.join("proxy.sock");
        let argument = format!("--unix-socket={}", socket.display());
        let mut command = kubectl.command(&["proxy", &argument]);
        let log = directory.join("proxy.log");
        let process = start_daemon(&mut command, &log, true).expect("kubectl starts");
        wait_for("kubectl's socket", PATIENCE, || {
            let connected = UnixStream::connect(&socket);
            connected.map(drop).map_err(|error| error.to_string())
        });
        Proxy { process, socket }
    }

    /// A new connection.
    ///
    /// # Panics
    /// If it is refused.
    pub fn connect(&self) -> Connection {
        let stream = UnixStream::connect(&self.socket).expect("a connection");
        stream.set_read_timeout(Some(SILENCE)).expect("a timeout");
        Connection(BufReader::new(stream))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        process::kill(self.process);
    }
}

impl Connection {
    /// Sends a request and reads the answer.
    ///
    /// # Panics
    /// If there is none, or the server refuses.
    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.send(method, path, body);
        let (status, length) = self.head();
        let mut text = Vec::new();
        match length {
            Some(length) => {
                text.resize(length, 0);
                self.0.read_exact(&mut text).expect("a body");
            }
            None => {
                while let Some(mut chunk) = self.chunk() {
                    text.append(&mut chunk);
                }
            }
        }
        let text = String::from_utf8_lossy(&text);
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {text}"
        );
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Makes the connection a watch; gives the events, until the server ends it.
    ///
    /// # Panics
    /// If the server refuses, or says what is not an event.
    pub fn watch(mut self, path: &str) -> impl Iterator<Item = Value> + use<> {
        self.send("GET", path, None);
        let (status, _) = self.head();
        assert_eq!(status, 200, "{path}");
        let mut pending = Vec::new();
        std::iter::from_fn(move || {
            loop {
                if let Some(end) = pending.iter().position(|octet| *octet == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    return Some(serde_json::from_slice(&line).expect("an event"));
                }
                pending.append(&mut self.chunk()?);
            }
        })
    }

    fn send(&mut self, method: &str, path: &str, body: Option<&Value>) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = self.0.get_mut();
        stream.write_all(request.as_bytes()).expect("a connection");
    }

    /// The status, and the body's length if the head says it.
    fn head(&mut self) -> (u16, Option<usize>) {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut length = None;
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                return (status.unwrap_or(0), length);
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
    }

    /// The next chunk of a body in chunks; the last has no octets.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(self.line().trim(), 16).ok()?;
        let mut octets = vec![0; size + 2];
        self.0.read_exact(&mut octets).ok()?;
        octets.truncate(size);
        (size > 0).then_some(octets)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }
}
