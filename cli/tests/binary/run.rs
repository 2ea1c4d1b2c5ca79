//! Starts the binary with a clean environment and waits for its end.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longer than any command here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How a command has ended.
pub(crate) struct Outcome {
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The binary with these words; it knows no cluster, unless KUBECONFIG is set on it.
pub(crate) fn trilobite(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trilobite"));
    command.args(words).env_clear().env("HOME", "/nonexistent");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn finish(command: &mut Command) -> Outcome {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let out = read_all(child.stdout.take().expect("piped"));
    let err = read_all(child.stderr.take().expect("piped"));
    let code = wait(&mut child);
    Outcome { code, out: out.join().expect("read"), err: err.join().expect("read") }
}

/// Waits for the end of a command whose output is not read here; none if a signal ended it.
pub(crate) fn wait(child: &mut Child) -> Option<i32> {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return status.code();
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("the command has not ended within {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Writes a kubeconfig with one context, cluster and user; `user` is YAML.
pub(crate) fn write_kubeconfig(path: &Path, context: &str, server: &str, user: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {context}\n\
         clusters: [{{name: {context}, cluster: {{server: \"{server}\"}}}}]\n\
         contexts: [{{name: {context}, context: {{cluster: {context}, user: {context}, namespace: shop}}}}]\n\
         users: [{{name: {context}, user: {user}}}]\n"
    );
    std::fs::write(path, text).expect("a kubeconfig");
}
