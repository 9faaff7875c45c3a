use super::*;

fn secs(text: &str) -> Option<i64> {
    Timestamp::parse_rfc3339(text).map(|t| t.secs)
}

#[test]
fn dates_count_from_1970() {
    for (text, want) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59Z", -1),
        ("2000-02-29T12:00:00Z", 951_825_600),
        ("2000-03-01T00:00:00Z", 951_868_800),
        ("2026-11-22T22:12:46Z", 1_795_385_566),
        ("2026-11-22T23:12:46+01:00", 1_795_385_566),
        ("2026-11-22T17:42:46-04:30", 1_795_385_566),
        ("2016-12-31T23:59:60Z", 1_483_228_799),
    ] {
        assert_eq!(secs(text), Some(want), "{text}");
    }
}

#[test]
fn fractions_order() {
    let parse = |text| Timestamp::parse_rfc3339(text).unwrap();
    assert!(parse("2026-01-01T00:00:00Z") < parse("2026-01-01T00:00:00.000001Z"));
    assert!(parse("2026-01-01T00:00:00.09Z") < parse("2026-01-01T00:00:00.1Z"));
}

#[test]
fn what_is_no_timestamp_is_refused() {
    for text in [
        "",
        "2026-11-22",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00Zx",
        "2026-01-0éT00:00:00Z",
    ] {
        assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
    }
}
