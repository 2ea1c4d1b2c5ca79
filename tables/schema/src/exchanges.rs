//! Tables of exchanges: requests and their answers, one table for each protocol.

use crate::{
    column::{
        Column, ColumnType, LOCAL_ADDR, LOCAL_PORT, REMOTE_ADDR, REMOTE_PORT, SemanticType, TIME, TRACE_ROLE, UPID,
        decoded, duration, number, size, text,
    },
    shared::{CONNECTION, TIMING},
    table_schema::TableSchema,
};

const LATENCY_NS: (&str, &str) = ("latency_ns", "latency");

const fn exchanges(name: &'static str, own: &'static [Column]) -> TableSchema {
    TableSchema { name, connection: &CONNECTION, own, timing: &TIMING, extensions: &[], aliases: &[LATENCY_NS] }
}

/// HTTP/1, HTTP/2 and gRPC.
pub const HTTP_EVENTS: TableSchema = TableSchema {
    extensions: &[text("grpc_status"), number("req_messages"), number("resp_messages")],
    ..exchanges(
        "http_events",
        &[
            number("major_version"),
            number("minor_version"),
            decoded("content_type", "kHTTPContentTypeDecoder"),
            text("req_headers"),
            Column::new("req_method", ColumnType::String, SemanticType::HttpRequestMethod),
            text("req_path"),
            text("req_body"),
            size("req_body_size"),
            text("resp_headers"),
            Column::new("resp_status", ColumnType::Int64, SemanticType::HttpResponseStatus),
            Column::new("resp_message", ColumnType::String, SemanticType::HttpResponseMessage),
            text("resp_body"),
            size("resp_body_size"),
        ],
    )
};

/// DNS.
pub const DNS_EVENTS: TableSchema = TableSchema {
    extensions: &[text("query_name"), text("query_type"), text("rcode")],
    ..exchanges("dns_events", &[text("req_header"), text("req_body"), text("resp_header"), text("resp_body")])
};

/// MySQL.
pub const MYSQL_EVENTS: TableSchema = TableSchema {
    extensions: &[text("error_code"), text("sql_state"), number("rows")],
    ..exchanges(
        "mysql_events",
        &[
            decoded("req_cmd", "kMySQLReqCmdDecoder"),
            text("req_body"),
            decoded("resp_status", "kMySQLRespStatusDecoder"),
            text("resp_body"),
        ],
    )
};

/// PostgreSQL.
pub const PGSQL_EVENTS: TableSchema = TableSchema {
    extensions: &[text("error_code"), number("rows")],
    aliases: &[LATENCY_NS, ("req_body", "req"), ("resp_body", "resp")],
    ..exchanges("pgsql_events", &[text("req_cmd"), text("req"), text("resp")])
};

/// Redis.
pub const REDIS_EVENTS: TableSchema = exchanges("redis_events", &[text("req_cmd"), text("req_args"), text("resp")]);

/// Cassandra's CQL.
pub const CQL_EVENTS: TableSchema = exchanges(
    "cql_events",
    &[
        decoded("req_op", "kCQLReqOpDecoder"),
        text("req_body"),
        decoded("resp_op", "kCQLRespOpDecoder"),
        text("resp_body"),
    ],
);

/// Kafka.
pub const KAFKA_EVENTS: TableSchema = TableSchema {
    extensions: &[number("api_version"), text("topics"), text("error")],
    ..exchanges(
        "kafka_events.beta",
        &[decoded("req_cmd", "kKafkaAPIKeyDecoder"), text("client_id"), text("req_body"), text("resp")],
    )
};

/// MongoDB.
pub const MONGODB_EVENTS: TableSchema =
    exchanges("mongodb_events", &[text("req_cmd"), text("req_body"), text("resp_status"), text("resp_body")]);

/// AMQP 0.9.1.
pub const AMQP_EVENTS: TableSchema = exchanges(
    "amqp_events",
    &[
        number("frame_type"),
        number("channel"),
        number("req_class_id"),
        number("req_method_id"),
        number("resp_class_id"),
        number("resp_method_id"),
        text("req_msg"),
        text("resp_msg"),
    ],
);

/// Mux.
pub const MUX_EVENTS: TableSchema = exchanges("mux_events", &[number("req_type")]);

/// NATS, whose messages have no latency.
pub const NATS_EVENTS: TableSchema = TableSchema {
    timing: &[],
    aliases: &[],
    ..exchanges("nats_events.beta", &[text("cmd"), text("body"), text("resp")])
};

/// TLS handshakes. They lack the column `encrypted`.
pub const TLS_EVENTS: TableSchema = TableSchema {
    aliases: &[LATENCY_NS],
    ..TableSchema::plain(
        "tls_events",
        &[
            TIME,
            UPID,
            REMOTE_ADDR,
            REMOTE_PORT,
            LOCAL_ADDR,
            LOCAL_PORT,
            TRACE_ROLE,
            number("req_type"),
            text("req_body"),
            text("resp_body"),
            duration("latency"),
        ],
    )
};

/// Pixie defines this table and never fills it: HTTP/2 is in `http_events`.
pub const HTTP2_MESSAGES: TableSchema = TableSchema::plain(
    "http2_messages.beta",
    &[
        TIME,
        UPID,
        REMOTE_ADDR,
        REMOTE_PORT,
        TRACE_ROLE,
        number("stream_id"),
        text("headers"),
        text("body"),
        size("body_size"),
    ],
);
