//! HTTP/2 that begins with a request of HTTP/1.1 (`Upgrade: h2c`; RFC 7540, 3.2).

use super::fields::Fields;
use super::hpack::Field;
use super::parser::Http2Connection;
use crate::{Parser, Role, Settings, Times};

/// The request that asked for the upgrade; redacted.
pub(crate) struct UpgradedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// As it was sent.
    pub(crate) bytes: u64,
    pub(crate) at: Times,
}

/// A parser for what follows the answer `101 Switching Protocols`: the request's own answer comes on stream 1.
pub(crate) fn upgraded(role: Role, settings: &Settings, request: UpgradedRequest) -> Box<dyn Parser> {
    let mut connection = Http2Connection::new(role, false, settings, false);
    let pseudo_fields = [(":method".to_owned(), request.method), (":path".to_owned(), request.path)];
    let mut fields = Fields::default();
    for (name, value) in pseudo_fields.into_iter().chain(request.headers) {
        fields.add(Field { name: Some(name.to_ascii_lowercase().into()), value: Some(value.into()) });
    }
    connection.ask_by_upgrade(fields, usize::try_from(request.bytes).unwrap_or(usize::MAX), request.at);
    Box::new(connection)
}
