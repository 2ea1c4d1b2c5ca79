//! The sections of a policy: one file for each kind of hook, and for what hooks refer to.

mod enforcer;
mod kprobe;
mod list;
mod lsm;
mod tracepoint;
mod uprobe;
mod usdt;

use validator::ValidationError;

pub use enforcer::Enforcer;
pub use kprobe::{Kprobe, KprobeIgnore};
pub use list::{List, ListType};
pub use lsm::LsmHook;
pub use tracepoint::Tracepoint;
pub use uprobe::{Uprobe, UprobeIgnore};
pub use usdt::Usdt;

use super::{
    argument::Argument,
    selector::{Selector, ValueFilter},
};
use crate::bounds;

/// Most arguments, and most data, of a hook.
const MAX_ARGUMENTS: u64 = 8;
/// Most selectors of a hook.
const MAX_SELECTORS: u64 = 1024;
/// Longest message that an object may have; events show its first `SHOWN_MESSAGE` bytes.
const MAX_MESSAGE: u64 = 1_048_576;
const SHOWN_MESSAGE: usize = 256;
const MAX_TAGS: u64 = 16;
const MIN_TAG: usize = 2;
const MAX_TAG: usize = 128;

/// A hook of any kind that is supported, as the stages after the check see it.
#[derive(Clone, Copy, Debug)]
pub enum Hook<'a> {
    /// An entry of `kprobes`.
    Kprobe(&'a Kprobe),
    /// An entry of `fentries`.
    Fentry(&'a Kprobe),
    /// An entry of `tracepoints`.
    Tracepoint(&'a Tracepoint),
}

impl<'a> Hook<'a> {
    /// The selectors; none means that every call matches.
    pub fn selectors(self) -> &'a [Selector] {
        match self {
            Self::Kprobe(hook) | Self::Fentry(hook) => &hook.selectors,
            Self::Tracepoint(hook) => &hook.selectors,
        }
    }

    /// The arguments that are read.
    pub fn args(self) -> &'a [Argument] {
        match self {
            Self::Kprobe(hook) | Self::Fentry(hook) => &hook.args,
            Self::Tracepoint(hook) => &hook.args,
        }
    }

    /// Position in `args` of the value that a filter of matchArgs is about: the first of its `args`, else the first argument with its
    /// `index`. As in Tetragon, an index that no argument of a tracepoint has is a position itself.
    pub fn argument_position(self, filter: &ValueFilter) -> Option<usize> {
        let arguments = self.args();
        let as_position = |number| usize::try_from(number).ok().filter(|position| *position < arguments.len());
        match filter.args.first() {
            Some(position) => as_position(i64::from(*position)),
            None => arguments.iter().position(|argument| argument.index == filter.index).or_else(|| {
                matches!(self, Self::Tracepoint(_)).then(|| as_position(i64::from(filter.index))).flatten()
            }),
        }
    }

    /// The data that are read beside the arguments.
    pub fn data(self) -> &'a [Argument] {
        match self {
            Self::Kprobe(hook) | Self::Fentry(hook) => &hook.data,
            Self::Tracepoint(_) => &[],
        }
    }

    /// The value that the function returns, where it is read.
    pub fn return_arg(self) -> Option<&'a Argument> {
        match self {
            Self::Kprobe(hook) | Self::Fentry(hook) => hook.return_arg.as_ref().filter(|_| hook.r#return),
            Self::Tracepoint(_) => None,
        }
    }

    /// The text that each event shows; empty for none.
    pub fn message(self) -> &'a str {
        shown_message(match self {
            Self::Kprobe(hook) | Self::Fentry(hook) => &hook.message,
            Self::Tracepoint(hook) => &hook.message,
        })
    }

    /// The tags that each event shows.
    pub fn tags(self) -> &'a [String] {
        match self {
            Self::Kprobe(hook) | Self::Fentry(hook) => &hook.tags,
            Self::Tracepoint(hook) => &hook.tags,
        }
    }

    /// Whether the hook is `security_bprm_check`, where matchBinaries also means the file that is executed.
    pub fn is_before_exec(self) -> bool {
        match self {
            Self::Kprobe(hook) | Self::Fentry(hook) => hook.call == "security_bprm_check",
            Self::Tracepoint(_) => false,
        }
    }
}

/// The part of a message that events show. As in Tetragon, a long one is cut silently.
pub(super) fn shown_message(message: &str) -> &str {
    let end = (0..=message.len().min(SHOWN_MESSAGE)).rev().find(|end| message.is_char_boundary(*end));
    &message[..end.unwrap_or_default()]
}

fn check_tags(tags: &[String]) -> Result<(), ValidationError> {
    bounds::check_items(tags, |tag| bounds::length_problem(tag, MIN_TAG, MAX_TAG))
}
