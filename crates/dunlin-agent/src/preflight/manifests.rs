use std::path::Path;

use dunlin_intent::{Cluster, Fact, Reason, SourceEvent};
use dunlin_kube::manifest::{self, Format};
use dunlin_kube::store::Store;

use super::{Finding, Machine};

const CHECK: &str = "manifests";

/// Reads a manifest directory as an agent would, once, and says what the agent of `node` would find wrong with it.
pub(super) fn check(machine: &Machine, dir: &Path, node: &str) -> Vec<Finding> {
    if !machine.path(dir).is_dir() {
        let text = format!("{} is no directory", dir.display());
        return vec![Finding::fail(
            CHECK,
            text,
            "create it, and put the Node objects there as YAML files",
        )];
    }
    let mut findings = Vec::new();
    let mut store = Store::default();
    let mut told = Vec::new();
    let names = machine
        .list(dir)
        .into_iter()
        .filter_map(|name| Some((format_of(&name)?, name)));
    for (format, name) in names {
        let path = dir.join(name);
        let shown = path.display().to_string();
        match machine
            .read(&path)
            .map(|text| manifest::read(&text, format))
        {
            Ok(Ok(objects)) => told.extend(store.put(&shown, objects)),
            Ok(Err(fault)) => findings.push(Finding::fail(
                CHECK,
                format!("{shown}: {fault}"),
                "correct it; a running agent keeps what the file last held",
            )),
            Err(error) => findings.push(Finding::fail(
                CHECK,
                format!("{shown}: {error}"),
                "make it readable",
            )),
        }
    }
    told.extend(store.complete());
    findings.extend(judge(told, node));
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("all objects in {} are understood", dir.display()),
        ));
    }
    findings
}

/// What the objects add up to.
fn judge(told: Vec<SourceEvent>, node: &str) -> Vec<Finding> {
    let is_ours =
        |event: &SourceEvent| matches!(event, SourceEvent::Apply(Fact::Node(n)) if n.name == node);
    let ours = told.iter().any(is_ours);
    let mut cluster = Cluster::new(node);
    for event in told {
        cluster.on_source(event);
    }
    while cluster.poll_change().is_some() {}
    let mut findings: Vec<Finding> = cluster
        .problems()
        .into_iter()
        .map(|problem| {
            let advice = match problem.reason {
                Reason::Unsupported => "leave it out with this version",
                _ => "correct the object; everything else works without it",
            };
            Finding::fail(CHECK, problem.to_string(), advice)
        })
        .collect();
    if !ours {
        findings.push(Finding::fail(
            CHECK,
            format!("there is no Node {node}, so the agent here would do nothing"),
            "add it, or give the name it has with --node-name",
        ));
    }
    findings
}

/// How a file is written, if it is a manifest; hidden files and what editors leave are none.
fn format_of(name: &str) -> Option<Format> {
    if name.starts_with(['.', '#']) {
        return None;
    }
    match name.rsplit_once('.')?.1 {
        "yaml" | "yml" => Some(Format::Yaml),
        "json" => Some(Format::Json),
        _ => None,
    }
}
