use std::time::Duration;

use dunlin_api::{Answer, CniStatus, Pool};
use dunlin_kube::allocate::AllocateReport;
use dunlin_kube::api::{ResourceHealth, SourceHealth, StateAge};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Figures, Overlay, source_problems};

#[test]
fn a_source_in_trouble_says_what_since_when_and_what_to_do() {
    assert!(source_problems(&SourceHealth::default()).is_empty());
    let forbidden = ResourceHealth {
        trouble: Some(("Forbidden", "we may not list services".into())),
        ..ResourceHealth::default()
    };
    let health = SourceHealth {
        unreachable_since: Instant::now().checked_sub(Duration::from_secs(90)),
        last_error: Some("connection refused".into()),
        running_on_state: Some(StateAge(Some(Duration::from_secs(7)))),
        vault_problem: Some("is not on a tmpfs".into()),
        resources: [("services".to_owned(), forbidden)].into(),
        ..SourceHealth::default()
    };
    let problems = source_problems(&health);
    let said: Vec<String> = problems
        .iter()
        .map(|p| format!("{} {} {}", p.object, p.reason, p.message))
        .collect();
    assert!(
        said[0].starts_with("APIServer Unreachable no answer for 9"),
        "{said:?}"
    );
    assert!(
        said[0].contains("connection refused") && said[0].contains("7 s before"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("APIServer/services Forbidden we may not"),
        "{said:?}"
    );
    assert!(said[2].starts_with("Secrets NotKept"), "{said:?}");
}

#[test]
fn credentials_that_are_refused_are_one_problem() {
    let trouble = |reason, message: &str| ResourceHealth {
        trouble: Some((reason, message.to_owned())),
        ..ResourceHealth::default()
    };
    let health = SourceHealth {
        resources: [
            ("endpointslices", trouble("Unauthorized", "no")),
            ("nodes", trouble("Unauthorized", "no to nodes")),
            ("secrets", trouble("Forbidden", "not these")),
            ("services", trouble("Unauthorized", "no to services")),
        ]
        .map(|(name, health)| (name.to_owned(), health))
        .into(),
        ..SourceHealth::default()
    };
    let said: Vec<String> = source_problems(&health)
        .iter()
        .map(|p| format!("{} {} {}", p.object, p.reason, p.message))
        .collect();
    assert_eq!(
        said,
        [
            "APIServer Unauthorized no; the same for 2 more kinds",
            "APIServer/secrets Forbidden not these",
        ]
    );
}

#[test]
fn pools_name_the_node_that_gives_addresses_out() {
    let (report, reported) = watch::channel(AllocateReport::default());
    let (notices, _queue) = dunlin_kube::events::notices();
    let overlay = Overlay {
        counts: false,
        cni: watch::channel(CniStatus::default()).1,
        source: None,
        allocation: Some(Figures {
            report: reported,
            notices,
        }),
        troubles: crate::status_writer::Troubles::default(),
    };
    let asked = || match overlay.complete(Answer::Pools(vec![Pool::default()])) {
        Answer::Pools(pools) => pools[0].allocator.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(), None);
    report.send_modify(|report| report.holder = "n2.example_00000000000000aa".into());
    assert_eq!(asked().as_deref(), Some("n2.example"));
}
