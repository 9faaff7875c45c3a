//! What the kernel tells of nf_tables and of flows.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_kernel::nft::fuzzing::fuzz_read_back(data));
