//! Rows as JSON objects, or as Kubernetes' tables if the client asks for them; alone in a watch, or together in a list.

use std::io::Write;

use serde::Serialize;

use super::{
    coverage::Coverage,
    object::{Kind, Row, append_head, append_text},
};
use crate::query::IncludeObject;

/// How a client wants its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Objects,
    Table(IncludeObject),
}

/// The annotation of a bookmark.
pub const COVERAGE_ANNOTATION: &str = "trilobite.dev/coverage";

impl Format {
    /// What the header Accept prefers: the first that can be served, as the API server does.
    pub fn of_accept(accept: &str, include: IncludeObject) -> Option<Self> {
        if accept.trim().is_empty() {
            return Some(Self::Objects);
        }
        accept.split(',').find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let parameter = |name: &str| {
                let named = range.split(';').skip(1).filter_map(|part| part.trim().split_once('='));
                named.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
            };
            if !matches!(media_type, "application/json" | "application/*" | "*/*") {
                return None;
            }
            match parameter("as").as_deref() {
                None => Some(Self::Objects),
                Some("Table") if parameter("v").as_deref() == Some("v1") => Some(Self::Table(include)),
                Some(_) => None,
            }
        })
    }
}

/// Appends one line of a watch: an event around what `append` writes.
pub fn append_event(event: &str, out: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>)) {
    // A Vec never refuses to be written to.
    let _ = write!(out, "{{\"type\":\"{event}\",\"object\":");
    append(out);
    out.extend_from_slice(b"}\n");
}

/// Appends one row of a watch, as an object or as a table of one row.
pub fn append_single(format: Format, kind: Kind, row: &Row, with_columns: bool, out: &mut Vec<u8>) {
    match format {
        Format::Objects => row.append(kind, out),
        Format::Table(include) => {
            let position = if row.metadata.is_position { row.metadata.time.to_string() } else { String::new() };
            append_table_head(&position, if with_columns { Some(kind) } else { None }, out);
            append_table_row(kind, row, include, out);
            out.extend_from_slice(b"]}");
        }
    }
}

/// The beginning of a list, up to its first item.
pub fn append_list_head(format: Format, kind: Kind, resource_version: &str, out: &mut Vec<u8>) {
    match format {
        Format::Objects => {
            append_head(kind.list(), out);
            append_list_metadata(resource_version, out);
            out.extend_from_slice(b",\"items\":[");
        }
        Format::Table(_) => append_table_head(resource_version, Some(kind), out),
    }
}

/// One item; `is_first` has no comma before it.
pub fn append_item(format: Format, kind: Kind, row: &Row, is_first: bool, out: &mut Vec<u8>) {
    if !is_first {
        out.push(b',');
    }
    match format {
        Format::Objects => row.append(kind, out),
        Format::Table(include) => append_table_row(kind, row, include, out),
    }
}

/// The end of a list. The coverage is known only now.
pub fn append_list_tail(coverage: &Coverage, out: &mut Vec<u8>) {
    out.extend_from_slice(b"],\"coverage\":");
    append_json(coverage, out);
    out.push(b'}');
}

/// The whole list.
pub fn list(format: Format, kind: Kind, resource_version: &str, rows: &[Row], coverage: &Coverage) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024 + rows.iter().map(|row| row.object.len() + 512).sum::<usize>());
    append_list_head(format, kind, resource_version, &mut out);
    for (at, row) in rows.iter().enumerate() {
        append_item(format, kind, row, at == 0, &mut out);
    }
    append_list_tail(coverage, &mut out);
    out
}

/// The object of a BOOKMARK, with the coverage as an annotation.
pub fn append_bookmark(format: Format, kind: Kind, resource_version: &str, coverage: &Coverage, out: &mut Vec<u8>) {
    let text = serde_json::to_string(coverage).unwrap_or_default();
    let metadata = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"{\"creationTimestamp\":null,\"resourceVersion\":");
        append_text(resource_version, out);
        out.extend_from_slice(b",\"annotations\":{");
        append_text(COVERAGE_ANNOTATION, out);
        out.push(b':');
        append_text(&text, out);
        out.extend_from_slice(b"}}");
    };
    match format {
        Format::Objects => {
            append_head(kind.as_str(), out);
            metadata(out);
            out.push(b'}');
        }
        Format::Table(_) => {
            append_table_head(resource_version, None, out);
            out.extend_from_slice(b"{\"cells\":[],\"object\":{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
            metadata(out);
            out.extend_from_slice(b"}}]}");
        }
    }
}

fn append_list_metadata(resource_version: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"resourceVersion\":");
    append_text(resource_version, out);
    out.push(b'}');
}

#[derive(Serialize)]
struct ColumnDefinition {
    name: &'static str,
    r#type: &'static str,
    format: &'static str,
    description: &'static str,
    priority: i32,
}

/// Up to the first row. Clients need the columns once.
fn append_table_head(resource_version: &str, columns_of: Option<Kind>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
    append_list_metadata(resource_version, out);
    out.extend_from_slice(b",\"columnDefinitions\":");
    let columns: Option<Vec<_>> = columns_of.map(|kind| {
        let definition = |column: &super::object::Column| ColumnDefinition {
            name: column.name,
            r#type: "string",
            format: if column.name == "Name" { "name" } else { "" },
            description: "",
            priority: column.priority,
        };
        kind.columns().iter().map(definition).collect()
    });
    append_json(&columns.unwrap_or_default(), out);
    out.extend_from_slice(b",\"rows\":[");
}

fn append_table_row(kind: Kind, row: &Row, include: IncludeObject, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"cells\":");
    append_json(&row.cells, out);
    match include {
        IncludeObject::None => out.extend_from_slice(b",\"object\":null}"),
        IncludeObject::Metadata => {
            out.extend_from_slice(
                b",\"object\":{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":",
            );
            row.metadata.append(out);
            out.extend_from_slice(b"}}");
        }
        IncludeObject::Object => {
            out.extend_from_slice(b",\"object\":");
            row.append(kind, out);
            out.push(b'}');
        }
    }
}

fn append_json(value: &impl Serialize, out: &mut Vec<u8>) {
    // Neither our types nor a Vec can fail here.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::object::Metadata, *};

    fn row(name: &str) -> Row {
        let metadata = Metadata {
            name: name.into(),
            namespace: "shop".into(),
            time: 7_000_000_000,
            is_position: true,
            labels: Vec::new(),
        };
        let cells = ["t", "alder", "a", "b", "to-endpoint", "FORWARDED", "SYN"].map(String::from).to_vec();
        Row { metadata, object: b"{}".to_vec(), cells }
    }

    fn parse(json: &[u8]) -> Value {
        serde_json::from_slice(json).unwrap()
    }

    #[test]
    fn accept_of_kubectl_is_a_table_and_of_curl_objects() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let format = |accept: &str| Format::of_accept(accept, IncludeObject::Metadata);
        assert_eq!(format(kubectl), Some(Format::Table(IncludeObject::Metadata)));
        for accept in ["", "*/*", "application/json", "application/vnd.kubernetes.protobuf, application/json"] {
            assert_eq!(format(accept), Some(Format::Objects), "{accept}");
        }
        assert_eq!(format("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"), None);
        assert_eq!(format("application/vnd.kubernetes.protobuf"), None);
    }

    #[test]
    fn list_of_objects_has_coverage_beside_its_items() {
        let list = parse(&list(Format::Objects, Kind::Flow, "9", &[row("a"), row("b")], &Coverage::default()));
        assert_eq!((&list["kind"], &list["metadata"]["resourceVersion"]), (&json!("FlowList"), &json!("9")));
        assert_eq!(list["items"].as_array().unwrap().len(), 2);
        assert_eq!(list["items"][1]["metadata"]["name"], "b");
        assert_eq!(list["coverage"]["nodes"]["asked"], 0);
        let empty = parse(&super::list(Format::Objects, Kind::Flow, "", &[], &Coverage::default()));
        assert_eq!(empty["items"], json!([]));
    }

    #[test]
    fn table_has_a_cell_for_each_column() {
        let table =
            parse(&list(Format::Table(IncludeObject::Metadata), Kind::Flow, "9", &[row("a")], &Coverage::default()));
        assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
        let columns = table["columnDefinitions"].as_array().unwrap();
        assert_eq!(columns.len(), table["rows"][0]["cells"].as_array().unwrap().len());
        assert_eq!(
            columns[1],
            json!({"name": "Node", "type": "string", "format": "", "description": "", "priority": 1})
        );
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["rows"][0]["object"]["metadata"]["namespace"], "shop");
    }

    #[test]
    fn table_carries_what_was_asked_for() {
        let object = |include| {
            let mut out = Vec::new();
            append_single(Format::Table(include), Kind::Flow, &row("a"), false, &mut out);
            let table = parse(&out);
            assert_eq!(table["columnDefinitions"], json!([]));
            table["rows"][0]["object"].clone()
        };
        assert_eq!(object(IncludeObject::None), Value::Null);
        assert_eq!(object(IncludeObject::Object)["kind"], "Flow");
    }

    #[test]
    fn bookmark_carries_coverage_in_both_formats() {
        for (format, path) in [
            (Format::Objects, "/metadata/annotations"),
            (Format::Table(IncludeObject::Metadata), "/rows/0/object/metadata/annotations"),
        ] {
            let mut out = Vec::new();
            append_bookmark(format, Kind::Flow, "12", &Coverage { lost: 3, ..Coverage::default() }, &mut out);
            let annotations = parse(&out).pointer(path).unwrap().clone();
            let coverage = parse(annotations[COVERAGE_ANNOTATION].as_str().unwrap().as_bytes());
            assert_eq!(coverage["lost"], 3);
        }
    }
}
