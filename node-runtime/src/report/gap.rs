//! The time in which no agent watched. It is a record of its own: what happened then is not known, and this says so.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;

/// From when to when nobody watched. `from` is when the agent before was last known to be alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Last sign of life.
    pub from: Timestamp,
    /// When everything was in force again.
    pub to: Timestamp,
    /// Why there is a gap.
    pub reason: &'static str,
}

impl Gap {
    /// The gap that ends now, where an agent before had left a sign of life. A clock that was set back meanwhile makes it end
    /// before it begins, and no less a gap.
    pub fn since(last_alive: Option<SystemTime>, now: Timestamp) -> Option<Self> {
        let from = Timestamp::try_from(last_alive?).ok()?;
        let reason = if from < now {
            "the agent was not running"
        } else {
            "the agent was not running, and the clock was set back"
        };
        Some(Self { from, to: now, reason })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_node_that_never_had_an_agent_has_no_gap() {
        assert_eq!(Gap::since(None, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn a_gap_over_which_the_clock_was_set_back_is_told_with_that() {
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let gap = Gap::since(Some(from), Timestamp::from_second(4).unwrap()).unwrap();
        assert_eq!((gap.from.as_second(), gap.to.as_second()), (10, 4));
        assert!(gap.reason.ends_with("the clock was set back"));
    }

    #[test]
    fn a_gap_has_both_ends() {
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let gap = Gap::since(Some(from), Timestamp::from_second(15).unwrap()).unwrap();
        let said = serde_json::to_string(&gap).unwrap();
        let members =
            r#"{"from":"1970-01-01T00:00:10Z","to":"1970-01-01T00:00:15Z","reason":"the agent was not running"}"#;
        assert_eq!(said, members);
    }
}
