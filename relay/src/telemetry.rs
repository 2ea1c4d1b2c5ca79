//! Log lines on standard error. `RUST_LOG` selects them; the default suits an administrator.

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Starts logging for the whole process; a second call changes nothing.
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=warn"));
    // A line that cannot be written is dropped: reporting that on standard error would panic, and a panic ends the process.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging is already started");
    }
}
