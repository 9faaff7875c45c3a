//! The control plane itself: what the other tests stand on.

use dunlin_e2e::control::Component;
use dunlin_e2e::{PATIENCE, wait_for};
use serde_json::Value;

use crate::Test;
use dunlin_e2e::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("nodes_get_pod_subnets_of_both_families", subnets),
    ("objects_outlive_a_killed_api_server", restart),
    ("a_service_account_may_do_what_it_was_granted", accounts),
    ("services_get_addresses_and_slices", services),
];

fn node(name: &str) -> String {
    format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n---\n")
}

fn subnets(world: &mut World) {
    let kubectl = world.kubectl();
    kubectl.apply(&(node("a") + &node("b")));
    let of = |name: &str| {
        wait_for("a node's pod subnets", PATIENCE, || {
            let node = kubectl.get(&["node", name])?;
            let cidrs = node["spec"]["podCIDRs"].as_array().cloned();
            cidrs
                .filter(|cidrs| cidrs.len() == 2)
                .ok_or(node.to_string())
        })
    };
    let (a, b) = (of("a"), of("b"));
    for cidrs in [&a, &b] {
        let text = |index: usize| cidrs[index].as_str().unwrap_or_default();
        assert!(text(0).starts_with("10.244.") && text(0).ends_with("/24"));
        assert!(text(1).starts_with("fd44:") && text(1).ends_with("/64"));
    }
    assert!(a.iter().all(|cidr| !b.contains(cidr)), "{a:?} {b:?}");
    kubectl.ok(&["delete", "nodes", "a", "b"]);
}

fn restart(world: &mut World) {
    let kubectl = world.kubectl();
    kubectl.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept}\ndata: {a: b}\n");
    world.plane.kill(Component::ApiServer);
    assert!(kubectl.run(&["get", "--raw", "/readyz"]).is_err());
    world.plane.run(Component::ApiServer);
    world.plane.await_ready();
    let kept = kubectl.get(&["configmap", "kept"]).expect("it is kept");
    assert_eq!(kept["data"]["a"], "b");
    kubectl.ok(&["delete", "configmap", "kept"]);
}

fn accounts(world: &mut World) {
    let kubectl = world.kubectl();
    kubectl.apply(&node("n1"));
    kubectl.apply(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: reader, namespace: default}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reader}\nrules:\n\
         - {apiGroups: [\"\"], resources: [nodes], verbs: [get, list, watch]}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: reader}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}\n\
         subjects: [{kind: ServiceAccount, name: reader, namespace: default}]\n",
    );
    let kubeconfig = world
        .plane
        .kubeconfig_of("default", "reader", "reader.conf");
    let reader = world.plane.kubectl_as(&kubeconfig);
    let who = reader.get_review();
    assert_eq!(
        who["status"]["userInfo"]["username"],
        "system:serviceaccount:default:reader"
    );
    reader.ok(&["get", "nodes"]);
    for denied in [
        ["get", "secrets"],
        ["delete", "nodes/none"],
        ["get", "services"],
    ] {
        let said = reader.run(&denied).expect_err("not granted");
        assert!(said.contains("Forbidden"), "{said}");
    }
    kubectl.ok(&[
        "delete",
        "clusterrole,clusterrolebinding,serviceaccount",
        "reader",
    ]);
}

trait Review {
    fn get_review(&self) -> Value;
}

impl Review for dunlin_e2e::kubectl::Kubectl {
    fn get_review(&self) -> Value {
        let text = self.ok(&["auth", "whoami", "--output=json"]);
        serde_json::from_str(&text).expect("JSON")
    }
}

/// A pod with an address becomes an endpoint of the service that selects it, by the controller manager.
fn services(world: &mut World) {
    let kubectl = world.kubectl();
    kubectl.apply(&node("n1"));
    kubectl.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec:\n  \
         ipFamilyPolicy: RequireDualStack\n  selector: {app: web}\n  ports: [{port: 80}]\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: web-1, namespace: default, labels: {app: web}}\nspec:\n  \
         nodeName: n1\n  containers: [{name: web, image: none}]\n",
    );
    let service = kubectl.get(&["service", "web"]).expect("it is there");
    let addresses = service["spec"]["clusterIPs"].as_array().map(Vec::len);
    assert_eq!(addresses, Some(2), "{service}");
    let status = serde_json::json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "podIP": "10.244.0.9",
        "podIPs": [{"ip": "10.244.0.9"}, {"ip": "fd44::9"}],
    });
    kubectl.patch_status(&["pod", "web-1"], &status);
    wait_for("slices of both families", PATIENCE, || {
        let slices = kubectl.get(&["endpointslices"])?.to_string();
        let both = slices.contains("10.244.0.9") && slices.contains("fd44::9");
        both.then_some(()).ok_or(slices)
    });
    kubectl.ok(&["delete", "pod", "web-1", "--grace-period=0", "--force"]);
    kubectl.ok(&["delete", "service/web", "node/n1"]);
}
