//! Checks on the house itself: `cargo xtask all`, or one of `layers`, `purity`, `sizes`, `docs`.
#![forbid(unsafe_code)]

mod docs;
mod layers;
mod purity;
mod sizes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

/// A check gives what it found wrong; nothing means that all is well.
type Check = fn(&Path) -> Result<Vec<String>>;

const CHECKS: [(&str, &str, Check); 4] = [
    ("layers", "each crate knows only what it may", layers::check),
    (
        "purity",
        "the pure crates are kept pure by lints that bite",
        purity::check,
    ),
    (
        "sizes",
        "files and functions are short, or say why not",
        sizes::check,
    ),
    ("docs", "what the documents name exists", docs::check),
];

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    match run(&wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(wanted: &str) -> Result<bool> {
    let checks: Vec<_> = CHECKS
        .iter()
        .filter(|(name, _, _)| wanted == "all" || wanted == *name)
        .collect();
    if checks.is_empty() {
        let names = CHECKS.map(|(name, what, _)| format!("  {name:<8}{what}"));
        bail!("cargo xtask all, or one of\n{}", names.join("\n"));
    }
    let root = root()?;
    let mut good = true;
    for (name, what, check) in checks {
        let findings = check(&root).with_context(|| (*name).to_owned())?;
        match findings.len() {
            0 => println!("{name}: {what}"),
            n => println!("{name}: {n} found"),
        }
        for finding in &findings {
            println!("  {finding}");
        }
        good &= findings.is_empty();
    }
    Ok(good)
}

fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .context("xtask has no parent directory")
}

/// All files below `dir` with this ending, sorted; build output is left out.
fn files(dir: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        let entries =
            std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if path.is_dir() && !path.is_symlink() && name != "target" && !name.starts_with('.') {
                waiting.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The path as it is written in findings.
fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}
