//! `trilobite requests`: requests of the pods that AppProfiles select, by the read API or from the agents.

mod by_agents;
mod by_read_api;
mod explain;
mod printer;
mod searched;

use std::io::Write;

use self::{by_agents::print_requests_by_agents, by_read_api::print_requests_by_read_api};
use super::failure::Failure;
use crate::{agent::Transport, args::RequestsArgs, read_api::ReadApi};

pub(super) async fn print_requests(
    arguments: &RequestsArgs,
    transport: &Transport,
    api: Option<&ReadApi>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match api {
        Some(api) => print_requests_by_read_api(arguments, api, transport, out).await,
        None => print_requests_by_agents(arguments, transport, out).await,
    }
}
