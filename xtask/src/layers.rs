//! Which crate may know which other.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A crate and what its code may depend on. Tests may also use [`TEST_ONLY`].
struct Room {
    name: &'static str,
    /// Machines: nothing from outside but [`PURE_OUTSIDE`].
    pure: bool,
    /// Our own crates.
    ours: &'static [&'static str],
}

const fn pure(name: &'static str, ours: &'static [&'static str]) -> Room {
    Room {
        name,
        pure: true,
        ours,
    }
}

const fn room(name: &'static str, ours: &'static [&'static str]) -> Room {
    Room {
        name,
        pure: false,
        ours,
    }
}

const ROOMS: [Room; 22] = [
    pure("dunlin-net", &[]),
    pure("dunlin-bgp", &["dunlin-net"]),
    pure("dunlin-bfd", &["dunlin-net"]),
    pure("dunlin-intent", &["dunlin-net", "dunlin-bgp"]),
    pure("dunlin-dataplane", &["dunlin-net"]),
    // The answers' types are values like any other.
    pure("dunlin-api", &["dunlin-net"]),
    pure(
        "dunlin-core",
        &[
            "dunlin-net",
            "dunlin-bgp",
            "dunlin-bfd",
            "dunlin-intent",
            "dunlin-dataplane",
            "dunlin-api",
        ],
    ),
    room(
        "dunlin-speaker",
        &["dunlin-net", "dunlin-bgp", "dunlin-bfd"],
    ),
    room("dunlin-kernel", &["dunlin-net", "dunlin-dataplane"]),
    room(
        "dunlin-kube",
        &["dunlin-net", "dunlin-bgp", "dunlin-intent"],
    ),
    room(
        "dunlin-agent",
        &[
            "dunlin-net",
            "dunlin-bgp",
            "dunlin-bfd",
            "dunlin-intent",
            "dunlin-dataplane",
            "dunlin-core",
            "dunlin-speaker",
            "dunlin-kernel",
            "dunlin-kube",
            "dunlin-api",
        ],
    ),
    room("dunlin-lab", &["dunlin-net", "dunlin-api"]),
    room(
        "dunlin",
        &[
            "dunlin-net",
            "dunlin-agent",
            "dunlin-api",
            // The definitions of our kinds, which it prints.
            "dunlin-kube",
            "dunlin-lab",
        ],
    ),
    room(
        "dunlin-sim",
        &[
            "dunlin-net",
            "dunlin-bgp",
            "dunlin-intent",
            "dunlin-dataplane",
            "dunlin-core",
            "dunlin-api",
        ],
    ),
    // An API server for tests and benchmarks; it knows JSON alone.
    room("dunlin-fakeapi", &[]),
    // It measures programs from outside, one scenario in a cluster of the tests.
    room(
        "dunlin-bench",
        &["dunlin-net", "dunlin-bgp", "dunlin-e2e", "dunlin-fakeapi"],
    ),
    // It compares the codec with other people's.
    room("dunlin-oracle", &["dunlin-net", "dunlin-bgp"]),
    // It builds the program that other tests run.
    room("dunlin-built", &[]),
    // They run the agent and other daemons, as a lab does.
    room(
        "dunlin-abuse",
        &["dunlin-api", "dunlin-built", "dunlin-lab"],
    ),
    room("dunlin-peers", &["dunlin-net", "dunlin-api", "dunlin-lab"]),
    room("dunlin-e2e", &["dunlin-api", "dunlin-built", "dunlin-lab"]),
    room("xtask", &[]),
];

/// What the pure crates may take from outside: data structures, derives and errors. An optional dependency is judged by
/// who turns it on.
const PURE_OUTSIDE: [&str; 9] = [
    "bytes",
    "foldhash",
    "hashbrown",
    "ipnet",
    "serde",
    "smallvec",
    "thiserror",
    "serde_core",
    "serde_json",
];

/// What a crate may use from outside that no other may.
const SOLE_IMPORTERS: [(&str, &[&str]); 6] = [
    ("kube", &["dunlin-kube"]),
    ("k8s-openapi", &["dunlin-kube"]),
    ("notify", &["dunlin-kube"]),
    ("mio", &["dunlin-speaker", "dunlin-bench"]),
    ("axum", &["dunlin-agent"]),
    ("prometheus-client", &["dunlin-agent"]),
];

/// Simulated worlds are for tests alone.
const TEST_ONLY: [&str; 1] = ["dunlin-sim"];

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let dependencies: Vec<Dependency> = packages.iter().flat_map(read).collect();
    let names: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    Ok(judge(&names, &dependencies))
}

/// An edge of the graph.
#[derive(Clone, Debug)]
struct Dependency {
    from: String,
    to: String,
    dev: bool,
    optional: bool,
    features: Vec<String>,
}

fn read(package: &Value) -> Vec<Dependency> {
    let from = package["name"].as_str().unwrap_or_default();
    let each = |d: &Value| Dependency {
        from: from.to_owned(),
        to: d["name"].as_str().unwrap_or_default().to_owned(),
        dev: d["kind"].as_str() == Some("dev"),
        optional: d["optional"].as_bool() == Some(true),
        features: strings(&d["features"]),
    };
    package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .map(each)
        .collect()
}

fn strings(value: &Value) -> Vec<String> {
    let texts = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn judge(packages: &[&str], dependencies: &[Dependency]) -> Vec<String> {
    let mut findings = Vec::new();
    let room = |name: &str| ROOMS.iter().find(|room| room.name == name);
    for name in packages {
        if room(name).is_none() {
            findings.push(format!(
                "{name}: not in the table of xtask/src/layers.rs: say what it may know"
            ));
        }
    }
    for d in dependencies {
        let Some(from) = room(&d.from) else { continue };
        let ours = room(&d.to).is_some();
        let test_only = TEST_ONLY.contains(&d.to.as_str());
        if ours && !from.ours.contains(&d.to.as_str()) && !(d.dev && (test_only || !from.pure)) {
            findings.push(format!("{} must not know {}", d.from, d.to));
        }
        if from.pure && !d.dev && !d.optional && !ours && !PURE_OUTSIDE.contains(&d.to.as_str()) {
            findings.push(format!(
                "{} is pure and must not depend on {}",
                d.from, d.to
            ));
        }
        if from.pure && !d.dev && ours && !d.features.is_empty() {
            findings.push(format!(
                "{} is pure and must not turn on {}'s {}",
                d.from,
                d.to,
                d.features.join(", ")
            ));
        }
        let sole = SOLE_IMPORTERS.iter().find(|(name, _)| *name == d.to);
        if let Some((name, importers)) = sole
            && !importers.contains(&d.from.as_str())
        {
            findings.push(format!(
                "{}: only {} may use {name}",
                d.from,
                importers.join(" and ")
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Dependency, judge};

    fn edge(from: &str, to: &str) -> Dependency {
        Dependency {
            from: from.into(),
            to: to.into(),
            dev: false,
            optional: false,
            features: Vec::new(),
        }
    }

    #[test]
    fn edges_of_the_table_pass_and_others_do_not() {
        assert!(
            judge(
                &["dunlin-core"],
                &[
                    edge("dunlin-core", "dunlin-bgp"),
                    edge("dunlin-core", "ipnet")
                ]
            )
            .is_empty()
        );
        for (from, to) in [
            ("dunlin-core", "dunlin-kernel"),
            ("dunlin-bgp", "tokio"),
            ("dunlin-bgp", "dunlin-sim"),
            ("dunlin-speaker", "dunlin-kube"),
            ("dunlin-agent", "kube"),
            ("dunlin", "dunlin-core"),
        ] {
            assert_eq!(judge(&[], &[edge(from, to)]).len(), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn tests_may_use_the_simulation_and_nothing_else_that_is_forbidden() {
        let dev = |from, to| Dependency {
            dev: true,
            ..edge(from, to)
        };
        assert!(
            judge(
                &[],
                &[
                    dev("dunlin-core", "dunlin-sim"),
                    dev("dunlin-core", "proptest")
                ]
            )
            .is_empty()
        );
        assert_eq!(judge(&[], &[dev("dunlin-bgp", "dunlin-kernel")]).len(), 1);
    }

    #[test]
    fn a_pure_crate_turns_on_no_feature_that_brings_sockets() {
        let client = Dependency {
            features: vec!["client".into()],
            ..edge("dunlin-core", "dunlin-api")
        };
        assert_eq!(judge(&[], &[client]).len(), 1);
    }

    #[test]
    fn a_new_crate_needs_a_place_in_the_table() {
        assert_eq!(judge(&["dunlin-utils"], &[]).len(), 1);
    }
}
