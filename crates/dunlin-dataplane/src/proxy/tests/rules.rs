use std::collections::BTreeSet;

use dunlin_net::Instant;
use dunlin_net::service::View;

use super::kernel::{Kernel, Walk};
use super::{endpoints, frontend, name, rule, to};
use crate::proxy::Proxy;

const T0: Instant = Instant::ZERO;

fn started() -> (Proxy, Kernel) {
    let mut proxy = Proxy::new(7);
    let mut kernel = Kernel::default();
    proxy.set_enabled(true);
    proxy.synced();
    kernel.run(&mut proxy, T0);
    (proxy, kernel)
}

fn reaches(texts: &[&str]) -> Walk {
    Walk::Reaches(endpoints(texts).iter().copied().collect::<BTreeSet<_>>())
}

#[test]
fn a_service_is_programmed_changed_and_removed() {
    let (mut proxy, mut kernel) = started();
    assert!(kernel.intact);
    let at = frontend("10.96.0.1:80");
    let service = name("a/b");
    proxy.set(
        &service,
        vec![rule(
            "10.96.0.1:80",
            to(&["10.0.0.1:8080", "10.0.0.2:8080"]),
        )],
    );
    assert!(!proxy.is_programmed(&at));
    kernel.run(&mut proxy, T0);
    assert!(proxy.is_programmed(&at));
    assert_eq!(proxy.take_changed(), [service.clone()].into());
    for view in View::ALL {
        assert_eq!(
            kernel.walk(at, view, None),
            reaches(&["10.0.0.1:8080", "10.0.0.2:8080"])
        );
    }
    let before = kernel.ops;
    proxy.set(
        &service,
        vec![rule(
            "10.96.0.1:80",
            to(&["10.0.0.1:8080", "10.0.0.3:8080"]),
        )],
    );
    assert!(proxy.is_programmed(&at));
    kernel.run(&mut proxy, T0);
    assert_eq!(kernel.ops - before, 2);
    assert_eq!(
        kernel.walk(at, View::Inside, None),
        reaches(&["10.0.0.1:8080", "10.0.0.3:8080"])
    );
    assert!(proxy.take_changed().is_empty());
    proxy.set(&service, Vec::new());
    kernel.run(&mut proxy, T0);
    assert_eq!(kernel.walk(at, View::Inside, None), Walk::Untouched);
    assert!(kernel.set().is_empty());
    assert!(proxy.is_settled());
    assert_eq!(proxy.frontends().count(), 0);
}
