//! The operator against a real API server, with fake agents that only patch statuses; no kernel program is loaded.
//! Needs `trilobite-cluster build control-plane`; run with `--features api-server`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod certificates;
mod dry_run;
mod fake_agent;
mod foreign_policies;
mod healing;
mod lifecycle;
mod relay;
mod requests;
mod rights;
mod stack;
mod test_cluster;
mod time_limited;
mod uninstall;
