use dunlin_net::IpNet;

use super::*;
use crate::fact::{
    AddressRange, IngressFact, IpFamilyPolicy, Malformed, NamespaceFact, NodeFact, PeerFact,
    PoolFact, Protocol, ServiceCidrFact, ServiceFact, ServicePortFact, ServiceType, Timestamp,
    TrafficPolicy,
};
use crate::selector::Selector;

mod ask;
mod family;
mod keep;
mod reserved;
mod share;

/// A range as `spec.addresses` has it: `192.0.2.0/29` or `192.0.2.1-192.0.2.3`.
fn range(text: &str) -> AddressRange {
    match text.split_once('-') {
        Some((first, last)) => AddressRange {
            first: ip(first),
            last: ip(last),
            is_cidr: false,
        },
        None => {
            let net: IpNet = text.parse().unwrap();
            AddressRange {
                first: net.network(),
                last: net.broadcast(),
                is_cidr: true,
            }
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn pool(name: &str, addresses: &[&str]) -> PoolFact {
    PoolFact {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| range(text)).collect(),
        auto_assign: true,
        ..PoolFact::default()
    }
}

fn selector(key: &str, value: &str) -> Option<Selector> {
    Some(Selector {
        match_labels: [(key.to_owned(), value.to_owned())].into(),
        ..Selector::default()
    })
}

/// A Service of type LoadBalancer in the Namespace `ns`, of our class, IPv4 only.
fn service(name: &str) -> ServiceFact {
    ServiceFact {
        uid: Some(format!("uid-{name}")),
        service_type: ServiceType::LoadBalancer,
        load_balancer_class: Some(LOAD_BALANCER_CLASS.to_owned()),
        ip_families: vec![Afi::Ipv4],
        ports: vec![port(80)],
        ..ServiceFact::new("ns", name)
    }
}

fn dual(name: &str, policy: IpFamilyPolicy) -> ServiceFact {
    ServiceFact {
        ip_families: vec![Afi::Ipv4, Afi::Ipv6],
        ip_family_policy: policy,
        ..service(name)
    }
}

fn port(port: u16) -> ServicePortFact {
    ServicePortFact {
        name: "".into(),
        protocol: Protocol::Tcp,
        port,
        node_port: None,
    }
}

fn with_status(mut fact: ServiceFact, addresses: &[&str]) -> ServiceFact {
    let shown = |text: &&str| IngressFact {
        ip: Some(ip(text)),
        vip: true,
    };
    fact.ingress = addresses.iter().map(shown).collect();
    fact
}

/// The machine with a writer that always succeeds.
struct World {
    pools: Pools,
    /// What the status of each Service that was ever decided upon was set to.
    wrote: BTreeMap<String, Vec<IpAddr>>,
}

impl World {
    fn new(facts: impl IntoIterator<Item = Fact>) -> World {
        World::with_default_class(true, facts)
    }

    fn with_default_class(on: bool, facts: impl IntoIterator<Item = Fact>) -> World {
        let mut world = World {
            pools: Pools::new(on),
            wrote: BTreeMap::new(),
        };
        let namespace = NamespaceFact {
            name: "ns".to_owned(),
            labels: [("team".to_owned(), "red".to_owned())].into(),
        };
        world
            .pools
            .handle(SourceEvent::Apply(Fact::Namespace(namespace)));
        for fact in facts {
            world.pools.handle(SourceEvent::Apply(fact));
        }
        assert_eq!(world.pools.poll_decision(), None, "before all is told");
        for kind in NEEDED {
            world.pools.handle(SourceEvent::Synced(kind));
        }
        world.run();
        world
    }

    fn run(&mut self) {
        while let Some(decision) = self.pools.poll_decision() {
            let (name, addresses) = (decision.service, decision.outcome.addresses);
            if decision.differs {
                self.pools
                    .written(&name, decision.uid.as_deref(), &addresses);
                self.wrote.insert(name.name.to_string(), addresses);
            }
        }
    }

    fn apply(&mut self, fact: impl Into<Told>) {
        let Told(fact) = fact.into();
        self.pools.handle(SourceEvent::Apply(fact));
        self.run();
    }

    fn remove(&mut self, key: Key) {
        self.pools.handle(SourceEvent::Remove(key));
        self.run();
    }

    fn remove_service(&mut self, name: &str) {
        self.remove(Key::Service(NamespacedName::new("ns", name)));
    }

    fn outcome(&self, name: &str) -> Outcome {
        let name = NamespacedName::new("ns", name);
        self.pools.decision(&name).expect("it is ours").outcome
    }

    fn has(&self, name: &str) -> Vec<IpAddr> {
        self.outcome(name).addresses
    }

    fn lacks(&self, name: &str) -> Shortfall {
        self.outcome(name).shortfall.expect("it lacks something")
    }
}

struct Told(Fact);

impl From<ServiceFact> for Told {
    fn from(fact: ServiceFact) -> Told {
        Told(Fact::Service(fact))
    }
}

impl From<PoolFact> for Told {
    fn from(fact: PoolFact) -> Told {
        Told(Fact::Pool(fact))
    }
}

fn facts(pools: Vec<PoolFact>, services: Vec<ServiceFact>) -> Vec<Fact> {
    let pools = pools.into_iter().map(Fact::Pool);
    pools
        .chain(services.into_iter().map(Fact::Service))
        .collect()
}

#[test]
fn services_of_age_come_first() {
    let at = |name: &str, secs| ServiceFact {
        created: Some(Timestamp::from_unix_secs(secs)),
        ..service(name)
    };
    let services = vec![service("undated"), at("a", 20), at("b", 10), at("c", 10)];
    let world = World::new(facts(vec![pool("p", &["192.0.2.0/30"])], services));
    assert_eq!(world.has("b"), ips(&["192.0.2.0"]));
    assert_eq!(world.has("c"), ips(&["192.0.2.1"]));
    assert_eq!(world.has("a"), ips(&["192.0.2.2"]));
    assert_eq!(world.has("undated"), ips(&["192.0.2.3"]));
}

#[test]
fn exhaustion_and_release() {
    let services = vec![service("a"), service("b"), service("c")];
    let mut world = World::new(facts(vec![pool("p", &["192.0.2.1-192.0.2.2"])], services));
    assert_eq!(world.has("c"), ips(&[]));
    assert_eq!(
        world.lacks("c"),
        Shortfall::Exhausted(Afi::Ipv4, vec!["p".into()])
    );
    assert!(world.pools.pools()[0].exhausted.v4);
    world.remove_service("a");
    assert_eq!(world.has("c"), ips(&["192.0.2.1"]));
    assert!(world.outcome("c").complete());
    assert_eq!(world.wrote["c"], ips(&["192.0.2.1"]));
    // A change of type releases as well.
    world.apply(service("d"));
    assert_eq!(world.lacks("d").reason(), "Exhausted");
    world.apply(ServiceFact {
        service_type: ServiceType::ClusterIp,
        ..service("b")
    });
    assert_eq!(world.has("d"), ips(&["192.0.2.2"]));
    // A pool that grows too.
    world.apply(service("e"));
    world.apply(pool("p", &["192.0.2.1-192.0.2.3"]));
    assert_eq!(world.has("e"), ips(&["192.0.2.3"]));
}

#[test]
fn a_service_made_anew_is_another() {
    let mut world = World::new(facts(
        vec![pool("p", &["192.0.2.0/31"])],
        vec![service("a")],
    ));
    world.apply(ServiceFact {
        uid: Some("another".to_owned()),
        ..service("a")
    });
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
    let name = NamespacedName::new("ns", "a");
    let decision = world.pools.decision(&name).unwrap();
    assert_eq!(decision.uid.as_deref(), Some("another"));
    assert!(!decision.differs, "it was written");
}

#[test]
fn whose_services() {
    let of_class = |name: &str, class: Option<&str>| ServiceFact {
        load_balancer_class: class.map(str::to_owned),
        ..service(name)
    };
    let services = || {
        vec![
            of_class("none", None),
            of_class("ours", Some(LOAD_BALANCER_CLASS)),
            of_class("other", Some("example.com/lb")),
            ServiceFact {
                service_type: ServiceType::NodePort,
                ..service("type")
            },
        ]
    };
    let pools = || vec![pool("p", &["192.0.2.0/28"])];
    let named = |world: &World| -> Vec<String> {
        let outcomes = world.pools.outcomes();
        outcomes.map(|(name, _)| name.name.to_string()).collect()
    };
    let world = World::with_default_class(true, facts(pools(), services()));
    assert_eq!(named(&world), ["none", "ours"]);
    let world = World::with_default_class(false, facts(pools(), services()));
    assert_eq!(named(&world), ["ours"]);
}

#[test]
fn what_others_hold_is_taken() {
    let other = ServiceFact {
        load_balancer_class: Some("example.com/lb".to_owned()),
        ..with_status(service("other"), &["192.0.2.0"])
    };
    let pools = vec![pool("p", &["192.0.2.0/31"])];
    let mut world = World::new(facts(pools, vec![other, service("a"), service("b")]));
    assert_eq!(world.has("a"), ips(&["192.0.2.1"]));
    assert_eq!(world.lacks("b").reason(), "Exhausted");
    world.remove_service("other");
    assert_eq!(world.has("b"), ips(&["192.0.2.0"]));
}

#[test]
fn another_controller_of_services_without_class_is_left_alone() {
    let mut fact = service("a");
    fact.load_balancer_class = None;
    fact.ingress = vec![IngressFact {
        ip: None,
        vip: true,
    }];
    let mut world = World::new(facts(
        vec![pool("p", &["192.0.2.0/31"])],
        vec![fact.clone()],
    ));
    assert_eq!(world.lacks("a"), Shortfall::AnotherController);
    assert!(world.wrote.is_empty());
    // With the class said, it is ours whatever the status shows.
    fact.load_balancer_class = Some(LOAD_BALANCER_CLASS.to_owned());
    world.apply(fact);
    assert_eq!(world.has("a"), ips(&["192.0.2.0"]));
}

#[test]
fn the_ends_of_a_cidr_can_be_left_out() {
    let first = |addresses: &[&str], afi| {
        let pool = PoolFact {
            avoid_first_last: true,
            ..pool("p", addresses)
        };
        let fact = ServiceFact {
            ip_families: vec![afi],
            ..service("a")
        };
        let world = World::new(facts(vec![pool], vec![fact]));
        (world.has("a"), *world.pools.pools()[0].total.get(afi))
    };
    assert_eq!(
        first(&["192.0.2.0/30"], Afi::Ipv4),
        (ips(&["192.0.2.1"]), 2)
    );
    assert_eq!(
        first(&["192.0.2.0-192.0.2.3"], Afi::Ipv4),
        (ips(&["192.0.2.0"]), 4)
    );
    assert_eq!(
        first(&["192.0.2.0/31"], Afi::Ipv4),
        (ips(&["192.0.2.0"]), 2)
    );
    assert_eq!(
        first(&["192.0.2.7/32"], Afi::Ipv4),
        (ips(&["192.0.2.7"]), 1)
    );
    assert_eq!(
        first(&["2001:db8::/126"], Afi::Ipv6),
        (ips(&["2001:db8::"]), 4)
    );
}

#[test]
fn pools_with_defects() {
    let mut refused = pool("b", &["192.0.2.8/29"]);
    refused.malformed = vec![Malformed::new("spec.serviceSelector", "is odd")];
    let mut partly = pool("c", &["198.51.100.0/29"]);
    partly.malformed = vec![Malformed::new("spec.addresses[1]", "is odd")];
    let pools = vec![
        pool("a", &["192.0.2.0/28"]),
        refused,
        partly,
        pool("d", &[]),
    ];
    let asking = ServiceFact {
        requested_pool: Some("b".to_owned()),
        ..service("x")
    };
    let asking_c = ServiceFact {
        requested_pool: Some("c".to_owned()),
        ..service("y")
    };
    let world = World::new(facts(pools, vec![asking, asking_c]));
    assert_eq!(world.lacks("x"), Shortfall::PoolRefused("b".to_owned()));
    assert_eq!(world.has("y"), ips(&["198.51.100.0"]));
    let defects: Vec<Vec<&str>> = world
        .pools
        .pools()
        .iter()
        .map(|view| view.defects.iter().map(PoolDefect::reason).collect())
        .collect();
    assert_eq!(
        defects,
        [
            vec![],
            vec!["Invalid", "Refused", "Overlaps"],
            vec!["Invalid"],
            vec!["Empty"]
        ]
    );
}
