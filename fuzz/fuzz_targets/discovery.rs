//! Router advertisements and solicitations for a link that is watched, with time between.
#![no_main]

#[allow(dead_code, unused_imports, reason = "the target uses one function")]
#[path = "../../crates/dunlin-bgp/tests/discovery_fuzz.rs"]
mod discovery_fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| discovery_fuzz::fuzz_discovery(data));
