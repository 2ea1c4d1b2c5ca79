//! Boots each supported kernel under QEMU with the agent in it.

mod acts;
mod args;
mod boot;
mod boot_all;
mod console;
mod fetch;
mod initramfs;
mod kernels;
mod paths;
mod program;
mod protocol;
mod report;
mod scripts;
mod summary;
mod verdicts;

use std::{env, error::Error, process::ExitCode, thread, time::Duration};

use clap::Parser;

use crate::{
    args::{Args, Command},
    boot_all::Request,
    kernels::{KERNELS, Kernel, Purpose},
    paths::Paths,
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
    let paths = Paths::find(&env::current_dir()?)?;
    match command {
        Command::Fetch { kernels, again, node } => {
            let purpose = if node { Purpose::Node } else { Purpose::Tests };
            fetch::fetch(&paths, &all_unless_named(kernels), purpose, again)?;
            Ok(true)
        }
        Command::Run { agent, kernels, scripts, silence, jobs } => {
            let (kernels, silence) = (all_unless_named(kernels), Duration::from_secs(silence));
            let at_a_time = jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
            Ok(boot_all::boot_all(&paths, Request { agent, kernels, scripts, silence, at_a_time })?)
        }
    }
}

fn all_unless_named(named: Vec<Kernel>) -> Vec<Kernel> {
    if named.is_empty() { KERNELS.to_vec() } else { named }
}
