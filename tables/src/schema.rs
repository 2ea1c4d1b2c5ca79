//! Pixie's tables as data: name, type, meaning and value decoder of each column.

/// The types that columns have. There are no nulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// BOOLEAN.
    Boolean,
    /// INT64.
    Int64,
    /// UINT128.
    UInt128,
    /// STRING.
    String,
    /// TIME64NS; here of the boot clock.
    Time64Ns,
}

/// What a value means, beside its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SemanticType {
    /// Nothing beside its type.
    None,
    /// ST_UPID.
    Upid,
    /// ST_IP_ADDRESS.
    IpAddress,
    /// ST_PORT.
    Port,
    /// ST_HTTP_REQ_METHOD.
    HttpRequestMethod,
    /// ST_HTTP_RESP_STATUS.
    HttpResponseStatus,
    /// ST_HTTP_RESP_MESSAGE.
    HttpResponseMessage,
    /// ST_BYTES.
    Bytes,
    /// ST_DURATION_NS.
    DurationNs,
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnType,
    /// Its meaning.
    pub semantic: SemanticType,
    /// Pixie's decoder of its numbers, if they stand for names.
    pub decoder: Option<&'static str>,
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSchema {
    /// Its name.
    pub name: &'static str,
    /// The columns that all tables of exchanges begin with.
    pub connection: &'static [Column],
    /// The table's own columns.
    pub own: &'static [Column],
    /// The columns that all tables of exchanges end with.
    pub timing: &'static [Column],
    /// Our columns of this table, which Pixie's does not have. They stand behind `EXTENSIONS`.
    pub extensions: &'static [Column],
}

impl TableSchema {
    /// The columns as Pixie has them, in order.
    pub fn columns(&self) -> impl Iterator<Item = &'static Column> {
        self.connection.iter().chain(self.own).chain(self.timing)
    }
}

const fn column(name: &'static str, kind: ColumnType, semantic: SemanticType) -> Column {
    Column { name, kind, semantic, decoder: None }
}

const fn text(name: &'static str) -> Column {
    column(name, ColumnType::String, SemanticType::None)
}

const fn number(name: &'static str) -> Column {
    column(name, ColumnType::Int64, SemanticType::None)
}

const fn truth(name: &'static str) -> Column {
    column(name, ColumnType::Boolean, SemanticType::None)
}

const fn size(name: &'static str) -> Column {
    column(name, ColumnType::Int64, SemanticType::Bytes)
}

const fn decoded(name: &'static str, decoder: &'static str) -> Column {
    Column { decoder: Some(decoder), ..number(name) }
}

const TIME: Column = column("time_", ColumnType::Time64Ns, SemanticType::None);
const UPID: Column = column("upid", ColumnType::UInt128, SemanticType::Upid);
const REMOTE_ADDR: Column = column("remote_addr", ColumnType::String, SemanticType::IpAddress);
const REMOTE_PORT: Column = column("remote_port", ColumnType::Int64, SemanticType::Port);
const LOCAL_ADDR: Column = column("local_addr", ColumnType::String, SemanticType::IpAddress);
const LOCAL_PORT: Column = column("local_port", ColumnType::Int64, SemanticType::Port);
const TRACE_ROLE: Column = number("trace_role");

/// The columns that all tables of exchanges begin with.
pub(crate) const CONNECTION: [Column; 8] =
    [TIME, UPID, REMOTE_ADDR, REMOTE_PORT, LOCAL_ADDR, LOCAL_PORT, TRACE_ROLE, truth("encrypted")];

const TIMING: [Column; 1] = [column("latency", ColumnType::Int64, SemanticType::DurationNs)];

/// Our columns of every table of exchanges, behind Pixie's. Keys of 64 bits are stored as INT64, bit by bit.
pub(crate) const EXTENSIONS: [Column; 7] = [
    number("sequence"),
    number("cgroup"),
    number("connection"),
    truth("is_error"),
    truth("mid_stream"),
    size("request_bytes"),
    size("response_bytes"),
];

pub(crate) const HTTP_EVENTS: TableSchema = TableSchema {
    name: "http_events",
    connection: &CONNECTION,
    own: &[
        number("major_version"),
        number("minor_version"),
        decoded("content_type", "kHTTPContentTypeDecoder"),
        text("req_headers"),
        column("req_method", ColumnType::String, SemanticType::HttpRequestMethod),
        text("req_path"),
        text("req_body"),
        size("req_body_size"),
        text("resp_headers"),
        column("resp_status", ColumnType::Int64, SemanticType::HttpResponseStatus),
        column("resp_message", ColumnType::String, SemanticType::HttpResponseMessage),
        text("resp_body"),
        size("resp_body_size"),
    ],
    timing: &TIMING,
    extensions: &[],
};

pub(crate) const PGSQL_EVENTS: TableSchema = TableSchema {
    name: "pgsql_events",
    connection: &CONNECTION,
    own: &[text("req_cmd"), text("req"), text("resp")],
    timing: &TIMING,
    extensions: &[text("error_code"), number("rows")],
};

pub(crate) const REDIS_EVENTS: TableSchema = TableSchema {
    name: "redis_events",
    connection: &CONNECTION,
    own: &[text("req_cmd"), text("req_args"), text("resp")],
    timing: &TIMING,
    extensions: &[],
};

pub(crate) const DNS_EVENTS: TableSchema = TableSchema {
    name: "dns_events",
    connection: &CONNECTION,
    own: &[text("req_header"), text("req_body"), text("resp_header"), text("resp_body")],
    timing: &TIMING,
    extensions: &[text("query_name"), text("query_type"), text("rcode")],
};

/// Connections and their bytes. No rows of it are made yet.
pub const CONN_STATS: TableSchema = TableSchema {
    name: "conn_stats",
    connection: &[],
    own: &[
        TIME,
        UPID,
        REMOTE_ADDR,
        REMOTE_PORT,
        TRACE_ROLE,
        decoded("addr_family", "kSockAddrFamilyDecoder"),
        decoded("protocol", "kTrafficProtocolDecoder"),
        truth("ssl"),
        number("conn_open"),
        number("conn_close"),
        number("conn_active"),
        size("bytes_sent"),
        size("bytes_recv"),
    ],
    timing: &[],
    extensions: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_as_many_columns_as_pixies() {
        let tables = [HTTP_EVENTS, PGSQL_EVENTS, REDIS_EVENTS, DNS_EVENTS, CONN_STATS];
        let counts = tables.map(|table| (table.name, table.columns().count()));
        let expected =
            [("http_events", 22), ("pgsql_events", 12), ("redis_events", 12), ("dns_events", 13), ("conn_stats", 13)];
        assert_eq!(counts, expected);
    }

    #[test]
    fn no_table_has_two_columns_of_one_name() {
        for table in [HTTP_EVENTS, PGSQL_EVENTS, REDIS_EVENTS, DNS_EVENTS, CONN_STATS] {
            let mut names: Vec<&str> =
                table.columns().chain(&EXTENSIONS).chain(table.extensions).map(|column| column.name).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{}", table.name);
        }
    }
}
