//! Points in time and durations: arithmetic and their parts (cel-go `common/types/timestamp.go`,
//! `duration.go`), in any time zone.

use crate::cel::ctx::Ctx;
use crate::cel::functions::{Library, row};
use crate::cel::val::{Failure, Outcome, Val};
use crate::time::Instant;

const MEMBER: bool = true;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;
const SECOND: i64 = 1_000_000_000;

#[rustfmt::skip] // one row a line
pub(super) static TIMES: Library = Library {
    since: 0,
    types: &[],
    rows: &[
        row(MEMBER, "getFullYear", "timestamp_to_year", "timestamp -> int", year),
        row(MEMBER, "getFullYear", "timestamp_to_year_with_tz", "timestamp, string -> int", year),
        row(MEMBER, "getMonth", "timestamp_to_month", "timestamp -> int", month),
        row(MEMBER, "getMonth", "timestamp_to_month_with_tz", "timestamp, string -> int", month),
        row(MEMBER, "getDayOfYear", "timestamp_to_day_of_year", "timestamp -> int", day_of_year),
        row(MEMBER, "getDayOfYear", "timestamp_to_day_of_year_with_tz", "timestamp, string -> int", day_of_year),
        row(MEMBER, "getDayOfMonth", "timestamp_to_day_of_month", "timestamp -> int", day_of_month),
        row(MEMBER, "getDayOfMonth", "timestamp_to_day_of_month_with_tz", "timestamp, string -> int", day_of_month),
        row(MEMBER, "getDate", "timestamp_to_day_of_month_1_based", "timestamp -> int", date),
        row(MEMBER, "getDate", "timestamp_to_day_of_month_1_based_with_tz", "timestamp, string -> int", date),
        row(MEMBER, "getDayOfWeek", "timestamp_to_day_of_week", "timestamp -> int", day_of_week),
        row(MEMBER, "getDayOfWeek", "timestamp_to_day_of_week_with_tz", "timestamp, string -> int", day_of_week),
        row(MEMBER, "getHours", "timestamp_to_hours", "timestamp -> int", hours),
        row(MEMBER, "getHours", "timestamp_to_hours_with_tz", "timestamp, string -> int", hours),
        row(
            MEMBER,
            "getHours",
            "duration_to_hours",
            "duration -> int",
            |_, a| whole(a, 3600 * SECOND),
        ),
        row(MEMBER, "getMinutes", "timestamp_to_minutes", "timestamp -> int", minutes),
        row(MEMBER, "getMinutes", "timestamp_to_minutes_with_tz", "timestamp, string -> int", minutes),
        row(
            MEMBER,
            "getMinutes",
            "duration_to_minutes",
            "duration -> int",
            |_, a| whole(a, 60 * SECOND),
        ),
        row(MEMBER, "getSeconds", "timestamp_to_seconds", "timestamp -> int", seconds),
        row(MEMBER, "getSeconds", "timestamp_to_seconds_tz", "timestamp, string -> int", seconds),
        row(
            MEMBER,
            "getSeconds",
            "duration_to_seconds",
            "duration -> int",
            |_, a| whole(a, SECOND),
        ),
        row(MEMBER, "getMilliseconds", "timestamp_to_milliseconds", "timestamp -> int", millis),
        row(MEMBER, "getMilliseconds", "timestamp_to_milliseconds_with_tz", "timestamp, string -> int", millis),
        row(
            MEMBER,
            "getMilliseconds",
            "duration_to_milliseconds",
            "duration -> int",
            |_, a| whole(a, SECOND / 1000),
        ),
    ],
};

fn whole<'a>(args: &[Val<'a>], unit: i64) -> Outcome<Val<'a>> {
    match args {
        [Val::Duration(nanos)] => Ok(Val::Int(nanos / unit)),
        _ => Err(Failure::no_such_overload()),
    }
}

fn overflow(what: &str) -> Failure {
    super::std::overflow(what)
}

pub(in crate::cel) fn in_range(at: Instant) -> bool {
    (FIRST..=LAST).contains(&at.seconds)
}

/// A time within the years 1 to 9999.
pub(super) fn timestamp<'a>(at: Instant) -> Outcome<Val<'a>> {
    if in_range(at) {
        Ok(Val::Timestamp(at))
    } else {
        Err(overflow("timestamp"))
    }
}

fn duration<'a>(nanos: Option<i64>) -> Outcome<Val<'a>> {
    nanos.map(Val::Duration).ok_or_else(|| overflow("integer"))
}

fn shifted<'a>(at: Instant, by: i128) -> Outcome<Val<'a>> {
    let second = i128::from(SECOND);
    let total = i128::from(at.seconds) * second + i128::from(at.nanos) + by;
    let seconds = i64::try_from(total.div_euclid(second)).map_err(|_| overflow("timestamp"))?;
    let nanos = u32::try_from(total.rem_euclid(second)).unwrap_or_default();
    timestamp(Instant { seconds, nanos })
}

pub(super) fn add<'a>(args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Duration(a), Val::Duration(b)] => duration(a.checked_add(*b)),
        [Val::Duration(d), Val::Timestamp(t)] | [Val::Timestamp(t), Val::Duration(d)] => {
            shifted(*t, i128::from(*d))
        }
        _ => Err(Failure::no_such_overload()),
    }
}

pub(super) fn subtract<'a>(args: &[Val<'a>]) -> Outcome<Val<'a>> {
    match args {
        [Val::Duration(a), Val::Duration(b)] => duration(a.checked_sub(*b)),
        [Val::Timestamp(t), Val::Duration(d)] => shifted(*t, -i128::from(*d)),
        [Val::Timestamp(a), Val::Timestamp(b)] => {
            let seconds = i128::from(a.seconds) - i128::from(b.seconds);
            let nanos = i128::from(a.nanos) - i128::from(b.nanos);
            duration(i64::try_from(seconds * i128::from(SECOND) + nanos).ok())
        }
        _ => Err(Failure::no_such_overload()),
    }
}

/// Seconds as Go writes a float: `90`, `1.5`, `-0.000000001`.
pub(super) fn seconds_text(nanos: i64) -> String {
    #[allow(
        clippy::cast_precision_loss,
        reason = "Go's Duration.Seconds is a float too"
    )]
    let seconds = (nanos / SECOND) as f64 + (nanos % SECOND) as f64 / 1e9;
    format!("{seconds}")
}

/// RFC 3339 with the digits there are.
pub(super) fn timestamp_text(at: Instant) -> String {
    let whole = at.to_text();
    if at.nanos == 0 {
        return whole.to_string();
    }
    let fraction = format!("{:09}", at.nanos);
    format!(
        "{}.{}Z",
        whole.trim_end_matches('Z'),
        fraction.trim_end_matches('0')
    )
}

/// The parts of a moment, in a time zone.
struct Parts {
    days: i64,
    second: i64,
    nanos: u32,
    year: i64,
    month: i64,
    day: i64,
}

fn parts(args: &[Val]) -> Outcome<Parts> {
    let (at, offset) = match args {
        [Val::Timestamp(at)] => (at, 0),
        [Val::Timestamp(at), Val::String(zone)] => (at, offset(zone, at.seconds)?),
        _ => return Err(Failure::no_such_overload()),
    };
    let local = at.seconds + offset;
    let days = local.div_euclid(86_400);
    let (year, month, day) = crate::time::date_from_days(days);
    Ok(Parts {
        days,
        second: local.rem_euclid(86_400),
        nanos: at.nanos,
        year,
        month,
        day,
    })
}

/// Seconds east of UTC at a moment (cel-go `common/types/timestamp.go`, Go's `time.LoadLocation`).
fn offset(zone: &str, at: i64) -> Outcome<i64> {
    let Some((hours, minutes)) = zone.split_once(':') else {
        let zone = crate::time_zones::load(zone).map_err(Failure::new)?;
        return Ok(zone.offset(at));
    };
    let number = |s: &str| {
        s.parse::<i32>()
            .map(i64::from)
            .map_err(|_| Failure::new(format!("strconv.Atoi: parsing {s:?}: invalid syntax")))
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let total = if zone.starts_with('-') {
        hours * 60 - minutes
    } else {
        hours * 60 + minutes
    };
    Ok(total * 60)
}

fn int<'a>(i: i64) -> Outcome<Val<'a>> {
    Ok(Val::Int(i))
}

fn year<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    int(parts(args)?.year)
}

fn month<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    int(parts(args)?.month - 1)
}

fn day_of_year<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let p = parts(args)?;
    int(p.days - crate::time::days_from_date(p.year, 1, 1))
}

fn day_of_month<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    int(parts(args)?.day - 1)
}

fn date<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    int(parts(args)?.day)
}

/// 1970-01-01 was a Thursday; Sunday is 0.
fn day_of_week<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    int((parts(args)?.days + 4).rem_euclid(7))
}

fn hours<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    int(parts(args)?.second / 3600)
}

fn minutes<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    int(parts(args)?.second / 60 % 60)
}

fn seconds<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    int(parts(args)?.second % 60)
}

fn millis<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    int(i64::from(parts(args)?.nanos / 1_000_000))
}
