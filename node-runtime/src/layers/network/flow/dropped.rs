//! A packet that the kernel dropped, with others of the same connection, reason and place.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use trilobite_api::flow::DropReason;

use super::{l4::L4, policy_verdict::Policies};
use crate::layers::network::tcp_flags::TcpFlags;

#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// Unknown where Hubble has no reason that is true.
    pub reason: DropReason,
    /// What `event_type.sub_type` and the text of Hubble's command line say: the number of the reason, or a code of 220 to 254
    /// that Hubble does not use. Never 0, which Hubble prints as "Success".
    pub sub_type: i32,
    /// The kernel's own name, e.g. `NETFILTER_DROP`.
    pub kernel_reason: Arc<str>,
    /// The function that dropped it, e.g. `nft_do_chain`.
    pub place: Arc<str>,
    /// Since the last record of this connection, reason and place.
    pub packets: u64,
    /// As `packets`.
    pub bytes: u64,
    /// TCP flags of the first packet.
    pub flags: TcpFlags,
    /// Who denies it; empty unless the policies of the cluster do.
    pub policies: Policies,
}

impl Dropped {
    /// The packet, then what the kernel says: `TCP Flags: SYN; kernel NETFILTER_DROP at nft_do_chain; 12 packets`.
    pub(super) fn write_summary(&self, l4: L4, out: &mut impl Write) -> fmt::Result {
        let Self { kernel_reason, place, packets, flags, .. } = self;
        l4.write_packet(*flags, out)?;
        match (kernel_reason.is_empty(), place.is_empty()) {
            (false, false) => write!(out, "; kernel {kernel_reason} at {place}")?,
            (false, true) => write!(out, "; kernel {kernel_reason}")?,
            (true, false) => write!(out, "; kernel at {place}")?,
            (true, true) => {}
        }
        if *packets > 1 { write!(out, "; {packets} packets") } else { Ok(()) }
    }
}
