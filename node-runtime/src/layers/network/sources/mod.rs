//! Where flow records come from. A source owns its programs in the kernel and passes each record to the sink that it is lent.

pub mod tcx;

use super::{decode::FlowObservation, enrich::Enricher, flow::Flow};

/// Makes flows of records and passes them on.
pub struct FlowSink<'a> {
    pub enricher: &'a mut Enricher,
    pub emit: &'a mut dyn FnMut(Flow),
}

impl FlowSink<'_> {
    /// `booted` is the wall clock at boot, in nanoseconds.
    fn emit(&mut self, observation: &FlowObservation, booted: i128) {
        (self.emit)(self.enricher.flow(observation, booted));
    }
}
