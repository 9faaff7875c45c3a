//! A connection that is read less often when there is always something to read.
//!
//! To wake for an event costs far more than to take in one more while awake. Up to a pace every event is taken in as it
//! comes; where more come for longer, they are left to the kernel for a moment and taken together. A lot at once, as in
//! a list, is read without a pause.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How often a connection is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Between two reads, where reads come at that pace all the time: the most that an event waits.
    interval: Duration,
    /// How many reads may come together before any of them waits.
    together: u32,
}

impl Pace {
    /// For what may wait a little, as an announcement does.
    pub(super) const CALM: Pace = Pace {
        interval: Duration::from_millis(100),
        together: 20,
    };
    /// For what connections are delivered by: up to 200 events a second none waits.
    pub(super) const PROMPT: Pace = Pace {
        interval: Duration::from_millis(5),
        together: 40,
    };
}

/// What is read without finding the connection empty, octets, from which on nothing is waited for.
const BULK_OCTETS: usize = 64 << 10;

/// What was read of one connection.
#[derive(Debug)]
struct Course {
    pace: Pace,
    /// When all reads so far would have come, had they come in their intervals.
    due: Instant,
    /// Octets since the connection was last found empty; none if it was.
    since_empty: Option<usize>,
}

impl Course {
    /// When to look at the connection again, if it was empty.
    fn next(&self) -> Option<Instant> {
        match self.since_empty {
            Some(_) => None,
            None => self
                .due
                .checked_sub(self.pace.interval * self.pace.together),
        }
    }

    fn on_read(&mut self, now: Instant, octets: usize, is_empty: bool) {
        let so_far = match self.since_empty {
            Some(so_far) => so_far,
            None => {
                self.due = self.due.max(now) + self.pace.interval;
                0
            }
        };
        let so_far = so_far.saturating_add(octets);
        if so_far >= BULK_OCTETS {
            self.due = now;
        }
        self.since_empty = (!is_empty).then_some(so_far);
    }
}

/// A connection read at a pace, or as it comes.
#[derive(Debug)]
pub(super) struct Paced<S> {
    connection: S,
    course: Option<Course>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// Reads at a pace, if wanted. Call within the runtime.
    pub(super) fn new(connection: S, pace: Option<Pace>) -> Paced<S> {
        let course = pace.map(|pace| Course {
            pace,
            due: Instant::now(),
            since_empty: None,
        });
        Paced {
            connection,
            course,
            pause: None,
        }
    }

    /// Waits until it is time to look at the connection.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pause.is_none()
            && let Some(at) = self.course.as_ref().and_then(Course::next)
            && at > Instant::now()
        {
            self.pause = Some(Box::pin(tokio::time::sleep_until(at)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_pause(cx));
        let Paced {
            connection, course, ..
        } = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(connection).poll_read(cx, buf);
        if let Some(course) = course {
            match &polled {
                Poll::Ready(Ok(())) => {
                    // What did not fill the room was all there is.
                    let is_empty = buf.remaining() > 0;
                    let octets = buf.filled().len() - before;
                    course.on_read(Instant::now(), octets, is_empty);
                }
                Poll::Ready(Err(_)) => {}
                Poll::Pending => course.since_empty = None,
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

impl<S: Connection> Connection for Paced<S> {
    fn connected(&self) -> Connected {
        self.connection.connected()
    }
}

#[cfg(test)]
mod tests;
