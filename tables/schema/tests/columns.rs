//! Every table beside a list of its columns.

#![allow(clippy::unwrap_used)]

use trilobite_schema::{ALL, ColumnType, SemanticType, find};

/// The columns of a table as `name TYPE[/SEMANTIC]`, in order.
fn described(table: &str) -> String {
    let columns = find(table).unwrap().columns().map(|column| match column.semantic {
        SemanticType::None => format!("{} {}", column.name, column.kind.name()),
        semantic => format!("{} {}/{}", column.name, column.kind.name(), semantic.name()),
    });
    columns.collect::<Vec<_>>().join(", ")
}

fn lists() -> Vec<(&'static str, String)> {
    let connection = "time_ TIME64NS, upid UINT128/ST_UPID, remote_addr STRING/ST_IP_ADDRESS, remote_port INT64/ST_PORT, \
                      local_addr STRING/ST_IP_ADDRESS, local_port INT64/ST_PORT, trace_role INT64, encrypted BOOLEAN";
    let mut lists = Vec::new();
    for line in include_str!("columns.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (table, columns) = line.split_once(": ").unwrap();
        lists.push((table, columns.replace("CONNECTION", connection)));
    }
    lists
}

#[test]
fn columns_have_the_names_types_meanings_and_order_of_the_list() {
    for (table, columns) in lists() {
        assert_eq!(described(table), columns, "{table}");
    }
}

#[test]
fn each_table_is_in_the_list_once() {
    let mut listed: Vec<&str> = lists().iter().map(|(table, _)| *table).collect();
    let mut tables: Vec<&str> = ALL.iter().map(|table| table.name).collect();
    listed.sort_unstable();
    tables.sort_unstable();
    assert_eq!(tables, listed);
}

#[test]
fn numbers_that_stand_for_names_name_their_decoder() {
    let decoders: Vec<String> = ALL
        .iter()
        .flat_map(|table| table.columns().map(move |column| (table.name, column)))
        .filter_map(|(table, column)| column.decoder.map(|decoder| format!("{table}.{} {decoder}", column.name)))
        .collect();
    let expected = [
        "http_events.content_type kHTTPContentTypeDecoder",
        "conn_stats.addr_family kSockAddrFamilyDecoder",
        "conn_stats.protocol kTrafficProtocolDecoder",
        "mysql_events.req_cmd kMySQLReqCmdDecoder",
        "mysql_events.resp_status kMySQLRespStatusDecoder",
        "cql_events.req_op kCQLReqOpDecoder",
        "cql_events.resp_op kCQLRespOpDecoder",
        "kafka_events.beta.req_cmd kKafkaAPIKeyDecoder",
    ];
    assert_eq!(decoders, expected);
}

#[test]
fn no_table_has_two_columns_of_one_name() {
    for table in ALL {
        let names = table.columns().chain(table.unlisted()).map(|column| column.name);
        let mut names: Vec<&str> = names.chain(table.aliases.iter().map(|(alias, _)| *alias)).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{}", table.name);
    }
}

#[test]
fn aliases_lead_to_a_column_of_their_table() {
    for table in ALL {
        for (alias, column) in table.aliases {
            assert!(table.columns().any(|known| known.name == *column), "{}.{alias}", table.name);
        }
    }
}

#[test]
fn numbers_of_types_are_those_of_pixies_protocol() {
    let types = [ColumnType::Boolean, ColumnType::Int64, ColumnType::UInt128, ColumnType::Float64, ColumnType::String];
    assert_eq!(types.map(ColumnType::number), [1, 2, 3, 4, 5]);
    assert_eq!(ColumnType::Time64Ns.number(), 6);
    let numbers: Vec<i32> = SemanticType::ALL.iter().map(|semantic| semantic.number()).collect();
    assert!(numbers.is_sorted() && numbers.len() == 27, "{numbers:?}");
    assert_eq!((SemanticType::Upid.number(), SemanticType::ScriptReference.number()), (200, 3000));
}
