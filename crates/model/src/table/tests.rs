//! Cells against upstream's.

use super::*;

#[test]
fn durations_read_as_upstreams() {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    // apimachinery pkg/util/duration/duration_test.go
    for (seconds, want) in [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (10 * MINUTE - 1, "9m59s"),
        (10 * MINUTE, "10m"),
        (3 * HOUR - 1, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + MINUTE, "3h1m"),
        (8 * HOUR - 1, "7h59m"),
        (8 * HOUR, "8h"),
        (2 * DAY - 1, "47h"),
        (2 * DAY, "2d"),
        (2 * DAY + HOUR, "2d1h"),
        (8 * DAY - 1, "7d23h"),
        (8 * DAY, "8d"),
        (2 * YEAR - 1, "729d"),
        (2 * YEAR, "2y"),
        (2 * YEAR + DAY, "2y1d"),
        (8 * YEAR - 1, "7y364d"),
        (8 * YEAR, "8y"),
    ] {
        assert_eq!(human_duration(seconds), want, "{seconds}");
    }
}

#[test]
fn texts_with_numbers_are_whole_however_long() {
    assert_eq!(fraction(3, 12), "3/12");
    assert_eq!(fraction(-1, 0), "-1/0");
    let long = fraction(i64::MIN, i64::MAX);
    assert_eq!(long, "-9223372036854775808/9223372036854775807");
}
