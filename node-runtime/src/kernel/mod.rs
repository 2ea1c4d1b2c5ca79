//! The only unsafe room: probe features; open, clone, load, attach, swap, unload; who owns each link; account for every
//! program, map and link.

pub mod facts;

pub use facts::{CgroupMode, Facts, Release};
