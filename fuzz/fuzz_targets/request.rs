//! The body of a request on the admin socket, or of its answer.
#![no_main]

#[allow(dead_code, unused_imports, reason = "the target uses one function")]
#[path = "../../crates/dunlin-api/tests/requests_fuzz.rs"]
mod requests_fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    requests_fuzz::fuzz_requests(data);
});
