//! Prints the plan of a script, or what is wrong with it: `cargo run -p trilobite-pxl --example explain < script.pxl`

use std::{
    io::{self, Read, Write},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use trilobite_pxl::{Request, compile};

fn main() -> io::Result<ExitCode> {
    let mut script = String::new();
    io::stdin().read_to_string(&mut script)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_nanos();
    let now = i64::try_from(now).map_err(io::Error::other)?;
    match compile(&Request { script: &script, functions: &[], now }) {
        Ok(plan) => {
            write!(io::stdout(), "{plan}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            for error in errors {
                writeln!(io::stderr(), "{error}")?;
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
