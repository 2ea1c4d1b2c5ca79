//! `trilobite-relay`: parses the command line and serves the read API until SIGTERM or SIGINT.

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use trilobite_relay::{args::Arguments, relay::run_relay, telemetry::start_logging};

// One thread: the relay mostly waits for I/O, and another thread would cost memory. A panic ends its request alone; what the
// relay as a whole needs ends the process with it (`run_relay`).
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    start_logging(arguments.log_format);
    let client = kube::Client::try_default().await?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stop requested");
        stopping.cancel();
    });
    run_relay(client, arguments, stop).await
}
