//! `trilobite completion SHELL`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::generate;

use super::failure::Failure;
use crate::args::{Arguments, CompletionArgs};

pub(super) fn print_completion(arguments: &CompletionArgs, out: &mut dyn Write) -> Result<(), Failure> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    generate(arguments.shell, &mut Arguments::command(), "trilobite", &mut script);
    out.write_all(&script).map_err(Failure::Write)
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn script_of_each_shell_knows_commands_and_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            print_completion(&CompletionArgs { shell }, &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            for word in ["observe", "traffic-direction", "trilobite-namespace", "completion"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
