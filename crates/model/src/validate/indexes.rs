//! Lists of completion indexes (`1,3-5`): kubernetes `pkg/apis/batch/validation/validation.go`.

use crate::field::quote;

type Interval = (i64, i64);

fn number(text: &str, completions: i64) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<i64>() {
        Ok(n) if plain && n >= completions => Err(format!("too large index: {}", quote(text))),
        Ok(n) if plain => Ok(n),
        _ => Err(format!(
            "cannot convert string to integer for index: {}",
            quote(text)
        )),
    }
}

fn interval(text: &str, completions: i64) -> Result<Interval, String> {
    let limits: Vec<&str> = text.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(text)
        ));
    }
    let first = number(limits[0], completions)?;
    let Some(last) = limits.get(1) else {
        return Ok((first, first));
    };
    let last = number(last, completions)?;
    if first >= last {
        return Err(format!(
            "non-increasing order, previous: {first}, current: {last}"
        ));
    }
    Ok((first, last))
}

/// How many indexes a list has.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut before, mut total) = (None, 0);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = interval(part, completions)?;
        if let Some(before) = before.filter(|b| *b >= first) {
            return Err(format!(
                "non-increasing order, previous: {before}, current: {first}"
            ));
        }
        total += last - first + 1;
        before = Some(last);
    }
    Ok(total)
}

/// The first index that two lists share, as far as they can be read.
pub(super) fn overlap(a: &str, b: &str, completions: i64) -> Option<i64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let parse = |text: &str| -> Vec<Interval> {
        text.split(',')
            .filter_map(|part| interval(part, completions).ok())
            .collect()
    };
    let (a, b) = (parse(a), parse(b));
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x.0 <= y.1 && y.0 <= x.1 {
            return Some(x.0.max(y.0));
        }
        if x.0 <= y.0 {
            i += 1;
        } else {
            j += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// kubernetes `pkg/apis/batch/validation/validation_test.go`
    #[test]
    fn lists_of_indexes_are_counted_and_compared() {
        assert_eq!(count("", 5), Ok(0));
        assert_eq!(count("0,2-4", 5), Ok(4));
        assert_eq!(count("5", 5), Err("too large index: \"5\"".into()));
        assert_eq!(
            count("1,0", 5),
            Err("non-increasing order, previous: 1, current: 0".into())
        );
        assert!(count("a-", 5).is_err_and(|e| e.starts_with("cannot convert")));
        assert_eq!(overlap("0-2", "1,4", 5), Some(1));
        assert_eq!(overlap("0,2", "1,3", 5), None);
    }
}
