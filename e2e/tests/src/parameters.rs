//! How long a test goes on: `make test-long` asks for more than CI has time for.

/// The value of an environment variable, or the number that CI uses.
pub fn count(variable: &str, in_ci: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
        Err(_) => in_ci,
    }
}
