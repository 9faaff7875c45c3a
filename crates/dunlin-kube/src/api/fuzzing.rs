//! Octets as what an API server says, and as what lies in our own files: an entry point for a fuzzer, and a test that runs it.

use super::exchange::{WatchEvent, watch_error};
use super::items::{Items, ListReader};
use super::object::Envelope;
use super::slim::slim;
use super::vault;
use crate::lease::LeaseRecord;
use crate::object::{Resource, read_json};

/// The first octet says in pieces of which size the rest arrives: as the text of a list, as a line of a watch, as an object, as
/// what comes in the place of an answer.
pub fn fuzz_api(data: &[u8]) {
    let Some((size, text)) = data.split_first() else {
        return;
    };
    list(text, usize::from(*size).max(1));
    if let Ok(event) = WatchEvent::read(text) {
        assert!(event.object.len() < text.len() && !event.kind.contains('"'));
        object(event.object);
    }
    object(text);
    let _ = LeaseRecord::parse(text);
    let trouble = watch_error(text);
    assert!(
        !trouble
            .describe(&Resource::ALL[0])
            .contains(char::is_control)
    );
    let _ = vault::parse(text);
}

/// The pieces make no difference.
fn list(text: &[u8], size: usize) {
    let read = |size: usize| {
        let (mut reader, mut items) = (ListReader::default(), Items::default());
        for piece in text.chunks(size) {
            reader.push(piece, &mut items)?;
        }
        let texts: Vec<Vec<u8>> = items.iter().map(<[u8]>::to_vec).collect();
        Ok::<_, String>((texts, reader.finish()?))
    };
    let whole = read(text.len().max(1));
    assert_eq!(read(size), whole);
    if let Ok((items, _)) = whole {
        assert!(items.iter().map(Vec::len).sum::<usize>() < text.len());
        items.iter().for_each(|item| object(item));
    }
}

/// What is kept of an object for a start without the API server says the same as the object.
fn object(text: &[u8]) {
    let envelope = Envelope::read(text);
    for resource in Resource::ALL {
        if let Ok(envelope) = &envelope {
            let _ = envelope.key(resource);
        }
        match read_json(resource, text) {
            // Its password is kept elsewhere.
            Ok(_) if resource.plural == "secrets" => {}
            Ok(fact) => {
                if let Some(kept) = slim(text) {
                    assert_eq!(read_json(resource, &kept), Ok(fact));
                }
            }
            Err(fault) => assert!(!fault.to_string().is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_net::Chance;

    use super::*;

    const SAID: [&str; 5] = [
        r#"{"kind":"NodeList","metadata":{"resourceVersion":"7","continue":"t"},"items":[{"metadata":{"name":"n1",
            "labels":{"a":"b"},"annotations":{"dunlin.dev/drain":"true","x":"y"}},"spec":{"podCIDRs":["10.244.1.0/24"]},
            "status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}],"conditions":[{"type":"Ready",
            "status":"True","lastHeartbeatTime":"2026-01-01T00:00:00Z"}]}}]}"#,
        r#"{"type":"ADDED","object":{"metadata":{"name":"s","namespace":"ns","resourceVersion":"9"},"addressType":"IPv4",
            "endpoints":[{"addresses":["10.244.1.2"],"conditions":{"ready":true},"nodeName":"n1"}],"ports":[{"port":80}]}}"#,
        r#"{"type":"BOOKMARK","object":{"kind":"Node","metadata":{"resourceVersion":"9",
            "annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        r#"{"kind":"Status","status":"Failure","message":"no","reason":"Expired","code":410,
            "details":{"retryAfterSeconds":3}}"#,
        r#"{"metadata":{"name":"l","resourceVersion":"1"},"spec":{"holderIdentity":"a","leaseDurationSeconds":15}}"#,
    ];

    #[test]
    fn whatever_is_said_hurts_nothing() {
        let mut chance = Chance::new(5);
        for said in SAID {
            fuzz_api(format!("\u{5}{said}").as_bytes());
            for _ in 0..1_500 {
                let mut bad = [&[chance.draw() as u8], said.as_bytes()].concat();
                for _ in 0..=chance.below(5) {
                    let at = chance.below(bad.len() as u64) as usize;
                    let marks = b"{}[]\",:\\ nt0-e";
                    let mark = marks[chance.below(marks.len() as u64) as usize];
                    match chance.below(4) {
                        0 => bad[at] = mark,
                        1 => bad.insert(at, mark),
                        2 if bad.len() > 1 => drop(bad.remove(at)),
                        _ => bad.truncate(at.max(1)),
                    }
                }
                fuzz_api(&bad);
            }
        }
    }
}
