//! Numbers and lists as people write them.

use std::fmt::Display;

use crate::output::clean;

/// A duration in its two greatest units: `12s`, `3m12s`, `2h05m`, `4d03h`.
pub(crate) fn age(secs: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match secs {
        0..MINUTE => format!("{secs}s"),
        MINUTE..HOUR => format!("{}m{:02}s", secs / MINUTE, secs % MINUTE),
        HOUR..DAY => format!("{}h{:02}m", secs / HOUR, secs % HOUR / MINUTE),
        _ => format!("{}d{:02}h", secs / DAY, secs % DAY / HOUR),
    }
}

/// A count with its word: `1 route`, `2 routes`.
pub(crate) fn count(n: u64, word: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {word}{s}")
}

/// A list with commas; `-` if there is nothing.
pub(crate) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items
        .into_iter()
        .map(|item| clean(&item.to_string()))
        .collect();
    if items.is_empty() {
        "-".into()
    } else {
        items.join(", ")
    }
}

/// The value, or `-`.
pub(crate) fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| clean(&value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{age, count, list};

    #[test]
    fn durations_show_their_two_greatest_units() {
        let expected = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (192, "3m12s"),
            (3599, "59m59s"),
            (7500, "2h05m"),
            (86_400, "1d00h"),
            (u64::MAX, "213503982334601d07h"),
        ];
        for (secs, text) in expected {
            assert_eq!(age(secs), text);
        }
    }

    #[test]
    fn counts_and_lists_read_well() {
        assert_eq!(count(1, "route"), "1 route");
        assert_eq!(count(0, "route"), "0 routes");
        assert_eq!(list(["a", "b\x1b[2J"]), "a, b\u{fffd}[2J");
        assert_eq!(list(Vec::<String>::new()), "-");
    }
}
