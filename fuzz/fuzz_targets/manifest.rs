//! A file of objects, YAML or JSON.
#![no_main]

#[allow(dead_code, unused_imports, reason = "the target uses one function")]
#[path = "../../crates/dunlin-kube/tests/objects_fuzz.rs"]
mod objects_fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| objects_fuzz::fuzz_manifest(data));
