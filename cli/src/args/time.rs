//! Times on the command line.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `30s`, `5m`, `1h` or `500ms`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time such as 30s, 5m or 1h");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(milliseconds) {
        Some(0) => Err("must be more than zero".into()),
        Some(total) if total <= 366 * 24 * 3_600_000 => Ok(Duration::from_millis(total)),
        _ => Err("is longer than a year".into()),
    }
}

/// How long a CPU profile of this command takes; an AppProfile's `durationSeconds` can hold more.
pub(super) fn profile_span(text: &str) -> Result<Duration, String> {
    match span(text)? {
        time if time.subsec_nanos() == 0 && (1..=3600).contains(&time.as_secs()) => Ok(time),
        _ => Err("a profile takes whole seconds, from 1s to 1h".into()),
    }
}

/// A time in RFC 3339, or how long ago, as `hubble observe --since` takes both.
pub(super) fn point_in_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let ago = span(text).map_err(|_| format!("{text:?} is neither 30s, 5m, 1h nor 2026-01-31T12:00:00Z"))?;
    let ago = SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
    Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_with_their_units() {
        for (text, milliseconds) in [("30s", 30_000), ("500ms", 500), ("5m", 300_000), ("1h", 3_600_000), ("7", 7_000)]
        {
            assert_eq!(span(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn points_in_time_are_absolute_or_ago() {
        assert_eq!(point_in_time("1970-01-01T00:00:07Z"), Ok(Timestamp::from_second(7).unwrap()));
        let minute = Timestamp::now().duration_since(point_in_time("1m").unwrap()).as_secs();
        assert!((59..70).contains(&minute), "{minute}");
        assert!(point_in_time("yesterday").is_err());
    }
}
