//! The CA of the read API: who signs the certificates of agents and relay, and which CA certificates they trust. Pure but
//! for random keys; time is an argument.

mod hubble_relay;
mod issue;
mod rotation;
mod stored;
#[cfg(test)]
mod tests;

pub(crate) use hubble_relay::{HubbleRelayCertificate, issue_hubble_relay};
pub(crate) use issue::{IssueError, LeafRequest, issue};
pub(crate) use rotation::rotate;
pub(crate) use stored::{Authority, AuthorityError, StoredAuthority};
