//! What a user applies, and what it permits.

use dunlin_e2e::agent::NAMESPACE;
use dunlin_e2e::world::World;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("the_manifests_are_valid_and_can_be_applied_again", applied),
    (
        "the_agents_account_may_do_what_it_needs_and_no_more",
        account,
    ),
];

fn applied(world: &mut World) {
    world.apply_manifests();
    world.apply_manifests();
    // Unknown fields would only be warnings.
    let [definitions, rest] = World::manifests();
    let said = world.kubectl().run(&[
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--server-side",
        "--force-conflicts",
        &definitions,
        &rest,
    ]);
    said.expect("no unknown fields");
}

fn account(world: &mut World) {
    world.apply_manifests();
    let who = format!("--as=system:serviceaccount:{NAMESPACE}:dunlin");
    let kubectl = world.kubectl();
    let may = |question: &[&str]| {
        let mut args = vec!["auth", "can-i", &who];
        args.extend(question);
        kubectl.run(&args).is_ok_and(|said| said.trim() == "yes")
    };
    for needed in [
        &["watch", "nodes"][..],
        &["watch", "services", "--all-namespaces"],
        &[
            "watch",
            "endpointslices.discovery.k8s.io",
            "--all-namespaces",
        ],
        &["watch", "bgppeers.dunlin.dev"],
        &["patch", "bgppeers.dunlin.dev", "--subresource=status"],
        &["create", "bgpnodes.dunlin.dev"],
        &[
            "patch",
            "services",
            "--subresource=status",
            "--all-namespaces",
        ],
        &[
            "create",
            "leases.coordination.k8s.io",
            "--namespace",
            NAMESPACE,
        ],
        &["get", "secrets", "--namespace", NAMESPACE],
        &["create", "events", "--all-namespaces"],
    ] {
        assert!(may(needed), "{needed:?}");
    }
    for excess in [
        &["get", "secrets", "--all-namespaces"][..],
        &["get", "secrets", "--namespace", "default"],
        &["create", "secrets", "--namespace", NAMESPACE],
        &["patch", "nodes"],
        &["delete", "nodes"],
        &["update", "services", "--all-namespaces"],
        &["delete", "bgppeers.dunlin.dev"],
        &["create", "pods", "--namespace", NAMESPACE],
        &[
            "create",
            "serviceaccounts",
            "--subresource=token",
            "--namespace",
            NAMESPACE,
        ],
        &["*", "*"],
    ] {
        assert!(!may(excess), "{excess:?}");
    }
}
