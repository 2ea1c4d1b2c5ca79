//! Our own table: requests of all protocols in common columns.

use crate::{
    column::{
        Column, ColumnType, LOCAL_ADDR, LOCAL_PORT, REMOTE_ADDR, REMOTE_PORT, SemanticType, TIME, TRACE_ROLE, UPID,
        duration, number, size, text, truth,
    },
    table_schema::TableSchema,
};

/// Requests of all protocols. `exec_id` and `connection` lead to the process and the flow, `trace_id` to the trace that the
/// application sent with the request.
pub const REQUESTS: TableSchema = TableSchema {
    aliases: &[("latency_ns", "latency")],
    ..TableSchema::plain(
        "requests",
        &[
            TIME,
            UPID,
            Column::new("pod", ColumnType::String, SemanticType::PodName),
            text("peer"),
            REMOTE_ADDR,
            REMOTE_PORT,
            LOCAL_ADDR,
            LOCAL_PORT,
            TRACE_ROLE,
            truth("encrypted"),
            text("protocol"),
            text("operation"),
            text("target"),
            text("status"),
            truth("is_error"),
            duration("latency"),
            size("request_bytes"),
            size("response_bytes"),
            number("connection"),
            text("exec_id"),
            text("trace_id"),
        ],
    )
};
