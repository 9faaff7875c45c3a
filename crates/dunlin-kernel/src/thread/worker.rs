use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use dunlin_dataplane::{KernelCommand, KernelEvent};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::Shared;
use super::proxy::Proxy;
use super::rules::Keeper;
use crate::Error;
use crate::nft;
use crate::rtnl::{Monitor, Reader, Writer};

/// What runs on the thread.
pub(super) struct Worker<S> {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) monitor: Monitor,
    /// Opened when first asked for: a node without nf_tables can still route.
    pub(super) table: Option<Keeper>,
    /// As the table.
    pub(super) proxy: Option<Proxy>,
    /// Hears of changes of either.
    pub(super) nft: Option<nft::Monitor>,
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
            let rules = self.table.as_ref().and_then(|keeper| keeper.due);
            let proxy = self.proxy.as_ref().and_then(Proxy::due);
            let due = rules.into_iter().chain(proxy).min();
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
            self.hear_nft();
            self.keep_rules();
            self.tell_meddling();
        }
    }

    /// Hears of changes of our nf_tables tables by others.
    pub(super) fn hear_nft(&mut self) {
        let Some(nft) = &mut self.nft else {
            return;
        };
        let (table, proxy) = (&mut self.table, &mut self.proxy);
        let heard = nft.drain(|changed| {
            if changed == nft::RULES_TABLE {
                table.as_mut().map(Keeper::on_meddling);
            } else {
                proxy.as_mut().map(Proxy::on_meddling);
            }
        });
        if let Err(error) = heard {
            tracing::warn!(%error, "watching nf_tables failed");
        }
    }

    /// Hears from now on of changes of these tables, but not of those that `own_port` makes.
    pub(super) fn watch_nft(
        &mut self,
        tables: impl IntoIterator<Item = nft::Table>,
        own_port: u32,
    ) -> Result<(), Error> {
        let nft = match &mut self.nft {
            Some(nft) => nft,
            None => self.nft.insert(nft::Monitor::open()?),
        };
        for table in tables {
            nft.watch(table, own_port)?;
        }
        Ok(())
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let wake = self.shared.wake.as_fd();
        let monitor = self.monitor.socket().as_fd();
        let nft = self.nft.as_ref().map(|nft| nft.socket().as_fd());
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
            KernelCommand::SubmitProxy(batch) => self.submit_proxy(&batch)?,
            KernelCommand::ReadProxy => self.read_proxy(),
            KernelCommand::RemoveProxy => self.remove_proxy(),
        }
        Ok(())
    }
}
