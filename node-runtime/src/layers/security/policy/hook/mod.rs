//! One attach point of all policies: its program, its tables, and the rows that make selectors active.

mod class_rows;
mod keys;
mod layout;
mod probe;
mod program;
mod space;
mod tables;

pub(in crate::layers::security) use self::probe::{avoided_ways, probe_ways};
pub(super) use self::{
    class_rows::{ActiveBit, ClassBook},
    keys::{prefix_key, string_key},
    program::{HookContext, HookProgram, SharedMaps},
    tables::TableError,
};
