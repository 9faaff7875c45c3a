//! Connections: servers that say who they are and whom they see, and clients that ask.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dunlin_lab::netns::Netns;

/// Longer than a busy machine needs for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing must come where nothing may.
pub const SILENCE: Duration = Duration::from_millis(500);

/// Listens in a namespace and answers each octet of each connection with a line, for as long as the test program runs.
///
/// # Panics
/// If the address is taken.
pub fn serve(space: &Netns, name: &str, at: SocketAddr) {
    let listener = space
        .run(|| Ok(TcpListener::bind(at)?))
        .expect("an address");
    let name: Arc<str> = name.into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let name = name.clone();
            thread::spawn(move || answer(stream, &name));
        }
    });
}

fn answer(mut stream: TcpStream, name: &str) -> io::Result<()> {
    let peer = stream.peer_addr()?.ip();
    let mut octet = [0];
    while stream.read(&mut octet)? > 0 {
        writeln!(stream, "{name} {peer}")?;
    }
    Ok(())
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server.
    pub by: String,
    /// Whom it sees.
    pub seen: IpAddr,
}

/// How a question ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// At once, by a reset or the network.
    Refused,
    /// Nothing came back.
    Silence,
    /// Something else.
    Other(io::ErrorKind),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl From<io::Error> for Lack {
    fn from(error: io::Error) -> Lack {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Lack::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Lack::Silence,
            other => Lack::Other(other),
        }
    }
}

/// A connection that stays open.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// Why there is none within `patience`.
    pub fn open(space: &Netns, to: SocketAddr, patience: Duration) -> Result<Connection, Lack> {
        let opened = space.run(|| Ok(TcpStream::connect_timeout(&to, patience)));
        let stream = opened.expect("a namespace")?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Connection(BufReader::new(stream)))
    }

    /// Asks once more.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn ask(&mut self) -> Result<Answer, Lack> {
        self.0.get_mut().write_all(b"?")?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let (by, seen) = line.trim_end().split_once(' ').ok_or(Lack::Refused)?;
        Ok(Answer {
            by: by.to_owned(),
            seen: seen.parse().expect("an address"),
        })
    }
}

/// One connection, one question.
///
/// # Errors
/// Why there is no answer.
pub fn ask(space: &Netns, to: SocketAddr) -> Result<Answer, Lack> {
    Connection::open(space, to, PATIENCE)?.ask()
}

/// The same, where silence is expected.
///
/// # Errors
/// Why there is no answer.
pub fn ask_briefly(space: &Netns, to: SocketAddr) -> Result<Answer, Lack> {
    Connection::open(space, to, SILENCE)?.ask()
}

/// New connections, one after the other, until it is ended.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize, String>>,
}

impl Stream {
    /// Starts it.
    pub fn start(space: &Netns, to: SocketAddr) -> Stream {
        let stop = Arc::new(AtomicBool::new(false));
        let (space, stopped) = (space.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut answers = 0;
            while !stopped.load(Ordering::Relaxed) {
                let answer = ask(&space, to);
                answer.map_err(|lack| format!("{lack} after {answers} answers from {to}"))?;
                answers += 1;
                // So many a second are enough to meet any gap, and leave the machine to others.
                thread::sleep(Duration::from_millis(5));
            }
            Ok(answers)
        });
        Stream { stop, thread }
    }

    /// Ends it; gives how many answers there were.
    ///
    /// # Errors
    /// What went without an answer.
    ///
    /// # Panics
    /// If its thread did.
    pub fn end(self) -> Result<usize, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}
