//! Settings of a CPU profile.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// Settings of a CPU profile.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuSpec {
    /// Samples per second on each CPU, e.g. 99. The default is odd, so that samples do not coincide with periodic timers.
    #[serde(default = "forty_nine")]
    #[validate(range(min = 1, max = 999))]
    pub frequency_hz: i32,
}

impl Default for CpuSpec {
    fn default() -> Self {
        Self { frequency_hz: forty_nine() }
    }
}

fn forty_nine() -> i32 {
    49
}
