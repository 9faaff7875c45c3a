//! How nodes peer with each other, by mode, by how many there are, and as they change.

use super::*;
use crate::fact::ReflectorsFact;
use crate::intent::{AddPath, Initiative};
use crate::selector::Selector;

const CONFIGURATION: &str = "BGPConfiguration/default";

fn many(n: u16) -> NodeFact {
    let [a, b] = n.to_be_bytes();
    NodeFact::new(format!("n{n}"))
        .with_internal_ip(IpAddr::from([172, 16, a, b]))
        .with_pod_cidr(IpNet::new_assert(IpAddr::from([10, a, b, 0]), 24))
}

/// The cluster of n1 to n`count`, seen by the node of this name.
fn seen_by(own: &str, count: u16, change: impl FnOnce(&mut ConfigurationFact)) -> Cluster {
    let mut cluster = Cluster::new(own);
    cluster.apply(super::configuration(change));
    (1..=count).for_each(|n| cluster.apply(Fact::Node(many(n))));
    Kind::ALL.into_iter().for_each(|kind| cluster.synced(kind));
    changes(&mut cluster);
    cluster
}

fn wanted(cluster: &Cluster) -> Vec<String> {
    let ours = cluster
        .peers()
        .filter(|peer| peer.initiative == Initiative::Ours);
    let mut names: Vec<String> = ours.map(|peer| peer.key.name().to_owned()).collect();
    names.sort();
    names
}

fn reflectors(cluster: &Cluster) -> Vec<String> {
    cluster.reflectors().map(|name| name.to_string()).collect()
}

fn limit(limit: u32) -> impl Fn(&mut ConfigurationFact) {
    move |c| c.mesh_limit = Some(limit)
}

#[test]
fn modes_say_who_peers_with_whom() {
    let roles = |mode, mesh_limit, count| {
        let cluster = seen_by("n1", count, |c| {
            c.topology = mode;
            c.mesh_limit = mesh_limit;
        });
        assert_eq!(reasons(&cluster), []);
        let set = reflectors(&cluster);
        let role = cluster.role("n1");
        (role, wanted(&cluster).len(), set.len())
    };
    use TopologyMode as Mode;
    assert_eq!(roles(None, None, 100), (NodeRole::Mesh, 99, 3));
    assert_eq!(roles(None, None, 90), (NodeRole::Mesh, 89, 0));
    assert_eq!(roles(None, None, 101), (NodeRole::Client, 3, 3));
    assert_eq!(
        roles(Some(Mode::Mesh), Some(5), 20),
        (NodeRole::Mesh, 19, 0)
    );
    assert_eq!(roles(Some(Mode::None), None, 20), (NodeRole::None, 0, 0));
    assert_eq!(
        roles(Some(Mode::Reflectors), None, 20),
        (NodeRole::Client, 3, 3)
    );
    assert_eq!(
        roles(Some(Mode::Reflectors), None, 2),
        (NodeRole::Reflector, 1, 2)
    );
    assert_eq!(
        roles(Some(Mode::Auto), Some(0), 2),
        (NodeRole::Reflector, 1, 2)
    );
}

#[test]
fn all_nodes_see_the_same_reflectors_and_both_ends_agree_on_who_peers() {
    let views: Vec<Cluster> = (1..=12)
        .map(|n| seen_by(&format!("n{n}"), 12, limit(10)))
        .collect();
    let set = reflectors(&views[0]);
    assert_eq!(set.len(), 3);
    for view in &views {
        assert_eq!(reflectors(view), set);
        let own = view.node_name().to_owned();
        let reflects = set.contains(&own);
        assert_eq!(view.peers().count(), 11, "each could be dialled by each");
        for peer in view.peers() {
            let other = peer.key.name().to_owned();
            let wants = reflects || set.contains(&other);
            assert_eq!(peer.initiative == Initiative::Ours, wants, "{own} {other}");
            assert_eq!(peer.reflector_client, reflects, "{own} {other}");
            assert_eq!(peer.reflector, set.contains(&other), "{own} {other}");
            assert_eq!(peer.session.add_path, AddPath::BOTH);
        }
    }
}

#[test]
fn a_size_that_goes_to_and_fro_over_the_limit_changes_nothing() {
    let mut cluster = seen_by("n1", 20, limit(20));
    assert_eq!(wanted(&cluster).len(), 19, "twenty are a mesh");
    let set = reflectors(&cluster);
    assert_eq!(set.len(), 3, "whose reflectors are ready");
    cluster.apply(Fact::Node(many(21)));
    changes(&mut cluster);
    assert_eq!(wanted(&cluster), reflectors(&cluster));
    for _ in 0..3 {
        cluster.remove(&Key::Node("n21".to_owned()));
        let told = changes(&mut cluster);
        let starts = |c: &Change| matches!(c, Change::PeerWanted(..));
        assert!(told.iter().filter(|c| starts(c)).count() <= 2, "{told:?}");
        assert_eq!(wanted(&cluster), reflectors(&cluster));
        cluster.apply(Fact::Node(many(21)));
        changes(&mut cluster);
    }
    for n in 19..=21 {
        cluster.remove(&Key::Node(format!("n{n}")));
    }
    changes(&mut cluster);
    assert_eq!(wanted(&cluster).len(), 17, "eighteen are a mesh again");
    assert_eq!(reflectors(&cluster).len(), 0);
}

#[test]
fn the_selector_the_zone_and_the_state_of_a_node_say_whether_it_may_reflect() {
    let labelled = |n: u16| many(n).with_label("rr", "yes");
    let mut cluster = seen_by("n1", 12, |c| {
        c.topology = Some(TopologyMode::Reflectors);
        c.reflectors = Some(ReflectorsFact {
            count: Some(2),
            node_selector: Some(Selector {
                match_labels: [("rr".to_owned(), "yes".to_owned())].into(),
                ..Selector::default()
            }),
        });
    });
    assert_eq!(
        reasons(&cluster),
        [problem(CONFIGURATION, Reason::NoReflector)]
    );
    assert_eq!(wanted(&cluster).len(), 11, "a mesh until somebody may");
    assert_eq!(cluster.role("n1"), NodeRole::Mesh);

    for n in 5..=7 {
        cluster.apply(Fact::Node(labelled(n)));
    }
    changes(&mut cluster);
    assert_eq!(reasons(&cluster), []);
    let first = reflectors(&cluster);
    assert_eq!(first.len(), 2);
    assert_eq!(wanted(&cluster), first);

    // The one that is left takes the place of one that goes, in each of the ways to go.
    let goes: u16 = first[0][1..].parse().unwrap();
    let gone = |change: &dyn Fn(&mut NodeFact)| {
        let mut fact = labelled(goes);
        change(&mut fact);
        fact
    };
    let ways: [&dyn Fn(&mut NodeFact); 4] = [
        &|fact| fact.unschedulable = true,
        &|fact| fact.drain = true,
        &|fact| fact.ready = Some(false),
        &|fact| fact.labels.clear(),
    ];
    for way in ways {
        cluster.apply(Fact::Node(gone(way)));
        let told = changes(&mut cluster);
        let set = reflectors(&cluster);
        assert!(
            set.contains(&first[1]) && !set.contains(&first[0]),
            "{set:?}"
        );
        assert_eq!(wanted(&cluster), set);
        let peers = |c: &&Change| matches!(c, Change::PeerWanted(..));
        assert_eq!(told.iter().filter(peers).count(), 2, "one goes, one comes");
        cluster.apply(Fact::Node(labelled(goes)));
        changes(&mut cluster);
        assert_eq!(reflectors(&cluster), first);
    }
}

#[test]
fn a_node_that_changes_elsewhere_costs_nothing_but_itself() {
    let mut cluster = seen_by("n1", 300, |_| ());
    let set = reflectors(&cluster);
    let other = (2..300).find(|n| !set.contains(&format!("n{n}"))).unwrap();
    cluster.apply(Fact::Node(many(other).with_label("some", "label")));
    assert_eq!(changes(&mut cluster), []);
    let mut cordoned = many(other);
    cordoned.unschedulable = true;
    cluster.apply(Fact::Node(cordoned));
    assert_eq!(changes(&mut cluster), []);
    cluster.remove(&Key::Node(format!("n{other}")));
    let told = changes(&mut cluster);
    let peers = |c: &&Change| matches!(c, Change::PeerWanted(..) | Change::PeerGone(_));
    assert_eq!(told.iter().filter(peers).count(), 1, "{told:?}");
}

#[test]
fn a_former_reflector_goes_on_for_those_who_still_see_it_as_one() {
    let set = reflectors(&seen_by("n1", 12, limit(10)));
    let own = set[0].clone();
    let mut cluster = seen_by(&own, 12, limit(10));
    let number: u16 = own[1..].parse().unwrap();
    let mut cordoned = many(number);
    cordoned.unschedulable = true;
    cluster.apply(Fact::Node(cordoned));
    changes(&mut cluster);
    assert_eq!(cluster.role(&own), NodeRole::Client);
    let theirs: Vec<_> = cluster
        .peers()
        .filter(|p| p.initiative == Initiative::Theirs)
        .collect();
    assert_eq!(theirs.len(), 8);
    assert!(theirs.iter().all(|peer| peer.reflector_client));
}
