//! Rows of requests: the tables with Pixie's names and columns, rows as Arrow batches, and the ring that keeps the newest.
//!
//! A row takes its texts and about 150 bytes (`rows_take_the_bytes_that_the_docs_name`): 800 for HTTP with nine headers, 300 for a
//! statement, 200 for a Redis command, 800 for a DNS query, whose columns are JSON. Rows leave oldest first, in segments of 64 KiB, when the
//! budget is full or they are older than the profile retains them.

#![warn(missing_docs)]

mod batch;
mod filter;
mod ring;
mod row;
mod scan;
mod table;
mod upid;
mod value;
mod values;

pub use filter::RowFilter;
pub use ring::RowRing;
pub use row::{ConnectionFacts, Row};
pub use scan::Scan;
pub use table::Table;
pub use upid::Upid;
pub use value::Value;
