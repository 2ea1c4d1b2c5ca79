//! Times and durations as scripts write them.

const UNITS: [(&str, i64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Nanoseconds of e.g. `-5m`, `1h30m`, `1.5s`.
pub(super) fn parse_duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut sum = 0_i64;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let (name, nanoseconds) = UNITS.into_iter().find(|(name, _)| unit.starts_with(name))?;
        sum = sum.checked_add(times(number, nanoseconds)?)?;
        rest = unit.get(name.len()..)?;
        if rest.is_empty() {
            return Some(if is_negative { -sum } else { sum });
        }
    }
}

/// A decimal number of units.
fn times(number: &str, nanoseconds: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut sum = whole.checked_mul(nanoseconds)?;
    let mut unit = nanoseconds;
    for digit in fraction.chars() {
        unit /= 10;
        sum = sum.checked_add(i64::from(digit.to_digit(10)?).checked_mul(unit)?)?;
    }
    Some(sum)
}

/// A duration as `parse_duration` reads it.
pub(super) fn format_duration(nanoseconds: i64) -> String {
    let mut rest = nanoseconds.unsigned_abs();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::from(if nanoseconds < 0 { "-" } else { "" });
    for (name, unit) in [UNITS[0], UNITS[1], UNITS[3], UNITS[4], UNITS[2], UNITS[5], UNITS[6]] {
        let unit = unit.unsigned_abs();
        if rest >= unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    text
}

/// Nanoseconds of the wall clock of e.g. `-5m` (from now), `2026-11-30T20:15:00Z`, `2026-11-30 20:15:00`, `2026-11-30`; UTC
/// where no zone is named.
pub(super) fn parse_time(text: &str, now: i64) -> Option<i64> {
    if let Some(duration) = parse_duration(text) {
        return now.checked_add(duration);
    }
    let text = text.trim();
    let timestamp = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    i64::try_from(timestamp.as_nanosecond()).ok()
}

/// The same by a format, e.g. `%Y-%m-%d %H:%M:%S`; UTC where it names no zone.
pub(super) fn parse_time_by_format(text: &str, format: &str) -> Option<i64> {
    let broken_down = jiff::fmt::strtime::parse(format, text).ok()?;
    let timestamp = broken_down.to_timestamp().ok().or_else(|| {
        let civil = broken_down.to_datetime().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    i64::try_from(timestamp.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn durations_are_sums_of_units() {
        assert_eq!(parse_duration("-5m"), Some(-300 * SECOND));
        assert_eq!(parse_duration("1h30m"), Some(5400 * SECOND));
        assert_eq!(parse_duration("1.5s"), Some(3 * SECOND / 2));
        assert_eq!(parse_duration("250ms"), Some(SECOND / 4));
        for wrong in ["", "-", "5", "m", "5x", "5m3", ".s", "1.2.3s", "99999999999999d", "5 m"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_relative_or_absolute() {
        let now = 1_796_000_000 * SECOND;
        assert_eq!(parse_time("-1h", now), Some(now - 3600 * SECOND));
        let noon = 1_796_040_000 * SECOND;
        for text in ["2026-11-30T12:00:00Z", "2026-11-30 12:00:00", "2026-11-30T13:00:00+01:00", "2026-11-30T12:00:00"]
        {
            assert_eq!(parse_time(text, now), Some(noon), "{text}");
        }
        assert_eq!(parse_time("2026-11-30", now), Some(noon - 12 * 3600 * SECOND));
        assert_eq!(parse_time("yesterday", now), None);
        assert_eq!(parse_time("-1h", i64::MIN), None);
        assert_eq!(parse_time_by_format("30/11/2026 12:00", "%d/%m/%Y %H:%M"), Some(noon));
        assert_eq!(parse_time_by_format("30/11/2026", "%d/%m"), None);
    }

    proptest! {
        #[test]
        fn formatted_durations_are_read_back(nanoseconds in -i64::MAX..i64::MAX) {
            prop_assert_eq!(parse_duration(&format_duration(nanoseconds)), Some(nanoseconds));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", format in ".{0,20}") {
            parse_time(&text, i64::MAX);
            parse_time_by_format(&text, &format);
        }
    }
}
