//! The rules of what is wanted, one by one.

mod bfd;
mod configured;
mod drain;
mod nodes;
mod services;
mod topology;
mod treatments;

use super::*;
use crate::fact::{BfdProfileFact, ConfigurationFact, NodeFact, TopologyMode};
use crate::intent::Change;
use crate::problem::Reason;
use dunlin_net::Asn;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn node(name: &str, addresses: &[&str], subnets: &[&str]) -> NodeFact {
    let fact = addresses.iter().fold(NodeFact::new(name), |fact, a| {
        fact.with_internal_ip(addr(a))
    });
    subnets
        .iter()
        .fold(fact, |fact, s| fact.with_pod_cidr(net(s)))
}

/// A cluster seen by n1 with these facts and all else known not to exist, with nothing left to tell.
fn cluster(facts: impl IntoIterator<Item = Fact>) -> Cluster {
    let mut cluster = Cluster::new("n1");
    facts.into_iter().for_each(|fact| cluster.apply(fact));
    Kind::ALL.into_iter().for_each(|kind| cluster.synced(kind));
    changes(&mut cluster);
    cluster
}

/// n1 and n2, dual stack.
fn pair() -> Vec<Fact> {
    vec![
        Fact::Node(node(
            "n1",
            &["192.0.2.1", "2001:db8::1"],
            &["10.244.1.0/24", "fd00:1::/64"],
        )),
        Fact::Node(node(
            "n2",
            &["192.0.2.2", "2001:db8::2"],
            &["10.244.2.0/24", "fd00:2::/64"],
        )),
    ]
}

fn changes(cluster: &mut Cluster) -> Vec<Change> {
    std::iter::from_fn(|| cluster.poll_change()).collect()
}

fn key(name: &str) -> PeerKey {
    PeerKey::Node(name.into())
}

fn peer<'a>(cluster: &'a Cluster, key: &PeerKey) -> Option<&'a PeerIntent> {
    cluster.told.peers.get(key).map(|intent| &**intent)
}

/// The problems as object and reason.
fn reasons(cluster: &Cluster) -> Vec<(String, Reason)> {
    let problems = cluster.problems().into_iter();
    problems.map(|p| (p.object.to_string(), p.reason)).collect()
}

fn problem(object: &str, reason: Reason) -> (String, Reason) {
    (object.to_owned(), reason)
}

fn configuration(change: impl FnOnce(&mut ConfigurationFact)) -> Fact {
    let mut fact = ConfigurationFact {
        name: "default".to_owned(),
        ..ConfigurationFact::default()
    };
    change(&mut fact);
    Fact::Configuration(fact)
}

#[test]
fn nothing_is_wanted_before_the_configuration_is_known() {
    let mut cluster = Cluster::new("n1");
    pair().into_iter().for_each(|fact| cluster.apply(fact));
    changes(&mut cluster);
    assert_eq!(cluster.local(), None);
    assert_eq!(cluster.peers().count(), 0);
    assert!(
        cluster.origin().owner_of(net("10.244.2.0/24")).is_some(),
        "others' facts are kept"
    );
    // That there is none is known once all have been told; or one comes, and then at once with its AS number.
    cluster.synced(Kind::Configuration);
    assert!(
        changes(&mut cluster)
            .iter()
            .any(|c| matches!(c, Change::PeerWanted(..)))
    );

    let mut cluster = Cluster::new("n1");
    pair().into_iter().for_each(|fact| cluster.apply(fact));
    cluster.apply(configuration(|c| c.asn = Some(Asn(65001))));
    changes(&mut cluster);
    assert_eq!(
        peer(&cluster, &key("n2")).unwrap().session.local_asn,
        Asn(65001)
    );
}

#[test]
fn nothing_is_wanted_before_the_own_node_is_known() {
    let mut cluster = cluster(pair().into_iter().skip(1));
    assert_eq!(cluster.local(), None);
    assert_eq!(
        (cluster.peers().count(), cluster.originations().count()),
        (0, 0)
    );
    cluster.apply(pair().swap_remove(0));
    let told = changes(&mut cluster);
    assert!(
        matches!(told.first(), Some(Change::LocalChanged(Some(_)))),
        "{told:?}"
    );
    assert_eq!(
        (cluster.peers().count(), cluster.originations().count()),
        (1, 2)
    );
    cluster.remove(&Key::Node("n1".to_owned()));
    let told = changes(&mut cluster);
    assert!(told.contains(&Change::LocalChanged(None)));
    assert!(told.contains(&Change::PeerGone(key("n2"))));
    assert!(told.contains(&Change::OriginateGone(net("fd00:1::/64"))));
}

#[test]
fn synced_is_told_once_after_everything_else() {
    let mut cluster = Cluster::new("n1");
    pair().into_iter().for_each(|fact| cluster.apply(fact));
    Kind::ALL.into_iter().for_each(|kind| cluster.synced(kind));
    let told = changes(&mut cluster);
    assert_eq!(told.last(), Some(&Change::Synced));
    assert_eq!(told.iter().filter(|c| **c == Change::Synced).count(), 1);
    Kind::ALL.into_iter().for_each(|kind| cluster.synced(kind));
    assert_eq!(changes(&mut cluster), []);
}

#[test]
fn a_configuration_of_another_name_has_no_effect_and_says_so() {
    let mut facts = pair();
    facts.push(Fact::Configuration(ConfigurationFact {
        name: "other".to_owned(),
        asn: Some(Asn(65001)),
        ..ConfigurationFact::default()
    }));
    let mut cluster = cluster(facts);
    assert_eq!(cluster.local().unwrap().asn, Asn(64512));
    assert_eq!(
        reasons(&cluster),
        [problem("BGPConfiguration/other", Reason::Invalid)]
    );
    cluster.remove(&Key::Configuration("other".to_owned()));
    changes(&mut cluster);
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn a_change_of_the_configuration_changes_what_it_names() {
    let mut cluster = cluster(pair());
    let before = peer(&cluster, &key("n2")).unwrap().clone();
    cluster.apply(configuration(|c| c.pod_egress.masquerade = Some(false)));
    let told = changes(&mut cluster);
    assert!(
        matches!(told.as_slice(), [Change::LocalChanged(Some(local))] if !local.pod_egress.masquerade),
        "{told:?}"
    );
    cluster.apply(configuration(|c| c.listen_port = Some(1179)));
    changes(&mut cluster);
    let after = peer(&cluster, &key("n2")).unwrap();
    assert_eq!(
        after.session.remote,
        crate::intent::Remote::Address(addr("192.0.2.2"), 1179)
    );
    assert_eq!(after.policy, before.policy);
    assert_eq!(cluster.local().unwrap().listen_port, 1179);
    cluster.remove(&Key::Configuration("default".to_owned()));
    changes(&mut cluster);
    assert_eq!(*peer(&cluster, &key("n2")).unwrap(), before);
}

#[test]
fn what_pods_may_reach_without_masquerade_is_pods_nodes_and_what_is_excluded() {
    let mut facts = pair();
    facts.push(configuration(|c| {
        c.pod_egress.exclude = vec![net("172.16.0.0/12"), net("10.244.2.0/24")]
    }));
    let mut cluster = cluster(facts);
    let excluded = |cluster: &Cluster| {
        cluster
            .egress_exclusions()
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        excluded(&cluster),
        [
            "10.244.1.0/24",
            "10.244.2.0/24",
            "172.16.0.0/12",
            "192.0.2.1/32",
            "192.0.2.2/32",
            "2001:db8::1/128",
            "2001:db8::2/128",
            "fd00:1::/64",
            "fd00:2::/64",
        ]
    );
    let egress = |told: Vec<Change>| {
        told.into_iter()
            .filter_map(|c| match c {
                Change::EgressExclusionChanged(net) => Some(net.to_string()),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    cluster.remove(&Key::Node("n2".to_owned()));
    // 10.244.2.0/24 is excluded by the configuration still.
    assert_eq!(
        egress(changes(&mut cluster)),
        ["192.0.2.2/32", "2001:db8::2/128", "fd00:2::/64"]
    );
    assert!(cluster.egress_excluded(net("10.244.2.0/24")));
    assert!(!cluster.egress_excluded(net("fd00:2::/64")));
    cluster.remove(&Key::Configuration("default".to_owned()));
    assert_eq!(
        egress(changes(&mut cluster)),
        ["10.244.2.0/24", "172.16.0.0/12"]
    );
}

#[test]
fn refused_profiles_and_what_sources_find_are_problems_too() {
    let mut cluster = cluster([Fact::BfdProfile(BfdProfileFact {
        name: "fast".to_owned(),
        detect_multiplier: Some(0),
        ..BfdProfileFact::default()
    })]);
    let file = ObjectRef::new(ObjectKind::File, "/m/a.yaml");
    let broken = Problem::new(file.clone(), Reason::Unreadable, "x");
    cluster.on_source(SourceEvent::Problems(file.clone(), vec![broken.clone()]));
    assert_eq!(changes(&mut cluster), [Change::ProblemsChanged]);
    assert_eq!(
        reasons(&cluster),
        [
            problem("BFDProfile/fast", Reason::Invalid),
            problem("File//m/a.yaml", Reason::Unreadable),
        ]
    );
    cluster.on_source(SourceEvent::Problems(file.clone(), vec![broken]));
    assert_eq!(changes(&mut cluster), [], "the same again is no change");
    cluster.on_source(SourceEvent::Problems(file, Vec::new()));
    cluster.on_source(SourceEvent::Remove(Key::BfdProfile("fast".to_owned())));
    changes(&mut cluster);
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn the_api_servers_and_the_links_are_told_as_protection() {
    let mut cluster = cluster(pair());
    cluster.set_api_servers([addr("203.0.113.1")]);
    cluster.set_on_link([net("192.0.2.1/24")]);
    assert_eq!(
        changes(&mut cluster),
        [
            Change::ProtectionChanged(net("192.0.2.0/24")),
            Change::ProtectionChanged(net("203.0.113.1/32")),
        ]
    );
    let judge = |cluster: &Cluster, prefix| {
        cluster.origin().judge(
            net(prefix),
            addr("192.0.2.9"),
            crate::origin::RouteSource::Configured,
        )
    };
    assert_eq!(
        judge(&cluster, "203.0.113.0/24"),
        Err(dunlin_bgp::policy::RejectReason::CoversApiServer)
    );
    assert_eq!(judge(&cluster, "192.0.0.0/16"), Ok(()));
    cluster.set_api_servers([]);
    cluster.set_on_link([]);
    assert_eq!(changes(&mut cluster).len(), 2);
    assert_eq!(judge(&cluster, "203.0.113.0/24"), Ok(()));
    assert_eq!(
        judge(&cluster, "192.0.0.0/16"),
        Err(dunlin_bgp::policy::RejectReason::CoversNodeAddress)
    );
}
