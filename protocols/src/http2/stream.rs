//! A stream: a request and its answer, as far as they have come, and the row that is made of them.

use std::ops::Range;

use super::fields::{Fields, UNKNOWN};
use super::grpc::MessageCounter;
use super::redaction::Redaction;
use crate::http_body::{body_text, shows_text};
use crate::{Exchange, HttpFields, Times};

/// A direction of a stream.
#[derive(Default)]
pub(super) struct Half {
    /// Its head; trailers are added to it.
    pub(super) fields: Option<Fields>,
    pub(super) started: u64,
    /// When its last byte was seen, so far.
    pub(super) last: u64,
    pub(super) is_complete: bool,
    /// Bytes of its frames.
    pub(super) bytes: u64,
    content: u64,
    kept: Vec<u8>,
    /// None: not a gRPC call, or its first content was not seen.
    messages: Option<MessageCounter>,
    /// Content was missed: nothing more is kept of it.
    is_cut: bool,
    /// Content was missed: how much is not known.
    pub(super) is_holed: bool,
}

impl Half {
    pub(super) fn note(&mut self, bytes: usize, at: Times) {
        if self.bytes == 0 {
            self.started = at.first;
        }
        self.bytes += bytes as u64;
        self.last = at.last;
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.fields.as_ref().is_some_and(Fields::is_grpc)
    }

    pub(super) fn shows_text(&self, asks: bool) -> bool {
        self.fields.as_ref().is_some_and(|fields| shows_text(&fields.content_type, &fields.content_encoding, asks))
    }

    /// Bytes of the content that may still be kept.
    pub(super) fn room(&self, keep_max: usize) -> usize {
        if self.is_holed || self.is_cut { 0 } else { keep_max.saturating_sub(self.kept.len()) }
    }

    /// The next bytes of the content. `prefixes` gets where prefixes of gRPC messages are in them.
    pub(super) fn read(&mut self, content: &[u8], keep_max: usize, prefixes: Option<&mut Vec<Range<usize>>>) {
        let room = self.room(keep_max);
        self.kept.extend_from_slice(content.get(..room).unwrap_or(content));
        self.content += content.len() as u64;
        if let Some(messages) = self.messages.as_mut().filter(|_| !self.is_holed) {
            messages.read(content, prefixes);
        }
    }

    /// Content of known length was missed.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.content += bytes;
        self.bytes += bytes;
        if bytes > 0 {
            self.messages = None;
            self.is_cut = true;
        }
    }

    fn content_bytes(&self) -> Option<u64> {
        (!self.is_holed).then_some(self.content)
    }

    fn message_count(&self) -> Option<u64> {
        self.messages.filter(|_| !self.is_holed).map(|messages| messages.count())
    }

    fn memory(&self) -> usize {
        self.fields.as_ref().map_or(0, Fields::memory) + self.kept.capacity()
    }
}

/// A stream.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) request: Half,
    pub(super) answer: Half,
    /// Since when it may have ended without being seen to.
    pub(super) doubtful_since: Option<u64>,
}

impl Stream {
    pub(super) fn half(&mut self, asks: bool) -> &mut Half {
        if asks { &mut self.request } else { &mut self.answer }
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.request.is_grpc() || self.answer.is_grpc()
    }

    /// Once a head says that it is a gRPC call. What came before of a direction was not counted.
    pub(super) fn count_messages(&mut self) {
        if !self.is_grpc() {
            return;
        }
        for half in [&mut self.request, &mut self.answer] {
            if half.content == 0 && half.messages.is_none() {
                half.messages = Some(MessageCounter::default());
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.request.memory() + self.answer.memory()
    }

    /// Its row. `ended`: why it ended without the end of its answer.
    pub(super) fn into_exchange(self, ended: Option<String>, redaction: &Redaction) -> Exchange {
        let is_grpc = self.is_grpc();
        let messages = [self.request.message_count(), self.answer.message_count()];
        let (request, answer) = (self.request, self.answer);
        let content = [request.content_bytes(), answer.content_bytes()];
        let (asked, last) = (request.last, answer.last);
        let (request_fields, answer_fields) = (request.fields.unwrap_or_default(), answer.fields.unwrap_or_default());
        let status = answer_fields.status;
        let grpc_status = answer_fields.grpc_status().unwrap_or(UNKNOWN).to_owned();
        let failed = is_grpc && !matches!(grpc_status.as_str(), "OK" | UNKNOWN);
        let content_type = if is_grpc { 2 } else { u8::from(answer_fields.content_type.contains("json")) };
        let reason = match ended.as_deref() {
            Some(reason) => reason.to_owned(),
            None if is_grpc => grpc_status.clone(),
            None if status == Some(200) => "OK".to_owned(),
            None => String::new(),
        };
        let body = |kept: Vec<u8>, content: u64, fields: &Fields, asks| {
            let is_cut = content > kept.len() as u64;
            body_text(kept, is_cut, &fields.content_type, &fields.content_encoding, asks)
        };
        Exchange {
            started: request.started,
            // Some servers answer before the request has ended, and calls that stream in both directions do.
            asked: asked.min(last),
            ended: last,
            request_bytes: request.bytes,
            response_bytes: answer.bytes,
            is_error: ended.is_some() || failed || status.is_some_and(|status| status >= 400),
            mid_stream: false,
            fields: crate::Fields::Http(HttpFields {
                major: 2,
                minor: 0,
                method: request_fields.text_of(request_fields.method.as_ref()),
                path: request_fields.text_of(request_fields.path.as_ref()),
                request_body: body(request.kept, request.content, &request_fields, true),
                request_body_bytes: content[0],
                status,
                reason,
                response_body: body(answer.kept, answer.content, &answer_fields, false),
                response_body_bytes: content[1],
                content_type,
                grpc_status: is_grpc.then_some(grpc_status),
                request_messages: messages[0].filter(|_| is_grpc),
                response_messages: messages[1].filter(|_| is_grpc),
                request_headers: request_fields.into_list(redaction, is_grpc),
                response_headers: answer_fields.into_list(redaction, is_grpc),
            }),
        }
    }
}
