//! What identity has for `/metrics`, read at each scrape.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};

use super::state::Inner;

/// Execs whose arguments are not whole.
pub(super) struct CutArguments(Weak<Inner>);

impl CutArguments {
    pub(super) fn new(inner: &Arc<Inner>) -> Self {
        Self(Arc::downgrade(inner))
    }
}

impl fmt::Debug for CutArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CutArguments")
    }
}

impl Collector for CutArguments {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(inner) = self.0.upgrade() else { return Ok(()) };
        let count = ConstCounter::new(inner.state().index.processes.cut_arguments());
        let help = "Execs whose arguments are not whole in events";
        count.encode(encoder.encode_descriptor("cut_arguments", help, None, count.metric_type())?)
    }
}
