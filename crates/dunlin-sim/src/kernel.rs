//! A kernel that exists only in memory: links, nexthop objects and routes with the rules of Linux that matter to us.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dunlin_dataplane::KernelCommand;
use dunlin_dataplane::KernelEvent;
use dunlin_dataplane::fib::{
    BatchDone, DumpItem, Hop, NexthopContent, Op, OpError, RouteChange, RouteEvent, Target,
};
use dunlin_dataplane::links::{Address, Link, LinkEvent};
use dunlin_dataplane::mark;
use dunlin_dataplane::proxy;
use dunlin_dataplane::rules::{Outcome, Rules};
use dunlin_net::{Afi, IpNet};

const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EINVAL: i32 = 22;
const ENETDOWN: i32 = 100;

/// A route's key: what Linux tells routes of one table apart by.
type RouteKey = (IpNet, u32);

/// A kernel.
#[derive(Clone, Debug, Default)]
pub struct SimKernel {
    links: BTreeMap<u32, Link>,
    addresses: Vec<Address>,
    nexthops: BTreeMap<u32, (u8, NexthopContent)>,
    routes: BTreeMap<RouteKey, (u8, Target)>,
    /// Our nf_tables table.
    pub rules: Option<Rules>,
    /// The next so many operations fail with this error number.
    refuse: (u32, i32),
    /// Routes of ours that were deleted on request, since the counter was last reset.
    pub deletions: u64,
    /// Of which prefixes, and how often.
    pub deleted: BTreeMap<IpNet, u64>,
}

impl SimKernel {
    /// A kernel with one link, `eth0`, that is up and holds these addresses.
    pub fn new(addresses: impl IntoIterator<Item = (IpAddr, IpNet)>) -> SimKernel {
        let mut kernel = SimKernel::default();
        kernel.links.insert(
            2,
            Link {
                ifindex: 2,
                name: "eth0".into(),
                up: true,
                loopback: false,
                mtu: 1500,
            },
        );
        kernel.addresses = addresses
            .into_iter()
            .map(|(local, on_link)| Address {
                ifindex: 2,
                local,
                on_link,
            })
            .collect();
        kernel
    }

    /// The link has this address and no other.
    pub fn set_address(&mut self, local: IpAddr, on_link: IpNet) {
        self.addresses = vec![Address {
            ifindex: 2,
            local,
            on_link,
        }];
    }

    /// Executes a command and says what the real one would.
    pub fn execute(&mut self, command: KernelCommand) -> Vec<KernelEvent> {
        match command {
            KernelCommand::Dump => self.dump(),
            KernelCommand::Submit(batch) => {
                let mut errors = Vec::new();
                for (index, op) in batch.ops.iter().enumerate() {
                    if let Err(errno) = self.apply(op) {
                        errors.push(OpError {
                            index: u32::try_from(index).unwrap_or(u32::MAX),
                            errno,
                            message: None,
                        });
                    }
                }
                vec![KernelEvent::BatchDone(BatchDone {
                    id: batch.id,
                    errors,
                    lost: false,
                })]
            }
            KernelCommand::SetRules(wanted) => {
                self.rules = wanted;
                vec![KernelEvent::RulesDone(Ok(Outcome::default()))]
            }
            // Takes everything and keeps nothing.
            KernelCommand::SubmitProxy(batch) => vec![KernelEvent::ProxyDone(proxy::BatchDone {
                number: batch.number,
                result: Ok(()),
                unsure: false,
                forgotten: Ok(()),
            })],
            KernelCommand::ReadProxy | KernelCommand::RemoveProxy => {
                vec![KernelEvent::ProxyFound(Ok(proxy::Found::default()))]
            }
        }
    }

    /// The next `count` operations fail with `errno`.
    pub fn refuse_next(&mut self, count: u32, errno: i32) {
        self.refuse = (count, errno);
    }

    /// Somebody deletes a route; the notification is returned.
    pub fn foreign_delete(&mut self, net: IpNet) -> Option<KernelEvent> {
        let (_, _) = self.routes.remove(&(net, mark::ROUTE_METRIC))?;
        Some(KernelEvent::Route(RouteEvent {
            net,
            metric: mark::ROUTE_METRIC,
            protocol: mark::ROUTE_PROTOCOL,
            change: RouteChange::Deleted,
        }))
    }

    /// A foreign route with our prefix and metric is put there before us.
    pub fn foreign_add(&mut self, net: IpNet) {
        self.routes
            .insert((net, mark::ROUTE_METRIC), (4, Target::Blackhole));
    }

    /// The link goes down or up: nexthops on it go silently, and the IPv4 routes that name them with them.
    pub fn set_link(&mut self, up: bool) -> Vec<KernelEvent> {
        let Some(link) = self.links.get_mut(&2) else {
            return Vec::new();
        };
        link.up = up;
        let event = KernelEvent::Link(LinkEvent::Link(link.clone()));
        if !up {
            let gone: Vec<u32> = self.nexthops.keys().copied().collect();
            for id in gone {
                self.remove_nexthop(id);
            }
        }
        vec![event]
    }

    /// Where packets for a prefix of ours go: the gateways, or nothing.
    pub fn gateways(&self, net: IpNet) -> Option<Vec<Hop>> {
        match self.routes.get(&(net, mark::ROUTE_METRIC))? {
            (_, Target::Nexthop(id)) => Some(self.hops(*id)),
            _ => None,
        }
    }

    /// The prefixes of our routes through next hops.
    pub fn our_routes(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.routes
            .iter()
            .filter(|((_, metric), (protocol, _))| {
                *protocol == mark::ROUTE_PROTOCOL && *metric == mark::ROUTE_METRIC
            })
            .map(|((net, _), _)| *net)
    }

    /// Whether a foreign route still stands at a prefix and our metric.
    pub fn has_foreign(&self, net: IpNet) -> bool {
        matches!(self.routes.get(&(net, mark::ROUTE_METRIC)), Some((protocol, _)) if *protocol != mark::ROUTE_PROTOCOL)
    }

    fn hops(&self, id: u32) -> Vec<Hop> {
        match self.nexthops.get(&id) {
            Some((_, NexthopContent::Single(hop))) => vec![*hop],
            Some((_, NexthopContent::Group(ids))) => {
                ids.iter().flat_map(|id| self.hops(*id)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn dump(&self) -> Vec<KernelEvent> {
        let nexthops = self
            .nexthops
            .iter()
            .map(|(&id, (protocol, content))| DumpItem::Nexthop {
                id,
                protocol: *protocol,
                content: content.clone(),
            });
        let routes = self
            .routes
            .iter()
            .map(|(&(net, metric), &(protocol, target))| DumpItem::Route {
                net,
                metric,
                protocol,
                target,
            });
        vec![
            KernelEvent::DumpBegin,
            KernelEvent::DumpLinks(self.links.values().cloned().collect()),
            KernelEvent::DumpAddresses(self.addresses.clone()),
            KernelEvent::DumpItems(nexthops.chain(routes).collect()),
            KernelEvent::DumpEnd { complete: true },
        ]
    }

    fn apply(&mut self, op: &Op) -> Result<(), i32> {
        if self.refuse.0 > 0 {
            self.refuse.0 -= 1;
            return Err(self.refuse.1);
        }
        match op {
            Op::Nexthop {
                id,
                content,
                replace,
            } => self.put_nexthop(*id, content, *replace),
            Op::NexthopDelete { id } => {
                if !self.nexthops.contains_key(id) {
                    return Err(ENOENT);
                }
                self.remove_nexthop(*id);
                Ok(())
            }
            Op::Route {
                net,
                metric,
                target,
                replace,
            } => self.put_route((*net, *metric), *target, *replace),
            Op::RouteDelete { net, metric } => {
                let key = (*net, *metric);
                match self.routes.get(&key) {
                    Some((protocol, _)) if *protocol == mark::ROUTE_PROTOCOL => {
                        self.routes.remove(&key);
                        self.deletions += 1;
                        *self.deleted.entry(*net).or_default() += 1;
                        Ok(())
                    }
                    _ => Err(ESRCH),
                }
            }
        }
    }

    fn put_nexthop(&mut self, id: u32, content: &NexthopContent, replace: bool) -> Result<(), i32> {
        match (self.nexthops.contains_key(&id), replace) {
            (true, false) => return Err(EEXIST),
            (false, true) => return Err(ENOENT),
            _ => {}
        }
        match content {
            NexthopContent::Single(hop) => match self.links.get(&hop.ifindex) {
                Some(link) if link.up => {}
                _ => return Err(ENETDOWN),
            },
            NexthopContent::Group(ids) => {
                if ids.is_empty() || !ids.iter().all(|id| self.nexthops.contains_key(id)) {
                    return Err(EINVAL);
                }
            }
            NexthopContent::Other => return Err(EINVAL),
        }
        self.nexthops
            .insert(id, (mark::ROUTE_PROTOCOL, content.clone()));
        Ok(())
    }

    fn put_route(&mut self, key: RouteKey, target: Target, replace: bool) -> Result<(), i32> {
        match (self.routes.contains_key(&key), replace) {
            (true, false) => return Err(EEXIST),
            (false, true) => return Err(ENOENT),
            _ => {}
        }
        if let Target::Nexthop(id) = target {
            let hops = self.hops(id);
            if hops.is_empty() {
                return Err(EINVAL);
            }
            let v4_hop = hops.iter().any(|hop| hop.gateway.is_ipv4());
            if Afi::of_net(key.0) == Afi::Ipv6 && v4_hop {
                return Err(EINVAL);
            }
        }
        self.routes.insert(key, (mark::ROUTE_PROTOCOL, target));
        Ok(())
    }

    /// A nexthop goes, and with it the routes that name it, and its place in groups.
    fn remove_nexthop(&mut self, id: u32) {
        self.nexthops.remove(&id);
        self.routes
            .retain(|_, (_, target)| *target != Target::Nexthop(id));
        let mut emptied = Vec::new();
        for (&group, (_, content)) in &mut self.nexthops {
            if let NexthopContent::Group(ids) = content {
                ids.retain(|member| *member != id);
                if ids.is_empty() {
                    emptied.push(group);
                }
            }
        }
        for group in emptied {
            self.remove_nexthop(group);
        }
    }
}
