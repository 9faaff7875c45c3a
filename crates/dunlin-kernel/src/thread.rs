//! The kernel thread: executes commands, tells events, and sleeps in `poll` otherwise.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dunlin_dataplane::fib::{Batch, DumpItem};
use dunlin_dataplane::rules::Rules;
use dunlin_dataplane::{KernelCommand, KernelError, KernelEvent, mark};
use dunlin_net::Afi;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use crate::Error;
use crate::netlink::DumpEnd;
use crate::nft::{self, RuleKeeper};
use crate::rtnl::{Monitor, Reader, Writer};

/// Commands that may wait. A `Fib` has one outstanding; wishes for the table do not queue, the last one counts.
const QUEUE: usize = 8;
/// Items of a read-back told at a time.
const CHUNK: usize = 4096;
/// How often a read-back that met changes is tried again before it is told as incomplete.
const DUMP_ATTEMPTS: usize = 3;
/// After a failed attempt at the nf_tables table, and between repairs; doubled up to the maximum while it goes on.
const RULES_DELAY: Duration = Duration::from_millis(100);
const RULES_MAX_DELAY: Duration = Duration::from_secs(10);

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

struct Worker<S> {
    reader: Reader,
    writer: Writer,
    monitor: Monitor,
    /// Opened when first asked for: a node without nf_tables can still route.
    table: Option<Keeper>,
    shared: Arc<Shared>,
    commands: Receiver<KernelCommand>,
    sink: S,
}

/// Our nf_tables table and when to look at them again.
struct Keeper {
    rules: RuleKeeper,
    monitor: nft::Monitor,
    wanted: Option<Rules>,
    delay: Duration,
    /// Not before this; `None`: nothing to do.
    due: Option<Instant>,
    last: Option<Instant>,
    repair: bool,
}

impl<S: FnMut(KernelEvent)> Worker<S> {
    fn run(mut self) {
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
        }
        Ok(())
    }

    fn dump(&mut self) {
        (self.sink)(KernelEvent::DumpBegin);
        let complete = match self.dump_all() {
            Ok(end) => end == DumpEnd::Complete,
            Err(error) => {
                tracing::warn!(%error, "reading back from the kernel failed");
                false
            }
        };
        (self.sink)(KernelEvent::DumpEnd { complete });
    }

    fn dump_all(&mut self) -> Result<DumpEnd, Error> {
        let Worker { reader, sink, .. } = self;
        // Small tables are read again until they hold still, and told when they do.
        let (links, links_end) = settled(|links| reader.links(|link| links.push(link)))?;
        sink(KernelEvent::DumpLinks(links));
        let (addresses, addresses_end) =
            settled(|addresses| reader.addresses(|address| addresses.push(address)))?;
        sink(KernelEvent::DumpAddresses(addresses));
        let (nexthops, nexthops_end) = settled(|nexthops| {
            reader.nexthops(|item| {
                if matches!(item, DumpItem::Nexthop { id, .. } if mark::is_our_nexthop_id(id)) {
                    nexthops.push(item);
                }
            })
        })?;
        sink(KernelEvent::DumpItems(nexthops));
        let mut ends = vec![links_end, addresses_end, nexthops_end];
        for afi in Afi::ALL {
            let mut chunk = Vec::new();
            ends.push(reader.our_routes(afi, |item| {
                chunk.push(item);
                if chunk.len() >= CHUNK {
                    sink(KernelEvent::DumpItems(std::mem::take(&mut chunk)));
                }
            })?);
            if !chunk.is_empty() {
                sink(KernelEvent::DumpItems(chunk));
            }
        }
        let complete = ends.iter().all(|end| *end == DumpEnd::Complete);
        Ok(if complete {
            DumpEnd::Complete
        } else {
            DumpEnd::Interrupted
        })
    }

    /// Takes a new wish, hears of changes by others, and writes if it is time.
    fn keep_rules(&mut self) {
        let wish = self
            .shared
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(wanted) = wish {
            let keeper = match self.table.take() {
                Some(keeper) => Ok(Keeper { wanted, ..keeper }),
                None => Keeper::open(wanted),
            };
            match keeper {
                Ok(keeper) => {
                    let keeper = self.table.insert(keeper);
                    keeper.due = Some(Instant::now());
                }
                Err(error) => {
                    let error = KernelError::from(&error);
                    (self.sink)(KernelEvent::RulesDone(Err(error)));
                }
            }
        }
        let Some(keeper) = &mut self.table else {
            return;
        };
        match keeper.monitor.drain() {
            Ok(false) => {}
            Ok(true) => keeper.on_meddling(),
            Err(error) => tracing::warn!(%error, "watching nf_tables failed"),
        }
        if keeper.due.is_some_and(|due| due <= Instant::now())
            && let Some(event) = keeper.apply()
        {
            (self.sink)(event);
        }
    }
}

impl Keeper {
    fn open(wanted: Option<Rules>) -> Result<Keeper, Error> {
        let rules = RuleKeeper::open()?;
        let monitor = nft::Monitor::open(rules.port(), mark::NFT_TABLE)?;
        let (delay, due, last) = (RULES_DELAY, None, None);
        Ok(Keeper {
            rules,
            monitor,
            wanted,
            delay,
            due,
            last,
            repair: false,
        })
    }

    /// Somebody else changed the table. Repaired at once, but not in a busy fight.
    fn on_meddling(&mut self) {
        self.rules.forget();
        self.repair = true;
        let now = Instant::now();
        match self.last {
            Some(last) if now.duration_since(last) < self.delay => {
                self.due.get_or_insert(last + self.delay);
            }
            _ => self.due = Some(now),
        }
    }

    /// `None` if a suspected repair found nothing to do.
    fn apply(&mut self) -> Option<KernelEvent> {
        let now = Instant::now();
        let repair = std::mem::take(&mut self.repair);
        let calm = self
            .last
            .is_none_or(|last| now.duration_since(last) > RULES_MAX_DELAY);
        let result = self.rules.apply(self.wanted.as_ref());
        self.last = Some(now);
        self.due = None;
        let again = (self.delay * 2).min(RULES_MAX_DELAY);
        match result {
            Ok(outcome) => {
                let changed = outcome.rebuilt || outcome.added > 0 || outcome.removed > 0;
                let fighting = repair && changed && !calm;
                self.delay = if fighting { again } else { RULES_DELAY };
                let outcome = nft_outcome(outcome, repair && changed);
                (changed || !repair).then_some(KernelEvent::RulesDone(Ok(outcome)))
            }
            Err(error) => {
                self.due = Some(now + self.delay);
                self.delay = again;
                Some(KernelEvent::RulesDone(Err(KernelError::from(&error))))
            }
        }
    }
}

fn nft_outcome(
    outcome: dunlin_dataplane::rules::Outcome,
    repaired: bool,
) -> dunlin_dataplane::rules::Outcome {
    dunlin_dataplane::rules::Outcome {
        repaired,
        ..outcome
    }
}

/// Reads until the table held still meanwhile, within reason.
fn settled<T>(
    mut read: impl FnMut(&mut Vec<T>) -> Result<DumpEnd, Error>,
) -> Result<(Vec<T>, DumpEnd), Error> {
    let mut found = Vec::new();
    let mut end = DumpEnd::Interrupted;
    for _ in 0..DUMP_ATTEMPTS {
        found.clear();
        end = read(&mut found)?;
        if end == DumpEnd::Complete {
            break;
        }
    }
    Ok((found, end))
}
