//! What agents ask of a server that has trouble or is of another age, and what they do without its answers.

use std::path::PathBuf;
use std::time::Duration;

use dunlin_fakeapi::{FakeApi, Fault};
use dunlin_intent::Key;
use dunlin_kube::api::SourceOptions;

use super::objects::{OURS, node, peer};
use super::world::World;

fn filled() -> FakeApi {
    let api = FakeApi::new();
    for at in 1..6 {
        api.put(node(&format!("n{at}"), at));
    }
    api.put(peer("p", None));
    api
}

/// How many requests contain all of these.
fn asked(api: &FakeApi, parts: &[&str]) -> usize {
    let requests = api.requests();
    let fit = |target: &str| parts.iter().all(|part| target.contains(part));
    requests.iter().filter(|r| fit(&r.target)).count()
}

#[tokio::test(start_paused = true)]
async fn a_list_again_is_read_from_the_servers_memory() {
    let api = filled();
    let mut world = World::of(&api);
    world.until_synced().await;
    world.spend(Duration::from_secs(1)).await;
    api.forget_past();
    api.drop_watches();
    world.spend(Duration::from_secs(60)).await;
    let again = "resourceVersionMatch=NotOlderThan";
    assert!(asked(&api, &["/nodes?", again]) > 0, "{:?}", api.requests());
    // A limit makes servers before 1.34 read their storage, for each of thousands of agents.
    assert_eq!(asked(&api, &["limit=", again]), 0);
}

#[tokio::test(start_paused = true)]
async fn what_an_older_server_does_not_serve_is_rarely_asked_for() {
    let api = filled();
    api.set_installed("networking.k8s.io/v1", "ServiceCIDR", false);
    api.set_installed(OURS, "BGPFilter", false);
    let mut world = World::of(&api);
    world.until_synced().await;
    world.spend(Duration::from_secs(3600)).await;
    let times = asked(&api, &["/servicecidrs"]);
    assert!((5..=14).contains(&times), "{times}");
    // A CRD may well be installed after the agent.
    let times = asked(&api, &["/bgpfilters"]);
    assert!(times > 100, "{times}");
}

/// A state file's directory, removed in the end.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_server_without_its_storage_is_one_that_is_away() {
    let dir = std::env::temp_dir().join(format!("dunlin-outage-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let dir = Dir(dir);
    let options = || SourceOptions {
        prompt: false,
        state_dir: Some(dir.0.clone()),
        secrets_dir: None,
        seed: 7,
    };
    let api = filled();
    let mut world = World::with(&api, options());
    world.until_synced().await;
    let before = world.facts.clone();
    // The file is written some seconds behind.
    world.spend(Duration::from_secs(8)).await;
    drop(world);
    // It tells its version and the nodes, and no more than that.
    api.delete("v1", "Node", None, "n2");
    let away = || Fault::Status(500, None, "InternalError");
    api.faults(|faults| {
        faults.on("GET /apis/", away());
        faults.on("GET /api/v1/services", away());
        faults.on("GET /api/v1/namespaces", away());
    });
    let mut world = World::with(&api, options());
    world.until_synced().await;
    assert!(world.has(&Key::Peer("p".into())));
    assert!(!world.has(&Key::Node("n2".into())), "the API said so");
    assert_eq!(world.facts.len() + 1, before.len());
    // It recovers, and what it says counts.
    api.delete(OURS, "BGPPeer", None, "p");
    api.faults(|faults| faults.clear());
    world
        .until("what is gone is told", |w| !w.has(&Key::Peer("p".into())))
        .await;
}
