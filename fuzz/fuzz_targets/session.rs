//! What comes over the connections of a peer, with time between.
#![no_main]

#[allow(dead_code, unused_imports, reason = "the target uses one function")]
#[path = "../../crates/dunlin-bgp/tests/session_fuzz.rs"]
mod session_fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| session_fuzz::fuzz_session(data));
