//! Runs a program to its end and turns its failure into an error that names the command line.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// What sends a program's requests elsewhere: the cluster's are for this machine alone.
const PROXIES: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// Takes the proxies out of what the command will find in its environment.
pub fn without_proxies(command: &mut Command) -> &mut Command {
    PROXIES.iter().fold(command, |command, name| command.env_remove(name))
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs the command and gives its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|source| Error::Start { program: line(command), source })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(Error::Command { command: line(command), status: done.status, stderr })
}

/// Runs a program with these words and gives its standard output.
pub fn output_of(program: &str, words: &[&str]) -> Result<String> {
    output(Command::new(program).args(words))
}

/// Where a program is in PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists())
}

/// Runs a line whose words are separated by spaces: for programs whose words never hold one (`ip`, `nft`).
pub(crate) fn words(text: &str) -> Result<String> {
    let mut words = text.split_whitespace();
    let program = words.next().unwrap_or_default();
    output(Command::new(program).args(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_the_cluster_knows_of_no_proxy() {
        let mut command = Command::new("env");
        command.env("https_proxy", "http://proxy.example").env("NO_PROXY", "*").env("KEPT", "yes");
        let text = output(without_proxies(&mut command)).unwrap();
        assert!(text.contains("KEPT=yes") && !text.to_lowercase().contains("_proxy="), "{text}");
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = output_of("sh", &["-c", "echo no such thing >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("sh -c"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("no such thing"), "{error}");
    }
}
