//! Columns that all tables of exchanges have.

use crate::column::{
    Column, LOCAL_ADDR, LOCAL_PORT, REMOTE_ADDR, REMOTE_PORT, TIME, TRACE_ROLE, UPID, duration, number, size, truth,
};

/// The columns that all tables of exchanges begin with.
pub const CONNECTION: [Column; 8] =
    [TIME, UPID, REMOTE_ADDR, REMOTE_PORT, LOCAL_ADDR, LOCAL_PORT, TRACE_ROLE, truth("encrypted")];

/// The columns that they end with.
pub(crate) const TIMING: [Column; 1] = [duration("latency")];

/// Our columns of every table of exchanges, behind Pixie's. Keys of 64 bits are stored as INT64, bit by bit.
pub const EXTENSIONS: [Column; 7] = [
    number("sequence"),
    number("cgroup"),
    number("connection"),
    truth("is_error"),
    truth("mid_stream"),
    size("request_bytes"),
    size("response_bytes"),
];
