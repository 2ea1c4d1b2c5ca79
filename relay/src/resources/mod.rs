//! The resources of the read API, and how lists and watches of them are answered.

mod ask_nodes;
pub mod byte_budget;
pub mod claim;
pub mod coverage;
pub mod event_cells;
pub mod events;
pub mod flow_cells;
pub mod flows;
pub mod follow;
pub mod latest;
pub mod list;
pub mod node_failure;
pub mod nodes;
pub mod object;
pub mod permission;
pub mod profile_result;
pub mod profile_watch;
pub mod profiles;
pub mod recent_lists;
pub mod request_cells;
pub mod requests;
pub mod row_queue;
pub mod stream_item;
pub mod stream_query;
pub mod table;
pub mod watch;
