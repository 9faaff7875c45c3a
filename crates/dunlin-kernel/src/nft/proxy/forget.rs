use std::collections::HashSet;
use std::net::SocketAddr;

use dunlin_dataplane::KernelError;
use dunlin_dataplane::proxy::{Element, Forget, Found, MAX_FLOWS};
use dunlin_net::Afi;
use dunlin_net::service::{Frontend, Protocol};

use super::octets::{Octets, Parts};
use super::{ProxyTables, shape};
use crate::Error;
use crate::conntrack::{Conntrack, Flow};
use crate::nft::Transaction;
use crate::nft::set::ElementRef;
use crate::nft::transaction::ELEMENTS;

/// Packets change the map while it is read and written: an element may have gone before it is deleted.
const ATTEMPTS: usize = 5;

/// Clients that come back: whom to, and to which endpoint.
type Clients = HashSet<(Frontend, SocketAddr)>;

impl ProxyTables {
    /// Goes on where something fails, and tells the first failure.
    pub(super) fn forget_all(&mut self, forget: &[Forget]) -> Result<(), KernelError> {
        let mut flows = Vec::new();
        let mut clients = Clients::new();
        for one in forget {
            match *one {
                Forget::Flows { frontend, endpoint } => flows.push((frontend, endpoint)),
                Forget::Untranslated { frontend } => {
                    let itself = SocketAddr::new(frontend.addr, frontend.port);
                    flows.push((frontend, itself));
                }
                Forget::Clients { frontend, endpoint } => {
                    clients.insert((frontend, endpoint));
                }
            }
        }
        let mut result = Ok(());
        if !clients.is_empty() {
            for afi in Afi::ALL {
                let of_family: Clients = clients
                    .iter()
                    .copied()
                    .filter(|(frontend, _)| frontend.afi() == afi)
                    .collect();
                if !of_family.is_empty() {
                    result = result.and(self.forget_clients(afi, &of_family));
                }
            }
        }
        let udp = flows
            .iter()
            .filter(|(frontend, _)| frontend.protocol == Protocol::Udp);
        let flows: Vec<Flow> = udp
            .map(|(frontend, endpoint)| Flow {
                to: SocketAddr::new(frontend.addr, frontend.port),
                answered_by: *endpoint,
            })
            .collect();
        result
            .and(self.forget_flows(&flows))
            .map_err(|error| KernelError::from(&error))
    }

    /// What conntrack has of UDP, once. Without it the tables are read all the same.
    pub(super) fn tell_flows(&mut self, found: &mut Found) {
        if self.told_flows {
            return;
        }
        let known = found.elements.iter().filter_map(|element| match element {
            Element::Member { set, frontend }
                if set.decides() && frontend.protocol == Protocol::Udp =>
            {
                Some(SocketAddr::new(frontend.addr, frontend.port))
            }
            _ => None,
        });
        let known: HashSet<SocketAddr> = known.collect();
        let read = Conntrack::open()
            .and_then(|mut conntrack| conntrack.udp(MAX_FLOWS, |to| known.contains(&to)));
        match read {
            Ok(flows) => {
                self.told_flows = true;
                let mut flows: Vec<Flow> = flows.into_iter().collect();
                flows.sort_unstable_by_key(|flow| (flow.to, flow.answered_by));
                let tell = |flow: Flow| {
                    let frontend = Frontend {
                        addr: flow.to.ip(),
                        protocol: Protocol::Udp,
                        port: flow.to.port(),
                    };
                    (frontend, flow.answered_by)
                };
                found.flows = flows.into_iter().map(tell).collect();
            }
            Err(error) => {
                tracing::warn!(%error, "UDP flows from before are not known: those to endpoints that are gone end by timeout");
            }
        }
    }

    fn forget_flows(&mut self, flows: &[Flow]) -> Result<(), Error> {
        if flows.is_empty() {
            return Ok(());
        }
        let conntrack = match &mut self.conntrack {
            Some(conntrack) => conntrack,
            None => self.conntrack.insert(Conntrack::open()?),
        };
        let done = conntrack.delete_udp(flows);
        if done.is_err() {
            // A late answer must not be taken for another's.
            self.conntrack = None;
        }
        done.map(|_| ())
    }

    fn forget_clients(&mut self, afi: Afi, clients: &Clients) -> Result<(), Error> {
        let table = shape::table(afi);
        let mut last = Ok(());
        for _ in 0..ATTEMPTS {
            let named = |element: &ElementRef<'_>| {
                let endpoint = Parts::new(afi, element.data?).endpoint()?;
                let frontend = Parts::new(afi, element.key).frontend()?;
                clients
                    .contains(&(frontend, endpoint))
                    .then(|| Octets::of(element.key))
            };
            let found = self.nft.read_elements(table, shape::AFFINITY, named)?;
            let mut transaction = Transaction::new();
            for some in found.unwrap_or_default().chunks(ELEMENTS) {
                transaction.change_elements(false, table, shape::AFFINITY, |list| {
                    for key in some {
                        list.push(&ElementRef {
                            key: key.as_slice(),
                            ..ElementRef::default()
                        });
                    }
                });
            }
            last = self
                .nft
                .commit("forgetting clients of a service", transaction);
            match &last {
                Err(Error::Refused {
                    errno: libc::ENOENT,
                    ..
                }) => {}
                _ => break,
            }
        }
        last
    }
}
