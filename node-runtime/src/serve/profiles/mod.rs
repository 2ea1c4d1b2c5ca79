//! `trilobite.v1.Profiles`, our own API for `trilobite profile`.

mod convert;
mod service;

pub use service::service;
