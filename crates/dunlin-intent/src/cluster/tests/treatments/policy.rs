//! Which endpoints: policies, terminating endpoints and hints, in the cases that kube-proxy is tested by.

use super::*;

use TrafficPolicy::{Cluster as Any, Local};

/// What the policies Cluster and Local come to: seen with both policies Local, at the node port from inside, and at the cluster IP.
fn outcomes(zone: Option<&str>, list: &str) -> [String; 2] {
    let both_local = service(|s| {
        s.internal_traffic_policy = Local;
        s.external_traffic_policy = Local;
    });
    let cluster = proxied([n1(zone), both_local, endpoints(list)]);
    let outside = at(&cluster, NODE_PORT, View::Outside);
    let local = at(&cluster, INTERNAL, View::Inside);
    assert_eq!(local, outside, "{list}");
    assert_eq!(local, at(&cluster, INTERNAL, View::Outside), "{list}");
    [at(&cluster, NODE_PORT, View::Inside), local]
}

#[test]
fn endpoints_are_ready_ones_or_else_those_that_serve_to_the_end() {
    for (list, cluster, local) in [
        ("", "reject", "reject"),
        ("1:u 2:u", "reject", "reject"),
        ("1:uL 2:utL", "reject", "reject"),
        ("1:r 2:r", "1,2", "drop"),
        ("1:rL 2:rL", "1,2", "1,2"),
        ("1:rL 2:r", "1,2", "1"),
        ("2:r 1:r", "1,2", "drop"),
        ("1:u 2:r", "2", "drop"),
        ("1:t 2:t", "1,2", "drop"),
        ("1:tL 2:t", "1,2", "1"),
        // Ready ones come before those that terminate: for each policy by itself.
        ("1:r 2:t", "1", "drop"),
        ("1:r 2:tL", "1", "2"),
        ("1:rL 2:tL", "1", "1"),
        ("1:rL 2:tL 3:t 4:r", "1,4", "1"),
        ("1:r 2:uL 3:tL 4:t", "1", "3"),
        // Unready ones are none, also where nothing else is.
        ("1:u 2:tL 3:t 4:u", "2,3", "2"),
    ] {
        assert_eq!(outcomes(None, list), [cluster, local], "{list:?}");
    }
}

#[test]
fn hints_bear_on_the_policy_cluster_if_all_ready_endpoints_have_them() {
    for (zone, list, cluster, local) in [
        (Some("a"), "3:r:a 4:r:b 5:r:c 6:r:a", "3,6", "drop"),
        (Some("a"), "3:rL:a 4:rL:b 5:r:c 6:r:a", "3,6", "3,4"),
        (Some("a"), "1:rL:a 2:rL:b 3:r:a 4:r:b", "1,3", "1,2"),
        // The node's zone is not known, or is that of none.
        (None, "3:r:a", "3", "drop"),
        (Some(""), "3:r:a", "3", "drop"),
        (Some("b"), "3:r:a 4:r:c", "3,4", "drop"),
        // Unready ones neither count nor need a hint.
        (Some("a"), "3:r:a 4:r:b 5:r:c 6:u:a", "3", "drop"),
        (Some("a"), "3:u:a 4:r:b 5:r:c 6:u:a", "4,5", "drop"),
        (Some("a"), "3:r:a 4:r:b 5:u", "3", "drop"),
        (Some("a"), "3:r:a 4:r:b 5:t", "3", "drop"),
        // Where none is ready, hints say nothing.
        (Some("a"), "3:t:a 4:t:b", "3,4", "drop"),
        // One ready endpoint is without.
        (Some("a"), "3:r:a 4:r:b 5:r 6:r:a", "3,4,5,6", "drop"),
        // Several zones.
        (
            Some("c"),
            "3:r:a,b,c 4:r:b,c 5:r:b,d 6:r:c",
            "3,4,6",
            "drop",
        ),
        // A node comes before a zone, if all have hints for nodes and one is for this.
        (
            Some("a"),
            "3:r:a:n1 4:r:b:n2 5:r:c:n3 6:r:a:n4",
            "3",
            "drop",
        ),
        (
            Some("a"),
            "3:r:a:n1 4:r 5:r:c:n3 6:r:a:n4",
            "3,4,5,6",
            "drop",
        ),
        (
            Some("a"),
            "3:r:a:n5 4:r:b:n2 5:r:c:n3 6:r:a:n4",
            "3,6",
            "drop",
        ),
        (Some("a"), "3:r:a:n1 4:r:b 5:r:a:n3", "3,5", "drop"),
        (None, "3:r::n1 4:r::n2,n1 5:r::n2", "3,4", "drop"),
        (None, "3:r::n2 4:r::n3", "3,4", "drop"),
    ] {
        assert_eq!(outcomes(zone, list), [cluster, local], "{zone:?} {list}");
    }
}

#[test]
fn each_kind_of_address_goes_by_its_policy_and_from_inside_local_is_cluster() {
    let list = "1:rL 2:r";
    for (internal, external, cluster_ip, outside) in [
        (Any, Any, "1,2", "1,2"),
        (Local, Any, "1", "1,2"),
        (Any, Local, "1,2", "1"),
        (Local, Local, "1", "1"),
    ] {
        let fact = service(|s| {
            s.service_type = ServiceType::LoadBalancer;
            s.internal_traffic_policy = internal;
            s.external_traffic_policy = external;
            s.external_ips = vec![addr("198.51.100.1")];
            s.ingress = vec![IngressFact {
                ip: Some(addr("203.0.113.1")),
                vip: true,
            }];
        });
        let cluster = proxied([fact, endpoints(list)]);
        for view in View::ALL {
            assert_eq!(at(&cluster, INTERNAL, view), cluster_ip);
        }
        for frontend in ["198.51.100.1:80/TCP", "203.0.113.1:80/TCP", NODE_PORT] {
            assert_eq!(at(&cluster, frontend, View::Inside), "1,2", "{frontend}");
            assert_eq!(at(&cluster, frontend, View::Outside), outside, "{frontend}");
        }
    }
    // The external policy says nothing of a cluster IP.
    let only_internal = service(|s| {
        s.service_type = ServiceType::ClusterIp;
        s.external_traffic_policy = Local;
    });
    let cluster = proxied([only_internal, endpoints(list)]);
    assert_eq!(frontends(&cluster), [INTERNAL]);
    assert_eq!(at(&cluster, INTERNAL, View::Outside), "1,2");
}

#[test]
fn an_endpoint_without_node_is_where_its_address_is() {
    let local = service(|s| s.internal_traffic_policy = Local);
    // 10.244.1.0/24 is of n1.
    let mut cluster = proxied([local, endpoints("7:r? 8:r")]);
    assert_eq!(at(&cluster, INTERNAL, View::Inside), "7");
    let moved = node("n1", &["192.0.2.1"], &["10.244.7.0/24"]);
    assert_eq!(told_by(&mut cluster, Fact::Node(moved)), ["a"]);
    assert_eq!(at(&cluster, INTERNAL, View::Inside), "drop");
}

#[test]
fn slices_add_up_and_an_endpoint_of_several_counts_once() {
    let fact = service(|s| s.external_traffic_policy = Local);
    let second = |list| Fact::EndpointSlice(slice("a-2", list));
    let mut cluster = proxied([fact, endpoints("1:r 2:rL"), second("2:u 1:r 3:rL 2:r")]);
    assert_eq!(at(&cluster, NODE_PORT, View::Inside), "1,2,3");
    assert_eq!(at(&cluster, NODE_PORT, View::Outside), "2,3");
    assert_eq!(told_by(&mut cluster, second("9:u")), ["a"]);
    assert_eq!(at(&cluster, NODE_PORT, View::Inside), "1,2");
    // The slice is of another Service now.
    let other = EndpointSliceFact {
        service: Some("b".into()),
        ..slice("a-1", "1:r 2:rL")
    };
    assert_eq!(told_by(&mut cluster, Fact::EndpointSlice(other)), ["a"]);
    assert_eq!(at(&cluster, NODE_PORT, View::Inside), "reject");
    cluster.apply(endpoints("5:r"));
    cluster.remove(&Key::EndpointSlice(name("a-1")));
    assert_eq!(told(&mut cluster), ["a"]);
    assert_eq!(at(&cluster, INTERNAL, View::Outside), "reject");
}

#[test]
fn a_load_balancer_is_told_of_the_ready_endpoints_here() {
    let asking = |change: fn(&mut ServiceFact)| {
        service(|s| {
            s.service_type = ServiceType::LoadBalancer;
            s.external_traffic_policy = Local;
            s.health_check_node_port = Some(32000);
            change(s);
        })
    };
    let count = |cluster: &Cluster| {
        let check = cluster.health_check(&name("a"));
        let all: Vec<_> = cluster.health_checks().collect();
        assert_eq!(check.clone().into_iter().collect::<Vec<_>>(), all);
        check.map(|check| (check.node_port, check.local_ready))
    };
    let mut cluster = proxied([asking(|_| {}), endpoints("1:rL 2:r 3:tL 4:uL 5:rL 6:r?")]);
    assert_eq!(count(&cluster), Some((32000, 3)));
    // Those of both families count once, and those of a second slice only if they are others.
    let six = EndpointFact {
        address: Some(addr("fd00:1::5")),
        ..endpoint("0:rL")
    };
    let ipv6 = EndpointSliceFact {
        address_type: Some(Afi::Ipv6),
        endpoints: vec![six],
        ..slice("a-6", "")
    };
    cluster.apply(Fact::EndpointSlice(ipv6));
    cluster.apply(Fact::EndpointSlice(slice("a-2", "5:rL 7:rL")));
    assert_eq!(told(&mut cluster), ["a"]);
    assert_eq!(count(&cluster), Some((32000, 4)));
    assert_eq!(told_by(&mut cluster, endpoints("1:tL")), ["a"]);
    assert_eq!(count(&cluster), Some((32000, 2)));
    for change in [
        (|s| s.service_type = ServiceType::NodePort) as fn(&mut ServiceFact),
        |s| s.external_traffic_policy = Any,
        |s| s.health_check_node_port = None,
    ] {
        assert_eq!(told_by(&mut cluster, asking(change)), ["a"]);
        assert_eq!(count(&cluster), None);
    }
}

#[test]
fn udp_flows_go_on_to_whatever_serves_though_new_ones_go_elsewhere() {
    let serving = |internal, list: &str| {
        let asked = service(|s| {
            s.internal_traffic_policy = internal;
            s.ports[0].protocol = Protocol::Udp;
            s.ports.push(ServicePortFact {
                name: "tcp".into(),
                ..port(80, None)
            });
        });
        let mut slice = slice("a-1", list);
        slice.ports = vec![to("", Protocol::Udp, 8080), to("tcp", Protocol::Tcp, 8080)];
        let cluster = proxied([asked, Fact::EndpointSlice(slice)]);
        let rules = rules(&cluster);
        let tcp = |rule: &&FrontendRule| rule.frontend.protocol == Protocol::Tcp;
        assert!(rules.iter().filter(tcp).all(|rule| rule.serving.is_none()));
        let mut udp = rules.iter().filter(|rule| !tcp(rule));
        let first = udp.next().unwrap().serving.clone();
        assert!(udp.all(|rule| rule.serving == first), "{rules:?}");
        let last = |at: &std::net::SocketAddr| at.ip().to_string().replace("10.244.1.", "");
        first.map(|list| list.iter().map(last).collect::<Vec<_>>().join(","))
    };
    for (policy, list, expected) in [
        (Any, "", None),
        (Any, "1:r 2:rL", None),
        (Any, "1:t 2:t", None),
        // One that terminates and still serves; by KEP-1669 an unready one serves no longer.
        (Any, "1:r 2:t 3:u 4:ut", Some("1,2")),
        // Hints pass others over, so does the policy.
        (Any, "1:r::n1 2:r::n2", Some("1,2")),
        (Local, "1:r 2:rL", Some("1,2")),
        (Local, "1:rL 2:rL", None),
    ] {
        let found = serving(policy, list);
        assert_eq!(found.as_deref(), expected, "{policy:?} {list:?}");
    }
}
