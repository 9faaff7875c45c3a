//! A start without the API server: the state file and the kept passwords. The clock is real: a thread writes the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_fakeapi::{FakeApi, Fault};
use dunlin_intent::{Fact, Key, Kind, SecretRef};
use dunlin_kube::api::SourceOptions;

use super::objects::{OURS, node, peer, secret};
use super::world::World;

struct Dirs(PathBuf, PathBuf);

impl Dirs {
    fn new(name: &str) -> Dirs {
        let name = format!("dunlin-state-{name}-{}", std::process::id());
        let dirs = Dirs(
            std::env::temp_dir().join(&name),
            Path::new("/dev/shm").join(&name),
        );
        let _ = std::fs::remove_dir_all(&dirs.0);
        let _ = std::fs::remove_dir_all(&dirs.1);
        std::fs::create_dir_all(&dirs.0).expect("a directory");
        dirs
    }

    fn options(&self) -> SourceOptions {
        SourceOptions {
            prompt: false,
            state_dir: Some(self.0.clone()),
            secrets_dir: Some(self.1.clone()),
            seed: 7,
        }
    }

    /// Listens until all is told, and ends in order, so that the file has it. What was told.
    async fn fill(&self, api: &FakeApi) -> BTreeMap<Key, Fact> {
        let mut world = World::with(api, self.options());
        world.until_synced().await;
        let facts = world.facts.clone();
        world.end().await;
        facts
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

fn filled() -> FakeApi {
    let api = FakeApi::new();
    for at in 1..6 {
        api.put(node(&format!("n{at}"), at));
    }
    api.put(secret("bgp", "one"));
    api.put(peer("p", Some("bgp")));
    api.put(peer("q", None));
    api
}

#[tokio::test]
async fn a_restart_without_the_api_server_begins_where_it_ended() {
    let dirs = Dirs::new("restart");
    let api = filled();
    let before = dirs.fill(&api).await;
    // The password lies in memory alone.
    let on_disk = std::fs::read(dirs.0.join("cluster.redb")).expect("a state file");
    assert!(!String::from_utf8_lossy(&on_disk).contains("b25l"));
    api.faults(|faults| faults.on("", Fault::Refuse));
    let mut world = World::with(&api, dirs.options());
    world
        .until("all is told as it was", |w| w.facts == before)
        .await;
    world.until_synced().await;
    world
        .until_health("it is shown", |h| {
            h.unreachable_since.is_some() && h.running_on_state.is_some()
        })
        .await;
    // The server is back, and not all is as it was.
    api.delete("v1", "Node", None, "n2");
    api.delete("v1", "Secret", Some("kube-system"), "bgp");
    api.delete(OURS, "BGPPeer", None, "q");
    api.faults(|faults| faults.clear());
    let told = world.told;
    let gone = |w: &World| {
        !w.has(&Key::Node("n2".into()))
            && !w.has(&Key::Peer("q".into()))
            && !w.has(&Key::Secret(SecretRef::new("kube-system", "bgp")))
    };
    world.until("what is gone is told", gone).await;
    assert_eq!(world.told, told + 3, "nothing else is said again");
    world
        .until_health("all is well", |h| {
            h.connected && h.running_on_state.is_none()
        })
        .await;
}

#[tokio::test]
async fn many_changes_cost_few_writes_and_an_orderly_end_leaves_none_out() {
    const CHANGES: u64 = 400;
    let dirs = Dirs::new("changes");
    let api = filled();
    let mut world = World::with(&api, dirs.options());
    world.until_synced().await;
    let begun = std::time::Instant::now();
    let writes = |world: &World| world.health.as_ref().map_or(0, |h| h.borrow().state_writes);
    // Those of the first lists.
    let (told, first) = (world.told, writes(&world));
    for at in 0..CHANGES {
        let mut changed = node("n1", 1);
        changed["metadata"]["labels"] = serde_json::json!({"round": at.to_string()});
        api.put(changed);
        let heard = told + at + 1;
        world.until("it is told", |w| w.told >= heard).await;
    }
    api.delete("v1", "Node", None, "n2");
    world
        .until("it is gone", |w| !w.has(&Key::Node("n2".into())))
        .await;
    // One in five seconds, and at most one for each kind's first list.
    let most = begun.elapsed().as_secs() / 5 + 1 + 12;
    let between = writes(&world) - first;
    assert!(between <= most, "{between} writes");
    let before = world.facts.clone();
    world.end().await;
    api.faults(|faults| faults.on("", Fault::Refuse));
    let mut world = World::with(&api, dirs.options());
    world.until_synced().await;
    assert!(world.facts == before, "{:?}", world.facts);
}

#[tokio::test]
async fn what_went_while_no_agent_ran_is_not_in_the_file() {
    let dirs = Dirs::new("went");
    let api = filled();
    dirs.fill(&api).await;
    api.delete("v1", "Node", None, "n1");
    dirs.fill(&api).await;
    api.faults(|faults| faults.on("", Fault::Refuse));
    let mut world = World::with(&api, dirs.options());
    world.until_synced().await;
    assert!(world.has(&Key::Node("n2".into())) && !world.has(&Key::Node("n1".into())));
}

#[tokio::test]
async fn a_damaged_file_is_set_aside() {
    let dirs = Dirs::new("damaged");
    let api = filled();
    let file = dirs.0.join("cluster.redb");
    std::fs::write(&file, vec![b'x'; 10_000]).expect("written");
    dirs.fill(&api).await;
    assert!(dirs.0.join("cluster.redb.damaged").exists());
    // Damage in the middle of a file that looks whole.
    let mut octets = std::fs::read(&file).expect("a file");
    let half = octets.len() / 8;
    for octet in octets.iter_mut().skip(half).step_by(7) {
        *octet ^= 0x5A;
    }
    std::fs::write(&file, octets).expect("written");
    api.faults(|faults| faults.on("", Fault::Refuse));
    let mut world = World::with(&api, dirs.options());
    world.spend(Duration::from_secs(6)).await;
    api.faults(|faults| faults.clear());
    world.until_synced().await;
    assert_eq!(world.count(|key| matches!(key, Key::Node(_))), 5);
}

#[tokio::test]
async fn without_a_file_nothing_is_made_up() {
    let dirs = Dirs::new("empty");
    let api = filled();
    api.faults(|faults| faults.on("", Fault::Silence));
    let mut world = World::with(&api, dirs.options());
    world
        .until_health("it is shown", |health| health.unreachable_since.is_some())
        .await;
    world.spend(Duration::from_secs(2)).await;
    assert!(
        world.facts.is_empty() && world.synced.iter().all(|kind| *kind == Kind::Secret),
        "{:?}",
        world.synced
    );
}

#[tokio::test]
async fn passwords_are_not_put_on_a_disk() {
    let dirs = Dirs::new("disk");
    let api = filled();
    let mut options = dirs.options();
    options.secrets_dir = Some(dirs.0.join("secrets"));
    let mut world = World::with(&api, options);
    world.until_synced().await;
    let is_disk = !std::process::Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(&dirs.0)
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"tmpfs"));
    if is_disk {
        world
            .until_health("it is shown", |health| health.vault_problem.is_some())
            .await;
        assert!(!dirs.0.join("secrets/passwords").exists());
    }
}
