use std::time::Duration;

use http::HeaderMap;

use super::Trouble;
use crate::object::Resource;
use dunlin_intent::Kind;

fn of(code: u16, body: &str) -> Trouble {
    Trouble::of_answer(code, &HeaderMap::new(), body.as_bytes())
}

#[test]
fn a_missing_permission_names_verbs_and_resource() {
    let slices = Resource::of(Kind::EndpointSlice);
    let text = of(403, r#"{"message":"user x cannot list"}"#).describe(&slices);
    for part in [
        "endpointslices",
        "discovery.k8s.io",
        "list",
        "watch",
        "user x",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn answers_are_told_apart() {
    assert_eq!(of(410, "{}"), Trouble::Gone);
    assert_eq!(of(500, r#"{"reason":"Expired"}"#), Trouble::Gone);
    assert_eq!(of(404, "404 page not found"), Trouble::NotInstalled);
    let too_new = r#"{"reason":"Timeout","message":"Too large resource version: 9, current: 3"}"#;
    assert_eq!(of(504, too_new), Trouble::TooNew);
    assert_eq!(
        of(503, r#"{"message":"m","details":{"retryAfterSeconds":3}}"#),
        Trouble::Server(503, "m".into(), Some(Duration::from_secs(3)))
    );
    assert_eq!(
        of(500, "\u{1b}[2Jgarbage"),
        Trouble::Server(500, "\\u{1b}[2Jgarbage".into(), None)
    );
}

#[test]
fn the_time_to_wait_comes_from_the_header_first() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "7".parse().expect("a value"));
    let trouble = Trouble::of_answer(429, &headers, br#"{"details":{"retryAfterSeconds":1}}"#);
    assert_eq!(trouble, Trouble::Throttled(Some(Duration::from_secs(7))));
}
