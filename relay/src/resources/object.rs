//! Objects of the read API: Kubernetes' frame around a line of Tetragon's, Hubble's or our own JSON.
//!
//! ```json
//! {"apiVersion":"read.trilobite.dev/v1alpha1","kind":"Flow",
//!  "metadata":{"name":"…","namespace":"…","creationTimestamp":"…","resourceVersion":"…","labels":{…}},
//!  "object":{…}}
//! ```
//! `object` of a RuntimeEvent is a line of `tetra getevents -o json` (GetEventsResponse), of a Flow a line of `hubble observe
//! -o jsonpb` (GetFlowsResponse), of a Request the JSON of our own `trilobite.requests.v1.Request`, of a Profile what
//! `profiles.rs` writes, of a NodeAnswer what `nodes.rs` writes.

use std::io::Write;

use jiff::Timestamp;
use trilobite_crds::read_api::{GROUP, VERSION};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    RuntimeEvent,
    Flow,
    Profile,
    Request,
    NodeAnswer,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RuntimeEvent => "RuntimeEvent",
            Self::Flow => "Flow",
            Self::Profile => "Profile",
            Self::Request => "Request",
            Self::NodeAnswer => "NodeAnswer",
        }
    }

    pub fn list(self) -> &'static str {
        match self {
            Self::RuntimeEvent => "RuntimeEventList",
            Self::Flow => "FlowList",
            Self::Profile => "ProfileList",
            Self::Request => "RequestList",
            Self::NodeAnswer => "NodeAnswerList",
        }
    }

    /// Headers of the columns of `Row::cells`; those with priority 1 are shown by `-o wide` alone.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::RuntimeEvent => &[
                Column { name: "Time", priority: 0 },
                Column { name: "Node", priority: 1 },
                Column { name: "Event", priority: 0 },
                Column { name: "Pod", priority: 0 },
                Column { name: "Binary", priority: 0 },
                Column { name: "Details", priority: 0 },
            ],
            Self::Flow => &[
                Column { name: "Time", priority: 0 },
                Column { name: "Node", priority: 1 },
                Column { name: "Source", priority: 0 },
                Column { name: "Destination", priority: 0 },
                Column { name: "Type", priority: 0 },
                Column { name: "Verdict", priority: 0 },
                Column { name: "Summary", priority: 0 },
            ],
            Self::Profile => &[
                Column { name: "Name", priority: 0 },
                Column { name: "State", priority: 0 },
                Column { name: "Nodes", priority: 0 },
                Column { name: "Samples", priority: 0 },
                Column { name: "Lost", priority: 0 },
                Column { name: "Pods", priority: 1 },
                Column { name: "Problem", priority: 1 },
            ],
            Self::Request => &[
                Column { name: "Time", priority: 0 },
                Column { name: "Pod", priority: 0 },
                Column { name: "Role", priority: 0 },
                Column { name: "Protocol", priority: 0 },
                Column { name: "Peer", priority: 0 },
                Column { name: "Operation", priority: 0 },
                Column { name: "Target", priority: 0 },
                Column { name: "Status", priority: 0 },
                Column { name: "Latency", priority: 0 },
                Column { name: "Bytes", priority: 1 },
                Column { name: "Connection", priority: 1 },
                Column { name: "Node", priority: 1 },
                Column { name: "MidStream", priority: 1 },
                Column { name: "Profile", priority: 1 },
            ],
            Self::NodeAnswer => &[
                Column { name: "Name", priority: 0 },
                Column { name: "State", priority: 0 },
                Column { name: "Version", priority: 0 },
                Column { name: "Detail", priority: 0 },
            ],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub priority: i32,
}

/// One object, and its cells in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub metadata: Metadata,
    /// JSON.
    pub object: Vec<u8>,
    /// One for each column of the kind; escaped for terminals.
    pub cells: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub name: String,
    /// Empty for an object without a namespace, e.g. an event of a process of the host.
    pub namespace: String,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Whether a watch may start after this object.
    pub is_position: bool,
    /// Labels of the pod.
    pub labels: Vec<(String, String)>,
}

impl Row {
    /// Bytes that it occupies.
    pub fn size(&self) -> usize {
        let labels: usize = self.metadata.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.object.len() + self.cells.iter().map(String::len).sum::<usize>() + labels + size_of::<Self>()
    }

    /// Appends the whole object.
    pub fn append(&self, kind: Kind, out: &mut Vec<u8>) {
        append_head(kind.as_str(), out);
        self.metadata.append(out);
        out.extend_from_slice(b",\"object\":");
        out.extend_from_slice(&self.object);
        out.push(b'}');
    }
}

impl Metadata {
    /// The value of the member `metadata`.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"name\":");
        append_text(&self.name, out);
        if !self.namespace.is_empty() {
            out.extend_from_slice(b",\"namespace\":");
            append_text(&self.namespace, out);
        }
        // A Vec never refuses to be written to.
        let _ = write!(out, ",\"creationTimestamp\":\"{}\"", seconds(self.time));
        if self.is_position {
            let _ = write!(out, ",\"resourceVersion\":\"{}\"", self.time);
        }
        for (at, (key, value)) in self.labels.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"labels\":{" } else { b"," });
            append_text(key, out);
            out.push(b':');
            append_text(value, out);
        }
        out.extend_from_slice(if self.labels.is_empty() { b"}" } else { b"}}" });
    }
}

/// `{"apiVersion":…,"kind":…,"metadata":` of our own group.
pub fn append_head(kind: &str, out: &mut Vec<u8>) {
    let _ = write!(out, "{{\"apiVersion\":\"{GROUP}/{VERSION}\",\"kind\":\"{kind}\",\"metadata\":");
}

/// A JSON string.
pub fn append_text(text: &str, out: &mut Vec<u8>) {
    // Neither a string nor a Vec can fail to be written.
    let _ = serde_json::to_writer(out, text);
}

/// `2026-11-30T02:50:11Z`, as Kubernetes' times are.
pub fn seconds(nanoseconds: u64) -> Timestamp {
    let second = i64::try_from(nanoseconds / 1_000_000_000).unwrap_or_default();
    Timestamp::from_second(second).unwrap_or_default()
}

/// With milliseconds, for the cells of a table.
pub fn milliseconds(nanoseconds: u64) -> String {
    let millisecond = i64::try_from(nanoseconds / 1_000_000).unwrap_or_default();
    format!("{:.3}", Timestamp::from_millisecond(millisecond).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(labels: &[(&str, &str)]) -> Row {
        Row {
            metadata: Metadata {
                name: "alder.1".into(),
                namespace: "shop".into(),
                time: 1_732_972_345_123_456_789,
                is_position: true,
                labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            },
            object: br#"{"flow":{}}"#.to_vec(),
            cells: Vec::new(),
        }
    }

    fn printed(row: &Row, kind: Kind) -> Value {
        let mut out = Vec::new();
        row.append(kind, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn object_has_the_frame_of_kubernetes() {
        assert_eq!(
            printed(&row(&[("app", "a\"b"), ("tier", "x")]), Kind::Flow),
            json!({"apiVersion": "read.trilobite.dev/v1alpha1", "kind": "Flow", "metadata": {
                "name": "alder.1", "namespace": "shop", "creationTimestamp": "2024-11-30T13:12:25Z",
                "resourceVersion": "1732972345123456789", "labels": {"app": "a\"b", "tier": "x"}},
                "object": {"flow": {}}})
        );
    }

    #[test]
    fn host_process_has_no_namespace_and_an_event_no_position() {
        let mut row = row(&[]);
        (row.metadata.namespace, row.metadata.is_position) = (String::new(), false);
        let metadata = printed(&row, Kind::RuntimeEvent)["metadata"].clone();
        assert_eq!(metadata, json!({"name": "alder.1", "creationTimestamp": "2024-11-30T13:12:25Z"}));
    }

    #[test]
    fn times_in_cells_have_milliseconds() {
        assert_eq!(milliseconds(1_732_972_345_123_999_999), "2024-11-30T13:12:25.123Z");
    }
}
