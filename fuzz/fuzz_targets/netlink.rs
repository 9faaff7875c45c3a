//! What a netlink socket gives: links, addresses, routes, nexthops, answers.
#![no_main]

#[allow(dead_code, unused_imports, reason = "the target uses one function")]
#[path = "../../crates/dunlin-kernel/tests/netlink_fuzz.rs"]
mod netlink_fuzz;

libfuzzer_sys::fuzz_target!(|data: &[u8]| netlink_fuzz::fuzz_netlink(data));
