//! Which exchanges become rows. Ports are filtered by the kernel program.

use trilobite_protocols::{Exchange, Role};
use trilobite_tables::{ConnectionFacts, Row};
use trilobite_worker_wire::{RequestCounts, RequestSettings};

use super::counts::count_row;

pub(super) struct ExchangeFilter {
    client: bool,
    server: bool,
    slower_than: u64,
    only_errors: bool,
}

impl ExchangeFilter {
    pub(super) fn new(settings: &RequestSettings) -> Self {
        Self {
            client: settings.client,
            server: settings.server,
            slower_than: settings.slower_than_ns,
            only_errors: settings.only_errors,
        }
    }

    pub(super) fn wants(&self, role: Role) -> bool {
        match role {
            Role::Client => self.client,
            Role::Server => self.server,
        }
    }

    /// The rows of a connection's exchanges.
    pub(super) fn rows(
        &self,
        exchanges: Vec<Exchange>,
        facts: ConnectionFacts,
        counts: &mut RequestCounts,
    ) -> Vec<Row> {
        let wanted = |exchange: &Exchange| {
            self.wants(facts.role) && exchange.latency() >= self.slower_than && (exchange.is_error || !self.only_errors)
        };
        let rows: Vec<Row> = exchanges.into_iter().filter(wanted).map(|exchange| Row::new(facts, exchange)).collect();
        rows.iter().for_each(|row| count_row(counts, row));
        rows
    }
}
