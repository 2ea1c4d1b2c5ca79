//! `trilobite.v1.Profiles`: our own face, for `trilobite profile`.

mod convert;
mod service;

pub use service::service;
