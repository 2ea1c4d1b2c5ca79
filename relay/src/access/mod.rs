//! Who asks, and what they may read: the API server's word on both.

mod authenticate;
mod authorize;
mod expiring_cache;
mod request_header;
mod user;

pub use authenticate::Authenticator;
pub use authorize::{Attributes, Authorizer, Target};
pub use request_header::{RequestHeaders, RequestHeadersError, watch_request_headers};
pub use user::{Peer, Tenant, User};
