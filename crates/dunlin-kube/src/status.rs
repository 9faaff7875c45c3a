//! What agents write through the API: each its own `BGPNode`, one of them the conditions of our objects, and
//! NetworkUnavailable of its own Node.
//!
//! Everything is written by server-side apply under one field manager, so that it can be written again at any time, by
//! whoever has to, and nothing of anybody else is touched. When to write is not decided here.

mod condition;
mod objects;
mod write;

pub use condition::{Verdict, next_condition};
pub use objects::{ObjectNews, Observed, ObservedObjects, watch_objects};
pub use write::{KnownNode, StatusApi, WriteError, WriteFault};

/// Who we are in `managedFields`.
pub const FIELD_MANAGER: &str = "dunlin-agent";

/// A time as objects carry it, from microseconds since 1970: `2026-01-31T12:34:56Z`.
pub fn time_text(unix_micros: u64) -> String {
    let secs = i64::try_from(unix_micros / 1_000_000).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(secs) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        // No clock says a year beyond 9999 and means it.
        Err(_) => "9999-12-31T23:59:59Z".to_owned(),
    }
}
