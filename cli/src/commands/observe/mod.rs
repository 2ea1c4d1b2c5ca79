//! `trilobite observe`: flows of every node, by the read API or from the agents.

mod by_agents;
mod by_read_api;
mod filters;
#[cfg(test)]
mod hubble_client_tests;
mod matching;
mod printing;

use std::io::Write;

pub(super) use self::printing::latest;
use self::{by_agents::print_flows_by_agents, by_read_api::print_flows_by_read_api};
use super::failure::Failure;
use crate::{
    agent::Transport,
    args::{FlowsFormat, ObserveArgs},
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
    if let Some(protocol) = arguments.filter.protocol.iter().find(|protocol| protocol.is_of_requests()) {
        let protocol = protocol.as_str();
        return Err(Failure::Usage(format!(
            "{protocol} is decoded only for pods that an AppProfile selects, and is no flow: \
             kubectl label namespace NAMESPACE trilobite.dev/app-profile={protocol}.15m, then trilobite requests -n NAMESPACE --protocol {protocol}"
        )));
    }
    match api {
        Some(api) => print_flows_by_read_api(arguments, api, out).await,
        None => print_flows_by_agents(arguments, transport, out).await,
    }
}
