//! A period without an agent. It is a record of its own in the event streams: what happened then is unknown.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;

/// `from` is the previous agent's last sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub from: Timestamp,
    /// When the desired state was active again.
    pub to: Timestamp,
    pub reason: &'static str,
}

impl Gap {
    /// The gap that ends now; none when no agent ran here before. If the clock was set back meanwhile, the gap ends before it
    /// starts, and its reason says so.
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
    fn first_agent_of_a_node_has_no_gap() {
        assert_eq!(Gap::since(None, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn gap_with_a_clock_set_back_says_so() {
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let gap = Gap::since(Some(from), Timestamp::from_second(4).unwrap()).unwrap();
        assert_eq!((gap.from.as_second(), gap.to.as_second()), (10, 4));
        assert!(gap.reason.ends_with("the clock was set back"));
    }

    #[test]
    fn gap_has_both_ends() {
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let gap = Gap::since(Some(from), Timestamp::from_second(15).unwrap()).unwrap();
        let json = serde_json::to_string(&gap).unwrap();
        let members =
            r#"{"from":"1970-01-01T00:00:10Z","to":"1970-01-01T00:00:15Z","reason":"the agent was not running"}"#;
        assert_eq!(json, members);
    }
}
