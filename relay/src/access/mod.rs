//! Who asks, and what they may read: the API server's word on both.

mod authenticate;
mod authorize;
mod client_certificate;
mod expiring_cache;
mod readable;
mod request_header;
mod user;

pub use authenticate::{Authenticator, token_of};
pub use authorize::{Attributes, Authorizer, Target};
pub use client_certificate::user_of_certificate;
pub use readable::ReadableNamespaces;
pub use request_header::{RequestHeaders, RequestHeadersError, watch_request_headers};
pub use user::{Peer, Tenant, User};
