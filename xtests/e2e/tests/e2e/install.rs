//! What a user applies, and what it permits.

use std::fs;
use std::path::{Path, PathBuf};

use dunlin_e2e::agent::NAMESPACE;
use dunlin_e2e::world::World;

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("the_manifests_are_valid_and_can_be_applied_again", applied),
    ("the_objects_in_the_documents_are_valid", documents),
    (
        "the_agents_account_may_do_what_it_needs_and_no_more",
        account,
    ),
];

fn applied(world: &mut World) {
    world.apply_manifests();
    world.apply_manifests();
    // Unknown fields would only be warnings.
    let said = world.kubectl().run(&[
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--server-side",
        "--force-conflicts",
        "--filename",
        &World::manifest(),
    ]);
    said.expect("no unknown fields");
}

fn account(world: &mut World) {
    world.apply_manifests();
    let who = format!("--as=system:serviceaccount:{NAMESPACE}:dunlin");
    let kubectl = world.kubectl();
    let may = |question: &[&str]| {
        let mut args = vec!["auth", "can-i", &who];
        args.extend(question);
        kubectl.run(&args).is_ok_and(|said| said.trim() == "yes")
    };
    for needed in [
        &["watch", "nodes"][..],
        &["watch", "services", "--all-namespaces"],
        &[
            "watch",
            "endpointslices.discovery.k8s.io",
            "--all-namespaces",
        ],
        &["watch", "bgppeers.dunlin.dev"],
        &["patch", "bgppeers.dunlin.dev", "--subresource=status"],
        &["create", "bgpnodes.dunlin.dev"],
        &[
            "patch",
            "services",
            "--subresource=status",
            "--all-namespaces",
        ],
        &[
            "create",
            "leases.coordination.k8s.io",
            "--namespace",
            NAMESPACE,
        ],
        &["get", "secrets", "--namespace", NAMESPACE],
        &["create", "events", "--all-namespaces"],
    ] {
        assert!(may(needed), "{needed:?}");
    }
    for excess in [
        &["get", "secrets", "--all-namespaces"][..],
        &["get", "secrets", "--namespace", "default"],
        &["create", "secrets", "--namespace", NAMESPACE],
        &["patch", "nodes"],
        &["delete", "nodes"],
        &["update", "services", "--all-namespaces"],
        &["delete", "bgppeers.dunlin.dev"],
        &["create", "pods", "--namespace", NAMESPACE],
        &[
            "create",
            "serviceaccounts",
            "--subresource=token",
            "--namespace",
            NAMESPACE,
        ],
        &["*", "*"],
    ] {
        assert!(!may(excess), "{excess:?}");
    }
}

/// The Markdown files under a directory.
fn markdown(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            markdown(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The blocks of a document that are objects: between fences, or indented by four spaces.
fn objects(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    let mut fenced = false;
    for line in text.lines() {
        let code = match fenced {
            true => Some(line),
            false => line.strip_prefix("    "),
        };
        if line.starts_with("```") {
            fenced = !fenced;
            blocks.push(String::new());
        } else if let Some(code) = code.or(line.is_empty().then_some("")) {
            let block = blocks.last_mut().expect("never empty");
            block.push_str(code);
            block.push('\n');
        } else {
            blocks.push(String::new());
        }
    }
    blocks.retain(|block| block.trim_start().starts_with("apiVersion:"));
    blocks
}

fn documents(world: &mut World) {
    world.apply_manifests();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("README.md")];
    markdown(&root.join("docs"), &mut files);
    let mut count = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("a document");
        for block in objects(&text).iter().filter(|block| is_ours(block)) {
            let said = world.kubectl().run_with(
                block,
                &[
                    "apply",
                    "--server-side",
                    "--dry-run=server",
                    "--validate=strict",
                    "--force-conflicts",
                    "--filename=-",
                ],
            );
            if let Err(said) = said {
                panic!("{}: {said}: {block}", file.display());
            }
            count += 1;
        }
    }
    assert!(count > 5, "documents without objects: {count}");
}

/// Others' kinds are not installed here.
fn is_ours(block: &str) -> bool {
    let versions = block
        .lines()
        .filter_map(|line| line.strip_prefix("apiVersion:"));
    let mut versions = versions.map(str::trim);
    versions.all(|version| version == "dunlin.dev/v1alpha1" || !version.contains('.'))
}
