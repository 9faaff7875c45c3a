//! What only an API server can do wrong. The clock is paused: waiting costs nothing.

use std::time::Duration;

use dunlin_fakeapi::{FakeApi, Fault};
use dunlin_intent::{Fact, Key, Kind, NodeFact, SecretRef};
use dunlin_kube::api::SourceHealth;
use serde_json::json;

use super::objects::{OURS, node, peer, secret};
use super::world::World;

fn node_key(name: &str) -> Key {
    Key::Node(name.to_owned())
}

fn filled(nodes: u8) -> FakeApi {
    let api = FakeApi::new();
    for at in 0..nodes {
        api.put(node(&format!("n{at}"), at));
    }
    api
}

fn trouble(health: &SourceHealth, resource: &str) -> Option<&'static str> {
    let of = health.resources.get(resource)?;
    of.trouble.as_ref().map(|(reason, _)| *reason)
}

#[tokio::test(start_paused = true)]
async fn long_lists_come_in_pages() {
    let api = FakeApi::new();
    for at in 0..1203 {
        api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("ns-{at}")}}));
    }
    let mut world = World::of(&api);
    world.until_synced().await;
    assert_eq!(world.count(|key| matches!(key, Key::Namespace(_))), 1203);
    let pages = api.requests();
    let pages = pages
        .iter()
        .filter(|r| r.target.starts_with("/api/v1/namespaces?limit="));
    assert_eq!(pages.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_heartbeat_changes_is_not_told() {
    let api = filled(3);
    let mut world = World::of(&api);
    world.until_synced().await;
    let told = world.told;
    for beat in 0..50 {
        let mut beating = node("n1", 1);
        beating["status"]["conditions"][0]["lastHeartbeatTime"] =
            format!("2026-01-01T00:00:{beat}Z").into();
        beating["status"]["images"] = json!([{"names": [format!("image-{beat}")]}]);
        api.put(beating);
    }
    api.put(node("last", 9));
    world
        .until("the last node is told", |w| w.has(&node_key("last")))
        .await;
    assert_eq!(world.told, told + 1);
}

#[tokio::test(start_paused = true)]
async fn deletes_while_nobody_watched_are_found() {
    let api = filled(20);
    let mut world = World::of(&api);
    world.until_synced().await;
    let told = world.told;
    // The watch ends, the versions in between are forgotten, and meanwhile things go and come.
    api.faults(|faults| faults.on("/api/v1/nodes", Fault::Refuse));
    api.drop_watches();
    world.spend(Duration::from_secs(5)).await;
    for at in 0..10 {
        assert!(api.delete("v1", "Node", None, &format!("n{at}")));
    }
    api.put(node("new", 30));
    api.forget_past();
    api.faults(|faults| faults.clear());
    world
        .until("the list is compared", |w| {
            !w.has(&node_key("n0")) && w.has(&node_key("new"))
        })
        .await;
    world
        .until("all deletes are told", |w| w.removed == 10)
        .await;
    // Ten are gone, one is new, and of the others nothing is said.
    assert_eq!(world.told, told + 11);
    world
        .until_health("the source is well", |h| {
            h.connected && trouble(h, "nodes").is_none()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_deletes_nothing() {
    for clean in [false, true] {
        let api = filled(40);
        let mut world = World::of(&api);
        world.until_synced().await;
        api.faults(|faults| {
            faults.times(
                4,
                "GET /api/v1/nodes?limit",
                Fault::Cut { after: 3000, clean },
            );
        });
        api.delete("v1", "Node", None, "n39");
        world.until("the delete is told", |w| w.removed == 1).await;
        api.delete("v1", "Node", None, "n0");
        api.forget_past();
        api.drop_watches();
        world
            .until("a complete list came", |w| !w.has(&node_key("n0")))
            .await;
        assert_eq!(world.count(|key| matches!(key, Key::Node(_))), 38);
        assert_eq!(world.removed, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_deletes_nothing() {
    let api = filled(40).with_streaming(true);
    api.faults(|faults| {
        let cut = |clean| Fault::Cut { after: 3000, clean };
        faults.times(1, "GET /api/v1/nodes?watch", cut(true));
        faults.times(1, "GET /api/v1/nodes?watch", cut(false));
    });
    let mut world = World::of(&api);
    world.until_synced().await;
    assert_eq!(world.count(|key| matches!(key, Key::Node(_))), 40);
    assert_eq!(world.removed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_turned_streaming_off_is_listed() {
    let api = filled(3).with_streaming(true);
    api.faults(|faults| {
        faults.on("sendInitialEvents", Fault::Status(422, None, "Invalid"));
    });
    let mut world = World::of(&api);
    world.until_synced().await;
    assert_eq!(world.count(|key| matches!(key, Key::Node(_))), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_patience_gets_it() {
    let api = filled(3);
    api.faults(|faults| {
        faults.on(
            "/api/v1/nodes",
            Fault::Status(429, Some(20), "TooManyRequests"),
        );
    });
    let mut world = World::of(&api);
    world
        .until_health("it is shown", |h| trouble(h, "nodes") == Some("Throttled"))
        .await;
    api.forget_requests();
    world.spend(Duration::from_secs(100)).await;
    let asked = api.requests();
    let asked = asked
        .iter()
        .filter(|r| r.target.starts_with("/api/v1/nodes"))
        .count();
    assert!((3..=5).contains(&asked), "{asked} requests in 100 s");
    assert!(!world.synced.contains(&Kind::Node));
    api.faults(|faults| faults.clear());
    world.until_synced().await;
}

#[tokio::test(start_paused = true)]
async fn errors_do_not_become_a_storm() {
    for fault in [
        Fault::Status(500, None, "InternalError"),
        Fault::Garbage,
        Fault::Refuse,
    ] {
        let api = filled(3);
        let mut world = World::of(&api);
        world.until_synced().await;
        api.faults(|faults| faults.on("GET", fault.clone()));
        api.drop_watches();
        api.forget_requests();
        world.spend(Duration::from_secs(600)).await;
        // Eleven resources, a pause of up to half a minute.
        let asked = api.requests().len();
        assert!(
            (11 * 10..11 * 60).contains(&asked),
            "{fault:?}: {asked} requests in ten minutes"
        );
        assert_eq!(world.removed, 0, "{fault:?}");
        api.faults(|faults| faults.clear());
        api.put(node("after", 99));
        world
            .until("it goes on", |w| w.has(&node_key("after")))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_connection_is_noticed_within_a_minute() {
    let api = filled(3);
    let mut world = World::of(&api);
    world.until_synced().await;
    // From now on watches are taken and say nothing at all: those that run are as good as dead.
    api.faults(|faults| faults.times(1, "watch=1", Fault::Silence));
    api.drop_watches();
    world.spend(Duration::from_secs(2)).await;
    let begun = tokio::time::Instant::now();
    for resource in ["n", "o"] {
        api.put(node(resource, 77));
    }
    world
        .until("the change comes", |w| w.has(&node_key("o")))
        .await;
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn one_bad_object_is_a_problem_of_its_own() {
    let api = filled(2);
    let mut bad = node("bad", 8);
    bad["spec"]["podCIDRs"] = json!("10.0.0.0/8");
    api.put(bad);
    let mut world = World::of(&api);
    world.until_synced().await;
    world
        .until("the problem is told", |w| !w.problems.is_empty())
        .await;
    let said = format!("{:?}", world.problems);
    assert!(said.contains("bad") && said.contains("podCIDRs"), "{said}");
    assert_eq!(world.count(|key| matches!(key, Key::Node(_))), 2);
    // It is corrected, and then broken again: what it last said stays.
    api.put(node("bad", 8));
    world
        .until("it is taken", |w| {
            w.has(&node_key("bad")) && w.problems.is_empty()
        })
        .await;
    let mut unknown = peer("p", None);
    api.put(unknown.clone());
    world
        .until("the peer is told", |w| w.has(&Key::Peer("p".into())))
        .await;
    unknown["spec"]["bfdMode"] = "Quantum".into();
    unknown["spec"]["peerASN"] = json!({"from": "a newer version"});
    api.put(unknown);
    world
        .until("the peer's problem is told", |w| w.problems.len() == 1)
        .await;
    assert!(world.has(&Key::Peer("p".into())));
    api.delete(OURS, "BGPPeer", None, "p");
    world
        .until("the peer goes", |w| {
            !w.has(&Key::Peer("p".into())) && w.problems.is_empty()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_crd_that_is_not_installed_keeps_nothing_waiting() {
    let api = filled(2);
    api.set_installed(OURS, "BGPPeer", false);
    let mut world = World::of(&api);
    world.until_synced().await;
    let name = "bgppeers.dunlin.dev";
    world
        .until_health("it is shown", |h| trouble(h, name) == Some("NotInstalled"))
        .await;
    world.spend(Duration::from_secs(300)).await;
    api.set_installed(OURS, "BGPPeer", true);
    api.put(peer("p", None));
    world
        .until("the peer is told", |w| w.has(&Key::Peer("p".into())))
        .await;
    world
        .until_health("nothing is shown", |h| trouble(h, name).is_none())
        .await;
    // Taken away again, its objects stay until the server says that they are gone.
    api.set_installed(OURS, "BGPPeer", false);
    api.forget_past();
    api.drop_watches();
    world
        .until_health("it is shown", |h| trouble(h, name) == Some("NotInstalled"))
        .await;
    assert!(world.has(&Key::Peer("p".into())));
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named_and_waited_for() {
    let api = filled(2);
    api.deny("endpointslices");
    api.deny("servicecidrs");
    let mut world = World::of(&api);
    let name = "endpointslices.discovery.k8s.io";
    world
        .until_health("it is shown", |h| trouble(h, name) == Some("Forbidden"))
        .await;
    world
        .until("the others are synced", |w| {
            w.synced.len() == Kind::ALL.len() - 1
        })
        .await;
    // Without slices it is not known who is ready; without ServiceCIDRs all goes on.
    assert!(!world.synced.contains(&Kind::EndpointSlice));
    api.allow_all();
    world.until_synced().await;
    world
        .until_health("nothing is shown", |h| trouble(h, name).is_none())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_for_an_hour_changes_nothing() {
    let api = filled(10);
    let mut world = World::of(&api);
    world.until_synced().await;
    let told = world.told;
    api.faults(|faults| faults.on("", Fault::Refuse));
    api.drop_watches();
    world
        .until_health("it is shown", |h| h.unreachable_since.is_some())
        .await;
    world.spend(Duration::from_secs(3600)).await;
    assert_eq!(world.told, told);
    let away = world
        .health
        .as_ref()
        .expect("health")
        .borrow()
        .unreachable_since;
    let away = away.expect("away").elapsed();
    assert!(away > Duration::from_secs(3590), "{away:?}");
    api.delete("v1", "Node", None, "n3");
    api.put(node("n4", 44));
    api.forget_past();
    api.faults(|faults| faults.clear());
    world
        .until("the delete is told", |w| !w.has(&node_key("n3")))
        .await;
    let changed = |w: &World| matches!(&w.facts[&node_key("n4")], Fact::Node(NodeFact { pod_cidrs, .. }) if pod_cidrs[0].to_string() == "10.244.44.0/24");
    world.until("the change is told", changed).await;
    assert_eq!(world.told, told + 2);
    world
        .until_health("all is well", |h| {
            h.connected && h.unreachable_since.is_none()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_restored_from_a_backup_is_believed() {
    let old = filled(5);
    let mut world = World::of(&old);
    world.until_synced().await;
    // Versions go back: none of ours will ever be reached again.
    old.faults(|faults| {
        faults.on("resourceVersion=", Fault::Status(504, None, "Timeout"));
    });
    old.drop_watches();
    world.spend(Duration::from_secs(120)).await;
    old.faults(|faults| faults.clear());
    old.put(node("n5", 5));
    world.until("it goes on", |w| w.has(&node_key("n5"))).await;
}

#[tokio::test(start_paused = true)]
async fn only_secrets_that_objects_name_are_asked_for() {
    let api = filled(1);
    api.put(secret("bgp", "one"));
    api.put(secret("other", "one"));
    api.put(peer("p", Some("bgp")));
    let mut world = World::of(&api);
    world.until_synced().await;
    let key = |name: &str| Key::Secret(SecretRef::new("kube-system", name));
    assert!(world.has(&key("bgp")) && !world.has(&key("other")));
    let asked = api.requests();
    let asked: Vec<_> = asked
        .iter()
        .filter(|r| r.target.contains("secrets"))
        .collect();
    assert!(!asked.is_empty());
    for request in asked {
        let wanted = "/api/v1/namespaces/kube-system/secrets?fieldSelector=metadata.name%3Dbgp";
        assert!(request.target.starts_with(wanted), "{request:?}");
    }
    // It is rotated, another is named, and then none.
    let before = world.facts[&key("bgp")].clone();
    api.put(secret("bgp", "two"));
    world
        .until("the password changes", |w| w.facts[&key("bgp")] != before)
        .await;
    api.put(peer("p", Some("other")));
    world
        .until("the other is told", |w| {
            w.has(&key("other")) && !w.has(&key("bgp"))
        })
        .await;
    api.delete("v1", "Secret", Some("kube-system"), "other");
    world.until("it goes", |w| !w.has(&key("other"))).await;
    api.put(secret("other", "two"));
    world.until("it comes back", |w| w.has(&key("other"))).await;
    api.delete(OURS, "BGPPeer", None, "p");
    world
        .until("nobody names it", |w| !w.has(&key("other")))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_missing_or_forbidden_keeps_nothing_waiting() {
    let api = filled(1);
    api.put(peer("p", Some("missing")));
    World::of(&api).until_synced().await;
    api.deny("secrets");
    let mut world = World::of(&api);
    world.until_synced().await;
    let name = "secrets kube-system/missing";
    world
        .until_health("it is shown", |h| trouble(h, name) == Some("Forbidden"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_api_servers_addresses_are_told() {
    let api = filled(1);
    let slice = |addresses: &[&str]| {
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|a| json!({"addresses": [a]}))
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4", "endpoints": endpoints,
        })
    };
    api.put(slice(&["192.0.2.11", "192.0.2.12"]));
    let mut world = World::of(&api);
    let told =
        |w: &World, n: usize| w.servers.len() == n && w.servers[0].to_string() == "192.0.2.11";
    world.until("both are told", |w| told(w, 2)).await;
    api.put(slice(&["192.0.2.11"]));
    world.until("one is told", |w| told(w, 1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_check_names_what_is_missing() {
    let api = filled(1);
    let look = || dunlin_kube::api::look(dunlin_kube::api::Client::new(api.clone(), "default"));
    let access = look().await;
    assert_eq!(
        (access.server, access.readable),
        (Ok("1.33".to_owned()), 11)
    );
    assert!(access.problems.is_empty() && access.missing.is_empty());
    api.deny("services");
    api.deny("servicecidrs");
    api.set_installed(OURS, "BGPPeer", false);
    let access = look().await;
    assert_eq!(access.readable, 8);
    assert!(
        access.problems.len() == 1 && access.problems[0].contains("\"services\""),
        "{:?}",
        access.problems
    );
    assert!(
        access.missing.len() == 1 && access.missing[0].contains("bgppeers"),
        "{:?}",
        access.missing
    );
    api.faults(|faults| faults.on("", Fault::Refuse));
    assert!(
        look()
            .await
            .server
            .is_err_and(|why| why.contains("refused"))
    );
}
