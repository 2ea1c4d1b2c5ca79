//! `trilobite-operator`: parses the command line and runs the controllers until SIGTERM or SIGINT.

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use trilobite_operator::{args::Arguments, operator::run_operator, telemetry::start_logging};

// One thread: the operator mostly waits for I/O, and the pure parts take microseconds.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    abort_on_panic();
    let arguments = Arguments::parse();
    start_logging(&arguments);
    let client = kube::Client::try_default().await?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stop requested: finishing running reconciles");
        stopping.cancel();
    });
    run_operator(client, arguments, stop).await?;
    Ok(())
}

/// Logs a panic and ends the process: a task that is gone would leave its objects without a controller.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        tracing::error!("{panic}");
        std::process::abort();
    }));
}
