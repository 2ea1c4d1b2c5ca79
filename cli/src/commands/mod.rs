//! One file per command.

mod agents;
mod events;
mod flows;
mod interrupt;
mod profile;
mod status;
mod tunnel;

use std::io::Write;

pub(crate) use profile::{PodName, ProfileError};

use crate::{
    agent::Reach,
    args::{Arguments, Command},
    failure::Failure,
};

/// Does what was typed; data goes to `out`.
pub(crate) async fn run(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let Arguments { way, command } = arguments;
    let reach = Reach::new(&way).await?;
    match command {
        Command::Status(arguments) => status::run(&arguments, &reach, out).await,
        Command::Events(arguments) => events::run(&arguments, &reach, out).await,
        Command::Flows(arguments) => flows::run(&arguments, &reach, out).await,
        Command::Profile(arguments) => profile::run(&arguments, &reach, out).await,
        Command::Tunnel(arguments) => tunnel::run(&arguments, &reach, out).await,
    }
}

/// Lets a reader at the other end of a pipe see it at once.
fn print(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .map_err(Failure::Write)
}
