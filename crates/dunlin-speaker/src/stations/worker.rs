//! The thread of monitoring stations.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, SystemTime};

use dunlin_bgp::bmp::{StationCommand, StationEvent, StationId};
use dunlin_net::Instant;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use super::Message;
use crate::write_queue::WriteQueue;
use crate::{Clock, Waker};

pub(super) const WAKER: Token = Token(0);

/// How long a connection attempt may take.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

/// Pauses between attempts: from the first to the longest, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Before a station that was too far behind is dialled again.
const BEHIND_PAUSE: Duration = Duration::from_secs(30);

/// A connection that stood so long begins its pauses anew.
const STABLE: Duration = Duration::from_secs(60);

/// How long a station may not read while something waits for it.
const READ_PATIENCE: Duration = Duration::from_secs(90);

/// How long last words may take.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// The core is told of what is written in steps of this, or when nothing is left.
const TOLD_OCTETS: usize = StationCommand::CREDIT / 4;

pub(super) struct Parts {
    pub(super) poll: Poll,
    pub(super) waker: Waker,
    pub(super) clock: Clock,
    pub(super) inbox: Receiver<Message>,
    pub(super) sink: Box<dyn FnMut(StationEvent) + Send>,
}

enum Link {
    /// Dialled again then.
    Waiting(Instant),
    /// Given up then.
    Dialing(mio::net::TcpStream, Instant),
    Standing(Standing),
}

struct Standing {
    stream: mio::net::TcpStream,
    since: Instant,
    queue: WriteQueue,
    /// Octets written that the core was not told of.
    untold: usize,
    /// Set while something waits to be written: when the station is given up.
    stuck_at: Option<Instant>,
}

struct Station {
    id: StationId,
    addr: SocketAddr,
    token: Token,
    link: Link,
    /// The name of the connection.
    conn: u32,
    pause: Duration,
    /// It is no more once this is over, or all is written.
    leaving: Option<Instant>,
}

pub(super) struct Worker {
    poll: Poll,
    waker: Waker,
    clock: Clock,
    inbox: Receiver<Message>,
    sink: Box<dyn FnMut(StationEvent) + Send>,
    stations: Vec<Station>,
    next_token: usize,
    stopping: bool,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> Worker {
        Worker {
            poll: parts.poll,
            waker: parts.waker,
            clock: parts.clock,
            inbox: parts.inbox,
            sink: parts.sink,
            stations: Vec::new(),
            next_token: WAKER.0 + 1,
            stopping: false,
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        // Commands may have come before the waker could be heard.
        let mut busy = true;
        while !(self.stopping && self.stations.is_empty()) {
            let timeout = if busy {
                Some(Duration::ZERO)
            } else {
                self.next_deadline().map(|at| self.clock.until(at))
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                polled => polled?,
            }
            self.waker.awake();
            for event in &events {
                if event.token() != WAKER {
                    self.on_ready(event);
                }
            }
            busy = self.take_messages();
            self.on_deadlines();
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.stations.iter().filter_map(Station::deadline).min()
    }

    /// Takes commands; whether there may be more.
    fn take_messages(&mut self) -> bool {
        for _ in 0..super::COMMANDS {
            match self.inbox.try_recv() {
                Ok(Message::Command(command)) => self.take(command),
                Ok(Message::Stop(last)) => self.stop(&last),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => {
                    if !self.stopping {
                        self.stop(&[]);
                    }
                    return false;
                }
            }
        }
        true
    }

    fn stop(&mut self, last: &[u8]) {
        self.stopping = true;
        let ids: Vec<StationId> = self.stations.iter().map(|station| station.id).collect();
        for id in ids {
            self.leave(id, last.to_vec());
        }
    }

    fn take(&mut self, command: StationCommand) {
        let now = self.clock.now();
        match command {
            StationCommand::Set { station, addr } => {
                let token = Token(self.next_token);
                self.next_token += 1;
                self.stations.push(Station {
                    id: station,
                    addr,
                    token,
                    link: Link::Waiting(now),
                    conn: 0,
                    pause: FIRST_PAUSE,
                    leaving: None,
                });
            }
            StationCommand::Remove { station, last } => self.leave(station, last),
            StationCommand::Send {
                station,
                conn,
                bytes,
            } => {
                let at = self.position(station);
                if let Some(at) = at
                    && let Some(link) = self.stations[at].standing(conn)
                {
                    link.queue.push(bytes.into(), true);
                    link.stuck_at.get_or_insert(now + READ_PATIENCE);
                    self.write(at);
                }
            }
            StationCommand::Reset { station, conn } => {
                let at = self.position(station);
                if let Some(at) = at
                    && self.stations[at].standing(conn).is_some()
                {
                    let station = &mut self.stations[at];
                    station.link = Link::Waiting(now + BEHIND_PAUSE);
                }
            }
        }
    }

    fn position(&self, id: StationId) -> Option<usize> {
        self.stations.iter().position(|station| station.id == id)
    }

    /// Says the last words, and forgets the station when they are written.
    fn leave(&mut self, id: StationId, last: Vec<u8>) {
        let Some(at) = self.position(id) else { return };
        let until = self.clock.now() + LAST_PATIENCE;
        let station = &mut self.stations[at];
        match &mut station.link {
            Link::Standing(link) => {
                station.leaving = Some(until);
                link.queue.push(last.into(), false);
                self.write(at);
            }
            Link::Waiting(_) | Link::Dialing(..) => {
                self.stations.remove(at);
            }
        }
    }

    fn on_ready(&mut self, event: &Event) {
        let token = event.token();
        let Some(at) = self.stations.iter().position(|s| s.token == token) else {
            return;
        };
        match &self.stations[at].link {
            Link::Waiting(_) => {}
            Link::Dialing(..) => self.finish_dial(at),
            Link::Standing(_) => {
                if let Err(why) = self.stations[at].read() {
                    self.lose(at, why);
                } else if event.is_writable() {
                    self.write(at);
                }
            }
        }
    }

    fn on_deadlines(&mut self) {
        let now = self.clock.now();
        let mut at = 0;
        while let Some(station) = self.stations.get(at) {
            let due = station.deadline().is_some_and(|deadline| deadline <= now);
            match &station.link {
                _ if due && station.leaving.is_some() => {
                    self.stations.remove(at);
                    continue;
                }
                Link::Waiting(_) if due => self.dial(at),
                Link::Dialing(..) if due => {
                    self.lose(at, "no answer: is the station up, is its port open?".into());
                }
                Link::Standing(_) if due => {
                    let secs = READ_PATIENCE.as_secs();
                    self.lose(at, format!("it has not read anything for {secs} s"));
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn dial(&mut self, at: usize) {
        let now = self.clock.now();
        let station = &mut self.stations[at];
        let dialled = mio::net::TcpStream::connect(station.addr).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            registry.register(&mut stream, station.token, interest)?;
            Ok(stream)
        });
        match dialled {
            Ok(stream) => station.link = Link::Dialing(stream, now + DIAL_PATIENCE),
            Err(error) => self.lose(at, crate::socket::transport_error(&error).to_string()),
        }
    }

    fn finish_dial(&mut self, at: usize) {
        let now = self.clock.now();
        let station = &mut self.stations[at];
        let Link::Dialing(stream, _) = &station.link else {
            return;
        };
        let failed = match (stream.take_error(), stream.peer_addr()) {
            (Ok(Some(error)), _) | (Err(error), _) => Some(error),
            // Not yet.
            (Ok(None), Err(error)) if error.kind() == io::ErrorKind::NotConnected => return,
            (Ok(None), Err(error)) => Some(error),
            (Ok(None), Ok(_)) => None,
        };
        if let Some(error) = failed {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "connection refused: does the station listen on this address and port?".into()
                }
                _ => error.to_string(),
            };
            return self.lose(at, why);
        }
        if let Link::Dialing(stream, _) = std::mem::replace(&mut station.link, Link::Waiting(now)) {
            // Small messages may wait a moment; if the option is refused, they do.
            let _ = stream.set_nodelay(true);
            station.conn = station.conn.wrapping_add(1);
            station.link = Link::Standing(Standing {
                stream,
                since: now,
                queue: WriteQueue::default(),
                untold: 0,
                stuck_at: None,
            });
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            (self.sink)(StationEvent::Connected {
                station: station.id,
                conn: station.conn,
                wall: wall.unwrap_or_default(),
            });
        }
    }

    fn write(&mut self, at: usize) {
        let now = self.clock.now();
        let station = &mut self.stations[at];
        let Link::Standing(link) = &mut station.link else {
            return;
        };
        match link.queue.flush(&mut link.stream) {
            Ok(flushed) => {
                link.untold += flushed.credited;
                if link.queue.is_empty() {
                    link.stuck_at = None;
                } else if flushed.bytes > 0 {
                    link.stuck_at = Some(now + READ_PATIENCE);
                }
                if link.untold >= TOLD_OCTETS || link.untold > 0 && link.queue.is_empty() {
                    let octets = std::mem::take(&mut link.untold);
                    (self.sink)(StationEvent::Written {
                        station: station.id,
                        conn: station.conn,
                        octets,
                    });
                }
                if station.leaving.is_some() && link.queue.is_empty() {
                    // Closed with something unread, a socket resets the connection, and the last words are lost.
                    let _ = link.stream.shutdown(Shutdown::Write);
                    let _ = station.read();
                    self.stations.remove(at);
                }
            }
            Err(error) => self.lose(at, error.to_string()),
        }
    }

    /// The connection has ended; another attempt follows.
    fn lose(&mut self, at: usize, why: String) {
        let now = self.clock.now();
        let station = &mut self.stations[at];
        if station.leaving.is_some() {
            self.stations.remove(at);
            return;
        }
        if let Link::Standing(link) = &station.link
            && now.since(link.since) >= STABLE
        {
            station.pause = FIRST_PAUSE;
        }
        station.link = Link::Waiting(now + station.pause);
        station.pause = (station.pause * 2).min(LONGEST_PAUSE);
        (self.sink)(StationEvent::Lost {
            station: station.id,
            why,
        });
    }
}

impl Station {
    fn standing(&mut self, conn: u32) -> Option<&mut Standing> {
        match &mut self.link {
            Link::Standing(link) if self.conn == conn && self.leaving.is_none() => Some(link),
            _ => None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let of_link = match &self.link {
            Link::Waiting(at) | Link::Dialing(_, at) => Some(*at),
            Link::Standing(link) => link.stuck_at,
        };
        [of_link, self.leaving].into_iter().flatten().min()
    }

    /// A station says nothing; what it says all the same is of no use. Its end is.
    fn read(&mut self) -> Result<(), String> {
        let Link::Standing(link) = &mut self.link else {
            return Ok(());
        };
        let mut unused = [0; 1024];
        // So much in one turn; a station that says more is cut off.
        for _ in 0..64 {
            match link.stream.read(&mut unused) {
                Ok(0) => return Err("the station closed the connection".into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("it talks, which no station does: is it one?".into())
    }
}
