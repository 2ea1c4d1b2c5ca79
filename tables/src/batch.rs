//! Rows of one table as an Arrow batch, and back.

use std::sync::{Arc, OnceLock};

use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
    builder::StringBuilder,
    cast::AsArray,
    types::{Int64Type, TimestampNanosecondType},
};
use arrow_buffer::Buffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use trilobite_protocols::{Name, Role};
use trilobite_schema::{ColumnType, EXTENSIONS};

use crate::{
    row::{ConnectionFacts, Row, address_text, endpoint, port_number, role_number},
    table::Table,
    upid::Upid,
    value::{Value, to_int},
    values::http_protocol,
};

/// Bytes of a column beside its values: its buffers' and its own reference counts.
const COLUMN_OVERHEAD: usize = 160;

/// The columns of a batch: Pixie's, then `EXTENSIONS`, then our extensions of this table.
fn arrow_schema(table: Table) -> SchemaRef {
    static SCHEMAS: [OnceLock<SchemaRef>; Table::ALL.len()] = [const { OnceLock::new() }; Table::ALL.len()];
    let build = || {
        let columns = table.schema().columns().chain(&EXTENSIONS).chain(table.schema().extensions);
        let fields: Vec<Field> = columns.map(|column| Field::new(column.name, data_type(column.kind), false)).collect();
        Arc::new(Schema::new(fields))
    };
    SCHEMAS[table as usize].get_or_init(build).clone()
}

fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Int64 => DataType::Int64,
        ColumnType::UInt128 => DataType::FixedSizeBinary(16),
        ColumnType::Float64 => DataType::Float64,
        ColumnType::String => DataType::Utf8,
        ColumnType::Time64Ns => DataType::Timestamp(TimeUnit::Nanosecond, None),
    }
}

/// The batch of these rows, which are all of this table.
pub(crate) fn build(table: Table, rows: &[&Row]) -> Result<RecordBatch, ArrowError> {
    let schema = table.schema();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from(rows.iter().map(|row| to_int(row.started)).collect::<Vec<_>>())),
        processes(rows)?,
        texts(rows, |row| address_text(row.facts.remote)),
        numbers(rows, |row| port_number(row.facts.remote)),
        texts(rows, |row| address_text(row.facts.local)),
        numbers(rows, |row| port_number(row.facts.local)),
        numbers(rows, |row| role_number(row.facts.role)),
        truths(rows, |row| row.facts.encrypted),
    ];
    columns.extend((0..schema.own.len()).map(|index| own_column(rows, index)));
    columns.extend([
        numbers(rows, |row| to_int(row.latency)),
        numbers(rows, |row| to_int(row.sequence)),
        numbers(rows, |row| row.facts.cgroup.cast_signed()),
        numbers(rows, |row| row.facts.connection.cast_signed()),
        truths(rows, |row| row.is_error),
        truths(rows, |row| row.mid_stream),
        numbers(rows, |row| to_int(row.request_bytes)),
        numbers(rows, |row| to_int(row.response_bytes)),
    ]);
    let extensions = schema.own.len()..schema.own.len() + schema.extensions.len();
    columns.extend(extensions.map(|index| own_column(rows, index)));
    RecordBatch::try_new(arrow_schema(table), columns)
}

/// Bytes that a batch takes.
pub(crate) fn memory(batch: &RecordBatch) -> usize {
    batch.get_array_memory_size() + batch.num_columns() * COLUMN_OVERHEAD
}

fn numbers(rows: &[&Row], value: impl Fn(&Row) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from(rows.iter().map(|row| value(row)).collect::<Vec<_>>()))
}

fn truths(rows: &[&Row], value: impl Fn(&Row) -> bool) -> ArrayRef {
    Arc::new(BooleanArray::from(rows.iter().map(|row| value(row)).collect::<Vec<_>>()))
}

fn texts<'a, T: AsRef<str>>(rows: &[&'a Row], value: impl Fn(&'a Row) -> T) -> ArrayRef {
    let texts: Vec<T> = rows.iter().copied().map(value).collect();
    let bytes = texts.iter().map(|text| text.as_ref().len()).sum();
    let mut builder = StringBuilder::with_capacity(texts.len(), bytes);
    texts.iter().for_each(|text| builder.append_value(text));
    Arc::new(builder.finish())
}

fn processes(rows: &[&Row]) -> Result<ArrayRef, ArrowError> {
    let bytes: Vec<u8> = rows.iter().flat_map(|row| row.facts.process.to_bytes()).collect();
    Ok(Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None)?))
}

/// A column whose values are texts in every row or in none, as `values` makes them.
fn own_column(rows: &[&Row], index: usize) -> ArrayRef {
    match rows.first().and_then(|row| row.values.get(index)) {
        Some(Value::Text(_)) => texts(rows, |row| row.values.get(index).and_then(Value::text).unwrap_or_default()),
        _ => numbers(rows, |row| match row.values.get(index) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        }),
    }
}

/// What a filter asks of the rows of a batch.
pub(crate) struct FilterColumns<'a> {
    pub(crate) started: &'a [i64],
    pub(crate) latency: &'a [i64],
    pub(crate) sequence: &'a [i64],
    pub(crate) cgroup: &'a [i64],
    pub(crate) is_error: &'a BooleanArray,
    /// Version and gRPC status of rows of HTTP.
    http: Option<(&'a [i64], &'a StringArray)>,
}

impl<'a> FilterColumns<'a> {
    /// None if the batch is not of this table.
    pub(crate) fn get(table: Table, batch: &'a RecordBatch) -> Option<Self> {
        let number = |index: usize| Some(&batch.columns().get(index)?.as_primitive_opt::<Int64Type>()?.values()[..]);
        let extension = table.extension();
        Some(Self {
            started: batch.columns().first()?.as_primitive_opt::<TimestampNanosecondType>()?.values(),
            latency: number(table.latency())?,
            sequence: number(extension)?,
            cgroup: number(extension + 1)?,
            is_error: batch.columns().get(extension + 3)?.as_boolean_opt()?,
            http: match table {
                Table::Http => {
                    let grpc_status = batch.columns().get(table.own_extension())?.as_string_opt()?;
                    Some((number(Table::OWN)?, grpc_status))
                }
                _ => None,
            },
        })
    }

    /// The protocol of a row of this table.
    pub(crate) fn protocol(&self, table: Table, index: usize) -> Name {
        self.http.map_or(table.protocol(), |(major, grpc_status)| http_protocol(major[index], grpc_status.value(index)))
    }
}

/// The row at this index; none if the batch is not of this table.
pub(crate) fn read(table: Table, batch: &RecordBatch, index: usize) -> Option<Row> {
    let column = |at: usize| batch.columns().get(at);
    let int = |at: usize| Some(column(at)?.as_primitive_opt::<Int64Type>()?.value(index));
    let number = |at: usize| int(at).map(i64::cast_unsigned);
    let text = |at: usize| Some(column(at)?.as_string_opt::<i32>()?.value(index));
    let truth = |at: usize| Some(column(at)?.as_boolean_opt()?.value(index));
    let value = |at: usize| text(at).map(|text| Value::Text(text.to_owned())).or_else(|| int(at).map(Value::Int));
    if index >= batch.num_rows() {
        return None;
    }
    let (latency, extension, own_extension) = (table.latency(), table.extension(), table.own_extension());
    let process: [u8; 16] = column(1)?.as_fixed_size_binary_opt()?.value(index).try_into().ok()?;
    Some(Row {
        sequence: number(extension)?,
        table,
        facts: ConnectionFacts {
            process: Upid::from_bytes(process),
            cgroup: number(extension + 1)?,
            connection: number(extension + 2)?,
            local: endpoint(text(4)?, int(5)?),
            remote: endpoint(text(2)?, int(3)?),
            role: if int(6)? == role_number(Role::Client) { Role::Client } else { Role::Server },
            encrypted: truth(7)?,
        },
        started: column(0)?.as_primitive_opt::<TimestampNanosecondType>()?.value(index).cast_unsigned(),
        latency: number(latency)?,
        request_bytes: number(extension + 5)?,
        response_bytes: number(extension + 6)?,
        is_error: truth(extension + 3)?,
        mid_stream: truth(extension + 4)?,
        values: (Table::OWN..latency).chain(own_extension..batch.num_columns()).map(value).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use trilobite_protocols::{
        DnsFields, Exchange, Fields, HttpFields, KafkaFields, MysqlFields, PgsqlFields, RedisFields,
    };

    use super::*;

    fn facts() -> ConnectionFacts {
        ConnectionFacts {
            process: Upid { asid: 0, pid: 4321, start: 77 },
            cgroup: u64::MAX - 3,
            connection: 0xdead_beef_0000_0001,
            local: "10.0.0.7:8080".parse().ok(),
            remote: None,
            role: Role::Server,
            encrypted: true,
        }
    }

    fn row(sequence: u64, fields: Fields) -> Row {
        let exchange = Exchange {
            started: 1_000,
            asked: 2_000,
            ended: 9_000,
            request_bytes: 83,
            response_bytes: 1200,
            is_error: sequence % 2 == 1,
            mid_stream: true,
            fields,
        };
        Row { sequence, ..Row::new(facts(), exchange) }
    }

    fn each_table() -> [Row; 6] {
        let http =
            HttpFields { method: "GET".into(), path: "/cart".into(), status: Some(503), ..HttpFields::default() };
        let pgsql = PgsqlFields { command: "Query".into(), rows: 3, ..PgsqlFields::default() };
        let redis = RedisFields { command: "GET".into(), arguments: "cart:7".into(), response: "bulk".into() };
        let dns = DnsFields { name: "db.shop".into(), rcode: "NOERROR".into(), ..DnsFields::default() };
        let mysql = MysqlFields { command: 3, text: "SELECT ?".into(), rows: 2, ..MysqlFields::default() };
        [
            row(1, Fields::Http(http)),
            row(2, Fields::Pgsql(pgsql)),
            row(3, Fields::Redis(redis)),
            row(4, Fields::Dns(dns)),
            row(5, Fields::Mysql(mysql)),
            row(6, Fields::Kafka(KafkaFields { target: "orders".into(), ..KafkaFields::default() })),
        ]
    }

    #[test]
    fn rows_of_each_table_come_back_from_a_batch() {
        for row in each_table() {
            let second = Row { sequence: 9, facts: ConnectionFacts { role: Role::Client, ..facts() }, ..row.clone() };
            let batch = build(row.table, &[&row, &second]).unwrap();
            assert_eq!(read(row.table, &batch, 0), Some(row.clone()));
            assert_eq!(read(row.table, &batch, 1), Some(second));
            assert_eq!(read(row.table, &batch, 2), None);
        }
    }

    #[test]
    fn batch_begins_with_pixies_columns_in_their_order() {
        for row in each_table() {
            let batch = build(row.table, &[&row]).unwrap();
            let schema = batch.schema();
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let pixie: Vec<&str> = row.table.schema().columns().map(|column| column.name).collect();
            assert_eq!(names[..pixie.len()], pixie);
            assert_eq!(names[row.table.latency()], "latency");
            assert_eq!(names[row.table.extension()], "sequence");
        }
    }

    #[test]
    fn batch_of_another_table_is_no_row() {
        let [http, _, redis, ..] = each_table();
        let batch = build(redis.table, &[&redis]).unwrap();
        assert_eq!(read(http.table, &batch, 0), None);
        assert!(FilterColumns::get(http.table, &batch).is_none());
    }
}
