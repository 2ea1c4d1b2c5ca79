//! The one way in which objects are watched: cached in a store, pruned, guarded against malformed objects, with
//! triggers for controllers.

mod delta;
mod foreign_kind;
mod initial_sync;
mod namespace_end;
pub(crate) mod node_runtimes;
mod owned_objects;
pub(crate) mod pods;
mod registry;
mod trigger;
mod user_kind;

pub(crate) use delta::{Delta, DeltaTracker};
pub(crate) use foreign_kind::watch_foreign_kind;
pub(crate) use initial_sync::InitialSync;
pub(crate) use namespace_end::with_namespace_end;
pub(crate) use owned_objects::owned_object_changes;
pub(crate) use registry::{WatchRegistry, readable_objects, reflect, watch_objects};
pub(crate) use trigger::Trigger;
pub(crate) use user_kind::{Events, UserKindWatch, watch_user_kind, with_trigger};
