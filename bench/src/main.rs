//! Benchmarks against the peers found on the machine.
fn main() {}
