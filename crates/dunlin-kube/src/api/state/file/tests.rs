use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dunlin_intent::Kind;
use tokio::sync::mpsc;

use super::{Item, Queue, Writer};
use crate::api::health::Health;
use crate::api::state::queue::{Batch, Load, Names};
use crate::object::Resource;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let name = format!("dunlin-state-file-{name}-{}", std::process::id());
        let dir = Dir(std::env::temp_dir().join(name));
        let _ = std::fs::remove_dir_all(&dir.0);
        std::fs::create_dir_all(&dir.0).expect("a directory");
        dir
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn nodes() -> Resource {
    Resource::of(Kind::Node)
}

/// What is told at once, as the thread takes it.
fn batch(tell: impl FnOnce(&Queue)) -> Batch {
    let queue = Queue::default();
    tell(&queue);
    queue.end();
    let mut batch = queue.take(None);
    batch.ended = false;
    batch
}

fn put(queue: &Queue, name: &str, text: &str) {
    let key = format!("nodes/{name}");
    assert!(queue.put(&key, &mut Some(text.as_bytes().to_vec())));
}

/// The texts that a file holds of Nodes, and whether they are all there were.
fn load(path: &Path) -> (BTreeSet<String>, bool) {
    let (objects, mut loaded) = mpsc::channel(1000);
    let mut writer = Writer::new(path.to_owned(), Health::new().0);
    let mut asked = Batch::default();
    asked.loads.push(Load {
        resource: nodes(),
        objects,
    });
    writer.work(asked).expect("a file that can be read");
    let mut texts = BTreeSet::new();
    let mut complete = false;
    while let Ok(item) = loaded.try_recv() {
        match item {
            Item::Object(text) => {
                texts.insert(String::from_utf8(text).expect("text"));
            }
            Item::Complete(_) => complete = true,
        }
    }
    (texts, complete)
}

fn texts<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(str::to_owned).into()
}

#[test]
fn a_crash_between_leaves_what_was_last_made_durable() {
    let dir = Dir::new("crash");
    let file = dir.file("cluster.redb");
    let crashed = |name: &str| {
        // The file as the kernel has it when the process is killed.
        let copy = dir.file(name);
        std::fs::copy(&file, &copy).expect("a copy");
        load(&copy)
    };
    let (health, watched) = Health::new();
    let mut writer = Writer::new(file.clone(), health);
    // The first list is durable at once.
    let list = batch(|queue| {
        put(queue, "n1", "one");
        put(queue, "n2", "two");
        queue.complete(
            nodes(),
            Names::from_iter(["n1".to_owned(), "n2".to_owned()]),
        );
    });
    writer.work(list).expect("written");
    assert_eq!(watched.borrow().state_writes, 1);
    assert_eq!(crashed("first"), (texts(["one", "two"]), true));
    // Changes gather in one transaction, as many as come.
    for round in 0..50 {
        let changes = batch(|queue| {
            put(queue, "n1", &format!("one, {round}"));
            assert!(queue.put("nodes/n2", &mut None));
            put(queue, "n3", "three");
        });
        writer.work(changes).expect("written");
    }
    assert_eq!(watched.borrow().state_writes, 1);
    assert_eq!(crashed("between"), (texts(["one", "two"]), true));
    // At an orderly end all of it is there.
    let end = Batch {
        ended: true,
        ..Batch::default()
    };
    writer.work(end).expect("written");
    assert_eq!(watched.borrow().state_writes, 2);
    assert_eq!(crashed("end"), (texts(["one, 49", "three"]), true));
}

#[test]
fn a_complete_list_leaves_nothing_else_of_its_kind() {
    let dir = Dir::new("complete");
    let file = dir.file("cluster.redb");
    let mut writer = Writer::new(file.clone(), Health::new().0);
    let first = batch(|queue| {
        put(queue, "n1", "one");
        put(queue, "n2", "two");
        let other = "nodesets/n1";
        assert!(queue.put(other, &mut Some(b"of another kind".to_vec())));
    });
    writer.work(first).expect("written");
    let list = batch(|queue| {
        queue.complete(nodes(), Names::from_iter(["n2".to_owned()]));
        // Told since.
        put(queue, "n4", "four");
    });
    writer.work(list).expect("written");
    drop(writer);
    assert_eq!(load(&file), (texts(["two", "four"]), true));
}
