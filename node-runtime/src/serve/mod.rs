//! The faces of the agent, one folder each, on one unix socket. From outside, the way in is `proxy` through
//! `kubectl exec`: no port is open.

#[cfg(test)]
mod descriptors;
pub mod hubble;
pub mod profiles;
pub mod proto;
pub mod protojson;
pub mod proxy;
pub mod router;
pub mod socket;
pub mod tetragon;
