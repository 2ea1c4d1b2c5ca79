//! What a client asks for: a script, and functions of it to be called.

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The script.
    pub script: &'a str,
    /// Functions of the script whose DataFrames are displayed, as a page of a script asks for them.
    pub functions: &'a [FunctionCall<'a>],
    /// The time at which the script runs: nanoseconds of the wall clock.
    pub now: i64,
}

/// A function of the script to be called.
#[derive(Clone, Copy, Debug)]
pub struct FunctionCall<'a> {
    /// Its name.
    pub function: &'a str,
    /// Its arguments: name and value, as text. The script says of which type each is.
    pub arguments: &'a [(&'a str, &'a str)],
    /// Name of the table that it makes.
    pub output: &'a str,
}
