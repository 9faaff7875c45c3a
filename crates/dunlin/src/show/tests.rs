use std::net::IpAddr;

use dunlin_api::{
    AdvertisedTo, Advertisement, AnnouncedPrefix, CniState, EndpointCounts, Explanation,
    FamilyCounts, Neighbor, Node, Path, Pool, PoolCounts, Problem, ProxyStatus, Route, RouteState,
    Service, ServiceAddress, ServiceCounts, Status, Step, Verdict,
};
use dunlin_net::{Afi, Asn, RouterId};

use crate::args::Color;
use crate::output::Style;
use crate::table::WIDTH;

fn plain() -> Style {
    Style::new(Color::Never, false)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
}

fn healthy() -> Status {
    let mut status = Status {
        node: "n1".into(),
        version: "0.1.0".into(),
        uptime_secs: 192,
        ready: true,
        asn: Some(Asn(64512)),
        router_id: Some(RouterId("10.0.0.1".parse().unwrap())),
        addresses: vec![ip("10.0.0.1"), ip("fd00::1")],
        pod_cidrs: vec![
            "10.244.1.0/24".parse().unwrap(),
            "fd00:1::/64".parse().unwrap(),
        ],
        source_synced: true,
        source_age_secs: Some(7),
        ..Status::default()
    };
    status.sessions.nodes_up = 2;
    status.sessions.nodes_expected = 2;
    status.sessions.external_up = 1;
    status.sessions.external_expected = 1;
    status.routes.received = 6;
    status.routes.rejected = 1;
    status.routes.best = 5;
    status.routes.wanted = 4;
    status.routes.installed = 4;
    status.routes.originated = 2;
    status.dataplane.route_installation = true;
    status.dataplane.read_back = true;
    status.dataplane.synced_age_secs = Some(3);
    status.dataplane.operations = 12;
    status.dataplane.repairs = 1;
    status.dataplane.masquerade = Some(true);
    status.services = ServiceCounts {
        known: 4,
        announced: 3,
        withheld: [("NotSelected".to_owned(), 4)].into(),
    };
    status.gate.open = true;
    status.cni.state = CniState::Written;
    status.cni.path = Some("/etc/cni/net.d/10-dunlin.conflist".into());
    status
}

#[test]
fn a_healthy_node_on_one_screen() {
    let expected = "\
Node n1 (dunlin 0.1.0), up 3m12s: ready to carry pods
  AS 64512, router id 10.0.0.1, addresses 10.0.0.1, fd00::1
  pod subnets 10.244.1.0/24, fd00:1::/64

Sessions    nodes 2 of 2 up, external 1 of 1 up
Routes      6 received, 1 rejected, 5 best, 2 originated here
            4 of 4 installed, 0 failed, 0 conflicts, 0 stale
Services    4 known; of their addresses 3 of 7 announced here
Kernel      in sync 3s ago; 12 operations, 0 failures, 1 repair, 0 overruns; masquerade on
Restart     done: deletes and withdrawals may go
Objects     synced, last heard 7s ago
CNI         /etc/cni/net.d/10-dunlin.conflist written
";
    assert_eq!(super::status(&healthy(), plain()), expected);
}

#[test]
fn problems_come_before_the_figures() {
    let mut status = healthy();
    status.ready = false;
    status.not_ready = vec!["masquerade is not acknowledged".into()];
    status.dataplane.masquerade = Some(false);
    status.gate.open = false;
    status.gate.waiting_for = (1..=7).map(|n| format!("End-of-RIB of n{n}")).collect();
    status.gate.deadline_secs = Some(90);
    status.problems = vec![Problem {
        object: "BGPPeer/tor".into(),
        reason: "SessionDown".into(),
        message: "connection refused by 192.0.2.1: is BGP running there, and does it know 10.0.0.1 as a neighbor in AS 64512?"
            .into(),
    }];
    let expected = "\
Node n1 (dunlin 0.1.0), up 3m12s: not ready: masquerade is not acknowledged
  AS 64512, router id 10.0.0.1, addresses 10.0.0.1, fd00::1
  pod subnets 10.244.1.0/24, fd00:1::/64

1 PROBLEM
  BGPPeer/tor SessionDown
    connection refused by 192.0.2.1: is BGP running there, and does it know 10.0.0.1 as a neighbor
    in AS 64512?

Sessions    nodes 2 of 2 up, external 1 of 1 up
Routes      6 received, 1 rejected, 5 best, 2 originated here
            4 of 4 installed, 0 failed, 0 conflicts, 0 stale
Services    4 known; of their addresses 3 of 7 announced here
Kernel      in sync 3s ago; 12 operations, 0 failures, 1 repair, 0 overruns; masquerade not programmed
Restart     nothing is deleted or withdrawn yet: waiting for End-of-RIB of n1, End-of-RIB of n2
";
    let text = super::status(&status, plain());
    assert_eq!(
        text.lines().take(14).collect::<Vec<_>>(),
        expected.lines().take(14).collect::<Vec<_>>()
    );
    assert!(
        text.contains("End-of-RIB of n5 and 2 more, at most 1m30s more"),
        "{text}"
    );
}

#[test]
fn neighbors_fit_a_hundred_columns_and_say_why_they_are_down() {
    let up = Neighbor {
        name: "n2".into(),
        kind: "node".into(),
        address: Some(ip("10.0.0.2")),
        asn: Some(Asn(64512)),
        state: "Established".into(),
        since_secs: 192,
        families: vec![Afi::Ipv4, Afi::Ipv6],
        routes: Afi::ALL
            .map(|family| FamilyCounts {
                family,
                received: 1,
                accepted: 1,
                advertised: 2,
                stale: 0,
                long_lived_stale: 0,
                refused: 0,
                end_of_rib_received: true,
            })
            .to_vec(),
        ..Neighbor::default()
    };
    let down = Neighbor {
        name: "top-of-rack-switch-number-17".into(),
        kind: "external".into(),
        address: Some(ip("2001:db8:1111:2222:3333:4444:5555:6666")),
        asn: Some(Asn(4_200_000_001)),
        state: "Active".into(),
        since_secs: 4000,
        last_error: Some(
            "the peer sent Cease/Administrative Shutdown: \"maintenance\u{7}\"".into(),
        ),
        ..Neighbor::default()
    };
    let expected = "\
NAME       KIND      ADDRESS                  AS  STATE          FOR  RECV  USED  TOLD  NOTE
n2         node      10.0.0.2              64512  Established  3m12s     2     2     4
top-of-r…  external  2001:db8:1111:…  4200000001  Active       1h06m     0     0     0  the peer se…
";
    let text = super::neighbors(&[up.clone(), down.clone()], false, plain());
    assert_eq!(text, expected);
    fits(&text);
    let wide = super::neighbors(&[up, down], true, plain());
    assert!(wide.contains("top-of-rack-switch-number-17"), "{wide}");
    assert!(
        wide.contains("\"maintenance\u{fffd}\""),
        "a peer's text cannot steer the terminal: {wide}"
    );
}

fn route() -> Route {
    Route {
        prefix: "10.244.2.0/24".parse().unwrap(),
        paths: vec![
            Path {
                from: "n2".into(),
                next_hop: Some(ip("10.0.0.2")),
                interface: Some("eth0".into()),
                origin: "igp".into(),
                local_pref: Some(100),
                best: true,
                multipath: true,
                ..Path::default()
            },
            Path {
                from: "tor".into(),
                next_hop: Some(ip("192.0.2.1")),
                as_path: "65000 64512".into(),
                reason: Some("longer AS path".into()),
                stale: true,
                ..Path::default()
            },
        ],
        kernel: RouteState::Installed,
    }
}

#[test]
fn a_route_shows_its_paths_best_first() {
    let expected = "\
PREFIX            FROM  NEXT HOP   DEV   AS PATH      KERNEL     NOTE
10.244.2.0/24  *  n2    10.0.0.2   eth0  -            installed
               s  tor   192.0.2.1  -     65000 64512             longer AS path
";
    assert_eq!(super::routes(&[route()], false, plain()), expected);
}

#[test]
fn what_the_kernel_refused_says_why_and_when_it_is_tried_again() {
    let mut route = route();
    route.kernel = RouteState::Failed {
        error: "ENETUNREACH: Nexthop has invalid gateway".into(),
        retry_secs: 64,
    };
    let text = super::routes(&[route], false, plain());
    fits(&text);
    assert!(text.contains("failed"), "{text}");
    assert!(
        text.contains("ENETUNREACH: Nexthop has invalid gat"),
        "{text}"
    );
}

#[test]
fn an_advertisement_counts_who_was_told_and_says_why_the_first_was_not() {
    let to = |name: &str, reason: Option<&str>| AdvertisedTo {
        name: name.into(),
        advertised: reason.is_none(),
        reason: reason.map(Into::into),
        ..AdvertisedTo::default()
    };
    let advertisement = Advertisement {
        prefix: "10.244.1.0/24".parse().unwrap(),
        origin: "Node/n1".into(),
        advertisements: Vec::new(),
        to: vec![
            to("n2", None),
            to("tor-1", Some("no exportFilter")),
            to("tor-2", Some("down")),
        ],
    };
    let expected = "\
PREFIX         ORIGIN     TOLD  WHY NOT
10.244.1.0/24  Node/n1  1 of 3  tor-1: no exportFilter (and 1 more)
";
    let text = super::advertisements(std::slice::from_ref(&advertisement), false, plain());
    assert_eq!(text, expected);
    let wide = super::advertisements(&[advertisement], true, plain());
    assert_eq!(wide.lines().count(), 4, "{wide}");
    assert!(
        wide.lines()
            .any(|line| line.trim_start().starts_with("tor-2") && line.ends_with("down")),
        "{wide}"
    );
}

#[test]
fn pools_show_what_is_left_of_each_family_and_who_gives_it() {
    let counts = |family, used, free| PoolCounts {
        family,
        total: used + free,
        used,
        free,
    };
    let public = Pool {
        name: "public".into(),
        addresses: vec!["198.51.100.0/30".into(), "2001:db8:100::/64".into()],
        auto_assign: true,
        families: vec![counts(Afi::Ipv4, 4, 0), counts(Afi::Ipv6, 2, u64::MAX - 2)],
        allocator: Some("n2".into()),
        problems: vec!["spec.addresses[0]: is odd".into()],
    };
    let spare = Pool {
        name: "spare".into(),
        families: vec![counts(Afi::Ipv6, 0, 7)],
        ..Pool::default()
    };
    let pools = [public, spare];
    let rows = |wide| -> Vec<Vec<String>> {
        let text = super::pools(&pools, wide, plain());
        let cells = |line: &str| line.split("  ").map(str::trim).map(str::to_owned).collect();
        let row = |line| -> Vec<String> {
            let cells: Vec<String> = cells(line);
            cells.into_iter().filter(|cell| !cell.is_empty()).collect()
        };
        text.lines().skip(1).map(row).collect()
    };
    let found = rows(true);
    assert_eq!(
        found[0],
        [
            "public",
            "198.51.100.0/30, 2001:db8:100::/64",
            "4",
            "0",
            "2",
            "many",
            "n2",
            "yes",
            "spec.addresses[0]: is odd"
        ]
    );
    assert_eq!(found[1], ["spare", "-", "-", "-", "0", "7", "nobody", "no"]);
    let narrow = super::pools(&pools, false, plain());
    assert!(narrow.lines().all(|line| line.chars().count() <= 100));
    assert!(!narrow.contains("AUTO"), "{narrow}");
}

#[test]
fn services_show_a_line_an_address_and_why_it_stays_at_home() {
    let address = |text: &str, kind: &str, reason: Option<&str>| ServiceAddress {
        address: ip(text),
        kind: kind.into(),
        announced: match reason {
            None => vec![AnnouncedPrefix {
                prefix: dunlin_net::IpNet::from(ip(text)),
                advertisements: vec!["gold".into()],
            }],
            Some(_) => Vec::new(),
        },
        reason: reason.map(Into::into),
        message: reason.map(|_| "why, in a sentence".into()),
        shared_by: Vec::new(),
    };
    let mut web = Service {
        namespace: "shop".into(),
        name: "web".into(),
        service_type: "LoadBalancer".into(),
        internal_traffic_policy: "Cluster".into(),
        external_traffic_policy: "Local".into(),
        endpoints: EndpointCounts {
            total: 3,
            ready: 2,
            local_ready: 1,
            terminating: 0,
        },
        addresses: vec![
            address("10.96.0.7", "ClusterIP", Some("NotSelected")),
            address("203.0.113.80", "LoadBalancerIP", None),
        ],
        ..Service::default()
    };
    let dns = Service {
        namespace: "kube-system".into(),
        name: "a-name-as-long-as-kubernetes-allows-names-to-be-for-some-services".into(),
        service_type: "ClusterIP".into(),
        addresses: vec![address(
            "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
            "ClusterIP",
            Some("NoReadyLocalEndpoint"),
        )],
        ..Service::default()
    };
    let expected = "\
NAMESPACE  NAME  TYPE          READY  HERE  ADDRESS       ANNOUNCED  WHY NOT
shop       web   LoadBalancer    2/3     1  10.96.0.7     no         NotSelected
                                            203.0.113.80  yes
";
    let text = super::services(std::slice::from_ref(&web), false, plain());
    assert_eq!(text, expected);
    web.addresses[1].announced[0].prefix = "203.0.113.0/24".parse().unwrap();
    let both = [web, dns];
    fits(&super::services(&both, false, plain()));
    let wide = super::services(&both, true, plain());
    for part in ["in 203.0.113.0/24", "gold", "Local", "why, in a sentence"] {
        assert!(wide.contains(part), "{part}: {wide}");
    }
}

#[test]
fn nodes_show_sessions_and_installed_subnets() {
    let node = |name: &str, n: u8| Node {
        name: name.into(),
        addresses: vec![IpAddr::from([10, 0, 0, n])],
        pod_cidrs: vec![format!("10.244.{n}.0/24").parse().unwrap()],
        role: "Mesh".into(),
        session: Some("Established".into()),
        since_secs: 5,
        installed: 1,
        ..Node::default()
    };
    let nodes = [
        Node {
            local: true,
            session: None,
            ..node("n1", 1)
        },
        node("n2", 2),
        Node {
            session: Some("Active".into()),
            installed: 0,
            problems: vec!["OverlappingPodSubnet: 10.244.3.0/24 is n2's".into()],
            ..node("n3", 3)
        },
    ];
    let expected = "\
NAME  ADDRESSES  POD SUBNETS    ROLE  SESSION      FOR  ROUTES  PROBLEM
n1    10.0.0.1   10.244.1.0/24  Mesh  this node      -       -
n2    10.0.0.2   10.244.2.0/24  Mesh  Established   5s     1/1
n3    10.0.0.3   10.244.3.0/24  Mesh  Active        5s     0/1  OverlappingPodSubnet: 10.244.3.0/24 is n2's
";
    let text = super::nodes(&nodes, true, plain());
    assert_eq!(text, expected);
    fits(&super::nodes(&nodes, false, plain()));
}

#[test]
fn an_explanation_reads_from_the_object_to_where_it_stops() {
    let step = |stage: &str, verdict, text: &str| Step {
        stage: stage.into(),
        verdict,
        text: text.into(),
        lines: Vec::new(),
    };
    let explanation = Explanation {
        subject: "10.244.2.0/24".into(),
        summary: "not installed".into(),
        ok: false,
        steps: vec![
            step("object", Verdict::Pass, "Node/n2 owns it"),
            step(
                "adj-rib-in",
                Verdict::Wait,
                "no path yet: the session with n2 is Active",
            ),
            step("kernel", Verdict::Stop, "nothing to install"),
        ],
    };
    let expected = "\
10.244.2.0/24: not installed
  ok    object      Node/n2 owns it
  wait  adj-rib-in  no path yet: the session with n2 is Active
  STOP  kernel      nothing to install
";
    assert_eq!(super::explanation(&explanation, plain()), expected);
}

#[test]
fn the_service_proxy_has_a_line_that_tells_failures_and_meddling() {
    let line = |proxy: ProxyStatus| {
        let status = Status {
            proxy: Some(proxy),
            ..Status::default()
        };
        let text = super::status(&status, plain());
        let line = text.lines().find(|line| line.contains("programmed:"));
        line.unwrap_or_default().trim().to_owned()
    };
    let fine = ProxyStatus {
        services: 4,
        frontends: 8,
        elements: 1,
        first_sync_millis: Some(250),
        ..ProxyStatus::default()
    };
    assert_eq!(
        line(fine.clone()),
        "programmed: 8 of 8 frontends of 4 services, in 1 element"
    );
    let bad = ProxyStatus {
        pending: 1,
        failed: 2,
        repairs: 3,
        repair_age_secs: Some(61),
        ..fine
    };
    assert_eq!(
        line(bad),
        "programmed: 5 of 8 frontends of 4 services, in 1 element, 2 failed; changed by somebody else and repaired 3 times, last 1m01s ago"
    );
}
