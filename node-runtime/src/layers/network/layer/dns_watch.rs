//! Where DNS is read, and what units are told about it.

use std::sync::Arc;

use crate::{
    layers::{
        network::sources::{
            dns::{DnsRing, DnsSource, DnsTotals},
            packet_hooks::PacketHooks,
        },
        worker::WorkerProgram,
    },
    problem::Problem,
};

pub(super) struct DnsWatch {
    pub(super) source: DnsSource,
    /// None where nothing reads DNS, as in tests.
    pub(super) worker: Option<Result<WorkerProgram, Problem>>,
    /// The stack does not want it.
    pub(super) is_disabled: bool,
    /// Why the packets are not copied.
    problem: Option<Problem>,
    /// Why no worker reads them at the moment.
    worker_problem: Option<Problem>,
}

impl DnsWatch {
    pub(super) fn new(hooks: PacketHooks) -> Self {
        Self { source: DnsSource::new(hooks), worker: None, is_disabled: false, problem: None, worker_problem: None }
    }

    /// Reads the DNS of these interfaces, of which at most `most` are attached or detached. What fails leaves the flows alone. Returns
    /// whether there is more to do.
    pub(super) fn watch_some(&mut self, interfaces: &[u32], most: usize) -> bool {
        let answer = match &self.worker {
            Some(Ok(_)) if !self.is_disabled => self.source.watch_some(interfaces, most),
            Some(Err(problem)) if !self.is_disabled && !interfaces.is_empty() => Err(problem.clone()),
            _ => self.source.watch_some(&[], most),
        };
        let problem = answer.as_ref().err();
        if let Some(problem) = problem.filter(|problem| self.problem.as_ref() != Some(problem)) {
            tracing::warn!(problem = problem.message(), "DNS is not read");
        }
        self.problem = problem.cloned();
        answer.unwrap_or(false)
    }

    pub(super) fn stop(&mut self) {
        self.source.stop();
        (self.problem, self.worker_problem) = (None, None);
    }

    /// The ring, and the program of the worker that reads it.
    pub(super) fn to_read(&self) -> Option<(Arc<DnsRing>, WorkerProgram)> {
        let program = self.worker.as_ref()?.as_ref().ok()?;
        Some((self.source.ring()?, program.clone()))
    }

    /// A worker has begun to read, or has ended on its own with this problem.
    pub(super) fn set_worker(&mut self, problem: Option<Problem>) {
        if problem.is_some() {
            self.source.end_worker(true);
        }
        self.worker_problem = problem;
    }

    pub(super) fn totals(&self) -> DnsTotals {
        self.source.totals()
    }

    /// What every unit is told.
    pub(super) fn notes(&self) -> impl Iterator<Item = Problem> {
        self.problem.clone().into_iter().chain(self.worker_problem.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_worker_is_noted_unless_dns_is_disabled() {
        let missing = Problem::LoadFailed { what: "starting the worker".into(), detail: "not there".into() };
        let mut watch = DnsWatch { worker: Some(Err(missing.clone())), ..DnsWatch::new(PacketHooks::Tcx) };
        assert!(!watch.watch_some(&[7], 4));
        assert_eq!(watch.notes().collect::<Vec<_>>(), [missing]);
        assert!(watch.to_read().is_none());
        watch.is_disabled = true;
        assert!(!watch.watch_some(&[7], 4) && watch.notes().next().is_none());
    }

    #[test]
    fn worker_that_ended_is_noted_until_another_reads() {
        let ended = Problem::WorkerFailed { detail: "it ended".into() };
        let mut watch = DnsWatch::new(PacketHooks::Tcx);
        watch.set_worker(Some(ended.clone()));
        assert_eq!((watch.notes().collect::<Vec<_>>(), watch.totals().worker_ends), (vec![ended], 1));
        watch.set_worker(None);
        assert!(watch.notes().next().is_none());
    }
}
