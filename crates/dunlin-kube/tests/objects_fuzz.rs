//! Octets as objects, and as files of them: entry points for a fuzzer, and tests that run them.

use dunlin_intent::{Cluster, Fact, Kind};
use dunlin_kube::manifest::{Fault, Format, holds_node, mentioned_kinds, read, sift};
use dunlin_kube::object::{Resource, read_json, read_value};
use dunlin_net::Chance;

/// The node that looks at the objects, and its neighbour.
const NODES: &str = include_str!("fuzz/nodes.yaml");

/// Whatever is said of a cluster that works, it is judged: problems can be shown, and once it is taken back all is as before.
fn judge(facts: Vec<Fact>) {
    let mut cluster = Cluster::new("n1");
    let given = read(NODES, Format::Yaml).expect("the nodes are right");
    let given: Vec<Fact> = given.into_iter().map(|located| located.fact).collect();
    given.iter().cloned().for_each(|fact| cluster.apply(fact));
    Kind::ALL.into_iter().for_each(|kind| cluster.synced(kind));
    while cluster.poll_change().is_some() {}
    // Not the peers: a node that was a reflector serves those who still dial it.
    let wanted = |cluster: &Cluster| {
        let told = cluster.originations();
        let told: Vec<_> = told.map(|(net, what)| (net, what.clone())).collect();
        (cluster.local().cloned(), told)
    };
    let before = wanted(&cluster);
    for fact in &facts {
        cluster.apply(fact.clone());
        while cluster.poll_change().is_some() {}
        for problem in cluster.problems() {
            assert!(!problem.to_string().is_empty());
        }
        cluster.services().for_each(drop);
        cluster.pools().for_each(drop);
    }
    for fact in &facts {
        cluster.remove(&fact.key());
    }
    given.into_iter().for_each(|fact| cluster.apply(fact));
    while cluster.poll_change().is_some() {}
    assert_eq!(wanted(&cluster), before);
}

/// One object, as an API server gives it: the first octet says of which kind, the rest is its JSON.
pub fn fuzz_object(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else {
        return;
    };
    let resource = Resource::ALL[usize::from(*kind) % Resource::ALL.len()];
    let parsed = serde_json::from_slice(text).map(|value| read_value(resource, &value));
    match read_json(resource, text) {
        Ok(fact) => {
            // What is passed over may be no character at all (`\ud800`), which a tree cannot hold.
            if let Ok(again) = parsed {
                assert_eq!(again.as_ref(), Ok(&fact));
            }
            judge(vec![fact]);
        }
        Err(fault) => {
            assert!(!fault.to_string().is_empty());
            let _ = (fault.object(), fault.problem(true));
        }
    }
}

/// A file of objects: the first octet says in which format.
pub fn fuzz_manifest(data: &[u8]) {
    let Some((format, text)) = data.split_first() else {
        return;
    };
    let format = match format % 2 {
        0 => Format::Yaml,
        _ => Format::Json,
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    // As YAML breaks them.
    let lines = text.split(['\n', '\r']).count() + 1;
    let in_text = |fault: &Fault| {
        assert!(fault.line <= lines, "{fault}");
        assert!(!fault.message.contains(char::is_control), "{fault}");
    };
    mentioned_kinds(text);
    let sifted = sift(text, format);
    sifted.faults.iter().for_each(|(_, fault)| in_text(fault));
    match read(text, format) {
        Ok(located) => {
            assert_eq!((&sifted.facts, sifted.faults.len()), (&located, 0));
            holds_node(text, format, "n1");
            judge(located.into_iter().map(|located| located.fact).collect());
        }
        Err(fault) => in_text(&fault),
    }
}

/// An object of each kind.
const OBJECTS: &str = include_str!("fuzz/objects.yaml");

fn spoil(text: &str, chance: &mut Chance) -> String {
    let marks = [
        "0",
        "-1",
        "99999999999",
        "{",
        "]",
        "\"",
        ":",
        "~",
        "x",
        "/",
        "::",
        "\n- ",
    ];
    let mut text: Vec<char> = text.chars().collect();
    for _ in 0..=chance.below(4) {
        let at = chance.below(text.len() as u64) as usize;
        let mark = marks[chance.below(marks.len() as u64) as usize];
        let end = (at + chance.below(4) as usize).min(text.len());
        text.splice(at..end, mark.chars());
    }
    text.into_iter().collect()
}

#[test]
fn no_object_is_too_wrong() {
    let mut chance = Chance::new(9);
    let mut seen = Vec::new();
    for document in OBJECTS.split("---\n") {
        let value: serde_json::Value = serde_saphyr::from_str(document).expect("an object");
        let text = value.to_string();
        for (at, resource) in (0..).zip(Resource::ALL) {
            if value["kind"] == resource.kind.as_str() {
                assert!(read_json(resource, text.as_bytes()).is_ok(), "{text}");
                seen.push(at);
            }
            fuzz_object(&[&[at], text.as_bytes()].concat());
            for _ in 0..15 {
                let bad = spoil(&text, &mut chance);
                fuzz_object(&[&[at], bad.as_bytes()].concat());
            }
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, Vec::from_iter(0..Resource::ALL.len() as u8));
}

#[test]
fn no_file_is_too_wrong() {
    let mut chance = Chance::new(4);
    assert!(read(OBJECTS, Format::Yaml).is_ok());
    fuzz_manifest(format!("\0{OBJECTS}").as_bytes());
    for document in OBJECTS.split("---\n") {
        for _ in 0..80 {
            let bad = spoil(&format!("---\n{document}"), &mut chance);
            fuzz_manifest(format!("\0{bad}").as_bytes());
            fuzz_manifest(format!("\u{1}{bad}").as_bytes());
        }
    }
}
