use std::time::Duration;

use super::{Usage, parse, usage};

#[test]
fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
    let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 5 0 100 1000 900";
    let expected = Usage {
        resident_bytes: 3 * 4096,
        cpu: Duration::from_secs(2),
        threads: 5,
        open_files: 0,
    };
    assert_eq!(parse("10 3 1 1 0 1 0", stat, 4096, 100), expected);
}

#[test]
fn a_process_sees_its_own_memory_threads_and_files() {
    let usage = usage();
    assert!(usage.resident_bytes > 100_000, "{usage:?}");
    assert!(usage.threads >= 1 && usage.open_files >= 3, "{usage:?}");
}
