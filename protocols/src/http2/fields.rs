//! What the fields of a block say of its stream.

use std::sync::Arc;

use super::grpc;
use super::hpack::Field;
use super::redaction::Redaction;
use crate::limits::TEXT_MAX;
use crate::redact::REDACTED;

/// Fields of a direction that are kept.
const FIELDS_MAX: usize = 128;

/// Stands for what earlier bytes of the connection say, which were not seen.
pub(super) const UNKNOWN: &str = "?";

/// The fields of a direction of a stream: of its head, and of its trailers.
#[derive(Default)]
pub(super) struct Fields {
    /// In the order of the wire.
    list: Vec<(String, String)>,
    /// Bytes of the texts in the list.
    kept: usize,
    pub(super) method: Option<Arc<str>>,
    pub(super) path: Option<Arc<str>>,
    pub(super) status: Option<u16>,
    pub(super) content_type: String,
    pub(super) content_encoding: String,
    grpc_status: Option<String>,
    has_pseudo_fields: bool,
    has_unknown: bool,
}

impl Fields {
    pub(super) fn add(&mut self, field: Field) {
        self.interpret(&field);
        let text = |text: Option<Arc<str>>| text.map_or_else(|| UNKNOWN.to_owned(), |text| text.as_ref().to_owned());
        let size = [&field.name, &field.value].map(|text| text.as_ref().map_or(1, |text| text.len()));
        let size: usize = size.iter().sum();
        if self.list.len() < FIELDS_MAX && self.kept + size <= TEXT_MAX {
            self.kept += size;
            self.list.push((text(field.name), text(field.value)));
        }
    }

    fn interpret(&mut self, field: &Field) {
        let (Some(name), Some(value)) = (&field.name, &field.value) else {
            self.has_unknown = true;
            return;
        };
        let beginning = |most| value.chars().take(most).collect::<String>().to_ascii_lowercase();
        match name.as_ref() {
            ":method" => _ = self.method.get_or_insert_with(|| value.clone()),
            ":path" => _ = self.path.get_or_insert_with(|| value.clone()),
            ":status" => self.status = self.status.or_else(|| value.parse().ok()),
            "content-type" => self.content_type = beginning(64),
            "content-encoding" => self.content_encoding = beginning(32),
            "grpc-status" => self.grpc_status = Some(grpc::status_name(value)),
            _ => {}
        }
        self.has_pseudo_fields |= name.starts_with(':');
    }

    /// Of a request, which has pseudo-fields where trailers have none. What was not seen may be one.
    pub(super) fn may_be_head(&self) -> bool {
        self.has_pseudo_fields || self.has_unknown
    }

    /// An answer's status is none of an interim one, nor is it missing as in trailers.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_some_and(|status| (100..200).contains(&status))
    }

    /// What is not there, or not known.
    pub(super) fn text_of(&self, text: Option<&Arc<str>>) -> String {
        let missing = if self.has_unknown { UNKNOWN } else { "" };
        text.map_or(missing, |text| text.as_ref()).to_owned()
    }

    pub(super) fn is_grpc(&self) -> bool {
        grpc::is_content_type(&self.content_type)
    }

    /// The name of the status of a gRPC call, where it has come.
    pub(super) fn grpc_status(&self) -> Option<&str> {
        self.grpc_status.as_deref()
    }

    /// Adds those of trailers, or of a head behind an interim one.
    pub(super) fn append(&mut self, more: Self) {
        for (name, value) in more.list {
            let size = name.len() + value.len();
            if self.list.len() < FIELDS_MAX && self.kept + size <= TEXT_MAX {
                self.kept += size;
                self.list.push((name, value));
            }
        }
        self.method = self.method.take().or(more.method);
        self.path = self.path.take().or(more.path);
        self.status = self.status.or(more.status);
        self.grpc_status = more.grpc_status.or(self.grpc_status.take());
        if !more.content_type.is_empty() {
            self.content_type = more.content_type;
        }
        self.has_pseudo_fields |= more.has_pseudo_fields;
        self.has_unknown |= more.has_unknown;
    }

    /// The fields of a row.
    pub(super) fn into_list(self, redaction: &Redaction, is_grpc: bool) -> Vec<(String, String)> {
        let mut list = self.list;
        if is_grpc {
            for (name, value) in &mut list {
                if redaction.hides_metadata(name) && value != UNKNOWN {
                    *value = REDACTED.to_owned();
                }
            }
        }
        list
    }

    pub(super) fn memory(&self) -> usize {
        self.kept + self.list.capacity() * size_of::<(String, String)>() + self.content_type.capacity()
    }
}
