//! The kernel thread: executes commands, tells events, and sleeps in `poll` otherwise.

mod dump;
mod proxy;
mod rules;
mod worker;

use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use dunlin_dataplane::fib::Batch;
use dunlin_dataplane::rules::Rules;
use dunlin_dataplane::{KernelCommand, KernelEvent};
use rustix::event::EventfdFlags;

use self::worker::Worker;
use crate::Error;
use crate::rtnl::{Monitor, Reader, Writer};

/// Commands that may wait. A `Fib` has one outstanding; wishes for the table do not queue, the last one counts.
const QUEUE: usize = 8;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The monitor's receive buffer in octets, instead of 4 MiB.
    pub monitor_buffer: Option<i32>,
}

/// Starts the thread.
#[derive(Debug)]
pub struct KernelThread;

/// The way to the thread. Dropped, it ends the thread and waits for it; the kernel keeps what it was given.
#[derive(Debug)]
pub struct KernelHandle {
    commands: Option<SyncSender<KernelCommand>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    wake: OwnedFd,
    /// The last wish not yet taken.
    table: Mutex<Option<Option<Rules>>>,
}

/// More commands wait than a `Fib` can have outstanding, or the thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("the kernel thread does not take commands")]
pub struct QueueFull(pub Box<KernelCommand>);

impl KernelThread {
    /// Opens all sockets in the calling thread's network namespace and starts the thread there. `sink` is called on the
    /// thread; while it blocks nothing else happens (so it must not block for ever: dropping the handle waits for the
    /// thread), and notifications that the sockets cannot hold become
    /// [`KernelEvent::Overrun`].
    pub fn spawn(
        options: Options,
        sink: impl FnMut(KernelEvent) + Send + 'static,
    ) -> Result<KernelHandle, Error> {
        crate::check_net_admin()?;
        let error = |what| move |source: std::io::Error| Error::Socket { what, source };
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| error("making an eventfd")(errno.into()))?;
        let shared = Arc::new(Shared {
            wake,
            table: Mutex::new(None),
        });
        let (sender, receiver) = sync_channel(QUEUE);
        let writer = Writer::open()?;
        let monitor = Monitor::open(writer.port())?;
        if let Some(octets) = options.monitor_buffer {
            monitor.socket().set_receive_buffer(octets);
        }
        let worker = Worker {
            reader: Reader::open()?,
            writer,
            monitor,
            table: None,
            proxy: None,
            nft: None,
            shared: shared.clone(),
            commands: receiver,
            sink,
        };
        let thread = std::thread::Builder::new()
            .name("kernel".to_owned())
            .spawn(move || worker.run())
            .map_err(error("starting the kernel thread"))?;
        Ok(KernelHandle {
            commands: Some(sender),
            shared,
            thread: Some(thread),
        })
    }
}

impl KernelHandle {
    /// Gives a command. Never blocks.
    pub fn command(&self, command: KernelCommand) -> Result<(), QueueFull> {
        if let KernelCommand::SetRules(wanted) = command {
            let mut slot = self
                .shared
                .table
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *slot = Some(wanted);
            drop(slot);
            self.wake();
            return Ok(());
        }
        let Some(commands) = &self.commands else {
            return Err(QueueFull(Box::new(command)));
        };
        commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) | TrySendError::Disconnected(command) => {
                QueueFull(Box::new(command))
            }
        })?;
        self.wake();
        Ok(())
    }

    /// Executes a batch; answered by [`KernelEvent::BatchDone`].
    pub fn submit(&self, batch: Batch) -> Result<(), QueueFull> {
        self.command(KernelCommand::Submit(batch))
    }

    /// Reads everything back.
    pub fn dump(&self) -> Result<(), QueueFull> {
        self.command(KernelCommand::Dump)
    }

    /// Makes our nf_tables table be this, and keeps them so; `None`: no table. Answered by
    /// [`KernelEvent::RulesDone`]; tried again where it fails.
    pub fn set_rules(&self, wanted: Option<Rules>) -> Result<(), QueueFull> {
        self.command(KernelCommand::SetRules(wanted))
    }

    /// Whether the thread still runs. It ends on its own only if its sockets break or its sink panics.
    pub fn is_alive(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    fn wake(&self) {
        // Full only if already awake.
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for KernelHandle {
    fn drop(&mut self) {
        self.commands = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
