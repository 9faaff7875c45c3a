//! The pure crates' lints are in place, and each of them finds what it is to find.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

/// The crates whose code is banned from clocks, threads, sockets, files and the environment.
const PURE: [&str; 6] = [
    "dunlin-net",
    "dunlin-bgp",
    "dunlin-bfd",
    "dunlin-intent",
    "dunlin-dataplane",
    "dunlin-core",
];

const RULES: &str = "xtask/pure-clippy.toml";

/// Code that breaks each rule once.
const METHODS: &str = r#"
pub fn planted() {
    let started = std::time::Instant::now();
    let _ = started.elapsed();
    let now = std::time::SystemTime::now();
    let _ = now.elapsed();
    let _ = std::thread::spawn(|| {});
    std::thread::scope(|_| {});
    std::thread::sleep(std::time::Duration::ZERO);
    let _ = std::env::var("A");
    let _ = std::env::var_os("A");
    let _ = std::env::vars();
    let _ = std::env::args();
    let _ = std::fs::read("a");
    let _ = std::fs::read_to_string("a");
    let _ = std::fs::write("a", "b");
    let _ = std::hash::RandomState::new();
    let _ = std::collections::HashMap::<u8, u8>::new();
    let _ = std::collections::HashSet::<u8>::new();
    if started.elapsed().is_zero() {
        std::process::exit(1);
    }
    std::process::abort();
}
"#;

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let rules = std::fs::read_to_string(root.join(RULES)).with_context(|| RULES.to_owned())?;
    let mut findings = Vec::new();
    for name in PURE {
        let path = root.join("crates").join(name).join("clippy.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) if text == rules => {}
            Ok(_) => findings.push(format!("crates/{name}/clippy.toml is not {RULES}")),
            Err(_) => findings.push(format!(
                "crates/{name}/clippy.toml is missing: ln -s ../../{RULES}"
            )),
        }
    }
    let banned = paths(&rules);
    let found = plant(root, &rules, &banned)?;
    for path in &banned {
        if !found.contains(path) {
            findings.push(format!(
                "{RULES}: {path} is banned, and clippy does not notice it"
            ));
        }
    }
    Ok(findings)
}

/// The paths that the rules ban.
fn paths(rules: &str) -> BTreeSet<String> {
    let each = |line: &str| {
        Some(
            line.split_once("path = \"")?
                .1
                .split_once('"')?
                .0
                .to_owned(),
        )
    };
    rules.lines().filter_map(each).collect()
}

/// Runs clippy on a crate that breaks every rule; gives the paths it complained about.
fn plant(root: &Path, rules: &str, banned: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let dir = root.join("target/xtask-purity");
    std::fs::create_dir_all(dir.join("src"))?;
    let manifest = "[package]\nname = \"planted\"\nedition = \"2024\"\n\n[workspace]\n";
    std::fs::write(dir.join("Cargo.toml"), manifest)?;
    std::fs::write(dir.join("clippy.toml"), rules)?;
    let types = banned.iter().filter(|path| is_type(path));
    let uses: String = types
        .enumerate()
        .map(|(at, path)| {
            let parameter = if path.contains("sync::") && !path.ends_with("Condvar")
                || path.ends_with("JoinHandle")
            {
                "<u8>"
            } else {
                ""
            };
            format!("pub fn f{at}(_: &{path}{parameter}) {{}}\n")
        })
        .collect();
    std::fs::write(dir.join("src/lib.rs"), format!("{METHODS}{uses}"))?;
    let output = Command::new(env!("CARGO"))
        .args(["clippy", "--quiet", "--offline", "--message-format", "json"])
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .current_dir(&dir)
        .output()
        .context("cannot run cargo clippy")?;
    let mut found = BTreeSet::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let text = message["message"]["message"].as_str().unwrap_or_default();
        let code = message["message"]["code"]["code"]
            .as_str()
            .unwrap_or_default();
        if code.starts_with("clippy::disallowed_") {
            found.extend(
                banned
                    .iter()
                    .filter(|path| text.contains(&format!("`{path}`")))
                    .cloned(),
            );
        }
    }
    Ok(found)
}

/// Types are spelt with a capital at the end, functions and methods are not.
fn is_type(path: &str) -> bool {
    path.rsplit("::")
        .next()
        .is_some_and(|last| last.starts_with(char::is_uppercase))
}
