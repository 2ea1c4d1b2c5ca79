//! Times of the services' messages.

use jiff::{SignedDuration, Timestamp};
use tonic::Status;

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    // jiff counts nanoseconds before 1970 backwards, protobuf forwards.
    if nanos < 0 {
        return prost_types::Timestamp { seconds: seconds - 1, nanos: nanos + 1_000_000_000 };
    }
    prost_types::Timestamp { seconds, nanos }
}

/// The time in a field of a request, which is refused if there is no such time.
pub(super) fn time_in_request(field: &str, time: prost_types::Timestamp) -> Result<Timestamp, Box<Status>> {
    Timestamp::new(time.seconds, time.nanos)
        .map_err(|error| Box::new(Status::invalid_argument(format!("{field}: {error}"))))
}

/// The wall clock `boot_ns` nanoseconds after `boot`.
pub(super) fn wall_time(boot: Timestamp, boot_ns: u64) -> Option<Timestamp> {
    boot.checked_add(SignedDuration::from_nanos(i64::try_from(boot_ns).ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_before_1970_count_forwards() {
        let time = Timestamp::from_nanosecond(-1).unwrap();
        let message = timestamp(time);
        assert_eq!((message.seconds, message.nanos), (-1, 999_999_999));
        assert_eq!(time_in_request("since", message).unwrap(), time);
    }
}
