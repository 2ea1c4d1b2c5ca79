//! What only the agent's start needs is given back after it.

use std::time::Duration;

use trilobite_program_memory::release_unused_code;

/// By then a usual agent has applied its desired state. A change after it brings back the code that it uses, and that stays.
const DURATION: Duration = Duration::from_secs(10);

/// More than half of an idle agent's resident memory is code that its start alone has used.
pub(super) async fn release_code_after_start() {
    tokio::time::sleep(DURATION).await;
    release_unused_code();
}
