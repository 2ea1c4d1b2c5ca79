//! The columns of an HTTP exchange, in the words of Pixie's http_events.

use super::body::Body;
use super::half::{Message, Start};
use super::head::Headers;
use crate::http_body::{self, body_text};
use crate::http2::UpgradedRequest;
use crate::{Exchange, Fields, HttpFields, Times};

/// A request that waits for its answer; it may still be arriving.
pub(super) struct Request {
    /// Of the request on its connection.
    pub(super) number: u64,
    pub(super) method: String,
    target: String,
    minor: u8,
    headers: Vec<(String, String)>,
    body: String,
    body_bytes: u64,
    started: u64,
    asked: u64,
    bytes: u64,
}

pub(super) struct Answer {
    status: u16,
    reason: String,
    headers: Vec<(String, String)>,
    body: String,
    body_bytes: u64,
    content_type: u8,
    bytes: u64,
    ended: u64,
}

impl Request {
    /// Of the message's head.
    pub(super) fn new(message: &mut Message, number: u64, bytes: u64, at: Times) -> Self {
        let (method, target, minor) = match &mut message.start {
            Start::Request { method, target, minor } => (std::mem::take(method), std::mem::take(target), *minor),
            Start::Status { .. } => Default::default(),
        };
        Self {
            number,
            method,
            target,
            minor,
            headers: std::mem::take(&mut message.headers.list),
            body: String::new(),
            body_bytes: 0,
            started: message.started,
            asked: at.last,
            bytes,
        }
    }

    pub(super) fn complete(&mut self, body: Body, headers: &Headers, bytes: u64, at: Times) {
        self.asked = at.last;
        self.bytes = bytes;
        self.body_bytes = body.bytes;
        self.body = text(body, headers, true);
    }

    pub(super) fn memory(&self) -> usize {
        self.method.capacity() + self.target.capacity() + self.body.capacity() + headers_memory(&self.headers)
    }
}

impl Request {
    /// As the request of stream 1, behind an upgrade to HTTP/2.
    pub(super) fn into_upgraded(self) -> UpgradedRequest {
        let at = Times { first: self.started, last: self.asked };
        UpgradedRequest { method: self.method, path: self.target, headers: self.headers, bytes: self.bytes, at }
    }
}

impl Answer {
    /// Whether another protocol follows it.
    pub(super) fn switches(&self) -> bool {
        self.status == 101
    }

    pub(super) fn new(message: Message, bytes: u64, at: Times) -> Self {
        let (status, reason) = match message.start {
            Start::Status { status, reason } => (status, reason),
            Start::Request { .. } => Default::default(),
        };
        let content_type = &message.headers.content_type;
        let content_type =
            if content_type.starts_with("application/grpc") { 2 } else { u8::from(content_type.contains("json")) };
        Self {
            status,
            reason,
            body_bytes: message.body.bytes,
            body: text(message.body, &message.headers, false),
            headers: message.headers.list,
            content_type,
            bytes,
            ended: at.last,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.reason.capacity() + self.body.capacity() + headers_memory(&self.headers)
    }
}

pub(super) fn exchange(request: Request, answer: Answer) -> Exchange {
    Exchange {
        started: request.started,
        // Some servers answer before the request's body has come.
        asked: request.asked.min(answer.ended),
        ended: answer.ended,
        request_bytes: request.bytes,
        response_bytes: answer.bytes,
        is_error: answer.status >= 400,
        mid_stream: false,
        fields: Fields::Http(HttpFields {
            major: 1,
            minor: request.minor,
            method: request.method,
            path: request.target,
            request_headers: request.headers,
            request_body: request.body,
            request_body_bytes: Some(request.body_bytes),
            status: Some(answer.status),
            reason: answer.reason,
            response_headers: answer.headers,
            response_body: answer.body,
            response_body_bytes: Some(answer.body_bytes),
            content_type: answer.content_type,
            grpc_status: None,
            request_messages: None,
            response_messages: None,
        }),
    }
}

fn headers_memory(headers: &Vec<(String, String)>) -> usize {
    let texts: usize = headers.iter().map(|(name, value)| name.capacity() + value.capacity()).sum();
    texts + headers.capacity() * size_of::<(String, String)>()
}

/// Whether the kept part of a body is shown.
pub(super) fn shows_text(headers: &Headers, asks: bool) -> bool {
    http_body::shows_text(&headers.content_type, &headers.content_encoding, asks)
}

/// What is kept of a body.
fn text(body: Body, headers: &Headers, asks: bool) -> String {
    let (is_cut, kept) = (body.is_cut(), body.kept);
    body_text(kept, is_cut, &headers.content_type, &headers.content_encoding, asks)
}
