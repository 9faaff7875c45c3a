use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use dunlin_dataplane::proxy::BatchDone;
use dunlin_dataplane::{KernelCommand, KernelError, KernelEvent};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::Shared;
use super::rules::Keeper;
use crate::Error;
use crate::rtnl::{Monitor, Reader, Writer};

/// What runs on the thread.
pub(super) struct Worker<S> {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) monitor: Monitor,
    /// Opened when first asked for: a node without nf_tables can still route.
    pub(super) table: Option<Keeper>,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Receiver<KernelCommand>,
    pub(super) sink: S,
}

impl<S: FnMut(KernelEvent)> Worker<S> {
    pub(super) fn run(mut self) {
        if let Err(error) = self.work() {
            tracing::error!(%error, "the kernel thread ends: its sockets are broken");
        }
    }

    fn work(&mut self) -> Result<(), Error> {
        loop {
            let due = self.table.as_ref().and_then(|keeper| keeper.due);
            self.wait(due.map(|due| due.saturating_duration_since(Instant::now())))?;
            // What was heard happened before what is done now.
            self.monitor.drain(&mut self.sink)?;
            loop {
                match self.commands.try_recv() {
                    Ok(command) => self.execute(command)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.keep_rules();
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let wake = self.shared.wake.as_fd();
        let monitor = self.monitor.socket().as_fd();
        let nft = self
            .table
            .as_ref()
            .map(|keeper| keeper.monitor.socket().as_fd());
        let mut fds: Vec<PollFd<'_>> = [Some(wake), Some(monitor), nft]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::Socket {
                    what: "waiting for the kernel",
                    source: errno.into(),
                });
            }
        }
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.shared.wake, &mut count);
        Ok(())
    }

    fn execute(&mut self, command: KernelCommand) -> Result<(), Error> {
        match command {
            KernelCommand::Submit(batch) => {
                let done = self.writer.execute(&batch);
                (self.sink)(KernelEvent::BatchDone(done));
            }
            KernelCommand::Dump => {
                // A notification from before the read-back must not be told behind it.
                self.monitor.drain(&mut self.sink)?;
                self.dump();
            }
            // These come by another way.
            KernelCommand::SetRules(_) => {}
            KernelCommand::SubmitProxy(batch) => {
                (self.sink)(KernelEvent::ProxyDone(BatchDone {
                    number: batch.number,
                    result: Err(no_proxy()),
                    unsure: false,
                    forgotten: Ok(()),
                }));
            }
            KernelCommand::ReadProxy | KernelCommand::RemoveProxy => {
                (self.sink)(KernelEvent::ProxyFound(Err(no_proxy())));
            }
        }
        Ok(())
    }
}

fn no_proxy() -> KernelError {
    KernelError {
        errno: libc::EOPNOTSUPP,
        message: "this version makes no tables for services".to_owned(),
    }
}
