//! Connections to monitoring stations: dialled, written to, dialled again. What is said the core decides.
//!
//! One thread for all stations. It never waits for one: what cannot be written waits in its memory, no more of it than the
//! core was given credit for ([`StationCommand::CREDIT`]).

mod worker;

use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use dunlin_bgp::bmp::{StationCommand, StationEvent};

use crate::{Clock, Waker};
use worker::{Parts, WAKER, Worker};

/// Commands on the way to the thread; beyond, the core waits for it, which never waits for the core: credit bounds what is
/// sent, so this is never reached.
const COMMANDS: usize = 1024;

pub(crate) enum Message {
    Command(StationCommand),
    /// End, with this as the last words to all stations.
    Stop(Vec<u8>),
}

/// The thread that speaks to stations.
pub struct StationsHandle {
    inbox: SyncSender<Message>,
    waker: Waker,
    join: Option<JoinHandle<io::Result<()>>>,
}

impl StationsHandle {
    /// Starts the thread. `sink` takes its events; it may wait, but not for the thread. There are never more events on the way
    /// than commands, and a few for each station.
    ///
    /// # Errors
    /// If there are no more descriptors or threads.
    pub fn spawn(
        clock: Clock,
        sink: impl FnMut(StationEvent) + Send + 'static,
    ) -> io::Result<StationsHandle> {
        let poll = mio::Poll::new()?;
        let waker = Waker::new(mio::Waker::new(poll.registry(), WAKER)?);
        let (inbox, receiver) = mpsc::sync_channel(COMMANDS);
        let worker = Worker::new(Parts {
            poll,
            waker: waker.clone(),
            clock,
            inbox: receiver,
            sink: Box::new(sink),
        });
        let join = thread::Builder::new()
            .name("bmp-io".to_owned())
            .spawn(move || worker.run())?;
        Ok(StationsHandle {
            inbox,
            waker,
            join: Some(join),
        })
    }

    /// Gives a command.
    pub fn command(&self, command: StationCommand) {
        self.tell(Message::Command(command));
    }

    fn tell(&self, message: Message) {
        // A thread that is gone is told by `is_alive`.
        if self.inbox.send(message).is_ok() {
            self.waker.wake();
        }
    }

    /// Whether the thread runs. If not, it has met a failure of the system's epoll, or a bug.
    pub fn is_alive(&self) -> bool {
        self.join.as_ref().is_some_and(|join| !join.is_finished())
    }

    /// Says these last words to all stations, waits up to a second until they are written, and ends the thread.
    ///
    /// # Errors
    /// If the thread had ended in failure.
    pub fn shutdown(mut self, last: Vec<u8>) -> io::Result<()> {
        self.tell(Message::Stop(last));
        let Some(join) = self.join.take() else {
            return Ok(());
        };
        let ended = join.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("the thread of BMP stations panicked")))
    }
}

impl Drop for StationsHandle {
    fn drop(&mut self) {
        // A thread with a full inbox finds the inbox closed once it has emptied it.
        let _ = self.inbox.try_send(Message::Stop(Vec::new()));
        self.waker.wake();
    }
}
