//! The operator against a real API server, with agents that only patch statuses. What a kernel does is tested elsewhere.
//! Needs `trilobite-cluster build control-plane`; run with `--features api-server`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod bounded;
mod fake_agent;
mod lifecycle;
mod rights;
mod stack;
mod world;
