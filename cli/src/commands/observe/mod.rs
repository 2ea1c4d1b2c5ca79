//! `trilobite observe`: flows of every node, by the read API or from the agents.

mod by_agents;
mod by_read_api;
mod filters;
mod http_matching;
#[cfg(test)]
mod hubble_client_tests;
mod matching;
mod printing;

use std::io::Write;

pub(super) use self::printing::latest;
use self::{by_agents::print_flows_by_agents, by_read_api::print_flows_by_read_api, printing::HTTP_NEEDS_A_PROFILE};
use super::failure::Failure;
use crate::{
    agent::Transport,
    args::{FlowsFormat, ObserveArgs},
    output::stderr::stderr_line,
    read_api::ReadApi,
};

pub(super) async fn print_flows(
    arguments: &ObserveArgs,
    transport: &Transport,
    api: Option<&ReadApi>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if arguments.follow && arguments.output == FlowsFormat::Table {
        return Err(Failure::Usage("--follow cannot print a table; use -o compact or -o json".into()));
    }
    if arguments.follow && arguments.filter.wants_http() {
        stderr_line!("{HTTP_NEEDS_A_PROFILE}");
    }
    match api {
        Some(api) => print_flows_by_read_api(arguments, api, out).await,
        None => print_flows_by_agents(arguments, transport, out).await,
    }
}
