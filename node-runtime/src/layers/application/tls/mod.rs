//! Plain text of TLS: finds the processes of a session whose TLS library can be followed, and places probes in its files.

mod ask;
mod attach;
mod exclusions;
mod finder;
mod libraries;
mod processes;
mod programs;
mod state;
mod targets;

pub(in crate::layers::application) use attach::TlsProbes;
pub(in crate::layers::application) use state::TlsTargetsSpec;
pub(in crate::layers::application) use targets::TlsTargets;
