//! What the node says of itself: its status, its health, its metrics. All three are made of one snapshot.

pub mod health;
pub mod listen;
pub mod metrics;
pub mod page;
pub mod status;
pub mod writer;
