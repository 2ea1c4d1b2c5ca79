//! One file or folder per command.

mod agents;
mod completion;
mod events;
mod failure;
mod interrupt;
mod observe;
mod policy;
mod print;
mod profile;
mod profile_error;
mod profiles;
mod requests;
mod rights;
mod status;
mod tunnel;
mod version;
mod way;

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
    let read_api = async |transport: &Transport| way::find_read_api(transport, connection.verbose).await;
    match command {
        Command::Status(args) => status::print_status(&args, &transport().await?, out).await,
        Command::Events(args) => {
            let transport = transport().await?;
            let api = read_api(&transport).await;
            events::print_events(&args, &transport, api.as_ref(), out).await
        }
        Command::Observe(args) => {
            let transport = transport().await?;
            let api = read_api(&transport).await;
            observe::print_flows(&args, &transport, api.as_ref(), out).await
        }
        Command::Requests(args) => {
            let transport = transport().await?;
            let api = read_api(&transport).await;
            requests::print_requests(&args, &transport, api.as_ref(), out).await
        }
        Command::Profile(args) => {
            let transport = transport().await?;
            let api = read_api(&transport).await;
            profile::draw_profile(&args, &transport, api.as_ref(), out).await
        }
        Command::Profiles(args) => {
            let transport = transport().await?;
            let api = read_api(&transport).await;
            profiles::print_profiles(&args, &transport, api.as_ref(), out).await
        }
        Command::Policy(args) => policy::execute(&args, &connection, out).await,
        Command::Tunnel(args) => tunnel::forward_port(&args, &transport().await?, out).await,
        Command::Version(args) => version::print_version(&args, &connection, out).await,
        Command::Completion(args) => completion::print_completion(&args, out),
    }
}
