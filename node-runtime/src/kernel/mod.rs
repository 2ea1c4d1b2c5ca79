//! The only unsafe room: probe features; open, clone, load, attach, swap, unload; who owns each link; account for every
//! program, map and link.

pub mod account;
pub mod btf;
pub mod capabilities;
pub mod cgroup;
pub mod clock;
pub mod facts;
pub mod fields;
pub mod grace;
pub mod link;
mod log;
pub mod map;
pub mod misses;
pub mod object;
mod packet;
pub mod perf;
pub mod pid_namespace;
pub mod probe;
pub mod readiness;
pub mod refusal;
pub mod ring;
pub mod ring_view;

pub use account::{Account, account};
pub use facts::{CgroupMode, Facts, Release};
pub use fields::Fields;
pub use link::Link;
pub use map::Map;
pub use object::{Loaded, Opened};
pub use ring::Ring;
pub use ring_view::RingView;
