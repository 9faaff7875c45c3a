//! One set of scenarios over both sources: after each step both have told exactly what the manifests say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use dunlin_fakeapi::FakeApi;
use dunlin_intent::{Fact, Key, Kind};
use dunlin_kube::ManifestDir;
use dunlin_kube::dir::Limits;
use dunlin_kube::manifest::{self, Format};
use serde_json::Value;

use super::world::World;

const FIRST: &str = include_str!("first.yaml");
const SECOND: &str = include_str!("second.yaml");

/// Where objects are put for a source to find.
enum Place {
    Dir(PathBuf),
    Api(FakeApi),
}

impl Place {
    fn put(&self, object: &Value) {
        match self {
            Place::Dir(dir) => {
                let new = dir.join("new");
                std::fs::write(&new, object.to_string()).expect("written");
                std::fs::rename(&new, dir.join(file(object))).expect("renamed");
            }
            Place::Api(api) => {
                api.put(object.clone());
            }
        }
    }

    fn remove(&self, object: &Value) {
        match self {
            Place::Dir(dir) => std::fs::remove_file(dir.join(file(object))).expect("removed"),
            Place::Api(api) => {
                let text = |value: &Value| value.as_str().expect("text").to_owned();
                let namespace = object["metadata"]["namespace"].as_str();
                let name = text(&object["metadata"]["name"]);
                let known = api.delete(
                    &text(&object["apiVersion"]),
                    &text(&object["kind"]),
                    namespace,
                    &name,
                );
                assert!(known, "{name}");
            }
        }
    }
}

fn id(object: &Value) -> String {
    let meta = &object["metadata"];
    let namespace = meta["namespace"].as_str().unwrap_or_default();
    format!(
        "{}-{namespace}-{}",
        object["kind"].as_str().expect("kind"),
        meta["name"].as_str().expect("name")
    )
}

fn file(object: &Value) -> String {
    format!("{}.json", id(object))
}

fn read(yaml: &str) -> BTreeMap<String, Value> {
    let documents = yaml.split("\n---\n").filter(|text| !text.trim().is_empty());
    documents
        .map(|text| serde_saphyr::from_str::<Value>(text).expect(text))
        .map(|object| (id(&object), object))
        .collect()
}

/// What the objects state.
fn facts(objects: &BTreeMap<String, Value>) -> BTreeMap<Key, Fact> {
    let stated = objects
        .values()
        .flat_map(|object| manifest::read(&object.to_string(), Format::Json).expect("a manifest"));
    stated
        .map(|located| (located.fact.key(), located.fact))
        .collect()
}

async fn conforms(place: &Place, mut world: World) {
    let first = read(FIRST);
    let second = read(SECOND);
    let kinds: BTreeSet<&str> = first.values().filter_map(|o| o["kind"].as_str()).collect();
    assert!(kinds.len() >= 12, "all kinds are there: {kinds:?}");
    for object in first.values() {
        place.put(object);
    }
    let expected = facts(&first);
    world
        .until("the first objects are told", |w| w.facts == expected)
        .await;
    world
        .until("all is synced", |w| w.synced.len() == Kind::ALL.len())
        .await;
    // Everything changes, some things go and some come.
    for (id, object) in &second {
        if first.get(id) != Some(object) {
            place.put(object);
        }
    }
    for (id, object) in &first {
        if !second.contains_key(id) {
            place.remove(object);
        }
    }
    let expected = facts(&second);
    world
        .until("the changes are told", |w| w.facts == expected)
        .await;
    // What is written again as it was changes nothing.
    let told = world.told;
    for object in second.values() {
        place.put(object);
    }
    let mut marker = second
        .values()
        .find(|o| o["kind"] == "Node")
        .expect("a Node")
        .clone();
    marker["metadata"]["name"] = "marker".into();
    place.put(&marker);
    let key = Key::Node("marker".to_owned());
    world.until("a Node comes", |w| w.has(&key)).await;
    place.remove(&marker);
    world.until("and goes", |w| !w.has(&key)).await;
    assert_eq!(world.facts, expected);
    let seldom = world.told - told;
    // A file that is written again may be told of as being well.
    assert!(seldom <= 2 + 2 * second.len() as u64, "{seldom} events");
    assert_eq!(world.removed, 1 + removed(&first, &second));
    for object in second.values() {
        place.remove(object);
    }
    world.until("nothing is left", |w| w.facts.is_empty()).await;
    assert!(world.problems.is_empty(), "{:?}", world.problems);
}

fn removed(first: &BTreeMap<String, Value>, second: &BTreeMap<String, Value>) -> u64 {
    first.keys().filter(|id| !second.contains_key(*id)).count() as u64
}

#[tokio::test]
async fn the_manifest_directory_conforms() {
    let dir = std::env::temp_dir().join(format!("dunlin-conformance-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    let source = ManifestDir::open(&dir, Limits::default()).expect("a directory");
    let world = World::listen(None, |events| {
        tokio::spawn(async move {
            let _ = source.run(events).await;
        })
    });
    conforms(&Place::Dir(dir.clone()), world).await;
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[tokio::test(start_paused = true)]
async fn the_api_conforms() {
    let api = FakeApi::new();
    conforms(&Place::Api(api.clone()), World::of(&api)).await;
}

#[tokio::test(start_paused = true)]
async fn an_api_that_streams_lists_conforms() {
    let api = FakeApi::new().with_streaming(true);
    conforms(&Place::Api(api.clone()), World::of(&api)).await;
    let requests = api.requests();
    assert!(
        requests.iter().all(|r| !r.target.contains("limit=")),
        "{requests:?}"
    );
}
