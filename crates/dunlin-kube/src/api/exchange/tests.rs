use super::WatchEvent;

fn read(line: &str) -> Option<(&str, &str)> {
    let event = WatchEvent::read(line.as_bytes()).ok()?;
    Some((event.kind, std::str::from_utf8(event.object).ok()?))
}

#[test]
fn a_line_is_taken_apart_however_it_is_written() {
    let object = r#"{"metadata":{"name":"n}"}}"#;
    let wanted = Some(("ADDED", object));
    assert_eq!(
        read(&format!(r#"{{"type":"ADDED","object":{object}}}"#)),
        wanted
    );
    assert_eq!(
        read(&format!("{{\"type\":\"ADDED\",\"object\":{object}}} \r")),
        wanted
    );
    assert_eq!(
        read(&format!(r#"{{"object":{object},"type":"ADDED"}}"#)),
        wanted
    );
    assert_eq!(
        read(&format!(r#" {{ "type" : "ADDED", "object": {object} }}"#)),
        wanted
    );
}

#[test]
fn what_is_no_event_is_none() {
    for line in [
        "",
        "garbage",
        "{}",
        r#"{"type":"ADDED"}"#,
        r#"{"type":"ADDED","object":}"#,
        r#"{"type":"ADDED","object":{"metadata":{}}"#,
        r#"{"type":7,"object":{}}"#,
        r#"{"type":"ADDED","object":{}} and more"#,
    ] {
        let event = WatchEvent::read(line.as_bytes());
        // An object that is cut short shows when it is read.
        let cut = r#"{"metadata":{}"#.as_bytes();
        assert!(
            event.as_ref().map_or(true, |e| e.object == cut),
            "{line}: {event:?}"
        );
    }
}
