//! The agent's only unsafe code: probing, loading, attaching, replacing and unloading programs, reading rings, and accounting for
//! every program, map and link.

pub mod account;
pub mod attach;
pub mod btf;
pub mod capabilities;
pub mod cgroup;
pub mod clock;
pub mod facts;
pub mod grace;
pub mod link;
mod log;
pub mod map;
pub mod memory;
pub mod misses;
pub mod net_namespace;
pub mod node_path;
pub mod object;
pub mod packet;
pub mod perf;
pub mod perf_paranoid;
pub mod pid_namespace;
pub mod probe;
pub mod proc_stat;
pub mod readiness;
pub mod refusal;
pub mod ring;
mod ring_pacing;
pub mod skeleton;
pub mod symbols;
pub mod table;
pub mod tc_filter;
pub mod tracefs;
pub mod uprobe;

pub use account::{Account, account};
pub use facts::{CgroupMode, Facts, PacketAttach, Release, UprobeAccess};
pub use link::Link;
pub use map::Map;
pub use object::{Loaded, Opened};
pub use ring::Ring;
pub use table::Table;
