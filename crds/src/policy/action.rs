//! Actions: what happens when a selector matches.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::{Validate, ValidationError};

use super::{
    argument::is_zero,
    word::{self, Word, vocabulary},
};
use crate::bounds;

/// One action with its parameters.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// The action, e.g. `Post` or `Sigkill`.
    pub action: Word<ActionKind>,
    /// Least time between two events with the same arguments, e.g. `5s`, `1m` or `2h`; for `Post`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 16))]
    pub rate_limit: String,
    /// What the rate limit applies to: `thread`, `process` or `global`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "word::unset_if_empty")]
    pub rate_limit_scope: Option<Word<RateLimitScope>>,
    /// Adds the kernel's stack to the event; for `Post`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kernel_stack_trace: bool,
    /// Adds the program's stack to the event; for `Post`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user_stack_trace: bool,
    /// Adds the hash of the file; for `Post` on an LSM hook.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ima_hash: bool,
    /// Number of the signal; for `Signal` and `NotifyEnforcer`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[validate(range(min = 0, max = 64))]
    pub arg_sig: i32,
    /// The value that the function returns instead; for `Override` and `NotifyEnforcer`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[validate(range(min = -4095, max = 4095))]
    pub arg_error: i32,
    /// `index` of the argument that is the socket; for `TrackSock` and `UntrackSock`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[validate(range(min = 0, max = 127))]
    pub arg_sock: i32,
    /// A URL; for `GetUrl`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 2048))]
    pub arg_url: String,
    /// A domain name; for `DnsLookup`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 253))]
    pub arg_fqdn: String,
    /// `index` of the argument; for `Set`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[validate(range(min = 0, max = 127))]
    pub arg_index: i32,
    /// The new value; for `Set`.
    #[serde(default, skip_serializing_if = "is_zero_long")]
    #[validate(range(min = 0, max = 4_294_967_295_i64))]
    pub arg_value: i64,
    /// Values of registers, e.g. `["rax=11"]`; for `Override` of a uprobe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 64)))]
    #[validate(length(max = 32), custom(function = check_registers))]
    pub arg_regs: Vec<String>,
    /// The function that is called instead; for `Override` of a uprobe.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 1024))]
    pub arg_new_symbol: String,
    /// Address of the code that is called instead; for `Override` of a uprobe.
    #[serde(default, skip_serializing_if = "is_zero_long")]
    #[validate(range(min = 0, max = bounds::MAX_COUNT))]
    pub arg_new_addr: i64,
    /// Offset of the code that is called instead; for `Override` of a uprobe.
    #[serde(default, skip_serializing_if = "is_zero_long")]
    #[validate(range(min = -bounds::MAX_COUNT, max = bounds::MAX_COUNT))]
    pub arg_new_offset: i64,
    /// `index` of the file descriptor; for `FollowFD` and its kin, which do nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[validate(range(min = 0, max = 127))]
    pub arg_fd: i32,
    /// `index` of the file's name; for `FollowFD` and its kin, which do nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[validate(range(min = 0, max = 127))]
    pub arg_name: i32,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

vocabulary! {
    /// What an action does.
    #[derive(Default)]
    ActionKind {
        /// Emits an event.
        #[default]
        Post = "Post",
        /// Emits no event.
        NoPost = "NoPost",
        /// Kills the process.
        Sigkill = "Sigkill",
        /// Sends a signal to the process.
        Signal = "Signal",
        /// Makes the function return an error.
        Override = "Override",
        /// Makes an enforcer act.
        NotifyEnforcer = "NotifyEnforcer",
        /// Ends what NotifyEnforcer began.
        CleanupEnforcerNotification = "CleanupEnforcerNotification",
        /// Remembers the process that a socket belongs to.
        TrackSock = "TrackSock",
        /// Forgets a socket.
        UntrackSock = "UntrackSock",
        /// Sends a request to a URL.
        GetUrl = "GetUrl",
        /// Resolves a domain name.
        DnsLookup = "DnsLookup",
        /// Changes an argument.
        Set = "Set",
        /// Does nothing: files are followed without it.
        FollowFd = "FollowFD",
        /// Does nothing.
        UnfollowFd = "UnfollowFD",
        /// Does nothing.
        CopyFd = "CopyFD",
    }
}

vocabulary! {
    /// What a rate limit applies to.
    #[derive(Default)]
    RateLimitScope {
        /// Each thread by itself.
        #[default]
        Thread = "thread",
        /// Each process by itself.
        Process = "process",
        /// All processes together.
        Global = "global",
    }
}

impl ActionKind {
    /// Whether the action does nothing any more and is accepted from old policies.
    pub fn is_obsolete(self) -> bool {
        matches!(self, Self::FollowFd | Self::UnfollowFd | Self::CopyFd)
    }

    /// Whether the action says if there is an event.
    pub(super) fn is_about_events(self) -> bool {
        matches!(self, Self::Post | Self::NoPost)
    }
}

impl Action {
    /// An action without parameters.
    pub fn new(kind: ActionKind) -> Self {
        Self { action: kind.into(), ..Self::default() }
    }

    /// The signal that the action sends, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.action.known()? {
            ActionKind::Sigkill => Some(9),
            ActionKind::Signal => Some(self.arg_sig),
            _ => None,
        }
    }

    /// Milliseconds of `rateLimit`; none without one, or where it cannot be read.
    pub fn rate_limit_millis(&self) -> Option<u32> {
        let text = self.rate_limit.trim();
        let (number, seconds) = match text.char_indices().last()? {
            (at, 's' | 'S') => (&text[..at], 1),
            (at, 'm' | 'M') => (&text[..at], 60),
            (at, 'h' | 'H') => (&text[..at], 3600),
            _ => (text, 1),
        };
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = is_number.then(|| number.parse().ok())??;
        Some(u32::try_from(number.saturating_mul(seconds * 1000)).unwrap_or(u32::MAX))
    }
}

fn is_zero_long(number: &i64) -> bool {
    *number == 0
}

fn check_registers(registers: &[String]) -> Result<(), ValidationError> {
    bounds::check_items(registers, |register| bounds::length_problem(register, 0, 64))
}
