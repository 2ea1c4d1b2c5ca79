//! The values of a protocol's own columns, and the three that stand for them where all protocols share a list.

use std::{borrow::Cow, collections::BTreeMap};

use trilobite_protocols::{DnsFields, Fields, HttpFields, PgsqlFields, RedisFields};
use trilobite_untrusted_text::prefix;
use trilobite_worker_wire::TRUNCATED;

use crate::{
    table::Table,
    value::{Value, to_int},
};

/// Bytes of the longest text in a column, bodies excepted, whose length the profile chooses.
const TEXT_MAX: usize = 4096;

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
        count(http.request_body_bytes),
        Value::Text(headers(&http.response_headers)),
        Value::Int(http.status.into()),
        cut(http.reason),
        Value::Text(http.response_body),
        count(http.response_body_bytes),
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

fn count(number: u64) -> Value {
    Value::Int(to_int(number))
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
    let (status, operation, target) = match table {
        Table::Http => (values.get(9).map(Value::to_string).unwrap_or_default(), text(4), text(5)),
        Table::Pgsql => (succeeded_or(text(3), is_error), text(0), text(1)),
        Table::Redis => {
            let first_word = text(2).trim_start_matches(['-', '!']).split_whitespace().next();
            (succeeded_or(first_word.unwrap_or_default(), is_error), text(0), text(1))
        }
        Table::Dns => (text(6).to_owned(), text(5), text(4)),
    };
    Summary { status, operation, target }
}

/// Columns that `summary` shows: they are not repeated among the others.
pub(crate) fn is_in_summary(table: Table, name: &str) -> bool {
    match table {
        Table::Http => matches!(name, "req_method" | "req_path" | "resp_status"),
        Table::Pgsql => matches!(name, "req_cmd" | "req"),
        Table::Redis => matches!(name, "req_cmd" | "req_args"),
        Table::Dns => matches!(name, "query_name" | "query_type" | "rcode"),
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
        HttpFields { method: "GET".into(), path: "/cart".into(), status: 404, ..HttpFields::default() }
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
        let fields = HttpFields { response_body_bytes: 9, reason: "Not Found".into(), minor: 1, ..http() };
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
        ];
        let shown = samples.map(|fields| {
            let (table, values) = values(fields);
            let Summary { status, operation, target } = summary(table, &values, table == Table::Redis);
            format!("{status} {operation} {target}")
        });
        assert_eq!(shown, ["404 GET /cart", "OK Query SELECT ?", "ERR GET cart", "NOERROR A a.b"]);
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
