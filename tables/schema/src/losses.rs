//! Tables of what could not be observed: our losses and the probes that were refused.

use crate::{
    column::{TIME, UPID, number, text},
    table_schema::TableSchema,
};

/// Errors of collection.
pub const STIRLING_ERROR: TableSchema = TableSchema::plain(
    "stirling_error",
    &[TIME, UPID, text("source_connector"), number("status"), text("error"), text("context")],
);

/// Probes, and why one is not attached.
pub const PROBE_STATUS: TableSchema = TableSchema::plain(
    "probe_status",
    &[TIME, UPID, text("source_connector"), text("tracepoint"), number("status"), text("error"), text("info")],
);
