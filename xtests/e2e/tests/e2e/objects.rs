//! What the API server takes of our kinds, and what it says of the rest: by their definitions alone, without an agent.

use dunlin_e2e::world::World;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("good_objects_are_accepted", accepted),
    ("bad_objects_are_refused_with_words_that_help", refused),
    ("the_kinds_have_short_names_and_columns", columns),
];

/// Kind, name and spec.
type Object = (&'static str, &'static str, &'static str);

const GOOD: &[Object] = &[
    (
        "BGPConfiguration",
        "default",
        "{asn: 64600, timers: {holdTimeSeconds: 9, keepaliveSeconds: 3}}",
    ),
    (
        "BGPPeer",
        "address",
        "{peerAddress: 192.0.2.1, peerASN: 65000}",
    ),
    (
        "BGPPeer",
        "range",
        "{peerRange: \"2001:db8::/64\", peerASN: external}",
    ),
    (
        "BGPPeer",
        "wide-asn",
        "{peerAddress: \"2001:db8::1\", peerASN: 4200000000, ebgpMultihop: 3}",
    ),
    ("BGPAdvertisement", "pods", "{podCIDRs: {}}"),
    (
        "BGPAdvertisement",
        "services",
        "{services: {addresses: [ClusterIP, LoadBalancerIP]}, peerSelector: {matchLabels: {a: b}}, attributes: {communities: {standard: [\"64512:1\"]}, med: 5}}",
    ),
    (
        "BGPFilter",
        "default-route",
        "{rules: [{match: {cidr: 0.0.0.0/0, lengthMax: 0}, action: Accept}, {action: Reject}]}",
    ),
    (
        "LoadBalancerPool",
        "mixed",
        "{addresses: [192.0.2.0/28, 192.0.2.20-192.0.2.30, \"2001:db8::/120\"], autoAssign: false}",
    ),
];

/// And words of the answer.
const BAD: &[(Object, &str)] = &[
    (
        ("BGPConfiguration", "other", "{asn: 64512}"),
        "its name is default",
    ),
    (("BGPConfiguration", "default", "{asn: 0}"), "spec.asn"),
    (
        (
            "BGPPeer",
            "two-ways",
            "{peerAddress: 192.0.2.1, peerRange: 192.0.2.0/24, peerASN: 65000}",
        ),
        "exactly one of peerAddress, peerRange and interface",
    ),
    (
        ("BGPPeer", "no-way", "{peerASN: 65000}"),
        "exactly one of peerAddress, peerRange and interface",
    ),
    (
        (
            "BGPPeer",
            "reserved",
            "{peerAddress: 192.0.2.1, peerASN: 23456}",
        ),
        "AS number that is not reserved",
    ),
    (
        (
            "BGPPeer",
            "word",
            "{peerAddress: 192.0.2.1, peerASN: inside}",
        ),
        "internal or external",
    ),
    (
        ("BGPPeer", "short", "{peerAddress: 192.0.2, peerASN: 65001}"),
        "must be an address",
    ),
    (
        (
            "BGPPeer",
            "host-bits",
            "{peerRange: 192.0.2.1/24, peerASN: 65001}",
        ),
        "without bits set beyond its length",
    ),
    (
        (
            "BGPPeer",
            "unknown",
            "{peerAddress: 192.0.2.1, peerASN: 65001, colour: red}",
        ),
        "colour",
    ),
    (
        ("BGPAdvertisement", "nothing", "{}"),
        "names nothing to announce",
    ),
    (
        (
            "BGPAdvertisement",
            "kind",
            "{services: {addresses: [PodIP]}}",
        ),
        "ClusterIP",
    ),
    (
        (
            "BGPFilter",
            "backwards",
            "{rules: [{match: {cidr: 10.0.0.0/8, lengthMin: 24, lengthMax: 16}, action: Accept}]}",
        ),
        "must not be less than lengthMin",
    ),
    (
        ("BGPFilter", "action", "{rules: [{action: Maybe}]}"),
        "Accept",
    ),
    (
        (
            "LoadBalancerPool",
            "families",
            "{addresses: [\"192.0.2.9-2001:db8::1\"]}",
        ),
        "two addresses of one family",
    ),
    (
        ("LoadBalancerPool", "empty", "{addresses: []}"),
        "spec.addresses",
    ),
];

fn manifest((kind, name, spec): &Object) -> String {
    format!(
        "apiVersion: dunlin.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
    )
}

/// Nothing is kept: agents would act on it.
const DRY_RUN: [&str; 4] = ["apply", "--server-side", "--dry-run=server", "--filename=-"];

fn accepted(world: &mut World) {
    world.apply_manifests();
    let all: String = GOOD.iter().map(manifest).collect();
    let said = world.kubectl().run_with(&all, &DRY_RUN);
    let said = said.expect("they are good");
    assert_eq!(said.lines().count(), GOOD.len(), "{said}");
}

fn refused(world: &mut World) {
    world.apply_manifests();
    for (object, words) in BAD {
        let said = world.kubectl().run_with(&manifest(object), &DRY_RUN);
        let said = said.expect_err(object.2);
        assert!(said.contains(words), "{object:?}: {said}");
        assert!(said.contains(object.1), "it names the object: {said}");
    }
}

fn columns(world: &mut World) {
    world.apply_manifests();
    let kubectl = world.kubectl();
    kubectl.apply(&manifest(&GOOD[6]));
    for name in ["bgpf", "bgpfilter", "dunlin"] {
        let table = kubectl.ok(&["get", name]);
        assert!(table.contains("default-route"), "{name}: {table}");
    }
    let table = kubectl.ok(&["get", "bgpf"]);
    assert!(
        table.starts_with("NAME") && table.contains("ACCEPTED"),
        "{table}"
    );
    let about = kubectl.ok(&["explain", "bgppeers.spec.peerASN"]);
    assert!(about.contains("DESCRIPTION"), "{about}");
    kubectl.ok(&["delete", "bgpfilter", "default-route"]);
}
