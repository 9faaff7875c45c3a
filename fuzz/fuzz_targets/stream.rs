//! A whole stream: frames, each into its decoder.
#![no_main]

#[allow(dead_code, unused_imports, reason = "each target uses one function")]
#[path = "../../crates/dunlin-bgp/tests/wire_fuzz.rs"]
mod wire_fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire_fuzz::fuzz_stream(data));
