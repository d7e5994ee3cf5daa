//! Short texts of cells: ages, fractions. Rows are made by the thousand, and formatting would be most
//! of them: texts are put together where they stay.

use crate::{Str, json};

/// `5s`, `3m20s`, `7d2h` as apimachinery `pkg/util/duration/duration.go` prints ages.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    let mut text = Str::default();
    duration(&mut text, seconds);
    text.into()
}

/// Appends a number.
#[inline]
pub(super) fn number(text: &mut Str, number: i64) {
    if let 0..10 = number {
        return ascii(text, &[b'0' + number as u8]);
    }
    let mut room = [0; 20];
    ascii(text, json::digits(number, &mut room));
}

/// Appends a few ASCII characters at once.
#[inline(always)]
fn ascii(text: &mut Str, bytes: &[u8]) {
    text.push_str(std::str::from_utf8(bytes).unwrap_or_default());
}

/// Appends a number and its unit.
#[inline]
fn amount(text: &mut Str, amount: i64, unit: u8) {
    let n = match u16::try_from(amount) {
        Ok(n @ 0..1000) => n,
        _ => {
            number(text, amount);
            return text.push(unit.into());
        }
    };
    let digit = |n: u16| b'0' + (n % 10) as u8;
    let all = [digit(n / 100), digit(n / 10), digit(n), unit];
    ascii(text, &all[usize::from(n < 100) + usize::from(n < 10)..]);
}

/// Appends an age.
pub(super) fn duration(text: &mut Str, seconds: i64) {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let mut pair = |major: i64, unit: u8, minor: i64, small: u8| {
        amount(text, major, unit);
        if minor != 0 {
            amount(text, minor, small);
        }
    };
    match seconds {
        ..-1 => text.push_str("<invalid>"),
        -1 => text.push_str("0s"),
        _ if seconds < 120 => pair(seconds, b's', 0, b' '),
        _ if minutes < 10 => pair(minutes, b'm', seconds % 60, b's'),
        _ if minutes < 180 => pair(minutes, b'm', 0, b' '),
        _ if hours < 8 => pair(hours, b'h', minutes % 60, b'm'),
        _ if hours < 48 => pair(hours, b'h', 0, b' '),
        _ if hours < 24 * 8 => pair(days, b'd', hours % 24, b'h'),
        _ if days < 365 * 2 => pair(days, b'd', 0, b' '),
        _ if days < 365 * 8 => pair(days / 365, b'y', days % 365, b'd'),
        _ => pair(days / 365, b'y', 0, b' '),
    }
}

/// Appends `1/2`.
#[inline]
pub(super) fn fraction(text: &mut Str, part: i64, whole: i64) {
    if let (0..10, 0..10) = (part, whole) {
        return ascii(text, &[b'0' + part as u8, b'/', b'0' + whole as u8]);
    }
    number(text, part);
    text.push_str("/");
    number(text, whole);
}
