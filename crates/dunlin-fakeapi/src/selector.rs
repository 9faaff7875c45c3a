//! Label and field selectors, as queries write them.

use serde_json::Value;

/// Whether an object is selected. Requirements that are not understood select nothing.
pub(crate) fn matches(object: &Value, labels: &str, fields: &str) -> bool {
    split(labels).all(|requirement| label(object, requirement))
        && split(fields).all(|requirement| field(object, requirement))
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let parts = text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn label(object: &Value, requirement: &str) -> bool {
    let value = |key: &str| object["metadata"]["labels"][key.trim()].as_str();
    if let Some((key, set)) = requirement.split_once(" notin ") {
        return value(key).is_none_or(|value| !of_set(set, value));
    }
    if let Some((key, set)) = requirement.split_once(" in ") {
        return value(key).is_some_and(|value| of_set(set, value));
    }
    if let Some((key, wanted)) = requirement.split_once("!=") {
        return value(key) != Some(wanted.trim());
    }
    if let Some((key, wanted)) = requirement.split_once('=') {
        return value(key) == Some(wanted.trim_start_matches('=').trim());
    }
    match requirement.strip_prefix('!') {
        Some(key) => value(key).is_none(),
        None => value(requirement).is_some(),
    }
}

fn of_set(set: &str, value: &str) -> bool {
    let inner = set.trim().trim_start_matches('(').trim_end_matches(')');
    inner.split(',').any(|member| member.trim() == value)
}

fn field(object: &Value, requirement: &str) -> bool {
    let (path, wanted, equal) = match requirement.split_once("!=") {
        Some((path, wanted)) => (path, wanted, false),
        None => match requirement.split_once('=') {
            Some((path, wanted)) => (path, wanted.trim_start_matches('='), true),
            None => return false,
        },
    };
    let found = path
        .trim()
        .split('.')
        .fold(object, |value, part| &value[part]);
    (found.as_str().unwrap_or_default() == wanted.trim()) == equal
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::matches;

    #[test]
    fn selectors_select() {
        let object = json!({"metadata": {"name": "n", "labels": {"a": "1", "b": ""}}});
        for (labels, fields) in [
            ("", ""),
            ("a=1,b", ""),
            ("a==1,!c", ""),
            ("a in (0,1),c notin (2)", "metadata.name=n"),
            ("a!=2", "metadata.name!=m"),
        ] {
            assert!(matches(&object, labels, fields), "{labels} {fields}");
        }
        for (labels, fields) in [
            ("a=2", ""),
            ("c", ""),
            ("!a", ""),
            ("a in (0,2)", ""),
            ("", "metadata.name=m"),
            ("", "nonsense"),
        ] {
            assert!(!matches(&object, labels, fields), "{labels} {fields}");
        }
    }
}
