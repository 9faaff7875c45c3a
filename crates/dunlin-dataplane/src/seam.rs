use std::fmt;

use crate::fib::{Batch, BatchDone, DumpItem, RouteEvent};
use crate::links::{self, LinkEvent};
use crate::proxy;
use crate::rules::{self, Rules};

/// What the machines ask of the kernel. Executed strictly in order.
#[derive(Clone, Debug)]
pub enum KernelCommand {
    /// Execute the operations; answered by [`KernelEvent::BatchDone`].
    Submit(Batch),
    /// Read everything back; answered by [`KernelEvent::DumpBegin`] … [`KernelEvent::DumpEnd`].
    Dump,
    /// Make our nf_tables table be this (`None`: absent); answered by [`KernelEvent::RulesDone`].
    SetRules(Option<Rules>),
    /// Execute a batch of the service proxy; answered by [`KernelEvent::ProxyDone`].
    SubmitProxy(proxy::Batch),
    /// Read back the tables of the service proxy; answered by [`KernelEvent::ProxyFound`].
    ReadProxy,
    /// Remove the tables of the service proxy; answered by [`KernelEvent::ProxyFound`], which says what is there then.
    RemoveProxy,
}

/// What the kernel tells the machines.
#[derive(Clone, Debug)]
pub enum KernelEvent {
    /// A link or an address came, changed or went.
    Link(LinkEvent),
    /// Somebody else changed a route of ours, or a foreign route at a metric of ours.
    Route(RouteEvent),
    /// Somebody else changed or deleted a nexthop with an id of ours.
    NexthopChanged {
        /// The nexthop's id.
        id: u32,
    },
    /// A read-back starts. Until [`KernelEvent::DumpEnd`] only dump events follow.
    DumpBegin,
    /// Links of the read-back.
    DumpLinks(Vec<links::Link>),
    /// Addresses of the read-back; they follow the links.
    DumpAddresses(Vec<links::Address>),
    /// Nexthops, then routes, of the read-back.
    DumpItems(Vec<DumpItem>),
    /// The read-back is over.
    DumpEnd {
        /// False if the kernel refused or the tables changed too fast to be read: what was not seen may still exist.
        complete: bool,
    },
    /// A batch was executed.
    BatchDone(BatchDone),
    /// Notifications were lost: a read-back is needed.
    Overrun,
    /// Our nf_tables table is as last asked, or not. Also told after a repair that nobody asked for.
    RulesDone(Result<rules::Outcome, KernelError>),
    /// A batch of the service proxy was executed, or refused.
    ProxyDone(proxy::BatchDone),
    /// What the tables of the service proxy hold. `Err`: that could not be read.
    ProxyFound(Result<proxy::Found, KernelError>),
    /// Somebody else changed the tables of the service proxy, or may have: a read-back is needed. Told once until one is
    /// asked for, and no more often than once in 100 ms.
    ProxyMeddled,
}

/// The kernel refused something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelError {
    /// The positive error number; 0 if the failure was not the kernel's.
    pub errno: i32,
    /// What was attempted, and the kernel's own words where it gave any.
    pub message: String,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.errno != 0 {
            write!(f, " (errno {})", self.errno)?;
        }
        Ok(())
    }
}

impl std::error::Error for KernelError {}
