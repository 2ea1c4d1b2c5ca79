//! From the state of nodes to the status of user resources: facts -> index -> node states -> conditions -> one writer.

mod controller_report;
mod counts;
mod daemon_set_events;
mod debounce;
mod decide_conditions;
mod events;
mod facts;
mod index;
mod index_driver;
pub(crate) mod messages;
mod node_state;
mod node_summary;
mod node_text;
mod relay;
mod request_sums;
mod rows_seen;
mod shorten;
mod silent_agents;
mod user_status;
mod writer;

pub(crate) use controller_report::{ControllerReport, Requested, Rollout, SessionRequest, StatusInput};
pub(crate) use events::event_reporter;
pub(crate) use facts::{AgentFact, waiting_reason};
pub(crate) use index_driver::{IndexDriver, watch_pod_refusals};
pub(crate) use node_state::GracePeriods;
pub(crate) use relay::RelayState;
pub(crate) use silent_agents::SilentAgentWriter;
pub(crate) use user_status::{UserResource, UserStatus};
pub(crate) use writer::StatusWriter;
