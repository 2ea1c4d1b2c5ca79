//! `google.protobuf.Timestamp` and `Duration` as protojson prints them.

use std::io::Write;

use super::{
    scalar::{append_decimal, low_half},
    wire::Fields,
};

const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;
/// The years 1 to 9999, beyond which protobuf has no times.
const RANGE: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// RFC 3339 in UTC. A time beyond protobuf's range is printed as the range's end.
pub(super) fn append_timestamp(encoded: &[u8], out: &mut Vec<u8>) {
    let (seconds, nanos) = seconds_and_nanos(encoded);
    let seconds = seconds.clamp(*RANGE.start(), *RANGE.end());
    let (year, month, day) = civil_date(seconds.div_euclid(SECONDS_OF_A_DAY));
    let second = seconds.rem_euclid(SECONDS_OF_A_DAY);
    out.push(b'"');
    append_padded(year, 4, out);
    for (separator, number) in
        [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        out.push(separator);
        append_padded(number, 2, out);
    }
    append_fraction(nanos, out);
    out.extend_from_slice(b"Z\"");
}

pub(super) fn append_duration(encoded: &[u8], out: &mut Vec<u8>) {
    let (seconds, nanos) = seconds_and_nanos(encoded);
    out.push(b'"');
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    append_decimal(seconds.unsigned_abs(), out);
    append_fraction(nanos, out);
    out.extend_from_slice(b"s\"");
}

/// Nothing, or three, six or nine digits.
fn append_fraction(nanos: i32, out: &mut Vec<u8>) {
    let nanos = nanos.unsigned_abs();
    // A Vec never refuses to be written to.
    let _ = match nanos {
        0 => Ok(()),
        _ if nanos.is_multiple_of(1_000_000) => write!(out, ".{:03}", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => write!(out, ".{:06}", nanos / 1_000),
        _ => write!(out, ".{nanos:09}"),
    };
}

fn append_padded(number: i64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        out.push(b'0' + u8::try_from(number / 10_i64.pow(place) % 10).unwrap_or_default());
    }
}

/// Year, month and day of the proleptic Gregorian calendar, `days` after 1970-01-01; years begin in March inside, so
/// that the leap day is the last of them (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn seconds_and_nanos(encoded: &[u8]) -> (i64, i32) {
    Fields(encoded).fold((0, 0), |(seconds, nanos), (number, value)| match number {
        1 => (value.number().cast_signed(), nanos),
        2 => (seconds, low_half(value.number())),
        _ => (seconds, nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_beyond_the_range_is_not_the_epoch() {
        let mut out = Vec::new();
        // Field 1 with the largest of all numbers of seconds.
        append_timestamp(&[8, 255, 255, 255, 255, 255, 255, 255, 255, 127], &mut out);
        assert_eq!(out, b"\"9999-12-31T23:59:59Z\"");
    }

    #[test]
    fn dates_at_the_ends_of_the_range_and_around_leap_days() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (-719_162, (1, 1, 1)),
            (2_932_896, (9999, 12, 31)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (-25_509, (1900, 2, 28)),
            (-25_508, (1900, 3, 1)),
            (20_779, (2026, 11, 22)),
        ] {
            assert_eq!(civil_date(days), date, "{days}");
        }
    }
}
