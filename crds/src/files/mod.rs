//! Resources from files, for an agent without a cluster: validated as an API server would, planned by the same planner.

mod desired;
mod parse;
mod resource;

pub use desired::desired_from_resources;
pub use parse::{ParseError, parse_documents};
pub use resource::Resource;
