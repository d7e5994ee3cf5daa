//! Resource quantities: exact arithmetic, canonical text.
//!
//! Reads and writes what apimachinery `pkg/api/resource/quantity.go` reads and writes. Amounts of
//! more than 38 significant digits are refused, where upstream computes with numbers of any size.

use crate::Str;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// The family of suffixes a quantity was written with, and is printed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    DecimalSi,
}

/// An exact amount: `mantissa` × 10^`exponent`.
#[derive(Clone, Debug)]
pub struct Quantity {
    mantissa: i128,
    exponent: i32,
    format: Format,
    /// The text as it was written, where upstream keeps it because it is canonical enough.
    text: Option<Str>,
    /// The exponent that upstream has, where it computes with 64 bits instead of numbers of any size.
    small: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i32 = -9;
/// Larger powers of ten have no use and would make arithmetic slow.
const MAX_EXPONENT: i32 = 1000;
/// Binary quantities stop here, as upstream's do.
const MAX_BINARY: i128 = i64::MAX as i128;

/// `text` cut into its parts: `-`, `012`, `50`, `Mi`.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
    /// how many digits there are in all
    digits: usize,
}

impl Parts<'_> {
    /// All digits, without the point.
    fn joined(&self) -> Cow<'_, str> {
        if self.fraction.is_empty() {
            Cow::Borrowed(self.whole)
        } else {
            Cow::Owned(format!("{}{}", self.whole, self.fraction))
        }
    }
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let given = whole.len();
    let whole = whole.trim_start_matches('0');
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(after) => after.split_at(digits(after)),
        None => ("", rest),
    };
    let letters = suffix
        .bytes()
        .take_while(|b| b"eEinumkKMGTP".contains(b))
        .count();
    let tail = &suffix[letters..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits(tail) != tail.len() {
        return Err(ParseError::Format);
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(Parts {
        negative,
        whole,
        fraction,
        suffix,
        digits: given + fraction.len(),
    })
}

/// (base, exponent, format)
fn suffix_meaning(suffix: &str) -> Result<(u32, i32, Format), ParseError> {
    let decimal = |e| Ok((10, e, Format::DecimalSi));
    let binary = |e| Ok((2, e, Format::BinarySi));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
            let exponent: i64 = exponent.parse().map_err(|_| ParseError::Suffix)?;
            let bound = i64::from(MAX_EXPONENT) + 1;
            Ok((
                10,
                exponent.clamp(-bound, bound) as i32,
                Format::DecimalExponent,
            ))
        }
    }
}

fn pow10(n: u32) -> Option<i128> {
    10i128.checked_pow(n)
}

/// `mantissa` / 10^`digits`, away from zero; and whether nothing was lost.
fn divide_up(mantissa: i128, digits: u32) -> (i128, bool) {
    let Some(divisor) = pow10(digits) else {
        return (mantissa.signum(), mantissa == 0);
    };
    let (quotient, rest) = (mantissa / divisor, mantissa % divisor);
    (quotient + rest.signum(), rest == 0)
}

/// Up to three digits and a usual suffix: nothing to shorten, nothing to round.
#[must_use]
#[inline]
pub fn is_plain(text: &str) -> bool {
    plain(text).is_some()
}

/// Number and suffix of such a text.
#[inline]
fn plain(text: &str) -> Option<(u16, &[u8])> {
    let mut rest = text.as_bytes();
    if rest.first() == Some(&b'0') {
        return None;
    }
    let mut number = 0;
    while let [digit @ b'0'..=b'9', after @ ..] = rest
        && number < 100
    {
        number = number * 10 + u16::from(digit - b'0');
        rest = after;
    }
    let usual = match rest {
        [] => true,
        [one] => matches!(one, b'm' | b'k' | b'M' | b'G' | b'T'),
        [one, b'i'] => matches!(one, b'K' | b'M' | b'G' | b'T'),
        _ => false,
    };
    (usual && number > 0).then_some((number, rest))
}

/// What [`Quantity::parse`] makes of a plain text.
fn parse_plain(text: &str) -> Option<Quantity> {
    let (number, suffix) = plain(text)?;
    let binary = |power: u32| Quantity {
        mantissa: i128::from(number) << power,
        exponent: 0,
        format: Format::BinarySi,
        // Upstream shortens what can be divided by eight anew.
        text: (number & 7 != 0).then(|| text.into()),
        small: Some(0),
    };
    let exponent = match suffix {
        b"" => 0,
        b"m" => -3,
        b"k" => 3,
        b"M" => 6,
        b"G" => 9,
        b"T" => 12,
        b"Ki" => return Some(binary(10)),
        b"Mi" => return Some(binary(20)),
        b"Gi" => return Some(binary(30)),
        // The largest lose upstream's fast path.
        _ => return None,
    };
    Some(Quantity {
        mantissa: number.into(),
        exponent,
        format: Format::DecimalSi,
        text: Some(text.into()),
        small: Some(exponent),
    })
}

impl Quantity {
    #[must_use]
    pub fn zero() -> Self {
        Self::from_parts(0, 0, Format::DecimalSi)
    }

    fn from_parts(mantissa: i128, exponent: i32, format: Format) -> Self {
        Self {
            mantissa,
            exponent,
            format,
            text: None,
            small: i64::try_from(mantissa).is_ok().then_some(exponent),
        }
    }

    /// A whole number, printed in `format`.
    #[must_use]
    pub fn from_int(value: i64, format: Format) -> Self {
        Self::from_parts(value.into(), 0, format)
    }

    /// Thousandths, as CPU is counted.
    #[must_use]
    pub fn from_milli(value: i64) -> Self {
        Self::from_parts(value.into(), -3, Format::DecimalSi)
    }

    /// Parses `100m`, `1.5Gi`, `12e6` …
    ///
    /// # Errors
    /// Upstream's three messages.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if let Some(plain) = parse_plain(text) {
            return Ok(plain);
        }
        Self::parse_any(text)
    }

    fn parse_any(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let parts = split(text)?;
        let (base, exponent, format) = suffix_meaning(parts.suffix)?;
        let (mut mantissa, mut scale) = digits(&parts)?;
        if parts.digits == 0 && (base == 2 && exponent > 40 || exponent < NANO) {
            // Without digits upstream's fast path reads zero, its slow path nothing.
            return Err(ParseError::Numeric);
        }
        if exponent.abs() > MAX_EXPONENT && mantissa != 0 {
            return Err(ParseError::Suffix);
        }
        let small = small_exponent(&parts, exponent, format);
        let text = kept_text(text, &parts, exponent, format);
        if base == 10 {
            scale += exponent;
            // The bound is one of the amount, so that the canonical text is within it too.
            let digits = mantissa.unsigned_abs().checked_ilog10().unwrap_or(0);
            if mantissa != 0 && scale.saturating_add_unsigned(digits) > MAX_EXPONENT {
                return Err(ParseError::Suffix);
            }
        } else {
            (mantissa, scale) = times_power_of_two(mantissa, scale, exponent);
        }
        if scale < NANO {
            // Whoever asks for something gets something: up to the next billionth.
            mantissa = divide_up(mantissa, NANO.abs_diff(scale)).0;
            scale = NANO;
        }
        let mut q = Self {
            mantissa,
            exponent: scale,
            format,
            text,
            small,
        };
        if format == Format::BinarySi {
            let max = Self::from_parts(MAX_BINARY, 0, format);
            if q > max {
                q = max;
                q.small = None;
            } else if !q.is_zero() && q < Self::from_int(1, format) {
                q.format = Format::DecimalSi;
            }
        }
        if parts.negative {
            q.mantissa = -q.mantissa;
        }
        Ok(q)
    }

    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1
    #[must_use]
    pub fn sign(&self) -> i32 {
        match self.mantissa.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The value in units of 10^`scale`, rounded away from zero, and whether that was exact.
    fn scaled(&self, scale: i32) -> (i128, bool) {
        if self.exponent >= scale {
            let factor = pow10(self.exponent.abs_diff(scale));
            let value = factor.and_then(|f| self.mantissa.checked_mul(f));
            let saturated = if self.mantissa < 0 {
                i128::MIN
            } else {
                i128::MAX
            };
            return (
                value.unwrap_or(if self.is_zero() { 0 } else { saturated }),
                true,
            );
        }
        divide_up(self.mantissa, self.exponent.abs_diff(scale))
    }

    /// Whole units, rounded away from zero (`Value()`).
    #[must_use]
    pub fn value(&self) -> i64 {
        clamp(self.scaled(0).0)
    }

    /// Thousandths, rounded away from zero (`MilliValue()`).
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        clamp(self.scaled(-3).0)
    }

    /// Rounds to a multiple of 10^`scale`, away from zero; whether that was exact (`RoundUp()`).
    pub fn round_up(&mut self, scale: i32) -> bool {
        if self.exponent >= scale {
            return true;
        }
        let (mantissa, exact) = self.scaled(scale);
        *self = Self::from_parts(mantissa, scale, self.format);
        exact
    }

    /// Both mantissas at the smaller exponent, `None` when that does not fit.
    fn aligned(&self, other: &Self) -> Option<(i128, i128, i32)> {
        let scale = self.exponent.min(other.exponent);
        let at = |q: &Self| {
            if q.is_zero() {
                return Some(0);
            }
            q.mantissa.checked_mul(pow10(q.exponent.abs_diff(scale))?)
        };
        Some((at(self)?, at(other)?, scale))
    }

    /// Adds; `None` when the exact sum needs more than 38 digits. Zero takes over the other's format.
    #[must_use]
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        let format = if self.is_zero() {
            other.format
        } else {
            self.format
        };
        let (a, b, scale) = self.aligned(other)?;
        let small = self.small_sum(other);
        Some(Self {
            small,
            ..Self::from_parts(a.checked_add(b)?, scale, format)
        })
    }

    /// Upstream's exponent of the sum, where 64 bits are enough for it.
    fn small_sum(&self, other: &Self) -> Option<i32> {
        let (a, b) = (self.small?, other.small?);
        if other.is_zero() || self.is_zero() {
            return Some(if other.is_zero() { a } else { b });
        }
        let scale = a.min(b);
        let at = |q: &Self| i64::try_from(q.scaled(scale).0).ok();
        at(self)?.checked_add(at(other)?).map(|_| scale)
    }

    /// The whole number it is (`AsInt64()`): `1.0` and `8Ei` are none upstream either.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.small.filter(|exponent| *exponent >= 0)?;
        i64::try_from(self.scaled(0).0).ok()
    }

    /// As `AsApproximateFloat64()` computes it, in floating point.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "as upstream")]
    pub fn as_approximate_f64(&self) -> f64 {
        let exponent = self.small.unwrap_or(self.exponent);
        let base = self.scaled(exponent).0 as f64;
        if exponent == 0 {
            return base;
        }
        let power = |e: u32| format!("1e{e}").parse().unwrap_or(f64::MAX);
        let (whole, rest) = (
            exponent.unsigned_abs() / 32 * 32,
            exponent.unsigned_abs() % 32,
        );
        let (whole, rest): (f64, f64) = (power(whole), power(rest));
        if exponent > 0 {
            base * (whole * rest)
        } else {
            base * (1.0 / whole / rest)
        }
    }

    /// Subtracts, as [`Self::checked_add`].
    #[must_use]
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        self.checked_add(&Self {
            mantissa: -other.mantissa,
            ..other.clone()
        })
    }

    #[must_use]
    pub fn checked_mul(&self, factor: i64) -> Option<Self> {
        Some(Self::from_parts(
            self.mantissa.checked_mul(factor.into())?,
            self.exponent,
            self.format,
        ))
    }

    /// For averages and ratios where digits may be lost.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        format!("{}e{}", self.mantissa, self.exponent)
            .parse()
            .unwrap_or(f64::MAX)
    }

    /// Digits and suffix, as upstream's `CanonicalizeBytes` chooses them.
    fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".into();
        }
        if self.format == Format::BinarySi {
            let (units, exact) = self.scaled(0);
            if exact && units.unsigned_abs() >= 1024 {
                let (mut units, mut power) = (units, 0);
                while units % 1024 == 0 && power < 6 {
                    units /= 1024;
                    power += 1;
                }
                return format!("{units}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
            }
        }
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        // At most 38 digits and two more: still within i128 for all that can be parsed, else unpadded.
        while exponent % 3 != 0 {
            let Some(shifted) = mantissa.checked_mul(10) else {
                break;
            };
            mantissa = shifted;
            exponent -= 1;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 {
                mantissa.to_string()
            } else {
                format!("{mantissa}e{exponent}")
            };
        }
        let suffix = match exponent {
            -9 => "n",
            -6 => "u",
            -3 => "m",
            0 => "",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            18 => "E",
            // Upstream drops the suffix of larger amounts, and with it the amount: keep it.
            _ => return format!("{mantissa}e{exponent}"),
        };
        format!("{mantissa}{suffix}")
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// The digits before and after the point as mantissa and exponent.
fn digits(parts: &Parts<'_>) -> Result<(i128, i32), ParseError> {
    let fraction = parts.fraction.trim_end_matches('0');
    // The canonical text pads with up to two zeros, which must not be what is too much.
    let mut whole = parts.whole.trim_start_matches('0');
    let mut zeros = 0;
    while fraction.is_empty() && whole.len() > 38 && whole.ends_with('0') {
        whole = &whole[..whole.len() - 1];
        zeros += 1;
    }
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        mantissa = mantissa
            .checked_mul(10)
            .and_then(|m| m.checked_add(i128::from(digit - b'0')))
            .filter(|m| *m < 10i128.pow(38))
            .ok_or(ParseError::Numeric)?;
    }
    let scale = i32::try_from(fraction.len()).map_err(|_| ParseError::Numeric)?;
    Ok((mantissa, zeros - scale))
}

/// Exact where it fits; otherwise rounded up in digits far below what is kept.
fn times_power_of_two(mut mantissa: i128, mut scale: i32, power: i32) -> (i128, i32) {
    let factor = 1i128 << power;
    loop {
        if let Some(product) = mantissa.checked_mul(factor) {
            return (product, scale);
        }
        mantissa = divide_up(mantissa, 1).0;
        scale += 1;
    }
}

/// The exponent of what upstream's fast path reads, where it can take it (`ParseQuantity`).
fn small_exponent(parts: &Parts<'_>, exponent: i32, format: Format) -> Option<i32> {
    let digits = parts.joined();
    let value: i64 = digits.parse().ok()?;
    let len = i32::try_from(digits.len()).ok()?;
    if format != Format::BinarySi {
        let scale = exponent - i32::try_from(parts.fraction.len()).ok()?;
        return (len <= 18 && scale >= NANO).then_some(scale);
    }
    let fits = binary_precision(parts, exponent)? >= 0
        && value
            .checked_mul(1i64.checked_shl(exponent.try_into().ok()?)?)
            .is_some();
    (fits && parts.fraction.is_empty()).then_some(0)
}

/// Upstream computes this bound in 32-bit floats.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "small whole numbers"
)]
fn binary_precision(parts: &Parts<'_>, exponent: i32) -> Option<i32> {
    let len = i32::try_from(parts.whole.len()).ok()?;
    Some(15 - len - (exponent as f32 * 3.0 / 10.0) as i32 - 1)
}

/// The text that upstream's fast path keeps as it was written (`ParseQuantity`).
fn kept_text(text: &str, parts: &Parts<'_>, exponent: i32, format: Format) -> Option<Str> {
    let (whole, fraction) = (parts.whole, parts.fraction);
    let len = i32::try_from(whole.len() + fraction.len()).ok()?;
    let value = || parts.joined().parse::<i64>().ok();
    let canonical = match format {
        Format::BinarySi => {
            let value = value()?;
            fraction.is_empty()
                && binary_precision(parts, exponent)? >= 0
                && value
                    .checked_mul(1i64.checked_shl(exponent.try_into().ok()?)?)
                    .is_some()
                && value & 7 != 0
        }
        Format::DecimalSi | Format::DecimalExponent => {
            let scale = exponent - i32::try_from(fraction.len()).ok()?;
            let zeros = if fraction.len() >= 3 {
                fraction.ends_with("000")
            } else {
                parts.joined().ends_with("000")
            };
            len <= 18 && scale >= NANO && scale % 3 == 0 && !zeros && !whole.starts_with('0')
        }
    };
    (canonical || text == "0").then(|| text.into())
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => f.write_str(&self.canonical()),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.exponent == other.exponent {
            return self.mantissa.cmp(&other.mantissa);
        }
        if self.sign() != other.sign() {
            return self.sign().cmp(&other.sign());
        }
        if let Some((a, b, _)) = self.aligned(other) {
            return a.cmp(&b);
        }
        // They do not even fit side by side, so the larger exponent is the larger amount.
        let larger = self.exponent.cmp(&other.exponent);
        if self.sign() < 0 {
            larger.reverse()
        } else {
            larger
        }
    }
}

/// The text that a quantity given as `text` is stored as.
///
/// # Errors
/// As [`Quantity::parse`].
pub fn canonical(text: &str) -> Result<Str, ParseError> {
    // What people write mostly is canonical already: `100m`, `128Mi`, `2`.
    if is_plain(text) {
        return Ok(Str::from(text));
    }
    Ok(Str::from(Quantity::parse(text.trim())?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> String {
        Quantity::parse(s).unwrap().to_string()
    }

    fn q(s: &str) -> Quantity {
        Quantity::parse(s).unwrap()
    }

    #[test]
    fn plain_texts_are_read_as_any_are() {
        let suffixes = [
            "", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "P", "i", "n",
        ];
        let mut plain = 0;
        for text in (0..1200).flat_map(|n| suffixes.map(|suffix| format!("{n}{suffix}"))) {
            if let Some(quantity) = parse_plain(&text) {
                plain += 1;
                let any = Quantity::parse_any(&text).unwrap();
                assert_eq!(format!("{quantity:?}"), format!("{any:?}"), "{text}");
                assert!(is_plain(&text), "{text}");
            }
        }
        assert_eq!(plain, 999 * 9);
        assert!(is_plain("999Ti") && !is_plain("1000") && !is_plain("01") && !is_plain("m"));
    }

    /// apimachinery `pkg/api/resource/quantity_test.go`
    #[test]
    fn quantities_are_printed_as_upstream_prints_them() {
        for (given, want) in [
            ("0", "0"),
            ("00", "0"),
            (".", "0"),
            ("-0", "0"),
            ("0Ki", "0"),
            ("100", "100"),
            ("1000", "1k"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("1.500", "1.500"),
            ("0.1", "100m"),
            ("100000m", "100"),
            ("1024", "1024"),
            ("1Ki", "1Ki"),
            ("1024Ki", "1Mi"),
            ("1536Mi", "1536Mi"),
            ("8Ki", "8Ki"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.1Ki", "102400m"),
            ("100Ki", "100Ki"),
            ("1.1Ki", "1126400m"),
            ("9223372036854775807Ki", "9223372036854775807"),
            ("12E", "12E"),
            ("1e3", "1e3"),
            ("100e3", "100e3"),
            ("1e4", "10e3"),
            ("1000e3", "1e6"),
            ("1E", "1E"),
            ("1E3", "1E3"),
            ("0.001n", "1n"),
            ("1.0000000001", "1000000001n"),
            ("+5", "+5"),
            ("-5m", "-5m"),
            ("005", "005"),
            ("3.001", "3.001"),
            ("1.25", "1250m"),
            ("1Mi", "1Mi"),
            ("512", "512"),
            ("4000Mi", "4000Mi"),
            ("4096Mi", "4Gi"),
        ] {
            assert_eq!(text(given), want, "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_in_upstreams_words() {
        for (given, want) in [
            ("", ParseError::Format),
            ("1.1.M", ParseError::Format),
            ("1+1.0M", ParseError::Format),
            ("0.1mi", ParseError::Suffix),
            ("0.1am", ParseError::Format),
            ("aoeu", ParseError::Format),
            (".5i", ParseError::Suffix),
            ("1i", ParseError::Suffix),
            ("-3.01i", ParseError::Suffix),
            (" 1", ParseError::Format),
            ("1 ", ParseError::Format),
            ("1e9999999", ParseError::Suffix),
            ("1é", ParseError::Format),
        ] {
            assert_eq!(Quantity::parse(given).err(), Some(want), "{given}");
        }
        assert_eq!(
            Quantity::parse(&"9".repeat(100_000)).err(),
            Some(ParseError::Numeric)
        );
    }

    #[test]
    fn arithmetic_is_exact() {
        let sum = q("0.1").checked_add(&q("0.2")).unwrap();
        assert_eq!(sum.to_string(), "300m");
        assert_eq!(
            q("1Gi").checked_add(&q("512Mi")).unwrap().to_string(),
            "1536Mi"
        );
        assert_eq!(
            q("0").checked_add(&q("512Mi")).unwrap().to_string(),
            "512Mi"
        );
        assert_eq!(
            q("1").checked_sub(&q("1500m")).unwrap().to_string(),
            "-500m"
        );
        assert_eq!(q("100m").checked_mul(3).unwrap().to_string(), "300m");
        assert_eq!(q("1Gi").checked_sub(&q("1Gi")).unwrap().to_string(), "0");
        assert!(q("1e38").checked_add(&q("1n")).is_none());
    }

    #[test]
    fn quantities_compare_by_amount() {
        assert_eq!(q("1000m"), q("1"));
        assert_eq!(q("1Ki"), q("1024"));
        assert!(q("1Ki") > q("1k"));
        assert!(q("-1") < q("0"));
        assert!(q("1e100") > q("9E"));
        assert!(q("-1e100") < q("-1n"));
        assert!(q("0e100") < q("1n"));
    }

    #[test]
    fn values_round_away_from_zero() {
        assert_eq!(
            (
                q("1500m").value(),
                q("-1500m").value(),
                q("1n").milli_value()
            ),
            (2, -2, 1)
        );
        assert_eq!((q("2").milli_value(), q("1e100").value()), (2000, i64::MAX));
        let mut small = q("1500u");
        assert!(!small.round_up(-3));
        assert_eq!(small.to_string(), "2m");
        let mut whole = q("1.500");
        assert!(whole.round_up(-3));
        assert_eq!(whole.to_string(), "1.500");
    }

    #[test]
    fn what_is_read_is_written_so_that_it_is_read_again() {
        // Found by fuzzing: 700E1000 is 7e1002.
        assert_eq!(Quantity::parse("700E0000001000"), Err(ParseError::Suffix));
        for text in [
            "700e998",
            "1e1000",
            "0e1000",
            "0.7e1000",
            "112651126576789000.3183012651126576789E",
        ] {
            let read = Quantity::parse(text).unwrap();
            assert_eq!(Quantity::parse(&read.to_string()), Ok(read), "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_those_that_upstream_knows_to_be_whole() {
        for (given, want) in [
            ("50k", Some(50_000)),
            ("-5", Some(-5)),
            ("1Ki", Some(1024)),
            ("1.0", None),
            ("1000m", None),
            ("1Ei", None),
            ("0.5Ki", None),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("1e19", None),
            ("9999999999999999999999999", None),
        ] {
            assert_eq!(q(given).as_i64(), want, "{given}");
        }
        let sum = |a: &str, b: &str| q(a).checked_add(&q(b)).unwrap();
        assert_eq!(sum("50k", "20k").as_i64(), Some(70_000));
        assert_eq!(sum("500m", "500m").as_i64(), None);
        assert_eq!(sum("0", "1Gi").as_i64(), Some(1 << 30));
        assert!((sum("0.1", "0.2").as_approximate_f64() - 0.300_000_000_000_000_04).abs() < 1e-17);
    }

    #[test]
    fn floats_are_close() {
        assert!((q("250m").to_f64() - 0.25).abs() < 1e-12);
    }
}
