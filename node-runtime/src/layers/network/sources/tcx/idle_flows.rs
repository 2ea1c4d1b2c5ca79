//! Ends flows that have been silent for too long. The kernel's program decides which (`end_flows` in `flow.bpf.c`); this is the
//! order to do so, and the removal of ended flows from the map.

use super::{
    TcxPrograms,
    programs::{EndedFlows, IdleTimeouts},
};
use crate::{
    layers::network::{enrich::Enricher, sources::FlowSink},
    problem::Problem,
};

impl TcxPrograms {
    /// Ends silent flows and reports unreported traffic of others, as far as half of the ring has room for it: repeat it
    /// while there is more. If flows were ended, call `remove_ended` `REMOVE_ENDED_AFTER` later.
    pub fn end_idle(&mut self, timeouts: IdleTimeouts, sink: &mut FlowSink<'_>) -> Result<EndedFlows, Problem> {
        let Some(loaded) = &mut self.loaded else { return Ok(EndedFlows::default()) };
        let ended = loaded.end_flows(None, timeouts)?;
        self.drain(sink);
        if !ended.more {
            sink.enricher.shrink();
        }
        Ok(ended)
    }

    /// Removes ended flows from the kernel's map.
    pub fn remove_ended(&mut self) -> Result<(), Problem> {
        match &mut self.loaded {
            Some(loaded) => loaded.remove_ended(None).map(drop),
            None => Ok(()),
        }
    }

    /// More than half of the flow map is in use, as far as the records tell: each connection has two flows.
    pub fn is_crowded(&self, enricher: &Enricher) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| enricher.connections() * 4 > loaded.sizes.flow_entries as usize)
    }
}
