//! `trilobite events`: events of every node as one stream, by the read API or from the agents.

mod by_agents;
mod by_read_api;
mod printer;

use std::io::Write;

use self::{by_agents::print_events_by_agents, by_read_api::print_events_by_read_api};
use super::failure::Failure;
use crate::{agent::Transport, args::EventsArgs, read_api::ReadApi};

pub(super) async fn print_events(
    arguments: &EventsArgs,
    transport: &Transport,
    api: Option<&ReadApi>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match api {
        Some(api) => print_events_by_read_api(arguments, api, out).await,
        None => print_events_by_agents(arguments, transport, out).await,
    }
}
