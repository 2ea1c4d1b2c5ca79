//! Where flow records come from. A source owns its programs in the kernel and passes each record to the sink that it is lent.

pub mod dns;
pub mod drops;
pub mod filter_manifest;
pub mod http;
pub mod packet_hooks;
pub mod tcx;

use super::{decode::FlowObservation, enrich::Enricher, flow::Flow};

/// Makes flows of records and passes them on.
pub struct FlowSink<'a> {
    pub enricher: &'a mut Enricher,
    pub emit: &'a mut dyn FnMut(Flow),
}

impl FlowSink<'_> {
    /// `booted` is the wall clock at boot, in nanoseconds.
    pub(super) fn emit(&mut self, observation: &FlowObservation, booted: i128) {
        if self.enricher.must_wait() {
            if let Some((oldest, booted)) = self.enricher.waiting.push(*observation, booted) {
                self.deliver(&oldest, booted);
            }
            return;
        }
        self.release();
        self.deliver(observation, booted);
    }

    /// Passes on the flow of an event that is no flow record: see `Enricher::event_flow`.
    pub fn emit_event(&mut self, flow: Flow) {
        (self.emit)(flow);
    }

    /// Delivers records that have waited for names, if they need not wait any longer.
    pub fn release_named(&mut self) {
        if self.enricher.has_waiting() && !self.enricher.must_wait() {
            self.release();
        }
    }

    /// Delivers all records that wait, with what is known.
    fn release(&mut self) {
        while let Some((observation, booted)) = self.enricher.waiting.pop() {
            self.deliver(&observation, booted);
        }
    }

    fn deliver(&mut self, observation: &FlowObservation, booted: i128) {
        (self.emit)(self.enricher.flow(observation, booted));
    }
}
