use super::*;
use dunlin_intent::{Fact, Key, NodeFact};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::time::timeout;

/// What an event may take at most; far more than it does.
const DEADLINE: Duration = Duration::from_secs(5);

/// A watched directory of its own, with what it tells.
struct Fixture {
    root: PathBuf,
    events: mpsc::Receiver<SourceEvent>,
    task: tokio::task::JoinHandle<Result<(), DirError>>,
}

fn new_root() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("dunlin-dir-{}-{next}", std::process::id()));
    fs::create_dir(&root).unwrap();
    fs::create_dir(root.join("m")).unwrap();
    root
}

impl Fixture {
    fn with(root: PathBuf, limits: Limits) -> Fixture {
        let watched = ManifestDir::open(root.join("m"), limits).unwrap();
        let (sender, events) = mpsc::channel(4);
        let task = tokio::spawn(watched.run(sender));
        Fixture { root, events, task }
    }

    /// Begins with these files, told and synced.
    async fn new(files: &[(&str, &str)]) -> Fixture {
        let root = new_root();
        for (name, content) in files {
            fs::write(root.join("m").join(name), content).unwrap();
        }
        let mut fixture = Fixture::with(root, Limits::default());
        fixture
            .wait_for(|e| *e == SourceEvent::Synced(Kind::Secret))
            .await;
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join("m").join(name)
    }

    async fn next(&mut self) -> SourceEvent {
        timeout(DEADLINE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("an event")
    }

    /// The events up to the first that is wanted, with it.
    async fn wait_for(&mut self, wanted: impl Fn(&SourceEvent) -> bool) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        loop {
            events.push(self.next().await);
            if events.last().is_some_and(&wanted) {
                return events;
            }
        }
    }

    async fn wait_applied(&mut self, fact: &Fact) -> Vec<SourceEvent> {
        self.wait_for(|event| *event == SourceEvent::Apply(fact.clone()))
            .await
    }

    async fn wait_problem(&mut self) -> Problem {
        let events = self
            .wait_for(
                |event| matches!(event, SourceEvent::Problems(_, problems) if !problems.is_empty()),
            )
            .await;
        match events.last() {
            Some(SourceEvent::Problems(_, problems)) => problems[0].clone(),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn text(name: &str, rack: &str) -> String {
    format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{rack: {rack}}}}}\n")
}

fn fact(name: &str, rack: &str) -> Fact {
    Fact::Node(NodeFact::new(name).with_label("rack", rack))
}

fn removed(name: &str) -> SourceEvent {
    SourceEvent::Remove(Key::Node(name.to_owned()))
}

fn touches_objects(events: &[SourceEvent]) -> bool {
    events
        .iter()
        .any(|e| matches!(e, SourceEvent::Apply(_) | SourceEvent::Remove(_)))
}

#[tokio::test]
async fn all_there_is_comes_first_then_synced() {
    let root = new_root();
    fs::write(root.join("m/b.yaml"), text("b", "r1")).unwrap();
    fs::write(root.join("m/a.yml"), text("a", "r1")).unwrap();
    fs::write(
        root.join("m/c.json"),
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "c"}}"#,
    )
    .unwrap();
    for ignored in [
        "notes.txt",
        ".hidden.yaml",
        "d.yaml~",
        "#d.yaml",
        "d.yaml.swp",
    ] {
        fs::write(root.join("m").join(ignored), text("d", "r1")).unwrap();
    }
    fs::create_dir(root.join("m/sub.yaml")).unwrap();
    let mut fixture = Fixture::with(root, Limits::default());
    let events = fixture
        .wait_for(|e| matches!(e, SourceEvent::Synced(_)))
        .await;
    let applied: Vec<Key> = events
        .iter()
        .filter_map(|event| match event {
            SourceEvent::Apply(fact) => Some(fact.key()),
            _ => None,
        })
        .collect();
    assert_eq!(
        applied,
        ["a", "b", "c"].map(|name| Key::Node(name.to_owned()))
    );
    for kind in Kind::ALL.into_iter().skip(1) {
        assert_eq!(fixture.next().await, SourceEvent::Synced(kind));
    }
}

#[tokio::test]
async fn files_written_in_place_renamed_over_and_deleted_are_followed() {
    let mut f = Fixture::new(&[("a.yaml", &text("a", "r1"))]).await;
    fs::write(f.path("a.yaml"), text("a", "r2")).unwrap();
    f.wait_applied(&fact("a", "r2")).await;

    fs::write(f.path(".a.yaml.tmp"), text("a", "r3")).unwrap();
    fs::rename(f.path(".a.yaml.tmp"), f.path("a.yaml")).unwrap();
    let events = f.wait_applied(&fact("a", "r3")).await;
    assert!(!events.contains(&removed("a")), "{events:?}");

    fs::write(f.path("b.yaml"), text("b", "r1")).unwrap();
    f.wait_applied(&fact("b", "r1")).await;
    fs::remove_file(f.path("b.yaml")).unwrap();
    f.wait_for(|e| *e == removed("b")).await;

    fs::rename(f.path("a.yaml"), f.path("a.yaml.off")).unwrap();
    f.wait_for(|e| *e == removed("a")).await;
}

#[tokio::test]
async fn an_editor_that_moves_the_old_file_away_first_removes_nothing() {
    let mut f = Fixture::new(&[("a.yaml", &text("a", "r1"))]).await;
    fs::rename(f.path("a.yaml"), f.path("a.yaml~")).unwrap();
    fs::write(f.path("a.yaml"), text("a", "r2")).unwrap();
    fs::remove_file(f.path("a.yaml~")).unwrap();
    let events = f.wait_applied(&fact("a", "r2")).await;
    assert!(!events.contains(&removed("a")), "{events:?}");
}

#[tokio::test]
async fn a_config_map_volume_is_followed_through_its_links() {
    let root = new_root();
    let dir = root.join("m");
    let publish = |version: &str, rack: &str| {
        fs::create_dir(dir.join(version)).unwrap();
        fs::write(dir.join(version).join("nodes.yaml"), text("a", rack)).unwrap();
        symlink(version, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    publish("..v1", "r1");
    symlink("..data/nodes.yaml", dir.join("nodes.yaml")).unwrap();
    let mut f = Fixture::with(root.clone(), Limits::default());
    f.wait_applied(&fact("a", "r1")).await;
    f.wait_for(|e| *e == SourceEvent::Synced(Kind::Secret))
        .await;
    publish("..v2", "r2");
    fs::remove_dir_all(dir.join("..v1")).unwrap();
    let events = f.wait_applied(&fact("a", "r2")).await;
    assert!(!events.contains(&removed("a")), "{events:?}");
}

#[tokio::test]
async fn links_count_as_written_when_they_appear() {
    let mut f = Fixture::new(&[]).await;
    fs::write(f.root.join("elsewhere"), text("a", "r1")).unwrap();
    symlink(f.root.join("elsewhere"), f.path("a.yaml")).unwrap();
    f.wait_applied(&fact("a", "r1")).await;
    fs::write(f.root.join("elsewhere2"), text("b", "r1")).unwrap();
    fs::hard_link(f.root.join("elsewhere2"), f.path("b.yaml")).unwrap();
    f.wait_applied(&fact("b", "r1")).await;
}

#[tokio::test]
async fn a_file_that_breaks_is_told_with_its_line_and_its_objects_stay() {
    let mut f = Fixture::new(&[("a.yaml", &text("a", "r1")), ("b.yaml", &text("b", "r1"))]).await;
    fs::write(
        f.path("a.yaml"),
        "apiVersion: v1\nkind: Node\nmetadata: [\n",
    )
    .unwrap();
    let problem = f.wait_problem().await;
    assert_eq!(
        problem.object,
        ObjectRef::new(ObjectKind::File, f.path("a.yaml").display().to_string())
    );
    assert!(
        problem
            .field
            .as_deref()
            .is_some_and(|at| at.starts_with("line ")),
        "{problem}"
    );
    // The next change is the first thing told of objects since.
    fs::write(f.path("b.yaml"), text("b", "r2")).unwrap();
    let events = f.wait_applied(&fact("b", "r2")).await;
    assert!(!touches_objects(&events[..events.len() - 1]), "{events:?}");
    fs::write(f.path("a.yaml"), text("a", "r2")).unwrap();
    let events = f.wait_applied(&fact("a", "r2")).await;
    assert!(
        events.contains(&SourceEvent::Problems(problem.object, Vec::new())),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_file_that_never_parsed_holds_back_only_the_kinds_it_may_hold() {
    let root = new_root();
    fs::write(root.join("m/bad.yaml"), "kind: Node\n[").unwrap();
    fs::write(root.join("m/good.yaml"), text("a", "r1")).unwrap();
    let mut f = Fixture::with(root, Limits::default());
    let events = f
        .wait_for(|e| *e == SourceEvent::Synced(Kind::Secret))
        .await;
    assert!(events.contains(&SourceEvent::Synced(Kind::Configuration)));
    assert!(events.contains(&SourceEvent::Apply(fact("a", "r1"))));
    assert!(
        !events.contains(&SourceEvent::Synced(Kind::Node)),
        "{events:?}"
    );
    fs::remove_file(f.path("bad.yaml")).unwrap();
    f.wait_for(|e| *e == SourceEvent::Synced(Kind::Node)).await;
}

#[tokio::test]
async fn a_file_that_only_begins_to_be_written_is_not_read_yet() {
    use std::io::Write;
    let mut f = Fixture::new(&[]).await;
    let mut file = fs::File::create(f.path("a.yaml")).unwrap();
    file.write_all(b"apiVersion: v1\nkind: Node\nmetadata: [")
        .unwrap();
    file.sync_all().unwrap();
    // Something else that happens meanwhile is told, and nothing of the unfinished file.
    fs::write(f.path("b.yaml"), text("b", "r1")).unwrap();
    let events = f.wait_applied(&fact("b", "r1")).await;
    assert!(
        !events
            .iter()
            .any(|e| matches!(e, SourceEvent::Problems(_, p) if !p.is_empty())),
        "{events:?}"
    );
    drop(file);
    assert_eq!(f.wait_problem().await.reason, Reason::Unreadable);
}

#[tokio::test]
async fn a_directory_that_goes_keeps_what_it_held_and_is_followed_when_it_comes_back() {
    let mut f = Fixture::new(&[("a.yaml", &text("a", "r1"))]).await;
    fs::rename(f.root.join("m"), f.root.join("away")).unwrap();
    let problem = f.wait_problem().await;
    assert!(
        problem.message.contains("what it last held stays"),
        "{problem}"
    );
    fs::create_dir(f.root.join("new")).unwrap();
    fs::write(f.root.join("new/a.yaml"), text("a", "r2")).unwrap();
    fs::rename(f.root.join("new"), f.root.join("m")).unwrap();
    let events = f.wait_applied(&fact("a", "r2")).await;
    assert!(!events.contains(&removed("a")), "{events:?}");
    fs::write(f.path("b.yaml"), text("b", "r1")).unwrap();
    f.wait_applied(&fact("b", "r1")).await;
}

#[tokio::test]
async fn what_is_too_much_is_not_read_and_told() {
    let limits = Limits {
        files: 2,
        file_octets: 200,
    };
    let root = new_root();
    fs::write(root.join("m/a.yaml"), text("a", "r1")).unwrap();
    fs::write(
        root.join("m/b.yaml"),
        format!("{}# {}\n", text("b", "r1"), "x".repeat(200)),
    )
    .unwrap();
    fs::write(root.join("m/c.yaml"), text("c", "r1")).unwrap();
    let mut f = Fixture::with(root, limits);
    let mut told = Vec::new();
    // The large file may hold anything, so nothing counts as synced: its problem comes last.
    loop {
        let event = f.next().await;
        let last = matches!(&event, SourceEvent::Problems(o, p) if o.name.ends_with("b.yaml") && !p.is_empty());
        told.push(event);
        if last {
            break;
        }
    }
    assert!(told.contains(&SourceEvent::Apply(fact("a", "r1"))));
    assert!(!told.contains(&SourceEvent::Apply(fact("b", "r1"))));
    let of_dir = told.iter().any(|e| {
        matches!(e, SourceEvent::Problems(o, p)
        if o.name.ends_with("/m") && p.iter().any(|p| p.message.contains("3 manifest files")))
    });
    assert!(of_dir, "{told:?}");
}

#[tokio::test]
async fn what_cannot_be_watched_is_an_error_that_says_what_to_do() {
    let root = new_root();
    fs::write(root.join("file"), "").unwrap();
    let missing = ManifestDir::open(root.join("missing"), Limits::default()).unwrap_err();
    assert!(matches!(missing, DirError::Unreadable { .. }));
    assert!(
        missing.to_string().contains("missing: No such file"),
        "{missing}"
    );
    let file = ManifestDir::open(root.join("file"), Limits::default()).unwrap_err();
    assert!(matches!(file, DirError::NotADirectory { .. }), "{file}");
    fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let mut f = Fixture::new(&[]).await;
    f.events.close();
    timeout(DEADLINE, &mut f.task)
        .await
        .expect("in time")
        .expect("no panic")
        .expect("no error");
}
