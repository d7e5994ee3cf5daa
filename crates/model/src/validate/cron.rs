//! The schedule of a cron job, with the messages of robfig/cron `parser.go` (`ParseStandard`).

use crate::time;

struct Bounds {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Bounds; 5] = [
    Bounds {
        low: 0,
        high: 59,
        names: &[],
    },
    Bounds {
        low: 0,
        high: 23,
        names: &[],
    },
    Bounds {
        low: 1,
        high: 31,
        names: &[],
    },
    Bounds {
        low: 1,
        high: 12,
        names: &MONTHS,
    },
    Bounds {
        low: 0,
        high: 6,
        names: &DAYS,
    },
];

/// # Errors
/// What is wrong with the schedule.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let mut rest = schedule;
    if rest.starts_with("TZ=") || rest.starts_with("CRON_TZ=") {
        let Some((zone, after)) = rest.split_once(' ') else {
            return Err("runtime error: slice bounds out of range".into());
        };
        let zone = zone.split_once('=').map_or("", |(_, zone)| zone);
        location(zone).map_err(|why| format!("provided bad location {zone}: {why}"))?;
        rest = after.trim();
    }
    if rest.is_empty() {
        return Err("empty spec string".into());
    }
    if rest.starts_with('@') {
        return descriptor(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    for (field, bounds) in fields.iter().zip(&FIELDS) {
        for range in field.split(',').filter(|r| !r.is_empty()) {
            self::range(range, bounds)?;
        }
    }
    Ok(())
}

/// As Go's `time.LoadLocation` answers.
pub(super) fn location(zone: &str) -> Result<(), String> {
    crate::time_zones::load(zone).map(|_| ())
}

fn descriptor(text: &str) -> Result<(), String> {
    match text {
        "@yearly" | "@annually" | "@monthly" | "@weekly" | "@daily" | "@midnight" | "@hourly" => {
            Ok(())
        }
        _ => match text.strip_prefix("@every ") {
            Some(every) => time::parse_duration(every)
                .map(|_| ())
                .map_err(|e| format!("failed to parse duration {text}: {e}")),
            None => Err(format!("unrecognized descriptor: {text}")),
        },
    }
}

fn range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = if ends[0] == "*" || ends[0] == "?" {
        (bounds.low, bounds.high)
    } else {
        let start = number_or_name(ends[0], bounds)?;
        match ends.len() {
            1 => (start, start),
            2 => (start, number_or_name(ends[1], bounds)?),
            _ => return Err(format!("too many hyphens: {text}")),
        }
    };
    let step = match parts.len() {
        1 => 1,
        2 => {
            let step = number(parts[1])?;
            if ends.len() == 1 {
                end = bounds.high;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < bounds.low {
        return Err(format!(
            "beginning of range ({start}) below minimum ({}): {text}",
            bounds.low
        ));
    }
    if end > bounds.high {
        return Err(format!(
            "end of range ({end}) above maximum ({}): {text}",
            bounds.high
        ));
    }
    if start > end {
        return Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|n| *n == lower) {
        Some(i) => Ok(bounds.low + u32::try_from(i).unwrap_or_default()),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Err(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
        Err(_) => {
            let shown = crate::field::quote(text);
            Err(format!(
                "failed to parse int from {text}: strconv.Atoi: parsing {shown}: invalid syntax"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{check, location};

    /// robfig/cron `parser_test.go`
    #[test]
    fn schedules_are_checked_as_upstream_checks_them() {
        for good in [
            "* * * * *",
            "*/5 0-6 1,15 jan-mar Mon-Fri",
            "@hourly",
            "@every 1h30m",
            "0 0 ? * 6",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, want) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            (
                "5-2 * * * *",
                "beginning of range (5) beyond end of range (2): 5-2",
            ),
            (
                "*/0 * * * *",
                "step of range should be a positive number: */0",
            ),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            ("@never", "unrecognized descriptor: @never"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ] {
            assert_eq!(check(bad), Err(want.to_owned()), "{bad}");
        }
    }

    /// Go `time.LoadLocation`, robfig/cron `parser.go`
    #[test]
    fn zones_must_be_in_the_database() {
        for zone in [
            "",
            "UTC",
            "Local",
            "Etc/UTC",
            "Europe/Berlin",
            "America/Argentina/Ushuaia",
        ] {
            assert_eq!(location(zone), Ok(()), "{zone}");
        }
        for (zone, why) in [
            ("Nowhere", "unknown time zone Nowhere"),
            ("etc/utc", "unknown time zone etc/utc"),
            ("../x", "time: invalid location name"),
        ] {
            assert_eq!(location(zone), Err(why.to_owned()));
        }
        assert_eq!(
            check("TZ=Nowhere * * * * *"),
            Err("provided bad location Nowhere: unknown time zone Nowhere".into())
        );
    }
}
