use dunlin_agent::service_tables::{ServiceTables, TableEndpoint, TableFrontend, TableTreatment};
use dunlin_api::{Frontend, FrontendOwner, FrontendState};

use super::nft;
use crate::args::Color;
use crate::nft::{Shown, ShownFrontend};
use crate::output::Style;

fn plain() -> Style {
    Style::new(Color::Never, false)
}

fn balance(hashed: bool, endpoints: &[(&str, u32)]) -> TableTreatment {
    TableTreatment::Balance {
        set: "random_inside_1".into(),
        slots: endpoints.iter().map(|(_, slots)| slots).sum(),
        hashed,
        endpoints: endpoints
            .iter()
            .map(|(to, slots)| TableEndpoint {
                endpoint: to.parse().unwrap(),
                slots: *slots,
            })
            .collect(),
    }
}

fn one(
    address: &str,
    service: Option<&str>,
    state: FrontendState,
    held: TableFrontend,
) -> ShownFrontend {
    let frontend = Frontend {
        address: address.parse().unwrap(),
        protocol: "TCP".into(),
        port: 80,
    };
    ShownFrontend {
        owner: Some(FrontendOwner {
            frontend: frontend.clone(),
            service: service.map(Into::into),
            state,
            message: None,
        }),
        frontend,
        held,
    }
}

fn shown(frontends: Vec<ShownFrontend>) -> Shown {
    Shown {
        tables: ServiceTables {
            present: true,
            intact: true,
            elements: 20,
            near: vec!["10.244.1.0/24".parse().unwrap()],
            ..ServiceTables::default()
        },
        total: frontends.len(),
        frontends,
        left_out: 0,
        agent: true,
    }
}

#[test]
fn frontends_are_shown_by_service_with_what_they_do() {
    let two = &[("10.244.1.2:8080", 1), ("10.244.2.2:8080", 1)];
    let balanced = TableFrontend {
        inside: Some(balance(false, two)),
        outside: Some(TableTreatment::Drop),
        affinity_secs: Some(10_800),
        sources: Some(vec!["192.0.2.0/24".parse().unwrap()]),
        elements: vec!["ip dunlin_services refused { 10.96.0.10 . tcp . 80 }".into()],
        ..TableFrontend::default()
    };
    let hashed = TableFrontend {
        inside: Some(balance(
            true,
            &[("10.244.1.2:8080", 3), ("10.244.2.2:8080", 1)],
        )),
        ..TableFrontend::default()
    };
    let lost = TableFrontend {
        inside: Some(TableTreatment::Reject),
        faults: vec!["its block of addresses is not among the served: it is not looked up".into()],
        ..TableFrontend::default()
    };
    let shown = shown(vec![
        one(
            "10.96.0.10",
            Some("shop/web"),
            FrontendState::Programmed,
            balanced,
        ),
        one(
            "10.96.0.11",
            Some("shop/web"),
            FrontendState::Changing,
            hashed,
        ),
        one("10.96.0.12", None, FrontendState::Stale, lost),
    ]);
    let expected = "\
tables ip dunlin_services and ip6 dunlin_services: 3 frontends, 20 elements
inside, that is this node and its pods: 10.244.1.0/24

SERVICE   FRONTEND           FROM     DOES                        ENDPOINTS                WANTED
shop/web  10.96.0.10:80/TCP  inside   random                      10.244.1.2:8080          yes
                                      sticky for 3h00m 10.244.2.2:8080
                             outside  dropped
                                      only 192.0.2.0/24
          10.96.0.11:80/TCP  all      hash, 4 slots               10.244.1.2:8080 (75.0%)  changing
                                                                  10.244.2.2:8080 (25.0%)
nobody's  10.96.0.12:80/TCP  all      refused                                              going
                                      see below
10.96.0.12:80/TCP: its block of addresses is not among the served: it is not looked up
";
    let text = nft(&shown, false, plain());
    let words = |text: &str| -> Vec<Vec<String>> {
        let line = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        text.lines().map(line).collect()
    };
    assert_eq!(words(&text), words(expected), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    let wide = nft(&shown, true, plain());
    let command = "  nft get element ip dunlin_services refused { 10.96.0.10 . tcp . 80 }";
    assert!(wide.lines().any(|line| line == command), "{wide}");
}

#[test]
fn long_addresses_and_many_endpoints_keep_within_the_screen() {
    let many: Vec<String> = (0..100)
        .map(|n| format!("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:{n:x}]:65535"))
        .collect();
    let many: Vec<(&str, u32)> = many.iter().map(|to| (to.as_str(), 1)).collect();
    let held = TableFrontend {
        inside: Some(balance(false, &many)),
        ..TableFrontend::default()
    };
    let name = "a-namespace-with-a-long-name/and-a-service-too";
    let address = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff";
    let shown = shown(vec![one(
        address,
        Some(name),
        FrontendState::Programmed,
        held,
    )]);
    let text = nft(&shown, false, plain());
    assert!(text.contains("and 92 more"), "{text}");
    let table = text.lines().skip(3);
    assert!(
        table.into_iter().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}
