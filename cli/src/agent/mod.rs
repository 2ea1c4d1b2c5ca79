//! Connections to agents: by `kubectl exec` of the agent's own `proxy`, so that RBAC on pods/exec guards access and no
//! port is open; or by a socket of this machine.

mod channel;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod merge;
mod stream;
mod transport;

pub(crate) use channel::{ANSWER_TIMEOUT, Agent, connect_all, within_timeout};
pub(crate) use error::{AgentError, status_text};
pub(crate) use merge::{Arrival, merge};
#[cfg(test)]
pub(crate) use stream::Route;
pub(crate) use transport::{AgentAddress, Transport};
