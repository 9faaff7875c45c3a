//! What kube-router's users miss: the cases of 4.10 that are about Services, and bear their numbers. 4.10-13 is among the costs.

use super::cases::{C, E, L1, L2, backed, of_type};
use super::*;

#[test]
fn case_4_10_4_a_service_without_slices_does_not_harm_others() {
    let bare = Fact::Service(service("bare", |s| {
        s.cluster_ips = vec![addr("10.0.0.9")];
        s.external_ips = vec![addr("9.9.9.9")];
    }));
    let facts = [
        bare,
        Fact::Service(of_type(ServiceType::LoadBalancer, |_| {})),
        backed("svc"),
        backed("without-service"),
    ];
    let mut cluster = announcing(&ALL_KINDS, facts);
    // Its cluster IP rejects connections, which is an answer; its external address would only draw packets.
    assert_eq!(announced(&cluster), [E, C, "10.0.0.9/32", L1, L2]);
    // And 4.10-5: the other Service is deleted meanwhile.
    cluster.remove(&Key::Service(NamespacedName::new("web", "svc")));
    assert_eq!(announced_now(&mut cluster), ["10.0.0.9/32"]);
    assert_eq!(reasons(&cluster), []);
}

#[test]
fn case_4_10_5_a_deleted_service_is_withdrawn_though_its_slices_went_first() {
    let facts = [
        Fact::Service(of_type(ServiceType::LoadBalancer, |_| {})),
        backed("svc"),
    ];
    let mut cluster = announcing(&ALL_KINDS, facts);
    cluster.remove(&Key::EndpointSlice(NamespacedName::new("web", "svc-1")));
    cluster.remove(&Key::Service(NamespacedName::new("web", "svc")));
    assert!(announced_now(&mut cluster).is_empty());
    assert_eq!(cluster.services().count(), 0);
}

#[test]
fn case_4_10_6_a_service_that_becomes_external_name_is_withdrawn() {
    let with_type = |service_type| {
        Fact::Service(of_type(ServiceType::LoadBalancer, |s| {
            s.service_type = service_type
        }))
    };
    let facts = [with_type(ServiceType::LoadBalancer), backed("svc")];
    let mut cluster = announcing(&ALL_KINDS, facts);
    assert_eq!(announced(&cluster).len(), 4);
    // As the API server may tell it: the cluster IP is still there.
    cluster.apply(with_type(ServiceType::ExternalName));
    assert!(announced_now(&mut cluster).is_empty());
    assert_eq!(
        withheld(&cluster, "svc"),
        [Some(WithheldReason::ExternalName); 2]
    );
    // And back: what it is now counts, not what it was.
    cluster.apply(with_type(ServiceType::NodePort));
    assert_eq!(announced_now(&mut cluster), [E, C]);
}

#[test]
fn case_4_10_7_the_last_local_endpoint_that_fails_or_goes_withdraws_at_once() {
    let local_only = || {
        Fact::Service(of_type(ServiceType::NodePort, |s| {
            s.external_traffic_policy = TrafficPolicy::Local;
        }))
    };
    let two = |first| Fact::EndpointSlice(slice("svc", vec![first, ready("n2")]));
    let gone: [fn(&mut Cluster); 4] = [
        |c| {
            c.apply(Fact::EndpointSlice(slice(
                "svc",
                vec![unready("n1"), ready("n2")],
            )))
        },
        |c| {
            c.apply(Fact::EndpointSlice(slice(
                "svc",
                vec![draining("n1"), ready("n2")],
            )))
        },
        |c| c.remove(&Key::EndpointSlice(NamespacedName::new("web", "svc-1"))),
        |c| c.apply(Fact::EndpointSlice(slice("other", vec![ready("n1")]))),
    ];
    for (n, step) in gone.into_iter().enumerate() {
        let mut cluster = announcing(&[ExternalIp], [local_only(), two(ready("n1"))]);
        assert_eq!(announced(&cluster), [E]);
        step(&mut cluster);
        if n == 3 {
            // The slice that it had now belongs to another Service.
            let mut moved = slice("other", vec![ready("n1")]);
            moved.name = NamespacedName::new("web", "svc-1");
            cluster.apply(Fact::EndpointSlice(moved));
        }
        let told = changes(&mut cluster);
        assert!(
            told.contains(&Change::OriginateGone(net(E))),
            "{n}: {told:?}"
        );
        cluster.apply(two(ready("n1")));
        assert_eq!(announced_now(&mut cluster), [E]);
    }
}

#[test]
fn case_4_10_8_a_node_that_gets_its_address_by_an_update() {
    let facts = [
        Fact::Service(of_type(ServiceType::ClusterIp, |_| {})),
        announce("all", &ALL_KINDS, |_| {}),
        Fact::Node(node("n1", &["2001:db8::1"], &[])),
    ];
    let mut cluster = cluster(facts);
    assert!(announced(&cluster).is_empty());
    assert_eq!(withheld(&cluster, "svc"), [Some(WithheldReason::NoNextHop)]);
    for own in ["192.0.2.1", "192.0.2.77"] {
        cluster.apply(Fact::Node(node("n1", &["2001:db8::1", own], &[])));
        assert_eq!(announced_now(&mut cluster), [C]);
        let (_, origination) = cluster.originations().next().unwrap();
        assert_eq!(origination.next_hop, addr(own));
    }
}

#[test]
fn case_4_10_18_labels_selectors_and_attributes_apply_as_they_change() {
    let selecting = |value: &str| {
        announce("all", &[ClusterIp], |a| {
            a.services.as_mut().unwrap().selector = Some(labelled("public", value));
        })
    };
    let labelled = |value: &str| {
        Fact::Service(of_type(ServiceType::ClusterIp, |s| {
            s.labels.insert("public".to_owned(), value.to_owned());
        }))
    };
    let mut cluster = announcing(&[], [labelled("no"), selecting("yes")]);
    assert!(announced(&cluster).is_empty());
    cluster.apply(labelled("yes"));
    assert_eq!(announced_now(&mut cluster), [C]);
    cluster.apply(selecting("really"));
    assert!(announced_now(&mut cluster).is_empty());
    cluster.apply(selecting("yes"));
    assert_eq!(announced_now(&mut cluster), [C]);
    cluster.remove(&Key::Advertisement("all".to_owned()));
    assert!(announced_now(&mut cluster).is_empty());
}
