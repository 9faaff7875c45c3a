use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use dunlin_api::{
    BfdFigures, BmpStation, FamilyCounts, Frontend, FrontendOwner, FrontendState, Histogram,
    Metrics, Neighbor, NeighborBfd, Problem, ProxyStatus, ServiceCounts, SessionCounts, Status,
    TopologyStatus,
};
use dunlin_intent::pools::PoolView;
use dunlin_kube::allocate::AllocateReport;
use dunlin_kube::api::{ResourceHealth, SourceHealth};
use dunlin_net::Afi;

use super::text;
use crate::connections::Counted;
use crate::process::Usage;

fn full() -> Metrics {
    let mut status = Status {
        version: "1.2.3".into(),
        source_age_secs: Some(4),
        topology: Some(TopologyStatus {
            role: "Client".into(),
            reflectors: vec!["n1".into(), "n2".into()],
            clients: 4,
            leaving: 5,
            ..TopologyStatus::default()
        }),
        sessions: SessionCounts {
            nodes_up: 3,
            nodes_expected: 4,
            external_up: 1,
            external_expected: 1,
            bfd_up: 1,
            bfd_expected: 2,
        },
        ..Status::default()
    };
    status.routes.received_stale = 14;
    status.routes.received_long_lived_stale = 13;
    status.bmp = vec![BmpStation {
        address: "192.0.2.9:11019".parse().unwrap(),
        connected: true,
        since_secs: 5,
        connects: 2,
        overruns: 1,
        sent_bytes: 700,
        behind: 3,
        queued_bytes: 30,
        last_error: None,
    }];
    status.dataplane.synced_age_secs = Some(2);
    status.dataplane.masquerade = Some(true);
    status.services = ServiceCounts {
        known: 3,
        announced: 2,
        withheld: BTreeMap::from([("NoReadyEndpoint".into(), 4)]),
    };
    status.proxy = Some(ProxyStatus {
        frontends: 12,
        pending: 2,
        failed: 1,
        repairs: 3,
        first_sync_millis: Some(250),
        ..ProxyStatus::default()
    });
    let problem = |object: &str| Problem {
        object: object.into(),
        reason: "Invalid".into(),
        message: String::new(),
    };
    status.problems = vec![problem("Node/a"), problem("Node/b")];
    let tor = Neighbor {
        name: "tor \"1\"\\".into(),
        address: Some(IpAddr::from([192, 0, 2, 1])),
        state: "Established".into(),
        bfd: Some(NeighborBfd {
            state: "Up".into(),
            failures: 2,
            ..NeighborBfd::default()
        }),
        routes: vec![FamilyCounts {
            family: Afi::Ipv6,
            received: 7,
            accepted: 6,
            advertised: 5,
            stale: 4,
            long_lived_stale: 3,
            refused: 0,
            end_of_rib_received: true,
        }],
        ..Neighbor::default()
    };
    Metrics {
        bfd_states: BTreeMap::from([("node".into(), BTreeMap::from([("Down".into(), 3)]))]),
        node_bfd_failures: 4,
        bfd: Some(BfdFigures {
            received: 8,
            dropped: BTreeMap::from([("ttl".into(), 6)]),
            most_late_micros: 2500,
            ..BfdFigures::default()
        }),
        status,
        external: vec![tor],
        node_states: BTreeMap::from([("Established".into(), 3), ("Active".into(), 1)]),
        rejected_by_reason: BTreeMap::from([("not-owned".into(), 9)]),
        refused_connections: BTreeMap::from([("unknown-peer".into(), 12)]),
        source_events: BTreeMap::from([("EndpointSlice".into(), 31)]),
        service_announce: Histogram {
            bounds_secs: vec![0.001, 0.01],
            counts: vec![5, 2, 1],
            sum_secs: 0.25,
        },
        service_program: Some(Histogram {
            bounds_secs: vec![0.001],
            counts: vec![4, 0],
            sum_secs: 0.001,
        }),
        ..Metrics::default()
    }
}

fn scrape(core: Option<Metrics>) -> String {
    let usage = Usage {
        resident_bytes: 1 << 20,
        cpu: Duration::from_millis(1250),
        threads: 4,
        open_files: 20,
    };
    let mut source = SourceHealth {
        connected: true,
        errors: BTreeMap::from([("Gone", 2)]),
        ..SourceHealth::default()
    };
    for (name, objects) in [
        ("nodes", 7),
        ("secrets kube-system/a", 1),
        ("secrets kube-system/b", 1),
    ] {
        let health = ResourceHealth {
            objects,
            ..ResourceHealth::default()
        };
        source.resources.insert(name.into(), health);
    }
    text(
        core.map(Box::new),
        usage,
        Some((allocation(), 3)),
        Some(source),
        Some(counted()),
    )
    .unwrap()
}

fn counted() -> Counted {
    let owner = FrontendOwner {
        frontend: Frontend {
            address: IpAddr::from([10, 96, 0, 10]),
            protocol: "TCP".into(),
            port: 80,
        },
        service: Some("shop/web".into()),
        state: FrontendState::Programmed,
        message: None,
    };
    Counted {
        frontends: vec![(owner, 17)],
        missing: false,
    }
}

fn allocation() -> AllocateReport {
    let mut pool = PoolView {
        name: "public".into(),
        ..PoolView::default()
    };
    (pool.total.v6, pool.used.v6) = (u128::MAX, 5);
    AllocateReport {
        leading: true,
        pools: vec![pool],
        short: 2,
        given: 9,
        ..AllocateReport::default()
    }
}

#[test]
fn outcomes_are_told_as_openmetrics() {
    let text = scrape(Some(full()));
    for line in [
        "process_cpu_seconds_total 1.25",
        "dunlin_core_up 1",
        "dunlin_build_info{version=\"1.2.3\"} 1",
        "dunlin_topology_role{role=\"Client\"} 1",
        "dunlin_topology_reflectors 2",
        "dunlin_topology_clients 4",
        "dunlin_topology_leaving 5",
        "dunlin_sessions_up{kind=\"node\"} 3",
        "dunlin_sessions_expected{kind=\"node\"} 4",
        "dunlin_node_sessions{state=\"Active\"} 1",
        "dunlin_problems{reason=\"Invalid\"} 2",
        "dunlin_routes_rejected_by_reason{reason=\"not-owned\"} 9",
        "dunlin_connections_refused_total{reason=\"unknown-peer\"} 12",
        "dunlin_masquerade_programmed 1",
        r#"dunlin_bfd_sessions{kind="node",state="Down"} 3"#,
        "dunlin_bfd_node_failures_total 4",
        r#"dunlin_bfd_neighbor_up{neighbor="tor \"1\"\\",address="192.0.2.1"} 1"#,
        r#"dunlin_bfd_neighbor_failures_total{neighbor="tor \"1\"\\",address="192.0.2.1"} 2"#,
        r#"dunlin_bmp_station_up{station="192.0.2.9:11019"} 1"#,
        r#"dunlin_bmp_connects_total{station="192.0.2.9:11019"} 2"#,
        r#"dunlin_bmp_overruns_total{station="192.0.2.9:11019"} 1"#,
        r#"dunlin_bmp_sent_bytes_total{station="192.0.2.9:11019"} 700"#,
        r#"dunlin_bmp_queued_bytes{station="192.0.2.9:11019"} 30"#,
        "dunlin_bfd_packets_received_total 8",
        "dunlin_bfd_packets_dropped_total{reason=\"ttl\"} 6",
        "dunlin_bfd_most_late_seconds 0.0025",
        "dunlin_services 3",
        "dunlin_service_addresses_withheld{reason=\"NoReadyEndpoint\"} 4",
        "dunlin_source_events_total{kind=\"EndpointSlice\"} 31",
        "dunlin_service_announce_seconds_bucket{le=\"0.001\"} 5",
        "dunlin_service_announce_seconds_bucket{le=\"0.01\"} 7",
        "dunlin_service_announce_seconds_bucket{le=\"+Inf\"} 8",
        "dunlin_service_announce_seconds_count 8",
        "dunlin_service_announce_seconds_sum 0.25",
        r#"dunlin_neighbor_up{neighbor="tor \"1\"\\",address="192.0.2.1"} 1"#,
        r#"dunlin_neighbor_routes{neighbor="tor \"1\"\\",address="192.0.2.1",family="ipv6",what="accepted"} 6"#,
        r#"dunlin_neighbor_routes{neighbor="tor \"1\"\\",address="192.0.2.1",family="ipv6",what="stale"} 4"#,
        r#"dunlin_neighbor_routes{neighbor="tor \"1\"\\",address="192.0.2.1",family="ipv6",what="long_lived_stale"} 3"#,
        "dunlin_routes_received_stale 14",
        "dunlin_routes_received_long_lived_stale 13",
        "dunlin_load_balancer_leader 1",
        "dunlin_load_balancer_addresses_given_total 9",
        "dunlin_events_dropped_total 3",
        r#"dunlin_load_balancer_pool_addresses_used{pool="public",family="ipv6"} 5"#,
        r#"dunlin_load_balancer_pool_addresses{pool="public",family="ipv6"} 9223372036854775807"#,
        "dunlin_source_connected 1",
        "dunlin_source_errors_total{reason=\"Gone\"} 2",
        "dunlin_source_objects{resource=\"nodes\"} 7",
        "dunlin_source_objects{resource=\"secrets\"} 2",
        "dunlin_service_proxy_frontends 12",
        r#"dunlin_service_connections_total{service="shop/web",frontend="10.96.0.10:80/TCP"} 17"#,
        "dunlin_service_connections_missing 0",
        "dunlin_service_proxy_frontends_programmed 9",
        "dunlin_service_proxy_repairs_total 3",
        "dunlin_service_proxy_first_sync_seconds 0.25",
        "dunlin_service_proxy_program_seconds_count 4",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
}

#[test]
fn the_size_does_not_depend_on_the_number_of_nodes() {
    let mut metrics = full();
    let before = scrape(Some(metrics.clone())).lines().count();
    metrics.status.sessions.nodes_expected = 5000;
    metrics.node_states.insert("Established".into(), 5000);
    assert_eq!(scrape(Some(metrics)).lines().count(), before);
}

#[test]
fn every_metric_is_described_in_the_documentation_and_no_other() {
    let text = scrape(Some(full()));
    let told: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split(' ').next())
        .collect();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let described: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split(['`', '{']).next())
        .map(|name| name.strip_suffix("_total").unwrap_or(name))
        .collect();
    assert_eq!(told, described);
}
