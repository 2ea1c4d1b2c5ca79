//! Who has connected to the relay's port, by its certificate.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortClient {
    Relay,
    /// An unmodified hubble-relay: it names no scope, and reads flows alone.
    HubbleRelay {
        /// The port that it has connected to. Other agents have the same.
        port: u16,
    },
}
