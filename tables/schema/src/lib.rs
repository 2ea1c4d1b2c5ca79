//! Tables as data: name, type, semantic type and order of each column, as Pixie has them, and `requests`, which is ours. No rows:
//! readers of scripts and of SQL need to know what a table has without the code that fills it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod column;
mod exchanges;
mod lookup;
mod losses;
mod requests;
mod resources;
mod shared;
mod table_schema;

pub use column::{Column, ColumnType, SemanticType};
pub use exchanges::{
    AMQP_EVENTS, CQL_EVENTS, DNS_EVENTS, HTTP_EVENTS, HTTP2_MESSAGES, KAFKA_EVENTS, MONGODB_EVENTS, MUX_EVENTS,
    MYSQL_EVENTS, NATS_EVENTS, PGSQL_EVENTS, REDIS_EVENTS, TLS_EVENTS,
};
pub use lookup::{ALL, find};
pub use losses::{PROBE_STATUS, STIRLING_ERROR};
pub use requests::REQUESTS;
pub use resources::{
    CONN_STATS, JVM_STATS, NETWORK_STATS, PROC_EXIT_EVENTS, PROCESS_STATS, STACK_TRACES, TCP_STATS_EVENTS,
};
pub use shared::{CONNECTION, EXTENSIONS};
pub use table_schema::TableSchema;
