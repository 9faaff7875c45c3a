use std::net::IpAddr;

use dunlin_api::{
    Action, EndpointCounts, Frontend, FrontendState, FrontendTreatment, ProgrammedCounts, Service,
    ServiceAddress, ServiceEndpoint, ServiceFrontend,
};

use super::services;
use crate::args::Color;
use crate::output::Style;

fn plain() -> Style {
    Style::new(Color::Never, false)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn endpoint(
    address: &str,
    node: &str,
    state: &str,
    [inside, outside]: [bool; 2],
) -> ServiceEndpoint {
    ServiceEndpoint {
        address: ip(address),
        port: 8080,
        node: Some(node.into()),
        here: false,
        state: state.into(),
        inside,
        outside,
    }
}

fn frontend(address: &str, kind: &str, port: u16, outside: Action) -> ServiceFrontend {
    let treatment = |action| {
        Some(FrontendTreatment {
            action,
            choice: None,
            affinity_secs: None,
            why: String::new(),
        })
    };
    let balanced = outside == Action::Balance;
    ServiceFrontend {
        frontend: Frontend {
            address: ip(address),
            protocol: "TCP".into(),
            port,
        },
        kind: kind.into(),
        port_name: "http".into(),
        policy: "Local".into(),
        state: FrontendState::Programmed,
        message: None,
        elements: 5,
        connections: Some(7),
        inside: treatment(Action::Balance),
        outside: treatment(outside),
        sources: None,
        endpoints: vec![
            endpoint("10.244.1.2", "n1", "Ready", [true, balanced]),
            endpoint("10.244.2.2", "n2", "Ready", [true, false]),
            endpoint("10.244.2.3", "n2", "NotReady", [false, false]),
        ],
    }
}

fn web() -> Service {
    let address = |address, kind: &str| ServiceAddress {
        address: ip(address),
        kind: kind.into(),
        announced: Vec::new(),
        reason: None,
        message: None,
        shared_by: Vec::new(),
    };
    let mut failed = frontend("203.0.113.80", "LoadBalancerIP", 443, Action::Balance);
    failed.state = FrontendState::Failed;
    failed.message = Some("no memory".into());
    Service {
        namespace: "shop".into(),
        name: "web".into(),
        service_type: "LoadBalancer".into(),
        endpoints: EndpointCounts {
            total: 3,
            ready: 2,
            local_ready: 1,
            terminating: 0,
        },
        addresses: vec![
            address("10.96.0.7", "ClusterIP"),
            address("203.0.113.80", "LoadBalancerIP"),
        ],
        programmed: Some(ProgrammedCounts {
            frontends: 3,
            programmed: 2,
        }),
        frontends: Some(vec![
            frontend("192.0.2.1", "NodePort", 30_080, Action::Drop),
            frontend("203.0.113.80", "LoadBalancerIP", 80, Action::Balance),
            failed,
        ]),
        ..Service::default()
    }
}

/// Where the cells of the first line that has a word begin anew.
fn cells(text: &str, word: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.contains(word));
    let line = line.unwrap_or_else(|| panic!("{word}: {text}"));
    let cells = line.split("  ").map(str::trim);
    cells.filter(|c| !c.is_empty()).map(str::to_owned).collect()
}

#[test]
fn how_much_is_programmed_has_a_column_where_the_service_proxy_is_on() {
    let text = services(&[web()], false, plain());
    let line = cells(&text, "10.96.0.7");
    assert_eq!(line[3..6], ["2/3", "1", "2/3"], "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    let off = Service {
        programmed: None,
        frontends: None,
        ..web()
    };
    assert!(!services(&[off], false, plain()).contains("PROGRAMMED"));
}

#[test]
fn each_frontend_has_a_line_with_its_endpoints() {
    let text = services(&[web()], true, plain());
    let line = cells(&text, "80/TCP");
    let endpoints =
        "10.244.1.2:8080 (n1), 10.244.2.2:8080 (n2, inside only), 10.244.2.3:8080 (n2, not ready)";
    assert_eq!(
        line[line.len() - 4..],
        ["80/TCP", "yes", "7", endpoints],
        "{text}"
    );
    let line = cells(&text, "443/TCP");
    assert_eq!(
        line[0..2],
        ["443/TCP", "FAILED"],
        "one address has one line of its own: {text}"
    );
    assert_eq!(line.last().unwrap(), "no memory");
    let line = cells(&text, "30080/TCP");
    assert_eq!(line[0..3], ["192.0.2.1", "NodePort", "Local"], "{text}");
    assert!(
        line[6].starts_with("from outside dropped; 10.244.1.2:8080 (n1), "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 5, "{text}");
}
