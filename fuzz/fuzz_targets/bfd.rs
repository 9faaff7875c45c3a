//! Datagrams for BFD sessions, with time between.
#![no_main]

#[allow(dead_code, unused_imports, reason = "the target uses one function")]
#[path = "../../crates/dunlin-bfd/tests/bfd_fuzz.rs"]
mod bfd_fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bfd_fuzz::fuzz_bfd(data));
