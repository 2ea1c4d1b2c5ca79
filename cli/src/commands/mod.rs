//! One file or folder per command.

mod agents;
mod completion;
mod events;
mod failure;
mod interrupt;
mod observe;
mod print;
mod profile;
mod profile_error;
mod profiles;
mod rights;
mod status;
mod tunnel;
mod version;

use std::io::Write;

pub(crate) use failure::Failure;

use crate::{
    agent::Transport,
    args::{Arguments, Command},
};

/// Executes the command; data goes to `out`.
pub(crate) async fn execute(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let Arguments { connection, command } = arguments;
    let transport = async || Transport::new(&connection).await;
    match command {
        Command::Status(args) => status::print_status(&args, &transport().await?, out).await,
        Command::Events(args) => events::print_events(&args, &transport().await?, out).await,
        Command::Observe(args) => observe::print_flows(&args, &transport().await?, out).await,
        Command::Profile(args) => profile::draw_profile(&args, &transport().await?, out).await,
        Command::Profiles(args) => profiles::print_profiles(&args, &transport().await?, out).await,
        Command::Tunnel(args) => tunnel::forward_port(&args, &transport().await?, out).await,
        Command::Version(args) => version::print_version(&args, &connection, out).await,
        Command::Completion(args) => completion::print_completion(&args, out),
    }
}
