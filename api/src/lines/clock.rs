//! Times as text, in UTC because nodes may be in other time zones than this machine.

use jiff::{Timestamp, fmt::strtime};
use prost_types::Timestamp as Proto;

/// In place of a time that is missing, as `hubble` prints it.
pub const NO_TIME: &str = "N/A";

/// In a format of strftime; a time that no calendar has as its numbers.
fn formatted(time: &Proto, format: &str) -> String {
    let known = Timestamp::new(time.seconds, time.nanos).ok();
    known
        .and_then(|known| strtime::format(format, known).ok())
        .unwrap_or_else(|| format!("{}s+{}ns", time.seconds, time.nanos))
}

/// `2023-10-06T22:03:57.700326678Z`, as in Tetragon's compact lines.
pub fn nine_digits(time: &Proto) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%S.%9fZ")
}

/// `2023-10-06T22:03:57.700Z`, as in tables of requests.
pub fn milliseconds(time: &Proto) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

/// `Nov 22 12:46:23.248`, as in Hubble's lines.
pub fn stamp(time: &Proto) -> String {
    formatted(time, "%b %e %H:%M:%S.%3f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_form_of_tetra_and_hubble() {
        let time = Proto { seconds: 1_696_629_837, nanos: 700_326_678 };
        assert_eq!(nine_digits(&time), "2023-10-06T22:03:57.700326678Z");
        assert_eq!(stamp(&time), "Oct  6 22:03:57.700");
        assert_eq!(milliseconds(&time), "2023-10-06T22:03:57.700Z");
    }

    #[test]
    fn impossible_time_is_shown_as_its_numbers() {
        assert_eq!(stamp(&Proto { seconds: i64::MAX, nanos: 1 }), "9223372036854775807s+1ns");
    }
}
