//! Boots each supported kernel under QEMU with the agent in it.

mod args;
mod boot;
mod console;
mod fetch;
mod initramfs;
mod kernels;
mod place;
mod program;
mod protocol;
mod report;
mod run;
mod smoke;
mod summary;

use std::{env, error::Error, path::PathBuf, process::ExitCode, thread, time::Duration};

use clap::Parser;

use crate::{
    args::{Args, Command},
    kernels::{KERNELS, Kernel},
    place::Place,
    run::Run,
};

fn main() -> ExitCode {
    match command(Args::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("trilobite-kernels: {error}");
            ExitCode::from(2)
        }
    }
}

fn command(command: Command) -> Result<bool, Box<dyn Error>> {
    let place = Place::find(&env::current_dir()?, env::var_os("TRILOBITE_CACHE").map(PathBuf::from))?;
    match command {
        Command::Fetch { kernels, again } => {
            fetch::fetch(&place, &all_unless_named(kernels), again)?;
            Ok(true)
        }
        Command::Run { agent, kernels, scripts, silence, jobs } => {
            let (kernels, silence) = (all_unless_named(kernels), Duration::from_secs(silence));
            let at_a_time = jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
            Ok(run::run(&place, Run { agent, kernels, scripts, silence, at_a_time })?)
        }
    }
}

fn all_unless_named(named: Vec<Kernel>) -> Vec<Kernel> {
    if named.is_empty() { KERNELS.to_vec() } else { named }
}
