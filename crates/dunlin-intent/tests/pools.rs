//! Load-balancer addresses in a world where views are stale, answers get lost and deciders change.
//!
//! Long because the world, the decider and what is held of both are read together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_intent::pools::{LOAD_BALANCER_CLASS, Pools};
use dunlin_intent::*;
use dunlin_net::Afi;
use proptest::prelude::*;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A Service is made, or made anew.
    Create(usize, Made),
    Delete(usize),
    /// It becomes of type ClusterIP, which clears its status, or LoadBalancer again.
    Type(usize, bool),
    /// It asks for this address of the pool, or none.
    Ask(usize, Option<u8>),
    /// Somebody empties its status.
    Clear(usize),
    /// The pool is now these addresses of 192.0.2.0/28 and 2001:db8::/124.
    Pool(u8, u8),
    /// The decider sees this many more events.
    See(usize),
    /// It makes this many writes of those it has decided upon.
    Write(usize),
    /// It makes a write and never learns what came of it.
    WriteBlindly,
    /// Another takes over, from a consistent list.
    TakeOver,
}

#[derive(Clone, Debug)]
struct Made {
    families: u8,
    policy: u8,
    key: Option<u8>,
    port: u8,
}

#[derive(Clone, Debug)]
struct Object {
    fact: ServiceFact,
    version: u64,
}

#[derive(Debug)]
struct World {
    objects: BTreeMap<usize, Object>,
    pool: PoolFact,
    /// All that a watch tells, with the version of the object.
    log: Vec<(u64, SourceEvent)>,
    version: u64,
    uids: u64,
}

/// One decider: what it has seen and what it is about to write.
struct Decider {
    pools: Pools,
    seen: usize,
    versions: BTreeMap<NamespacedName, u64>,
    todo: BTreeSet<NamespacedName>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            objects: BTreeMap::new(),
            pool: PoolFact::default(),
            log: Vec::new(),
            version: 0,
            uids: 0,
        };
        world.set_pool(0, 3);
        world
    }

    fn set_pool(&mut self, first: u8, last: u8) {
        let span = |base: &str| AddressRange {
            first: nth(base, first.min(last)),
            last: nth(base, first.max(last)),
            is_cidr: false,
        };
        self.pool = PoolFact {
            name: "p".to_owned(),
            addresses: vec![span("192.0.2.0"), span("2001:db8::")],
            auto_assign: true,
            ..PoolFact::default()
        };
        self.tell(SourceEvent::Apply(Fact::Pool(self.pool.clone())));
    }

    fn tell(&mut self, event: SourceEvent) {
        self.version += 1;
        self.log.push((self.version, event));
    }

    fn change(&mut self, index: usize, change: impl FnOnce(&mut ServiceFact)) {
        if let Some(object) = self.objects.get_mut(&index) {
            change(&mut object.fact);
            object.version = self.version + 1;
            let fact = object.fact.clone();
            self.tell(SourceEvent::Apply(Fact::Service(fact)));
        }
    }

    fn delete(&mut self, index: usize) {
        if let Some(object) = self.objects.remove(&index) {
            self.tell(SourceEvent::Remove(Key::Service(object.fact.name)));
        }
    }

    fn create(&mut self, index: usize, made: &Made) {
        self.delete(index);
        self.uids += 1;
        let mut fact = ServiceFact::new("ns", NAMES[index]);
        fact.uid = Some(format!("uid-{}", self.uids));
        fact.created = Some(Timestamp::from_unix_secs(self.uids as i64 / 2));
        fact.service_type = ServiceType::LoadBalancer;
        fact.load_balancer_class = Some(LOAD_BALANCER_CLASS.to_owned());
        fact.ip_families = match made.families {
            0 => vec![Afi::Ipv4],
            1 => vec![Afi::Ipv6],
            _ => vec![Afi::Ipv6, Afi::Ipv4],
        };
        fact.ip_family_policy = match made.policy {
            0 => IpFamilyPolicy::PreferDualStack,
            1 if made.families > 1 => IpFamilyPolicy::RequireDualStack,
            _ => IpFamilyPolicy::SingleStack,
        };
        fact.sharing_key = made.key.map(|key| key.to_string());
        fact.ports = vec![ServicePortFact {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: made.port.into(),
            node_port: None,
        }];
        let object = Object {
            fact,
            version: self.version + 1,
        };
        self.tell(SourceEvent::Apply(Fact::Service(object.fact.clone())));
        self.objects.insert(index, object);
    }

    /// The status of a Service is written, if it is still the version that the writer saw. Nobody may hold what it gets.
    fn write(&mut self, name: &NamespacedName, version: u64, addresses: &[IpAddr]) -> bool {
        let Some(index) = NAMES.iter().position(|n| **n == *name.name) else {
            return false;
        };
        let Some(object) = self.objects.get(&index) else {
            return false;
        };
        if object.version != version || object.fact.service_type != ServiceType::LoadBalancer {
            return false;
        }
        let before = shown(&object.fact);
        for addr in addresses.iter().filter(|addr| !before.contains(addr)) {
            for (other, there) in &self.objects {
                let clash = *other != index
                    && shown(&there.fact).contains(addr)
                    && !may_share(&object.fact, &there.fact);
                assert!(!clash, "{addr} given to {name} and to {}", there.fact.name);
            }
        }
        let ingress = addresses.iter().map(|addr| IngressFact {
            ip: Some(*addr),
            vip: true,
        });
        let ingress = ingress.collect();
        self.change(index, |fact| fact.ingress = ingress);
        true
    }
}

impl Decider {
    /// Begins from a consistent list of everything.
    fn new(world: &World) -> Decider {
        let mut decider = Decider {
            pools: Pools::new(true),
            seen: world.log.len(),
            versions: BTreeMap::new(),
            todo: BTreeSet::new(),
        };
        let pool = Fact::Pool(world.pool.clone());
        decider.pools.handle(SourceEvent::Apply(pool));
        for object in world.objects.values() {
            decider.see(
                object.version,
                SourceEvent::Apply(Fact::Service(object.fact.clone())),
            );
        }
        for kind in Kind::ALL {
            decider.pools.handle(SourceEvent::Synced(kind));
        }
        decider.decide();
        decider
    }

    fn see(&mut self, version: u64, event: SourceEvent) {
        match &event {
            SourceEvent::Apply(Fact::Service(fact)) => {
                // What a write was answered with may be newer than what the watch tells.
                let known = self.versions.get(&fact.name);
                if known.is_some_and(|known| *known > version) {
                    return;
                }
                self.versions.insert(fact.name.clone(), version);
            }
            SourceEvent::Remove(Key::Service(name)) => {
                if self
                    .versions
                    .get(name)
                    .is_some_and(|known| *known > version)
                {
                    return;
                }
                self.versions.remove(name);
            }
            _ => {}
        }
        self.pools.handle(event);
    }

    fn decide(&mut self) {
        while let Some(decision) = self.pools.poll_decision() {
            if decision.differs {
                self.todo.insert(decision.service);
            }
        }
    }

    fn see_more(&mut self, world: &World, count: usize) {
        let upto = world.log.len().min(self.seen + count);
        for (version, event) in &world.log[self.seen..upto] {
            self.see(*version, event.clone());
            self.decide();
        }
        self.seen = upto;
    }

    fn write_one(&mut self, world: &mut World, blindly: bool) -> bool {
        let Some(name) = self.todo.pop_first() else {
            return false;
        };
        let Some(decision) = self.pools.decision(&name).filter(|d| d.differs) else {
            return true;
        };
        let version = self.versions.get(&name).copied().unwrap_or(0);
        let addresses = decision.outcome.addresses;
        let uid = decision.uid.as_deref();
        self.pools.writing(&name, uid, &addresses);
        let done = world.write(&name, version, &addresses);
        if blindly || !done {
            self.pools.not_written(&name, uid, !blindly);
            // Tried again some time, whatever came of it.
            self.todo.insert(name);
        } else {
            self.versions.insert(name.clone(), world.version);
            self.pools
                .written(&name, decision.uid.as_deref(), &addresses);
            self.decide();
        }
        true
    }
}

fn nth(base: &str, n: u8) -> IpAddr {
    match base.parse().unwrap() {
        IpAddr::V4(addr) => IpAddr::V4((u32::from(addr) + u32::from(n)).into()),
        IpAddr::V6(addr) => IpAddr::V6((u128::from(addr) + u128::from(n)).into()),
    }
}

fn shown(fact: &ServiceFact) -> Vec<IpAddr> {
    fact.ingress.iter().filter_map(|i| i.ip).collect()
}

fn may_share(a: &ServiceFact, b: &ServiceFact) -> bool {
    let port = |fact: &ServiceFact| fact.ports[0].port;
    a.sharing_key.is_some() && a.sharing_key == b.sharing_key && port(a) != port(b)
}

fn play(steps: Vec<Step>) {
    let mut world = World::new();
    let mut decider = Decider::new(&world);
    for step in steps {
        match step {
            Step::Create(index, made) => world.create(index, &made),
            Step::Delete(index) => world.delete(index),
            Step::Type(index, balanced) => world.change(index, |fact| {
                fact.service_type = match balanced {
                    true => ServiceType::LoadBalancer,
                    false => ServiceType::ClusterIp,
                };
                if !balanced {
                    fact.ingress.clear();
                }
            }),
            Step::Ask(index, which) => world.change(index, |fact| {
                let v6 = fact.ip_families == [Afi::Ipv6];
                let base = if v6 { "2001:db8::" } else { "192.0.2.0" };
                fact.requested_ips = which.map(|n| nth(base, n)).into_iter().collect();
            }),
            Step::Clear(index) => world.change(index, |fact| fact.ingress.clear()),
            Step::Pool(first, last) => world.set_pool(first, last),
            Step::See(count) => decider.see_more(&world, count),
            Step::Write(count) => {
                (0..count).all(|_| decider.write_one(&mut world, false));
            }
            Step::WriteBlindly => {
                decider.write_one(&mut world, true);
            }
            Step::TakeOver => decider = Decider::new(&world),
        }
    }
    settle(&mut world, &mut decider);
    check(&world, &decider);
    // Whoever takes over now has nothing to do.
    let next = Decider::new(&world);
    assert!(next.todo.is_empty(), "{:?}", next.todo);
    for (name, outcome) in decider.pools.outcomes() {
        let theirs = next.pools.decision(name).unwrap().outcome;
        assert_eq!(theirs.addresses, outcome.addresses, "{name}");
    }
}

/// Until nothing is left to see or to write.
fn settle(world: &mut World, decider: &mut Decider) {
    for _ in 0..200 {
        decider.see_more(world, usize::MAX / 2);
        if !decider.write_one(world, false) && decider.seen == world.log.len() {
            return;
        }
    }
    panic!("does not come to rest");
}

/// Against the plain rules: all is written, nothing is had twice, and nobody waits for what is free.
fn check(world: &World, decider: &Decider) {
    let balanced = || {
        let objects = world.objects.values().map(|object| &object.fact);
        objects.filter(|fact| fact.service_type == ServiceType::LoadBalancer)
    };
    let held: BTreeSet<IpAddr> = balanced().flat_map(shown).collect();
    let free = |afi: Afi| {
        let span = world
            .pool
            .addresses
            .iter()
            .find(|s| Afi::of(s.first) == afi)
            .unwrap();
        (0u8..16)
            .flat_map(|n| [nth("192.0.2.0", n), nth("2001:db8::", n)])
            .any(|ip| {
                (span.first..=span.last).contains(&ip) && Afi::of(ip) == afi && !held.contains(&ip)
            })
    };
    for fact in balanced() {
        let outcome = decider.pools.decision(&fact.name).unwrap().outcome;
        let has = shown(fact);
        assert_eq!(has, outcome.addresses, "{}", fact.name);
        for other in balanced().filter(|other| other.name != fact.name) {
            let common = has.iter().find(|ip| shown(other).contains(ip));
            assert!(
                common.is_none() || may_share(fact, other),
                "{common:?}: {} and {}",
                fact.name,
                other.name
            );
        }
        let wanted: Vec<Afi> = match fact.ip_family_policy {
            IpFamilyPolicy::SingleStack => vec![fact.ip_families[0]],
            _ => fact.ip_families.clone(),
        };
        assert!(
            has.iter().all(|ip| wanted.contains(&Afi::of(*ip))),
            "{has:?}"
        );
        let asked = fact.requested_ips.iter().all(|ip| has.contains(ip));
        let lacking = |afi: &&Afi| !has.iter().any(|ip| Afi::of(*ip) == **afi);
        let lacks: Vec<Afi> = wanted.iter().filter(lacking).copied().collect();
        assert_eq!(
            outcome.complete(),
            lacks.is_empty() && asked,
            "{}: {outcome}",
            fact.name
        );
        match fact.ip_family_policy {
            _ if !asked => {}
            IpFamilyPolicy::RequireDualStack => {
                let all_free = lacks.iter().all(|afi| free(*afi));
                assert!(lacks.is_empty() || !all_free, "{}: {outcome}", fact.name);
            }
            _ => {
                let one_free = lacks.iter().any(|afi| free(*afi));
                assert!(!one_free, "{}: {outcome}", fact.name);
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let index = 0..NAMES.len();
    let made = (0u8..3, 0u8..3, prop::option::weighted(0.4, 0u8..2), 0u8..3);
    let made = made.prop_map(|(families, policy, key, port)| Made {
        families,
        policy,
        key,
        port,
    });
    prop_oneof![
        5 => (index.clone(), made).prop_map(|(index, made)| Step::Create(index, made)),
        2 => index.clone().prop_map(Step::Delete),
        2 => (index.clone(), any::<bool>()).prop_map(|(index, on)| Step::Type(index, on)),
        2 => (index.clone(), prop::option::of(0u8..5)).prop_map(|(index, n)| Step::Ask(index, n)),
        1 => index.prop_map(Step::Clear),
        1 => (0u8..5, 0u8..5).prop_map(|(first, last)| Step::Pool(first, last)),
        8 => (1usize..5).prop_map(Step::See),
        8 => (1usize..4).prop_map(Step::Write),
        2 => Just(Step::WriteBlindly),
        2 => Just(Step::TakeOver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_address_is_given_twice(steps in prop::collection::vec(step(), 0..80)) {
        play(steps);
    }
}

/// Ten thousand Services, of a pool so large that nobody could list it, come and go; nothing takes a step for each other.
#[test]
fn many_services_and_a_vast_pool() {
    let many = 10_000;
    let fact = |n: usize| ServiceFact {
        uid: Some(n.to_string()),
        service_type: ServiceType::LoadBalancer,
        ip_families: vec![Afi::Ipv6, Afi::Ipv4],
        ip_family_policy: IpFamilyPolicy::PreferDualStack,
        ..ServiceFact::new("ns", &format!("s{n:05}"))
    };
    let mut pools = Pools::new(true);
    let range = |first: &str, last: &str| AddressRange {
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
        is_cidr: true,
    };
    let v4 = range("10.0.0.0", "10.0.15.255");
    let v6 = range("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
    pools.handle(SourceEvent::Apply(Fact::Pool(PoolFact {
        name: "p".to_owned(),
        addresses: vec![v6, v4],
        auto_assign: true,
        ..PoolFact::default()
    })));
    for n in 0..many {
        pools.handle(SourceEvent::Apply(Fact::Service(fact(n))));
    }
    for kind in Kind::ALL {
        pools.handle(SourceEvent::Synced(kind));
    }
    let mut given = BTreeSet::new();
    let mut short = 0;
    while let Some(decision) = pools.poll_decision() {
        let addresses = decision.outcome.addresses;
        pools.written(&decision.service, decision.uid.as_deref(), &addresses);
        short += usize::from(decision.outcome.shortfall.is_some());
        for addr in addresses {
            assert!(given.insert(addr), "{addr} twice");
        }
    }
    assert_eq!(given.len(), many + 4096);
    assert_eq!(short, many - 4096);
    // Each that goes makes room for the next that waits.
    for n in 0..1000 {
        pools.handle(SourceEvent::Remove(Key::Service(fact(n).name)));
        let decision = pools.poll_decision().expect("one comes up");
        assert_eq!(*decision.service.name, *format!("s{:05}", 4096 + n));
        let addresses = decision.outcome.addresses;
        pools.written(&decision.service, decision.uid.as_deref(), &addresses);
        assert_eq!(pools.poll_decision(), None);
    }
    let view = &pools.pools()[0];
    assert_eq!((view.used.v4, view.used.v6), (4096, many - 1000));
}

/// What a write of which nobody heard again may have given is nobody else's, whatever is decided meanwhile.
#[test]
fn an_address_that_may_have_been_written_is_not_given_to_another() {
    let made = |families| Made {
        families,
        policy: 0,
        key: None,
        port: 0,
    };
    play(vec![
        Step::Pool(0, 1),
        Step::Create(0, made(0)),
        Step::See(2),
        Step::Create(4, made(0)),
        Step::Ask(4, Some(2)),
        Step::See(1),
        Step::Write(1),
        Step::Pool(0, 2),
        Step::Create(1, made(2)),
        Step::See(1),
        Step::WriteBlindly,
        Step::Delete(2),
        Step::Type(0, false),
    ]);
}
