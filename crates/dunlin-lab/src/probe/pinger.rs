//! A steady stream of echoes that knows exactly which were lost.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::icmp::{Answer, EchoSocket, wait_readable};
use crate::netns::Netns;

/// How long the last replies may be under way.
const LAST_REPLIES: Duration = Duration::from_secs(5);
/// The most echoes one pinger sends; it then stops (28 hours at 100 a second).
const MAX_ECHOES: usize = 10_000_000;

/// Sends echoes from a namespace at a steady rate, on a thread of its own, until it is stopped.
#[derive(Debug)]
pub struct Pinger {
    stop: Arc<AtomicBool>,
    shared: Arc<Mutex<Record>>,
    thread: Option<JoinHandle<()>>,
    destination: IpAddr,
    interval: Duration,
}

#[derive(Clone, Debug, Default)]
struct Record {
    /// Per echo: the round-trip time in microseconds, or nothing yet.
    replies: Vec<Option<u32>>,
    refused: u64,
    unordered: u64,
    newest: Option<u64>,
}

/// What a [`Pinger`] saw.
#[derive(Clone, Debug)]
pub struct PingReport {
    /// Where it sent to.
    pub destination: IpAddr,
    /// Echoes sent.
    pub sent: usize,
    /// Replies received.
    pub received: usize,
    /// The runs of echoes without a reply.
    pub gaps: Vec<Gap>,
    /// Errors: sends that failed, and ICMP errors that came back.
    pub refused: u64,
    /// Replies that came after the reply to a later echo.
    pub unordered: u64,
    /// Mean round-trip time.
    pub mean: Duration,
    /// Longest round-trip time.
    pub longest: Duration,
}

/// Consecutive echoes without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first lost echo.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// How long after the start the first was sent.
    pub after: Duration,
}

impl PingReport {
    /// Echoes without a reply.
    pub fn lost(&self) -> usize {
        self.sent - self.received
    }
}

impl std::fmt::Display for PingReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} of {} replies, mean {} us, longest {} us, {} errors",
            self.destination,
            self.received,
            self.sent,
            self.mean.as_micros(),
            self.longest.as_micros(),
            self.refused
        )?;
        for gap in self.gaps.iter().take(5) {
            write!(
                f,
                "; {} lost from #{} ({:.2} s)",
                gap.count,
                gap.first,
                gap.after.as_secs_f64()
            )?;
        }
        Ok(())
    }
}

impl Pinger {
    /// Begins to send from `netns` to `destination`, `per_second` echoes a second (1 to 10,000).
    ///
    /// # Errors
    /// If the socket cannot be opened.
    pub fn start(netns: &Netns, destination: IpAddr, per_second: u32) -> Result<Pinger> {
        let socket = EchoSocket::open(netns, destination)?;
        let interval = Duration::from_secs(1) / per_second.clamp(1, 10_000);
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Mutex::new(Record::default()));
        let thread = {
            let (stop, shared) = (Arc::clone(&stop), Arc::clone(&shared));
            thread::Builder::new()
                .name(format!("ping {destination}"))
                .spawn(move || send_and_receive(&socket, interval, &stop, &shared))?
        };
        Ok(Pinger {
            stop,
            shared,
            thread: Some(thread),
            destination,
            interval,
        })
    }

    /// What was seen so far. The last echoes may still be under way.
    pub fn report(&self) -> PingReport {
        let record = self
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        summarise(&record, self.destination, self.interval)
    }

    /// Stops sending, waits for replies under way, for some seconds at most, and reports.
    ///
    /// # Errors
    /// If the thread panicked.
    pub fn stop(mut self) -> Result<PingReport> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow!("a pinger panicked"))?;
        }
        Ok(self.report())
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn send_and_receive(
    socket: &EchoSocket,
    interval: Duration,
    stop: &AtomicBool,
    shared: &Mutex<Record>,
) {
    let began = Instant::now();
    let due = |number: usize| began + interval * u32::try_from(number).unwrap_or(u32::MAX);
    let mut sent_at: Vec<Instant> = Vec::new();
    while !stop.load(Ordering::Relaxed) && sent_at.len() < MAX_ECHOES {
        let number = sent_at.len();
        while wait_readable(socket.as_fd(), due(number)) {
            take_replies(socket, &sent_at, shared);
        }
        sent_at.push(Instant::now());
        let outcome = socket.send(number as u64);
        let mut record = shared.lock().unwrap_or_else(PoisonError::into_inner);
        record.replies.push(None);
        record.refused += u64::from(outcome.is_err());
    }
    let deadline = Instant::now() + LAST_REPLIES;
    while open(shared) && wait_readable(socket.as_fd(), deadline) {
        take_replies(socket, &sent_at, shared);
    }
}

/// Whether the last echoes are still without a reply.
fn open(shared: &Mutex<Record>) -> bool {
    let record = shared.lock().unwrap_or_else(PoisonError::into_inner);
    record.replies.iter().rev().take(200).any(Option::is_none)
}

fn take_replies(socket: &EchoSocket, sent_at: &[Instant], shared: &Mutex<Record>) {
    while let Some(received) = socket.receive() {
        let mut record = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if received.answer != Answer::Reply {
            record.refused += 1;
            continue;
        }
        let Some(index) = usize::try_from(received.number).ok() else {
            continue;
        };
        let (Some(sent), Some(slot)) = (sent_at.get(index), record.replies.get_mut(index)) else {
            continue;
        };
        let micros = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
        *slot = slot.or(Some(micros));
        if record.newest.is_some_and(|newest| received.number < newest) {
            record.unordered += 1;
        } else {
            record.newest = Some(received.number);
        }
    }
}

fn summarise(record: &Record, destination: IpAddr, interval: Duration) -> PingReport {
    let mut gaps: Vec<Gap> = Vec::new();
    for (index, reply) in record.replies.iter().enumerate() {
        if reply.is_some() {
            continue;
        }
        match gaps.last_mut() {
            Some(gap) if gap.first + gap.count == index => gap.count += 1,
            _ => gaps.push(Gap {
                first: index,
                count: 1,
                after: interval * u32::try_from(index).unwrap_or(u32::MAX),
            }),
        }
    }
    let times = || record.replies.iter().flatten().copied();
    let received = times().count();
    let total: u64 = times().map(u64::from).sum();
    PingReport {
        destination,
        sent: record.replies.len(),
        received,
        gaps,
        refused: record.refused,
        unordered: record.unordered,
        mean: Duration::from_micros(total.checked_div(received as u64).unwrap_or(0)),
        longest: Duration::from_micros(times().max().unwrap_or(0).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_echoes_are_counted_in_runs() {
        let record = Record {
            replies: vec![Some(10), None, None, Some(30), None],
            ..Record::default()
        };
        let address = IpAddr::from([192, 0, 2, 1]);
        let report = summarise(&record, address, Duration::from_millis(10));
        assert_eq!((report.sent, report.received, report.lost()), (5, 2, 3));
        let runs: Vec<_> = report.gaps.iter().map(|g| (g.first, g.count)).collect();
        assert_eq!(runs, [(1, 2), (4, 1)]);
        assert_eq!(report.gaps[1].after, Duration::from_millis(40));
        assert_eq!(report.mean, Duration::from_micros(20));
    }
}
