use super::*;

fn session(at: usize, state: &str) -> SessionStatus {
    SessionStatus {
        peer: format!("n{at}"),
        kind: "Node".to_owned(),
        state: state.to_owned(),
        ..SessionStatus::default()
    }
}

#[test]
fn what_does_not_fit_is_counted_and_sessions_that_are_down_are_kept() {
    let mut sessions: Vec<SessionStatus> = (0..5000).map(|at| session(at, "Established")).collect();
    sessions[4999].state = "Active".to_owned();
    let status = BgpNodeStatus {
        sessions,
        originations: vec![OriginationStatus::default(); MAX_ORIGINATIONS],
        problems: vec![
            ProblemStatus {
                message: "é".repeat(MAX_TEXT),
                ..ProblemStatus::default()
            };
            MAX_PROBLEMS + 1
        ],
        ..BgpNodeStatus::default()
    }
    .bounded();
    assert_eq!(status.sessions.len(), MAX_SESSIONS);
    assert_eq!(status.sessions[0].peer, "n4999");
    assert_eq!(
        status.truncated,
        Some(Truncated {
            sessions: 5000 - MAX_SESSIONS as u32,
            originations: 0,
            problems: 1
        })
    );
    assert!(
        status
            .problems
            .iter()
            .all(|p| p.message.len() <= MAX_TEXT && p.message.ends_with('…'))
    );
    // An object of an API server is 1.5 MB at most; this is far below.
    assert!(serde_json::to_string(&status).unwrap().len() < 400_000);
}

#[test]
fn what_fits_stays_as_it_is() {
    let status = BgpNodeStatus {
        sessions: vec![session(1, "Established"), session(2, "Idle")],
        ..BgpNodeStatus::default()
    };
    assert_eq!(status.clone().bounded(), status);
}

#[test]
fn a_status_of_another_version_is_read() {
    let read: BgpNodeStatus = serde_json::from_str(
        r#"{"newField": 1, "sessions": [{"peer": "a", "newField": []}], "agentVersion": "9"}"#,
    )
    .unwrap();
    assert_eq!((read.agent_version.as_str(), read.sessions.len()), ("9", 1));
    let written = serde_json::to_value(BgpNodeStatus::default()).unwrap();
    assert!(written.get("sessions").is_none() && written.get("sessionCounts").is_some());
}
