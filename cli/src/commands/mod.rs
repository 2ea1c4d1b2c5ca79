//! One file per command.

mod agents;
mod events;
mod failure;
mod flows;
mod interrupt;
mod print;
mod profile;
mod profile_error;
mod status;
mod tunnel;

use std::io::Write;

pub(crate) use failure::Failure;

use crate::{
    agent::Transport,
    args::{Arguments, Command},
};

/// Executes the command; data goes to `out`.
pub(crate) async fn execute(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let Arguments { connection, command } = arguments;
    let transport = Transport::new(&connection).await?;
    match command {
        Command::Status(args) => status::print_status(&args, &transport, out).await,
        Command::Events(args) => events::print_events(&args, &transport, out).await,
        Command::Flows(args) => flows::print_flows(&args, &transport, out).await,
        Command::Profile(args) => profile::draw_profile(&args, &transport, out).await,
        Command::Tunnel(args) => tunnel::forward_port(&args, &transport, out).await,
    }
}
