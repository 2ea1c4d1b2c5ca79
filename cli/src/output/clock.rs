//! Times as text, in UTC because nodes may be in other time zones than this machine.

use jiff::{Timestamp, fmt::strtime};
use prost_types::Timestamp as Proto;

fn timestamp(time: &Proto) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// `2023-10-06T22:03:57.700326678Z`, as in Tetragon's compact lines.
pub(crate) fn nine_digits(time: &Proto) -> String {
    timestamp(time).and_then(|time| strtime::format("%Y-%m-%dT%H:%M:%S.%9fZ", time).ok()).unwrap_or_default()
}

/// `Nov 22 12:46:23.248`, as in Hubble's lines.
pub(crate) fn stamp(time: &Proto) -> String {
    timestamp(time).and_then(|time| strtime::format("%b %e %H:%M:%S.%3f", time).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_form_of_tetra_and_hubble() {
        let time = Proto { seconds: 1_696_629_837, nanos: 700_326_678 };
        assert_eq!(nine_digits(&time), "2023-10-06T22:03:57.700326678Z");
        assert_eq!(stamp(&time), "Oct  6 22:03:57.700");
    }
}
