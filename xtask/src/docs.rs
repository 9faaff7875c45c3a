//! What the documents name exists, and the map names every crate.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{files, shown};

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut pages = files(&root.join("docs"), ".md")?;
    for name in ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"] {
        pages.push(root.join(name));
    }
    let mut findings = Vec::new();
    for page in &pages {
        let name = shown(root, page);
        let text = std::fs::read_to_string(page).with_context(|| name.clone())?;
        let dir = page.parent().unwrap_or(root);
        for path in named(&text) {
            if !root.join(&path).exists() && !dir.join(&path).exists() {
                findings.push(format!("{name} names {path}, which does not exist"));
            }
        }
    }
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    for entry in std::fs::read_dir(root.join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !map.contains(&format!("`{name}`")) {
            findings.push(format!("ARCHITECTURE.md does not say what {name} is for"));
        }
    }
    Ok(findings)
}

/// Paths of this repository that a page names: targets of links, and code that looks like one.
fn named(text: &str) -> Vec<String> {
    let links = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target);
    let code = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| looks_like_path(code));
    let local = |target: &&str| {
        !target.contains("://") && !target.starts_with(['#', '/']) && !target.is_empty()
    };
    links
        .filter(local)
        .chain(code)
        .map(|path| {
            path.split('#')
                .next()
                .unwrap_or(path)
                .trim_start_matches("./")
                .to_owned()
        })
        .collect()
}

fn looks_like_path(code: &str) -> bool {
    const PLACES: [&str; 8] = [
        "crates/", "docs/", "xtask/", "bench/", "script/", "deploy/", ".ci/", ".cargo/",
    ];
    PLACES.iter().any(|place| code.starts_with(place)) && !code.contains([' ', '*', '<', '…', '{'])
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn links_and_paths_in_code_are_named_and_other_code_is_not() {
        let text = "See [the map](ARCHITECTURE.md#rooms), [out](https://example.org/a), [here](#there), `docs/metrics.md`, \
                    `crates/<name>/src`, `ip route`.";
        assert_eq!(named(text), ["ARCHITECTURE.md", "docs/metrics.md"]);
    }
}
