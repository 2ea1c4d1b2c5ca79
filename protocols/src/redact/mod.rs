//! Secrets taken out of texts before they reach an exchange: values of headers and of URLs, literals of SQL, values in the
//! texts of errors.

mod error_text;
mod header;
mod sql;
mod url;

pub use error_text::{pgsql_error, redis_error};
pub use header::header_value;
pub use sql::{SqlDialect, sql};
pub use url::query;

/// Stands where a value was.
pub const REDACTED: &str = "<redacted>";

#[cfg(test)]
mod tests;
