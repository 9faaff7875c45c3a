//! What an API server says: lists, watches, objects, errors.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_kube::api::fuzzing::fuzz_api(data));
