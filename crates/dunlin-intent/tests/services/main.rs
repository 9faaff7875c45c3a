//! Whatever happened before, what is announced of Services depends on the facts alone, and is what the rules say.

mod delivered;
mod facts;
mod rules;
#[path = "../steps/mod.rs"]
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_bgp::policy::AttrEdits;
use dunlin_intent::*;
use dunlin_net::IpNet;
use dunlin_net::service::FrontendRule;
use proptest::prelude::*;

use facts::{start, step};
use rules::Rules;
use steps::{Facts, OWN};

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

const ZONE: &str = "topology.kubernetes.io/zone";

/// The advertisements that announce each prefix, and the next hop.
type Announced = BTreeMap<IpNet, (Vec<String>, IpAddr)>;

/// What is told to each `BGPPeer`, by the advertisements of a class.
type Policies = BTreeMap<String, BTreeMap<Vec<String>, AttrEdits>>;

/// What a consumer holds that followed the changes.
#[derive(Debug, Default, PartialEq)]
struct Followed {
    announced: Announced,
    policies: Policies,
    ranges: BTreeSet<IpNet>,
    egress: BTreeSet<IpNet>,
    problems: Vec<Problem>,
}

impl Followed {
    fn follow(&mut self, cluster: &mut Cluster) {
        let mut originated: BTreeMap<IpNet, Origination> = BTreeMap::new();
        let mut gone = BTreeSet::new();
        let mut peers = BTreeMap::new();
        while let Some(change) = cluster.poll_change() {
            match change {
                Change::Originate(net, what) => {
                    originated.insert(net, what);
                }
                Change::OriginateGone(net) => {
                    assert!(self.announced.contains_key(&net), "{net} was not there");
                    gone.insert(net);
                }
                Change::PeerWanted(key, intent) => {
                    peers.insert(key, Some(intent));
                }
                Change::PeerGone(key) => {
                    peers.insert(key, None);
                }
                Change::EgressExclusionChanged(net) => {
                    match cluster.egress_excluded(net) {
                        true => self.egress.insert(net),
                        false => self.egress.remove(&net),
                    };
                }
                Change::ServiceRangesChanged => self.ranges = cluster.service_ranges().collect(),
                Change::ProblemsChanged => {
                    self.problems = cluster.problems().into_iter().cloned().collect();
                }
                Change::LocalChanged(_)
                | Change::OwnerChanged(_)
                | Change::ProtectionChanged(_)
                | Change::Synced => {}
            }
        }
        self.announced.retain(|net, _| !gone.contains(net));
        for (net, what) in originated {
            self.announced
                .insert(net, (names(cluster, what.kind), what.next_hop));
        }
        for (key, intent) in peers {
            let Some(intent) = intent else {
                self.policies.remove(key.name());
                continue;
            };
            let told = intent.policy.export.originated.iter();
            let told = told.map(|(kind, edits)| (names(cluster, *kind), edits.clone()));
            self.policies.insert(key.name().to_owned(), told.collect());
        }
    }
}

/// The number of a class says nothing by itself.
fn names(cluster: &Cluster, kind: OriginKind) -> Vec<String> {
    match kind {
        OriginKind::Service(class) => {
            let names = cluster.class_advertisements(class);
            assert!(!names.is_empty(), "{class:?} is in use");
            names.iter().map(ToString::to_string).collect()
        }
        _ => vec!["pods".to_owned()],
    }
}

/// What a consumer holds of deliveries that followed the changes.
type Delivered = BTreeMap<NamespacedName, (Vec<FrontendRule>, Option<HealthCheck>)>;

fn follow_delivered(delivered: &mut Delivered, cluster: &mut Cluster) {
    while let Some(name) = cluster.poll_treatment_change() {
        let (rules, check) = (cluster.treatment(&name), cluster.health_check(&name));
        match rules.is_empty() && check.is_none() {
            true => delivered.remove(&name),
            false => delivered.insert(name, (rules, check)),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_told_step_by_step_is_what_the_rules_say(steps in prop::collection::vec(step(), 1..60)) {
        let mut cluster = Cluster::new(OWN);
        let mut followed = Followed::default();
        let mut told = Facts {
            synced: BTreeSet::from([Kind::Configuration]),
            ..Facts::default()
        };
        cluster.synced(Kind::Configuration);
        let steps = start().into_iter().chain(steps);
        told.play(&mut cluster, steps, |cluster| followed.follow(cluster));
        let mut scratch = told.cluster();
        let mut wanted = Followed::default();
        wanted.follow(&mut scratch);
        let rules = Rules {
            facts: &told.facts,
            namespaces_synced: told.synced.contains(&Kind::Namespace),
            cluster: &scratch,
        };
        prop_assert_eq!(&wanted.announced, &rules.announced());
        prop_assert_eq!(&followed, &wanted);
        prop_assert_eq!(cluster.services().collect::<Vec<_>>(), scratch.services().collect::<Vec<_>>());
        let now: BTreeSet<IpNet> = cluster.service_ranges().collect();
        prop_assert_eq!(&followed.ranges, &now);
        for (net, (by, _)) in followed.announced.iter().filter(|(_, (by, _))| *by != ["pods"]) {
            prop_assert!(now.iter().any(|range| range.contains(net)), "{} of {:?} is in no range", net, by);
            prop_assert!(!cluster.services_within(*net).is_empty());
        }
        for range in &now {
            prop_assert!(!cluster.origin().owners().any(|(pods, _)| range.contains(&pods)), "{}", range);
        }
    }

    #[test]
    fn what_is_delivered_is_what_the_rules_say(steps in prop::collection::vec(step(), 1..60)) {
        let mut cluster = Cluster::new(OWN).with_service_proxy();
        let (mut delivered, mut followed) = (Delivered::default(), Followed::default());
        let mut told = Facts {
            synced: BTreeSet::from([Kind::Configuration]),
            ..Facts::default()
        };
        cluster.synced(Kind::Configuration);
        let steps = start().into_iter().chain(steps);
        told.play(&mut cluster, steps, |cluster| {
            follow_delivered(&mut delivered, cluster);
            followed.follow(cluster);
        });
        follow_delivered(&mut delivered, &mut cluster);
        let mut off = told.cluster();
        let mut announced = Followed::default();
        announced.follow(&mut off);
        prop_assert_eq!(off.poll_treatment_change(), None);
        let rules = Rules {
            facts: &told.facts,
            namespaces_synced: told.synced.contains(&Kind::Namespace),
            cluster: &off,
        };
        let services = told.facts.values().filter_map(|fact| match fact {
            Fact::Service(service) => Some(service),
            _ => None,
        });
        let wanted: Delivered = services
            .map(|s| (s.name.clone(), (rules.treatment(s), rules.health_check(s))))
            .filter(|(_, (rules, check))| !rules.is_empty() || check.is_some())
            .collect();
        prop_assert_eq!(&delivered, &wanted);
        // What is complained of does not depend on how it came about, and what is announced not on the service proxy.
        let mut scratch = told.told_to(Cluster::new(OWN).with_service_proxy());
        let mut again = Followed::default();
        again.follow(&mut scratch);
        prop_assert_eq!(&followed, &again);
        prop_assert_eq!(followed.announced, announced.announced);
        prop_assert_eq!(followed.policies, announced.policies);
    }
}
