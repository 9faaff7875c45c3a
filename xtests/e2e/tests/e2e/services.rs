//! Services come and go, and their addresses on the router with them.

use serde_json::json;

use crate::Test;
use dunlin_e2e::world::{NODES, World};

pub(crate) const TESTS: &[Test] = &[
    ("a_service_comes_and_goes", come_and_go),
    (
        "readiness_and_local_policies_decide_who_announces",
        policies,
    ),
    (
        "endpoints_by_the_controller_manager_are_followed",
        controller,
    ),
];

/// Announces all kinds of addresses of services with the label `announce`.
pub(crate) const ADVERTISEMENT: &str = "apiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\n\
     metadata: {name: services}\nspec:\n  services:\n    \
     addresses: [ClusterIP, ExternalIP, LoadBalancerIP]\n    selector: {matchLabels: {announce: \"yes\"}}\n";

/// A service with an address outside, made by hand.
pub(crate) fn service(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\n\
         metadata: {{name: {name}, namespace: default, labels: {{announce: \"yes\"}}}}\n\
         spec:\n  ports: [{{port: 80}}]\n{more}---\n"
    )
}

/// Slices of a service without a selector: an endpoint on each of the nodes.
pub(crate) fn slice(service: &str, endpoints: &[(&str, bool)]) -> String {
    let endpoint = |(number, (node, ready)): (usize, &(&str, bool))| {
        json!({
            "addresses": [format!("10.244.250.{}", number + 1)],
            "nodeName": node,
            "conditions": {"ready": ready, "serving": ready, "terminating": false},
        })
    };
    let endpoints: Vec<_> = endpoints.iter().enumerate().map(endpoint).collect();
    let object = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-by-hand"),
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"port": 80, "protocol": "TCP"}],
        "endpoints": endpoints,
    });
    format!("{object}\n---\n")
}

/// The host route of an address.
fn host(address: &str) -> String {
    let len = if address.contains(':') { 128 } else { 32 };
    format!("{address}/{len}")
}

fn come_and_go(world: &mut World) {
    let kubectl = world.kubectl();
    let router = &world.cluster().router;
    kubectl.apply(ADVERTISEMENT);
    let external = "198.51.100.10";
    let more = format!("  externalIPs: [{external}]\n  ipFamilyPolicy: RequireDualStack\n");
    kubectl.apply(&(service("web", &more) + &slice("web", &[("n1", true)])));
    let object = kubectl.get(&["service", "web"]).expect("it is there");
    let cluster_ips = object["spec"]["clusterIPs"].as_array().expect("addresses");
    assert_eq!(cluster_ips.len(), 2, "{object}");
    router.await_route(&host(external), &NODES);
    for address in cluster_ips {
        router.await_route(&host(address.as_str().unwrap_or_default()), &NODES);
    }
    // One without the label stays inside.
    kubectl
        .apply(&service("inside", "  externalIPs: [198.51.100.11]\n").replace("announce", "other"));
    kubectl.apply(&slice("inside", &[("n1", true)]));
    // Another address in its place.
    kubectl.apply(&service(
        "web",
        "  externalIPs: [198.51.100.12]\n  ipFamilyPolicy: RequireDualStack\n",
    ));
    router.await_route(&host("198.51.100.12"), &NODES);
    router.await_no_route(&host(external));
    assert!(
        !router
            .table()
            .expect("a table")
            .contains_key(&host("198.51.100.11")),
        "it has no label"
    );
    kubectl.ok(&["delete", "service", "web", "inside"]);
    router.await_no_route(&host("198.51.100.12"));
    for address in cluster_ips {
        router.await_no_route(&host(address.as_str().unwrap_or_default()));
    }
    kubectl.ok(&["delete", "bgpadvertisement", "services"]);
}

fn policies(world: &mut World) {
    let kubectl = world.kubectl();
    let router = &world.cluster().router;
    kubectl.apply(ADVERTISEMENT);
    let address = "198.51.100.20";
    let route = host(address);
    let all = format!("  externalIPs: [{address}]\n  type: NodePort\n");
    kubectl.apply(&(service("web", &all) + &slice("web", &[("n1", true), ("n2", false)])));
    router.await_route(&route, &NODES);
    // No ready endpoint is left.
    kubectl.apply(&slice("web", &[("n1", false), ("n2", false)]));
    router.await_no_route(&route);
    let local = format!("{all}  externalTrafficPolicy: Local\n");
    kubectl.apply(&(service("web", &local) + &slice("web", &[("n1", true), ("n2", true)])));
    router.await_route(&route, &["n1", "n2"]);
    kubectl.apply(&slice("web", &[("n1", false), ("n2", true), ("n3", true)]));
    router.await_route(&route, &["n2", "n3"]);
    // A node that is excluded.
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    kubectl.ok(&["label", "node", "n3", &format!("{label}=")]);
    router.await_route(&route, &["n2"]);
    kubectl.ok(&["label", "node", "n3", &format!("{label}-")]);
    router.await_route(&route, &["n2", "n3"]);
    kubectl.ok(&["delete", "endpointslice", "web-by-hand"]);
    router.await_no_route(&route);
    kubectl.ok(&["delete", "service/web", "bgpadvertisement/services"]);
}

/// A pod becomes ready: the controller manager writes the slice.
fn controller(world: &mut World) {
    let kubectl = world.kubectl();
    let router = &world.cluster().router;
    kubectl.apply(ADVERTISEMENT);
    let address = "198.51.100.30";
    let more = format!(
        "  externalIPs: [{address}]\n  selector: {{app: web}}\n  type: NodePort\n  externalTrafficPolicy: Local\n"
    );
    kubectl.apply(&service("web", &more));
    kubectl.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: default, labels: {app: web}}\n\
         spec:\n  nodeName: n2\n  containers: [{name: web, image: none}]\n",
    );
    let status = |ready: &str| {
        json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready}],
            "podIP": "10.244.250.9",
            "podIPs": [{"ip": "10.244.250.9"}],
        })
    };
    kubectl.patch_status(&["pod", "web"], &status("True"));
    router.await_route(&host(address), &["n2"]);
    kubectl.patch_status(&["pod", "web"], &status("False"));
    router.await_no_route(&host(address));
    kubectl.patch_status(&["pod", "web"], &status("True"));
    router.await_route(&host(address), &["n2"]);
    kubectl.ok(&["delete", "pod", "web", "--grace-period=0", "--force"]);
    router.await_no_route(&host(address));
    kubectl.ok(&["delete", "service/web", "bgpadvertisement/services"]);
}
