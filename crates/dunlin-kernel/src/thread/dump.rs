use dunlin_dataplane::fib::DumpItem;
use dunlin_dataplane::{KernelEvent, mark};
use dunlin_net::Afi;

use super::worker::Worker;
use crate::Error;
use crate::netlink::DumpEnd;

/// Items of a read-back told at a time.
const CHUNK: usize = 4096;
/// How often a read-back that met changes is tried again before it is told as incomplete.
const DUMP_ATTEMPTS: usize = 3;

impl<S: FnMut(KernelEvent)> Worker<S> {
    /// Reads back links, addresses, nexthops and routes, and tells them.
    pub(super) fn dump(&mut self) {
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
