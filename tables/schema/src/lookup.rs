//! Every table by its name.

use crate::{exchanges::*, losses::*, requests::REQUESTS, resources::*, table_schema::TableSchema};

/// Every table: Pixie's, then ours. A table that nothing fills is there and empty, so that scripts that name it are understood.
pub const ALL: [TableSchema; 23] = [
    HTTP_EVENTS,
    CONN_STATS,
    DNS_EVENTS,
    MYSQL_EVENTS,
    PGSQL_EVENTS,
    REDIS_EVENTS,
    CQL_EVENTS,
    KAFKA_EVENTS,
    MONGODB_EVENTS,
    AMQP_EVENTS,
    MUX_EVENTS,
    NATS_EVENTS,
    TLS_EVENTS,
    PROCESS_STATS,
    NETWORK_STATS,
    JVM_STATS,
    STACK_TRACES,
    PROC_EXIT_EVENTS,
    STIRLING_ERROR,
    PROBE_STATUS,
    TCP_STATS_EVENTS,
    HTTP2_MESSAGES,
    REQUESTS,
];

/// The table of this name.
pub fn find(name: &str) -> Option<&'static TableSchema> {
    static TABLES: [TableSchema; ALL.len()] = ALL;
    TABLES.iter().find(|table| table.name == name)
}
