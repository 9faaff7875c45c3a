//! As much of Helm's template language as our chart uses.
//!
//! `{{ .Path }}` and `{{ . }}` within a line; `{{- range .Path }}`, `{{- if .Path }}` and `{{- end }}` alone on a line. A
//! dash takes the line's indentation and the newline before it away, so such a line leaves nothing behind.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Renders a template over `data`.
pub(super) fn render(template: &str, data: &Value) -> Result<String> {
    let lines: Vec<&str> = template.lines().collect();
    let mut out = String::new();
    block(&lines, data, data, &mut out)?;
    Ok(out)
}

fn block(lines: &[&str], data: &Value, dot: &Value, out: &mut String) -> Result<()> {
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let Some(action) = action(line) else {
            out.push_str(&substitute(line, data, dot)?);
            out.push('\n');
            at += 1;
            continue;
        };
        let length = body(&lines[at + 1..]).with_context(|| format!("{line}: no end"))?;
        let inner = &lines[at + 1..at + 1 + length];
        match action.split_once(' ') {
            Some(("range", path)) => {
                let list = lookup(path, data, dot)?;
                for element in list
                    .as_array()
                    .with_context(|| format!("{path} is no list"))?
                {
                    block(inner, data, element, out)?;
                }
            }
            Some(("if", path)) => {
                if truth(lookup(path, data, dot)?) {
                    block(inner, data, dot, out)?;
                }
            }
            _ => bail!("{line}: not understood"),
        }
        at += length + 2;
    }
    Ok(())
}

/// What a line alone asks for, if it is such a line.
fn action(line: &str) -> Option<&str> {
    line.trim().strip_prefix("{{- ")?.strip_suffix(" }}")
}

/// How many lines stand before the `end` that belongs to what was begun before them.
fn body(lines: &[&str]) -> Option<usize> {
    let mut depth = 1;
    for (at, line) in lines.iter().enumerate() {
        match action(line) {
            Some("end") => depth -= 1,
            Some(_) => depth += 1,
            None => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn substitute(line: &str, data: &Value, dot: &Value) -> Result<String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{ ") {
        let (path, after) = after
            .split_once(" }}")
            .with_context(|| format!("{line}: no closing braces"))?;
        out.push_str(before);
        let text = match lookup(path, data, dot)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => bail!("{path} is neither text nor a number"),
        };
        // They stand in quotes or plain in YAML, and must mean what they say there.
        if text.contains(['"', '\\']) || text.contains(char::is_control) {
            bail!(
                "{text:?}: quotes, backslashes and control characters have no place in a manifest's value"
            );
        }
        out.push_str(&text);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn lookup<'a>(path: &str, data: &'a Value, dot: &'a Value) -> Result<&'a Value> {
    if path == "." {
        return Ok(dot);
    }
    let pointer = path.replace('.', "/");
    data.pointer(&pointer)
        .with_context(|| format!("the chart's values lack {path}"))
}

/// As the template language has it: what is empty or zero is false.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
