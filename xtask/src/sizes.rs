//! Files stay under 500 lines and functions under 70, or say why not.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{files, shown};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// What a reason starts with: at a file's head, or right above a function.
const REASON: &str = "Long because ";

/// A reason for a file stands in its first lines.
const HEAD_LINES: usize = 15;

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for dir in ["crates", "bench", "xtask"] {
        for path in files(&root.join(dir), ".rs")? {
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            findings.extend(judge(&shown(root, &path), &text));
        }
    }
    Ok(findings)
}

fn judge(name: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    let reasoned = lines
        .iter()
        .take(HEAD_LINES)
        .any(|line| line.contains(REASON));
    if lines.len() > FILE_LINES && !reasoned {
        findings.push(format!(
            "{name}: {} lines: cut it, or say `{REASON}…` at its head",
            lines.len()
        ));
    }
    // Tests are lists of cases; nobody reads them to the end to understand them.
    let tests = name.contains("/tests/") || name.ends_with("/tests.rs");
    if !tests {
        findings.extend(functions(name, &lines));
    }
    findings
}

/// Formatted code closes a function with a brace at the indentation it began with.
fn functions(name: &str, lines: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if !is_function(line.trim_start()) {
            continue;
        }
        let closes = |l: &&str| {
            let declares = || l[indent..].starts_with(')') && l.ends_with(';');
            l.len() > indent
                && l[..indent].trim().is_empty()
                && (l[indent..].starts_with(['}', ';']) || declares())
        };
        // A declaration, or a body on one line, ends where it began.
        if line.ends_with(';') || line.ends_with('}') {
            continue;
        }
        let Some(length) = lines[at + 1..]
            .iter()
            .position(|l| l.is_char_boundary(indent) && closes(l))
        else {
            continue;
        };
        let body = length + 2;
        let above = lines[..at]
            .iter()
            .rev()
            .take_while(|l| l.trim_start().starts_with(['/', '#']));
        if body > FUNCTION_LINES && !above.clone().any(|l| l.contains(REASON)) {
            findings.push(format!(
                "{name}:{}: a function of {body} lines: cut it, or say `{REASON}…` above it",
                at + 1
            ));
        }
    }
    findings
}

fn is_function(line: &str) -> bool {
    let mut words = line.split(' ').skip_while(|word| {
        matches!(
            *word,
            "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\""
        ) || word.starts_with("pub(")
    });
    words.next() == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::judge;

    fn function(lines: usize) -> String {
        format!(
            "    pub(crate) async fn f(\n        a: u8,\n    ) -> u8 {{\n{}    }}\n",
            "        g();\n".repeat(lines - 4)
        )
    }

    #[test]
    fn a_long_file_needs_a_reason_at_its_head() {
        let long = "//! A file.\n".repeat(501);
        assert_eq!(judge("a.rs", &long).len(), 1);
        assert!(
            judge(
                "a.rs",
                &format!("//! Long because it is one table.\n{long}")
            )
            .is_empty()
        );
        assert_eq!(
            judge(
                "a.rs",
                &format!("{long}//! Long because it is one table.\n")
            )
            .len(),
            1
        );
        assert!(judge("a.rs", &"//! A file.\n".repeat(500)).is_empty());
    }

    #[test]
    fn a_long_function_needs_a_reason_above_it() {
        assert!(judge("a.rs", &function(70)).is_empty());
        assert_eq!(
            judge("a.rs", &function(71)),
            ["a.rs:1: a function of 71 lines: cut it, or say `Long because …` above it"]
        );
        let reasoned = format!(
            "    /// Does it.\n    // Long because one match holds the table.\n{}",
            function(90)
        );
        assert!(judge("a.rs", &reasoned).is_empty());
        assert!(judge("x/tests.rs", &function(90)).is_empty());
    }
}
