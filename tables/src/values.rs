//! The values of a protocol's own columns, and the three that stand for them where all protocols share a list.

use std::{borrow::Cow, collections::BTreeMap};

use trilobite_protocols::{
    DnsFields, Fields, HttpFields, KafkaFields, MysqlFields, MysqlStatus, Name, PgsqlFields, RedisFields,
    kafka_api_name, kafka_error_name, mysql_command_name,
};
use trilobite_untrusted_text::prefix;
use trilobite_worker_wire::TRUNCATED;

use crate::{
    table::Table,
    value::{Value, to_int},
};

/// Bytes of the longest text in a column, bodies excepted, whose length the profile chooses.
const TEXT_MAX: usize = 4096;

/// Status of a request that has no answer.
const NO_ANSWER: &str = "-";
/// Status of an answer that is not read.
const UNKNOWN: &str = "?";
/// Kafka's name for none.
const NO_ERROR: &str = "NONE";

/// Stands for a number that is not known: columns have no nulls.
const UNKNOWN_NUMBER: i64 = -1;

/// Numbers of columns of `http_events` behind `Table::OWN`, and of our own ones of it.
const MAJOR_VERSION: usize = 0;
const STATUS: usize = 9;
const GRPC_STATUS: usize = 13;

/// What a list of requests shows of a row, whatever its protocol.
pub(crate) struct Summary<'a> {
    pub(crate) status: String,
    pub(crate) operation: &'a str,
    pub(crate) target: &'a str,
}

/// The table's own columns and our extensions of it, in order.
pub(crate) fn values(fields: Fields) -> (Table, Vec<Value>) {
    match fields {
        Fields::Http(http) => (Table::Http, http_values(http)),
        Fields::Pgsql(pgsql) => (Table::Pgsql, pgsql_values(pgsql)),
        Fields::Redis(redis) => (Table::Redis, redis_values(redis)),
        Fields::Dns(dns) => (Table::Dns, dns_values(dns)),
        Fields::Mysql(mysql) => (Table::Mysql, mysql_values(mysql)),
        Fields::Kafka(kafka) => (Table::Kafka, kafka_values(kafka)),
    }
}

fn http_values(http: HttpFields) -> Vec<Value> {
    vec![
        Value::Int(http.major.into()),
        Value::Int(http.minor.into()),
        Value::Int(http.content_type.into()),
        Value::Text(headers(&http.request_headers)),
        cut(http.method),
        cut(http.path),
        Value::Text(http.request_body),
        count_or_unknown(http.request_body_bytes),
        Value::Text(headers(&http.response_headers)),
        Value::Int(http.status.map_or(UNKNOWN_NUMBER, i64::from)),
        cut(http.reason),
        Value::Text(http.response_body),
        count_or_unknown(http.response_body_bytes),
        Value::Text(http.grpc_status.unwrap_or_default()),
        count_or_unknown(http.request_messages),
        count_or_unknown(http.response_messages),
    ]
}

fn pgsql_values(pgsql: PgsqlFields) -> Vec<Value> {
    vec![cut(pgsql.command), cut(pgsql.statement), cut(pgsql.response), cut(pgsql.error_code), count(pgsql.rows)]
}

fn redis_values(redis: RedisFields) -> Vec<Value> {
    vec![cut(redis.command), cut(redis.arguments), cut(redis.response)]
}

fn dns_values(dns: DnsFields) -> Vec<Value> {
    vec![
        cut(dns.request_header),
        cut(dns.request_body),
        cut(dns.response_header),
        cut(dns.response_body),
        cut(dns.name),
        cut(dns.kind),
        cut(dns.rcode),
    ]
}

fn mysql_values(mysql: MysqlFields) -> Vec<Value> {
    let error_code = if mysql.error_code == 0 { String::new() } else { mysql.error_code.to_string() };
    vec![
        Value::Int(mysql.command.into()),
        cut(mysql.text),
        Value::Int(mysql.status as i64),
        cut(mysql.response),
        Value::Text(error_code),
        cut(mysql.sql_state),
        count(mysql.rows),
    ]
}

fn kafka_values(kafka: KafkaFields) -> Vec<Value> {
    let error = match (kafka.is_answered, kafka.error) {
        (false, _) => NO_ANSWER.to_owned(),
        (true, None) => UNKNOWN.to_owned(),
        (true, Some(code)) => kafka_error_name(code),
    };
    vec![
        Value::Int(kafka.api_key.into()),
        cut(kafka.client_id),
        cut(kafka.request),
        cut(kafka.response),
        Value::Int(kafka.api_version.into()),
        cut(kafka.target),
        Value::Text(error),
    ]
}

fn count(number: u64) -> Value {
    Value::Int(to_int(number))
}

fn count_or_unknown(number: Option<u64>) -> Value {
    number.map_or(Value::Int(UNKNOWN_NUMBER), count)
}

/// A text of at most `TEXT_MAX` bytes.
fn cut(mut text: String) -> Value {
    if text.len() > TEXT_MAX {
        let kept = prefix(&text, TEXT_MAX - TRUNCATED.len()).len();
        text.truncate(kept);
        text.push_str(TRUNCATED);
    }
    text.shrink_to_fit();
    Value::Text(text)
}

/// Headers as a JSON object, sorted by name. Values of equal names are joined, as RFC 9110 section 5.2 permits. Headers that do
/// not fit are left out, so that the text stays JSON.
fn headers(headers: &[(String, String)]) -> String {
    let mut joined: BTreeMap<&str, Cow<'_, str>> = BTreeMap::new();
    let mut used = 0;
    let mut complete = true;
    for (name, value) in headers {
        used += name.len() + value.len() + r#""":"","#.len();
        if used > TEXT_MAX {
            complete = false;
            break;
        }
        match joined.get_mut(name.as_str()) {
            Some(values) => *values = format!("{values}, {value}").into(),
            None => drop(joined.insert(name, value.into())),
        }
    }
    if !complete {
        joined.insert("...", TRUNCATED.trim_start_matches("... ").into());
    }
    serde_json::to_string(&joined).unwrap_or_default()
}

/// Status, operation and target of a row with these values.
pub(crate) fn summary(table: Table, values: &[Value], is_error: bool) -> Summary<'_> {
    let text = |index: usize| values.get(index).and_then(Value::text).unwrap_or_default();
    let number = |index: usize| match values.get(index) {
        Some(Value::Int(number)) => *number,
        _ => 0,
    };
    let (status, operation, target) = match table {
        Table::Http => (http_status(values), text(4), text(5)),
        Table::Pgsql => (succeeded_or(text(3), is_error), text(0), text(1)),
        Table::Redis => {
            let first_word = text(2).trim_start_matches(['-', '!']).split_whitespace().next();
            (succeeded_or(first_word.unwrap_or_default(), is_error), text(0), text(1))
        }
        Table::Dns => (text(6).to_owned(), text(5), text(4)),
        Table::Kafka => {
            let status = if text(6) == NO_ERROR { "OK" } else { text(6) };
            (status.to_owned(), kafka_api_name(number(0)), text(5))
        }
        Table::Mysql => {
            let is_answered = number(2) != MysqlStatus::None as i64;
            let status = if is_answered { succeeded_or(text(4), is_error) } else { NO_ANSWER.to_owned() };
            (status, mysql_command_name(u8::try_from(number(0)).unwrap_or_default()), text(1))
        }
    };
    Summary { status, operation, target }
}

/// Columns that `summary` shows: they are not repeated among the others.
pub(crate) fn is_in_summary(table: Table, name: &str) -> bool {
    match table {
        Table::Http => matches!(name, "req_method" | "req_path"),
        Table::Pgsql => matches!(name, "req_cmd" | "req"),
        Table::Redis => matches!(name, "req_cmd" | "req_args"),
        Table::Dns => matches!(name, "query_name" | "query_type" | "rcode"),
        Table::Mysql => name == "req_body",
        Table::Kafka => name == "topics",
    }
}

/// Of a gRPC call the name of its status, else the number of HTTP's.
fn http_status(values: &[Value]) -> String {
    match (values.get(GRPC_STATUS).and_then(Value::text), values.get(STATUS)) {
        (Some(grpc), _) if !grpc.is_empty() => grpc.to_owned(),
        (_, Some(Value::Int(UNKNOWN_NUMBER)) | None) => UNKNOWN.to_owned(),
        (_, Some(status)) => status.to_string(),
    }
}

/// The protocol of a row of `http_events`.
pub(crate) fn http_protocol(major_version: i64, grpc_status: &str) -> Name {
    match (major_version, grpc_status) {
        (2, "") => Name::Http2,
        (2, _) => Name::Grpc,
        _ => Name::Http,
    }
}

/// The protocol of a row with these values.
pub(crate) fn protocol(table: Table, values: &[Value]) -> Name {
    match (table, values.get(MAJOR_VERSION), values.get(GRPC_STATUS)) {
        (Table::Http, Some(Value::Int(major)), Some(Value::Text(status))) => http_protocol(*major, status),
        _ => table.protocol(),
    }
}

/// Columns that stand in every row of a table and say something of this one, with their texts.
pub(crate) fn shown(table: Table, protocol: Name, name: &str, value: Value) -> Option<String> {
    match (table, name, value) {
        (Table::Http, "grpc_status" | "req_messages" | "resp_messages", _) if protocol != Name::Grpc => None,
        // The status that a gRPC call's summary does not show.
        (Table::Http, "resp_status", _) if protocol != Name::Grpc => None,
        (Table::Http, "grpc_status", _) => None,
        (
            Table::Http,
            "req_messages" | "resp_messages" | "req_body_size" | "resp_body_size" | "resp_status",
            Value::Int(UNKNOWN_NUMBER),
        ) => Some("?".to_owned()),
        (_, _, value) => Some(value.into_text()),
    }
}

fn succeeded_or(error: &str, is_error: bool) -> String {
    match (is_error, error) {
        (false, _) => "OK",
        (true, "") => "ERROR",
        (true, error) => error,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> HttpFields {
        HttpFields { method: "GET".into(), path: "/cart".into(), status: Some(404), ..HttpFields::default() }
    }

    /// The value of a column of the table's own, or of our extensions of it.
    fn value(fields: Fields, name: &str) -> Value {
        let (table, values) = values(fields);
        let columns: Vec<_> = table.schema().own.iter().chain(table.schema().extensions).collect();
        assert_eq!(columns.len(), values.len());
        values[columns.iter().position(|column| column.name == name).unwrap()].clone()
    }

    #[test]
    fn each_field_stands_in_its_column() {
        let fields = HttpFields { response_body_bytes: Some(9), reason: "Not Found".into(), minor: 1, ..http() };
        let column = |name| value(Fields::Http(fields.clone()), name);
        assert_eq!(column("resp_body_size"), Value::Int(9));
        assert_eq!(column("resp_message"), Value::Text("Not Found".into()));
        assert_eq!((column("minor_version"), column("resp_status")), (Value::Int(1), Value::Int(404)));
        let pgsql = PgsqlFields { statement: "SELECT ?".into(), rows: 3, ..PgsqlFields::default() };
        assert_eq!(value(Fields::Pgsql(pgsql.clone()), "req"), Value::Text("SELECT ?".into()));
        assert_eq!(value(Fields::Pgsql(pgsql), "rows"), Value::Int(3));
        let redis = RedisFields { arguments: "cart:7".into(), ..RedisFields::default() };
        assert_eq!(value(Fields::Redis(redis), "req_args"), Value::Text("cart:7".into()));
        let dns = DnsFields { rcode: "NXDOMAIN".into(), response_body: "{}".into(), ..DnsFields::default() };
        assert_eq!(value(Fields::Dns(dns.clone()), "rcode"), Value::Text("NXDOMAIN".into()));
        assert_eq!(value(Fields::Dns(dns), "resp_body"), Value::Text("{}".into()));
        let mysql = MysqlFields { command: 3, status: MysqlStatus::Error, error_code: 1146, ..MysqlFields::default() };
        let column = |name| value(Fields::Mysql(mysql.clone()), name);
        assert_eq!((column("req_cmd"), column("resp_status")), (Value::Int(3), Value::Int(3)));
        assert_eq!(column("error_code"), Value::Text("1146".into()));
    }

    #[test]
    fn rows_of_http2_say_their_protocol_and_what_is_unknown() {
        let http2 = HttpFields { major: 2, status: None, ..http() };
        let grpc = HttpFields { grpc_status: Some("NOT_FOUND".into()), request_messages: Some(2), ..http2.clone() };
        let shown_of = |fields: HttpFields| {
            let (table, values) = values(Fields::Http(fields));
            let (protocol, status) = (protocol(table, &values), summary(table, &values, false).status);
            let columns = table.schema().own.iter().chain(table.schema().extensions).zip(values);
            let columns =
                columns.filter_map(|(column, value)| Some((column.name, shown(table, protocol, column.name, value)?)));
            let columns: BTreeMap<&str, String> = columns.collect();
            let column = |name| columns.get(name).map_or("-", String::as_str).to_owned();
            (
                protocol,
                [
                    status,
                    column("resp_status"),
                    column("req_messages"),
                    column("resp_messages"),
                    column("resp_body_size"),
                ],
            )
        };
        assert_eq!(shown_of(http()), (Name::Http, ["404", "-", "-", "-", "?"].map(str::to_owned)));
        assert_eq!(shown_of(http2), (Name::Http2, ["?", "-", "-", "-", "?"].map(str::to_owned)));
        assert_eq!(shown_of(grpc), (Name::Grpc, ["NOT_FOUND", "?", "2", "?", "?"].map(str::to_owned)));
    }

    #[test]
    fn columns_of_the_summary_exist_in_their_table() {
        let samples = [
            Fields::Http(http()),
            Fields::Pgsql(PgsqlFields { command: "Query".into(), statement: "SELECT ?".into(), ..Default::default() }),
            Fields::Redis(RedisFields { command: "GET".into(), arguments: "cart".into(), response: "ERR no".into() }),
            Fields::Dns(DnsFields {
                name: "a.b".into(),
                kind: "A".into(),
                rcode: "NOERROR".into(),
                ..Default::default()
            }),
            Fields::Mysql(MysqlFields {
                command: 3,
                text: "SELECT ?".into(),
                status: MysqlStatus::Ok,
                ..Default::default()
            }),
            Fields::Mysql(MysqlFields { command: 1, ..Default::default() }),
            Fields::Kafka(KafkaFields {
                api_key: 1,
                target: "orders".into(),
                is_answered: true,
                error: Some(0),
                ..Default::default()
            }),
            Fields::Kafka(KafkaFields { api_key: 36, is_answered: true, ..Default::default() }),
            Fields::Kafka(KafkaFields { target: "orders".into(), ..Default::default() }),
        ];
        let shown = samples.map(|fields| {
            let (table, values) = values(fields);
            let Summary { status, operation, target } = summary(table, &values, table == Table::Redis);
            format!("{status} {operation} {target}")
        });
        assert_eq!(
            shown,
            [
                "404 GET /cart",
                "OK Query SELECT ?",
                "ERR GET cart",
                "NOERROR A a.b",
                "OK Query SELECT ?",
                "- Quit ",
                "OK Fetch orders",
                "? SaslAuthenticate ",
                "- Produce orders"
            ]
        );
    }

    #[test]
    fn long_text_ends_with_a_mark_and_cuts_no_character() {
        let Value::Text(path) = value(Fields::Http(HttpFields { path: "é".repeat(9000), ..http() }), "req_path")
        else {
            panic!("a path is a text")
        };
        assert!(path.len() <= TEXT_MAX && path.len() > TEXT_MAX - 4 && path.ends_with(TRUNCATED));
    }

    #[test]
    fn headers_are_json_also_where_they_are_cut() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let short = headers(&[pair("Via", "b\"1"), pair("Accept", "a"), pair("Via", "2")]);
        assert_eq!(short, r#"{"Accept":"a","Via":"b\"1, 2"}"#);
        let long = headers(&[pair("A", "1"), pair("B", &"x".repeat(TEXT_MAX))]);
        assert_eq!(long, r#"{"...":"[TRUNCATED]","A":"1"}"#);
    }
}
