//! Secrets taken out of texts before they reach an exchange: values of headers and of URLs, literals of SQL, values in the
//! texts of errors.

mod error_text;
mod header;
mod mysql_error;
mod sql;
mod url;

pub(crate) use error_text::{mask_pgsql_error, mask_redis_error};
pub use error_text::{pgsql_error, redis_error};
pub use header::header_value;
pub(crate) use header::{hidden_in_header, mask_header_value};
pub(crate) use mysql_error::mask_mysql_error;
pub use mysql_error::mysql_error;
pub(crate) use sql::mask_sql;
pub use sql::{SqlDialect, sql};
pub use url::query;
pub(crate) use url::query_values;

/// Stands where a value was.
pub const REDACTED: &str = "<redacted>";

#[cfg(test)]
mod tests;
