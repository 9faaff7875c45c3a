//! Octets as what comes over the admin socket: an entry point for a fuzzer, and a test that runs it.

use std::fmt::Debug;

use dunlin_api::{Answer, DumpRequest, ErrorBody, Plan, PlanRequest, Query};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is read is the same once it has been written and read again.
fn survives<T: DeserializeOwned + Serialize + PartialEq + Debug>(text: &[u8]) -> bool {
    let Ok(read) = serde_json::from_slice::<T>(text) else {
        return false;
    };
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what we write can be read");
    assert_eq!(again, read);
    assert!(!format!("{read:?}").is_empty());
    true
}

/// The body of a request to the agent, or of its answer to the command. Gives whether it is any.
pub fn fuzz_requests(text: &[u8]) -> bool {
    if let Ok(plan) = serde_json::from_slice::<PlanRequest>(text) {
        assert!(plan.items() <= PlanRequest::MAX_ITEMS as usize);
    }
    // Of figures, the last digit may be another.
    if let Ok(answer) = serde_json::from_slice::<Answer>(text) {
        let written = serde_json::to_vec(&answer).expect("what was read can be written");
        assert!(serde_json::from_slice::<Answer>(&written).is_ok());
        return true;
    }
    let all = [
        survives::<Query>(text),
        survives::<DumpRequest>(text),
        survives::<PlanRequest>(text),
        survives::<Plan>(text),
        survives::<ErrorBody>(text),
    ];
    all.contains(&true)
}

const GOOD: [&str; 11] = [
    r#""status""#,
    r#"{"routes":{"prefix":"10.0.0.0/8","family":"ipv4","peer":"tor-1","node":"n1","limit":7}}"#,
    r#"{"explainPrefix":"fd00::/8"}"#,
    r#"{"explainNeighbor":"192.0.2.1"}"#,
    r#"{"services":{"namespace":"shop","name":"web","announced":true,"frontends":true,"limit":7}}"#,
    r#"{"explainService":{"namespace":"shop","name":"web"}}"#,
    r#"{"frontends":[{"address":"10.96.0.1","protocol":"TCP","port":443}]}"#,
    r#"{"table":"LocRIB"}"#,
    r#"{"files":[{"name":"a.yaml","text":"kind: Node"}],"delete":["BGPPeer/tor-1"],"limit":5}"#,
    r#"{"node":"n1","objects":{"items":[],"more":3},"notes":["a"]}"#,
    r#"{"notFound":"no such prefix"}"#,
];

#[test]
fn whatever_is_asked_hurts_nothing() {
    let mut chance = dunlin_net::Chance::new(6);
    for good in GOOD {
        assert!(fuzz_requests(good.as_bytes()), "{good}");
        for _ in 0..3_000 {
            let mut bad = good.as_bytes().to_vec();
            for _ in 0..=chance.below(3) {
                let marks = b"{}[]\",:\\ n0-9e./";
                let mark = marks[chance.below(marks.len() as u64) as usize];
                let at = chance.below(bad.len() as u64) as usize;
                match chance.below(3) {
                    0 => bad[at] = mark,
                    1 => bad.insert(at, mark),
                    _ => bad.truncate(at.max(1)),
                }
            }
            fuzz_requests(&bad);
        }
    }
}
