//! Points in time and durations as Kubernetes writes them, without a clock.
//!
//! `metav1.Time` is RFC 3339 in whole seconds, `MicroTime` has six digits more, `Duration` is what
//! Go's `time.ParseDuration` reads and `Duration.String` writes.

use crate::Str;

/// Seconds since 1970 and nanoseconds within the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    pub seconds: i64,
    pub nanos: u32,
}

const TIME: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_TIME: &str = "2006-01-02T15:04:05.000000Z07:00";

/// As Go's package `time` quotes: bytes that are not plain ASCII as `\\xNN`.
fn quote(s: &str) -> String {
    let mut out = String::from("\"");
    for b in s.bytes() {
        match b {
            b'"' | b'\\' => out.extend(['\\', char::from(b)]),
            b' '..0x80 => out.push(char::from(b)),
            b => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out.push('"');
    out
}

/// Days since 1970-01-01 of a proleptic Gregorian date.
pub(crate) fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// (year, month, day)
pub(crate) fn date_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, date)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Reads a time piece by piece; errors are worded as Go's `time.Parse` words them.
struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Reader<'_> {
    fn cannot(&self, piece: &str) -> String {
        let (whole, rest) = (quote(cut(self.whole)), quote(cut(self.rest)));
        format!(
            "parsing time {whole} as {}: cannot parse {rest} as {}",
            quote(self.layout),
            quote(piece)
        )
    }

    fn out_of_range(&self, what: &str) -> String {
        format!(
            "parsing time {}: {what} out of range",
            quote(cut(self.whole))
        )
    }

    fn number(&mut self, len: usize, piece: &str) -> Result<i64, String> {
        let digits = self
            .rest
            .get(..len)
            .filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let number = digits
            .and_then(|d| d.parse().ok())
            .ok_or_else(|| self.cannot(piece))?;
        self.rest = &self.rest[len..];
        Ok(number)
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        self.rest = self
            .rest
            .strip_prefix(text)
            .ok_or_else(|| self.cannot(text))?;
        Ok(())
    }

    fn ranged(&mut self, piece: &str, low: i64, high: i64, what: &str) -> Result<i64, String> {
        let n = self.number(2, piece)?;
        if (low..=high).contains(&n) {
            Ok(n)
        } else {
            Err(self.out_of_range(what))
        }
    }

    fn fraction(&mut self, exactly_six: bool) -> Result<u32, String> {
        if exactly_six {
            let digits = self
                .rest
                .get(1..7)
                .filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
            if !self.rest.starts_with(['.', ',']) || digits.is_none() {
                return Err(self.cannot(".000000"));
            }
            let micros: u32 = digits.and_then(|d| d.parse().ok()).unwrap_or_default();
            self.rest = &self.rest[7..];
            return Ok(micros * 1000);
        }
        let Some(after) = self.rest.strip_prefix(['.', ',']) else {
            return Ok(0);
        };
        let len = after.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return Ok(0);
        }
        let mut nanos: u32 = 0;
        for i in 0..9 {
            nanos = nanos * 10
                + after.as_bytes()[..len]
                    .get(i)
                    .map_or(0, |b| u32::from(b - b'0'));
        }
        self.rest = &after[len..];
        Ok(nanos)
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.cannot("Z07:00")),
        };
        let two = |at: usize| -> Option<i64> {
            let d = bytes
                .get(at..at + 2)
                .filter(|d| d.iter().all(u8::is_ascii_digit))?;
            Some(i64::from(d[0] - b'0') * 10 + i64::from(d[1] - b'0'))
        };
        let (Some(hours), Some(b':'), Some(minutes)) = (two(1), bytes.get(3), two(4)) else {
            return Err(self.cannot("Z07:00"));
        };
        if hours > 24 {
            return Err(self.out_of_range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(self.out_of_range("time zone offset minute"));
        }
        self.rest = &self.rest[6..];
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

/// What a tenant wrote, short enough for a message.
fn cut(s: &str) -> &str {
    &s[..s.floor_char_boundary(128)]
}

/// What Kubernetes itself writes, `2006-01-02T15:04:05Z`; `None`: anything else, good or bad.
fn parse_plain(text: &str) -> Option<Instant> {
    let b: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let marks = [b[4], b[7], b[10], b[13], b[16], b[19]];
    if marks != *b"--T::Z" {
        return None;
    }
    let two = |at: usize| {
        let (tens, ones) = (b[at].wrapping_sub(b'0'), b[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    let year = two(0)? * 100 + two(2)?;
    let (month, day, hour, minute, second) = (two(5)?, two(8)?, two(11)?, two(14)?, two(17)?);
    let fits = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = days_from_date(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    fits.then_some(Instant { seconds, nanos: 0 })
}

fn parse(text: &str, layout: &'static str) -> Result<Instant, String> {
    if layout == TIME
        && let Some(instant) = parse_plain(text)
    {
        return Ok(instant);
    }
    let mut r = Reader {
        whole: text,
        rest: text,
        layout,
    };
    let year = r.number(4, "2006")?;
    r.literal("-")?;
    let month = r.ranged("01", 1, 12, "month")?;
    r.literal("-")?;
    let day = r.number(2, "02")?;
    r.literal("T")?;
    // Go takes hours of one digit too.
    let one = r.rest.as_bytes().get(1) == Some(&b':');
    let hour = r.number(if one { 1 } else { 2 }, "15")?;
    if hour > 23 {
        return Err(r.out_of_range("hour"));
    }
    r.literal(":")?;
    let minute = r.ranged("04", 0, 59, "minute")?;
    r.literal(":")?;
    let second = r.ranged("05", 0, 59, "second")?;
    let nanos = r.fraction(layout == MICRO_TIME)?;
    let offset = r.zone()?;
    if !r.rest.is_empty() {
        return Err(format!(
            "parsing time {}: extra text: {}",
            quote(cut(text)),
            quote(cut(r.rest))
        ));
    }
    if day < 1 || day > days_in_month(year, month) {
        return Err(r.out_of_range("day"));
    }
    let seconds =
        days_from_date(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Ok(Instant { seconds, nanos })
}

impl Instant {
    /// Parses RFC 3339; fractions of a second are read (and dropped when written).
    ///
    /// # Errors
    /// The message of Go's `time.Parse`.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text, TIME)
    }

    /// Whether `text` is what [`Self::to_text`] writes.
    #[must_use]
    pub fn is_plain(text: &str) -> bool {
        parse_plain(text).is_some()
    }

    /// Parses RFC 3339 with exactly six digits of fraction.
    ///
    /// # Errors
    /// The message of Go's `time.Parse`.
    pub fn parse_micro(text: &str) -> Result<Self, String> {
        parse(text, MICRO_TIME)
    }

    /// Go's zero time, 0001-01-01T00:00:00Z, which JSON shows as null.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self {
            seconds: -62_135_596_800,
            nanos: 0,
        }
    }

    fn date_time(self) -> String {
        let (year, month, day) = date_from_days(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }

    /// `2006-01-02T15:04:05Z`
    #[must_use]
    pub fn to_text(self) -> Str {
        Str::from(self.date_time() + "Z")
    }

    /// `2006-01-02T15:04:05.000000Z`
    #[must_use]
    pub fn to_micro_text(self) -> Str {
        Str::from(format!("{}.{:06}Z", self.date_time(), self.nanos / 1000))
    }
}

/// Parses `1h30m`, `-1.5s`, `100ms` … to nanoseconds, as Go's `time.ParseDuration`.
///
/// # Errors
/// Go's messages.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let shown = || quote(cut(text));
    let invalid = || format!("time: invalid duration {}", shown());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, after) = rest.split_at(whole);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if digits.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = after
            .bytes()
            .take_while(|b| *b != b'.' && !b.is_ascii_digit())
            .count();
        let (unit, after) = after.split_at(unit_len);
        let nanos: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("time: missing unit in duration {}", shown())),
            unit => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quote(cut(unit)),
                    shown()
                ));
            }
        };
        // Zeros in front are free, 19 digits are more than fit.
        let digits = digits.trim_start_matches('0');
        if digits.len() > 19 {
            return Err(invalid());
        }
        total += digits.parse::<i128>().unwrap_or(0) * nanos;
        let fraction = &fraction[..fraction.len().min(15)];
        let scale = 10i128.pow(u32::try_from(fraction.len()).unwrap_or_default());
        total += fraction.parse::<i128>().unwrap_or(0) * nanos / scale;
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return Err(invalid());
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// Writes nanoseconds as Go's `Duration.String`: `1h30m0s`, `1.5s`, `100ms`.
#[must_use]
pub fn duration_text(nanos: i64) -> Str {
    let size = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let decimal = |unit: u64, name: &str| {
        let fraction = format!("{:0width$}", size % unit, width = unit.ilog10() as usize);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        Str::from(format!("{sign}{}{point}{fraction}{name}", size / unit))
    };
    match size {
        0 => "0s".into(),
        1..1_000 => format!("{sign}{size}ns").into(),
        1_000..1_000_000 => decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let minutes = size / 60_000_000_000;
            let rest = size % 60_000_000_000;
            let fraction = format!("{:09}", rest % 1_000_000_000);
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            let seconds = format!("{}{point}{fraction}s", rest / 1_000_000_000);
            let text = match minutes {
                0 => seconds,
                1..60 => format!("{minutes}m{seconds}"),
                _ => format!("{}h{}m{seconds}", minutes / 60, minutes % 60),
            };
            format!("{sign}{text}").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_normalised_to_utc() {
        for (given, want) in [
            ("2024-02-29T12:34:56Z", "2024-02-29T12:34:56Z"),
            ("2024-01-01T00:30:00+01:00", "2023-12-31T23:30:00Z"),
            ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            ("2000-03-01T00:00:00-00:30", "2000-03-01T00:30:00Z"),
        ] {
            assert_eq!(Instant::parse(given).unwrap().to_text(), want);
        }
        assert!(Instant::parse("0001-01-01T00:00:00Z").unwrap().is_zero());
        assert_eq!(
            Instant::parse("1970-01-02T00:00:01Z").unwrap().seconds,
            86_401
        );
        let micro = Instant::parse_micro("2024-01-01T00:00:00.000120Z").unwrap();
        assert_eq!(
            (micro.nanos, micro.to_micro_text().as_str()),
            (120_000, "2024-01-01T00:00:00.000120Z")
        );
    }

    /// Go `time/format.go`
    #[test]
    fn times_that_do_not_parse_are_refused_in_gos_words() {
        for (given, want) in [
            (
                "x",
                r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#,
            ),
            (
                "2024-13-01T00:00:00Z",
                r#"parsing time "2024-13-01T00:00:00Z": month out of range"#,
            ),
            (
                "2023-02-29T00:00:00Z",
                r#"parsing time "2023-02-29T00:00:00Z": day out of range"#,
            ),
            (
                "2024-01-01",
                r#"parsing time "2024-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
            ),
            (
                "2024-01-01T00:00:00",
                r#"parsing time "2024-01-01T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#,
            ),
            (
                "2024-01-01T00:00:00Zx",
                r#"parsing time "2024-01-01T00:00:00Zx": extra text: "x""#,
            ),
        ] {
            assert_eq!(Instant::parse(given).unwrap_err(), want);
        }
        assert!(Instant::parse_micro("2024-01-01T00:00:00Z").is_err());
        assert!(Instant::parse("２024-01-01T00:00:00Z").is_err());
    }

    /// Go `time/time_test.go`
    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (given, want) in [
            ("0", "0s"),
            ("1h30m", "1h30m0s"),
            ("-1.5s", "-1.5s"),
            ("100ms", "100ms"),
            ("1.5h", "1h30m0s"),
            ("90s", "1m30s"),
            ("1us", "1µs"),
            ("1500ns", "1.5µs"),
            ("3ns", "3ns"),
            ("100h", "100h0m0s"),
            (".5s", "500ms"),
            ("1m0.001s", "1m0.001s"),
        ] {
            assert_eq!(duration_text(parse_duration(given).unwrap()), want);
        }
        for (given, want) in [
            ("", r#"time: invalid duration """#),
            ("3", r#"time: missing unit in duration "3""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            (".s", r#"time: invalid duration ".s""#),
            ("9999999999h", r#"time: invalid duration "9999999999h""#),
        ] {
            assert_eq!(parse_duration(given).unwrap_err(), want);
        }
        assert_eq!(parse_duration("-9223372036854775808ns"), Ok(i64::MIN));
        assert_eq!(duration_text(i64::MIN), "-2562047h47m16.854775808s");
    }
}
