//! Certificates of agents and the relay, from the side of their holders: a key that stays in memory, a
//! CertificateSigningRequest that the operator signs, renewal at two thirds of the life, and the bundle of trusted CAs.

#![warn(missing_docs)]

mod bundle;
mod certificate;
mod issue;
mod renew;
mod request;

pub use bundle::{Bundle, BundleError, watch_bundle};
pub use certificate::{Certificate, InvalidCertificate};
pub use issue::{CertificateError, issue};
pub use renew::{CertificateState, keep_valid};
pub use request::Request;
