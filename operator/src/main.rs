//! The controllers: user resources in, node runtimes and their truth out.

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use trilobite_operator::{args::Arguments, run, telemetry};

// One thread: the work is waiting, and the pure parts take microseconds.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    telemetry::start(&arguments);
    let client = kube::Client::try_default().await?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop: finishing what is under way");
        stopping.cancel();
    });
    run::run(client, arguments, stop).await?;
    Ok(())
}
