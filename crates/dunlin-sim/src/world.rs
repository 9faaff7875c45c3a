use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_bgp::session::{ConnId, Input as SessionInput, TransportError};
use dunlin_intent::{Fact, Key, NodeFact};
use dunlin_net::{Instant, IpNet, PeerId};

use crate::Chance;
use crate::config::WorldConfig;
use crate::host::{Host, Want};
use crate::kernel::SimKernel;
use crate::net::{End, Net, Segment};
use crate::places::{host_addr, subnet, underlay};

#[derive(Debug)]
pub(crate) enum Event {
    /// A host's deadline.
    Wake(usize),
    /// A dial arrives.
    Syn { from: End, to: SocketAddr },
    /// A dial that nobody answered ends.
    SynLost(End),
    /// Something arrives at an end of a pipe.
    Arrive {
        pipe: u64,
        side: usize,
        segment: Segment,
    },
    /// Objects changed, and a host hears of it.
    Facts {
        host: usize,
        news: News,
        synced: bool,
    },
}

/// Facts that came and keys that went, at one time; the same for all hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    pub(crate) facts: Arc<[Fact]>,
    pub(crate) gone: Arc<[Key]>,
}

/// Hosts, the network between them, and the objects they are told of.
pub struct World {
    pub(crate) config: WorldConfig,
    pub(crate) now: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
    /// The hosts, by number.
    pub hosts: Vec<Host>,
    pub(crate) net: Net,
    pub(crate) objects: BTreeMap<Key, Fact>,
    pub(crate) chance: Chance,
    /// When the last segment toward each end of a pipe arrives: what is sent later arrives later.
    arrivals: BTreeMap<(u64, usize), Instant>,
    /// When each host has heard of the last change of objects.
    pub(crate) heard: BTreeMap<usize, Instant>,
    /// Hosts that do not hear of objects, and what they missed.
    pub(crate) deaf: BTreeMap<usize, Vec<News>>,
    /// Hosts that have something to answer at the end of this grain of time.
    awake: BTreeSet<usize>,
    /// UPDATEs written so far.
    pub updates: u64,
}

impl World {
    /// Hosts that are up, told of one another, and have said nothing yet.
    pub fn new(config: WorldConfig) -> World {
        let mut world = World {
            config,
            now: Instant::from_micros(1_000_000),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            hosts: Vec::new(),
            net: Net::default(),
            objects: BTreeMap::new(),
            chance: Chance::new(config.seed),
            arrivals: BTreeMap::new(),
            heard: BTreeMap::new(),
            deaf: BTreeMap::new(),
            awake: BTreeSet::new(),
            updates: 0,
        };
        for number in 0..config.hosts {
            let addr = host_addr(number);
            let kernel = SimKernel::new([(addr, underlay())]);
            let seed = world.chance.draw();
            let name: Arc<str> = format!("n{number}").into();
            world.hosts.push(Host::new(name, addr, kernel, seed));
            let fact = Fact::Node(world.node_fact(number));
            world.objects.insert(fact.key(), fact);
        }
        if config.router {
            world.add_router();
        }
        let all = world.list();
        for host in 0..world.hosts.len() {
            world.start_with(host, false, all.clone());
        }
        world
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The pod subnet of a host.
    pub fn subnet(&self, host: usize) -> IpNet {
        subnet(u16::try_from(host).unwrap_or_default())
    }

    /// Starts a host's agent; `restarted` says whether it ran before on this kernel.
    pub fn start(&mut self, host: usize, restarted: bool) {
        let all = self.list();
        self.start_with(host, restarted, all);
    }

    /// All objects there are, in no order that means anything.
    fn list(&self) -> Arc<[Fact]> {
        let mut all: Vec<(&Key, &Fact)> = self.objects.iter().collect();
        let seed = self.config.seed;
        all.sort_by_cached_key(|(key, _)| {
            let mut hasher = DefaultHasher::new();
            (seed, key).hash(&mut hasher);
            hasher.finish()
        });
        all.into_iter().map(|(_, fact)| fact.clone()).collect()
    }

    fn start_with(&mut self, host: usize, restarted: bool, all: Arc<[Fact]>) {
        self.hosts[host].start(self.now, restarted);
        let facts = match self.router() {
            Some(router) if router == host => self.router_facts().into(),
            _ => all,
        };
        let news = News {
            facts,
            ..News::default()
        };
        let event = Event::Facts {
            host,
            news,
            synced: true,
        };
        // Its first list is the latest.
        if let Some(missed) = self.deaf.get_mut(&host) {
            missed.clear();
        }
        self.schedule_facts(host, 5, event);
        self.pump(host);
    }

    /// Ends a host's agent at once. Its kernel closes its connections.
    pub fn kill(&mut self, host: usize) {
        self.hosts[host].kill();
        for (pipe, side) in self.net.of_host(host) {
            self.send(pipe, 1 - side, Segment::Fin);
            self.net.close_end(pipe, side);
        }
    }

    /// Lets two hosts hear each other no longer, or again. What was on its way arrives when they do.
    pub fn set_cut(&mut self, a: usize, b: usize, cut: bool) {
        self.net.set_cut(a, b, cut);
        if cut {
            return;
        }
        let mut released = Vec::new();
        for (id, pipe) in &mut self.net.pipes {
            let (x, y) = (pipe.ends[0].host, pipe.ends[1].host);
            if (x.min(y), x.max(y)) == (a.min(b), a.max(b)) {
                for side in 0..2 {
                    let held = std::mem::take(&mut pipe.held[side]);
                    released.extend(held.into_iter().map(|segment| (*id, side, segment)));
                }
            }
        }
        for (pipe, side, segment) in released {
            self.send(pipe, side, segment);
        }
    }

    /// Cuts a host off from all others, or lets it back.
    pub fn set_isolated(&mut self, host: usize, isolated: bool) {
        for other in 0..self.hosts.len() {
            if other != host {
                self.set_cut(host, other, isolated);
            }
        }
    }

    /// Two machines are given each other's address, and their Node objects say so. Their agents start anew, since their
    /// connections are from addresses they no longer have.
    pub fn swap_addresses(&mut self, a: usize, b: usize) {
        for host in [a, b] {
            self.kill(host);
        }
        let (first, second) = (self.hosts[a].addr, self.hosts[b].addr);
        for (host, addr) in [(a, second), (b, first)] {
            self.hosts[host].move_to(addr, underlay());
            let name = self.hosts[host].name.to_string();
            let node = NodeFact::new(name)
                .with_internal_ip(addr)
                .with_pod_cidr(self.subnet(host));
            self.put(Fact::Node(node));
        }
        for host in [a, b] {
            self.start(host, true);
        }
    }

    /// A seed for a host.
    pub(crate) fn draw_seed(&mut self) -> u64 {
        self.chance.draw()
    }

    /// Does something to a host's kernel and lets its agent hear of it.
    pub fn with_kernel(
        &mut self,
        host: usize,
        act: impl FnOnce(&mut SimKernel) -> Vec<dunlin_dataplane::KernelEvent>,
    ) {
        let now = self.now;
        for event in act(&mut self.hosts[host].kernel) {
            self.hosts[host].kernel_event(now, event);
        }
        self.pump(host);
    }

    /// Runs for so long.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until it holds, at most for so long; says how long it took.
    pub fn run_until(
        &mut self,
        within: Duration,
        mut holds: impl FnMut(&mut World) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        let end = start + within;
        loop {
            if holds(self) {
                return Some(self.now.since(start));
            }
            if !self.step(end) {
                return None;
            }
        }
    }

    /// Takes the next event that is due by `end`.
    fn step(&mut self, end: Instant) -> bool {
        let Some(Reverse((at, number))) = self.queue.peek().copied() else {
            return false;
        };
        if at > end {
            return false;
        }
        self.queue.pop();
        self.now = self.now.max(at);
        if let Some(event) = self.events.remove(&number) {
            self.happen(event);
        }
        let grain_ends = |next: &Reverse<(Instant, u64)>| next.0.0 > self.now;
        if self.queue.peek().is_none_or(grain_ends) {
            for host in std::mem::take(&mut self.awake) {
                self.pump(host);
            }
        }
        true
    }

    /// A host heard something, and answers: at once, or when it has heard all of this grain of time.
    fn heard(&mut self, host: usize) {
        if self.config.grain.is_zero() {
            self.pump(host);
        } else {
            self.awake.insert(host);
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Wake(host) => {
                if self.hosts[host].scheduled.is_some_and(|at| at <= now) {
                    self.hosts[host].scheduled = None;
                    self.hosts[host].on_time(now);
                    self.heard(host);
                }
            }
            Event::Syn { from, to } => self.on_syn(from, to),
            Event::SynLost(end) => self.dial_failed(end, TransportError::TimedOut),
            Event::Arrive {
                pipe,
                side,
                segment,
            } => self.arrive(pipe, side, segment),
            Event::Facts { host, news, synced } => {
                self.hosts[host].apply(now, &news);
                if synced {
                    self.hosts[host].synced(now);
                }
                self.heard(host);
            }
        }
    }

    fn dial_failed(&mut self, end: End, error: TransportError) {
        let input = SessionInput::DialFailed {
            conn: end.conn,
            error,
        };
        self.hosts[end.host].session(self.now, end.peer, input);
        self.heard(end.host);
    }

    fn on_syn(&mut self, from: End, to: SocketAddr) {
        let Some(target) = self.hosts.iter().position(|host| host.addr == to.ip()) else {
            return self.dial_failed(from, TransportError::Unreachable);
        };
        if self.net.is_cut(from.host, target) {
            let at = self.now + Duration::from_secs(1);
            return self.schedule(at, Event::SynLost(from));
        }
        let port = 20_000 + u16::try_from(self.chance.below(40_000)).unwrap_or_default();
        let remote = SocketAddr::new(self.hosts[from.host].addr, port);
        match self.hosts[target].accept(self.now, to, remote) {
            Err(error) => self.dial_failed(from, error),
            Ok((peer, conn)) => {
                let acceptor = End {
                    host: target,
                    peer,
                    conn,
                };
                self.net.connect(from, acceptor);
                let conn = from.conn;
                let connected = SessionInput::Connected {
                    conn,
                    local: remote,
                    remote: to,
                };
                self.hosts[from.host].session(self.now, from.peer, connected);
                self.heard(from.host);
                self.heard(target);
            }
        }
    }

    fn arrive(&mut self, id: u64, side: usize, segment: Segment) {
        let Some(pipe) = self.net.pipes.get(&id) else {
            return;
        };
        let (end, other) = (pipe.ends[side], pipe.ends[1 - side]);
        let open = pipe.open[side];
        if self.net.is_cut(end.host, other.host) {
            if let Some(pipe) = self.net.pipes.get_mut(&id) {
                pipe.held[side].push_back(segment);
            }
            return;
        }
        if !open {
            // Nobody there any more: data is answered with a reset, an end is not.
            if matches!(segment, Segment::Bytes(_)) {
                self.send(id, 1 - side, Segment::Reset);
            }
            return;
        }
        let conn = end.conn;
        let input = match &segment {
            Segment::Bytes(bytes) => SessionInput::Bytes { conn, bytes },
            Segment::Fin => SessionInput::Closed {
                conn,
                error: TransportError::Eof,
            },
            Segment::Reset => SessionInput::Closed {
                conn,
                error: TransportError::Reset,
            },
        };
        self.hosts[end.host].session(self.now, end.peer, input);
        if !matches!(segment, Segment::Bytes(_)) {
            self.net.close_end(id, side);
        }
        self.heard(end.host);
    }

    /// Lets a host do all it can now, and carries what it wants to the network.
    fn pump(&mut self, host: usize) {
        let mut wants = VecDeque::new();
        self.hosts[host].pump(self.now, &mut wants);
        for want in wants {
            match want {
                Want::Dial { peer, conn, remote } => {
                    let at = self.now + self.delay();
                    let from = End { host, peer, conn };
                    self.schedule(at, Event::Syn { from, to: remote });
                }
                Want::Write { peer, conn, bytes } => self.write(host, peer, conn, bytes),
                Want::Close { peer, conn, last } => {
                    if let Some(last) = last {
                        self.write(host, peer, conn, last.into());
                    }
                    if let Some((pipe, side)) = self.net.find(host, peer, conn) {
                        self.send(pipe, 1 - side, Segment::Fin);
                        self.net.close_end(pipe, side);
                    }
                }
            }
        }
        self.schedule_wake(host);
    }

    fn write(&mut self, host: usize, peer: PeerId, conn: ConnId, bytes: Bytes) {
        if let Some((pipe, side)) = self.net.find(host, peer, conn) {
            self.updates += u64::from(bytes.get(18) == Some(&2));
            self.send(pipe, 1 - side, Segment::Bytes(bytes));
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.net.pipes.len()
    }

    fn schedule_wake(&mut self, host: usize) {
        let Some(at) = self.hosts[host].next_deadline() else {
            return;
        };
        let at = at.max(self.now);
        if self.hosts[host].scheduled.is_none_or(|due| at < due) {
            self.hosts[host].scheduled = Some(at);
            self.schedule(at, Event::Wake(host));
        }
    }

    fn send(&mut self, pipe: u64, side: usize, segment: Segment) {
        let mut at = self.now + self.delay();
        let last = self.arrivals.entry((pipe, side)).or_default();
        at = at.max(*last + Duration::from_micros(1));
        *last = at;
        self.schedule(
            at,
            Event::Arrive {
                pipe,
                side,
                segment,
            },
        );
    }

    /// The first moment of a grain that is not before.
    fn grain_after(&self, at: Instant) -> Instant {
        let grain = u64::try_from(self.config.grain.as_micros()).unwrap_or(u64::MAX);
        match at.as_micros().checked_rem(grain) {
            None | Some(0) => at,
            Some(past) => at + Duration::from_micros(grain - past),
        }
    }

    fn delay(&mut self) -> Duration {
        let jitter = u64::try_from(self.config.jitter.as_micros()).unwrap_or_default();
        self.config.latency + Duration::from_micros(self.chance.below(jitter + 1))
    }

    pub(crate) fn schedule(&mut self, at: Instant, event: Event) {
        let at = self.grain_after(at);
        let number = self.sequence;
        self.sequence += 1;
        self.events.insert(number, event);
        self.queue.push(Reverse((at, number)));
    }
}
