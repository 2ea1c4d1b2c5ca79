//! The key of a process in messages.

use serde::{Deserialize, Serialize};

/// A process between two execs, as `ExecKey` in the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessImage {
    /// Thread group id, as the agent's `/proc` shows it.
    pub pid: u32,
    /// Start time and exec count.
    pub ktime: u64,
}
