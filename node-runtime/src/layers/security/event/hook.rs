//! A call that a policy's selector matched, and what the policies say about the values and names of its event.

use std::{collections::HashMap, sync::Arc};

use trilobite_crds::node::PodScope;

use super::value::ArgValue;
use crate::{
    identity::ExecKey,
    layers::security::deliver::EventConsumer,
    plan::policy::{hook_plan::ShownValue, value::ValueKind},
};

/// One event: one selector of one policy matched one call.
#[derive(Clone, Debug, PartialEq)]
pub struct HookEvent {
    /// The thread, in the initial pid namespace.
    pub tid: u32,
    pub point: Arc<HookPoint>,
    pub selector: Arc<SelectorInfo>,
    pub action: Action,
    /// What `returnArgAction` or `matchReturnActions` did when the function returned.
    pub return_action: Option<Action>,
    pub args: Vec<Arg>,
    pub data: Vec<Arg>,
    pub returned: Option<Arg>,
    pub kernel_stack: Vec<StackFrame>,
    pub user_stack: Vec<StackFrame>,
    /// Matches that the selector's rate limit has suppressed since its last event.
    pub suppressed: u64,
    /// The kernel did not know yet whether the policy selects the pod: it only posted.
    pub is_undecided: bool,
    /// The process that the event names, where it is not the one that called.
    pub noted: Option<NotedProcess>,
}

/// A process that a policy has noted with a socket (`TrackSock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotedProcess {
    pub key: ExecKey,
    pub cgroup: u64,
}

impl HookEvent {
    /// A call of which nothing else is shown.
    #[cfg(test)]
    pub(crate) fn of(point: Arc<HookPoint>, selector: Arc<SelectorInfo>) -> Self {
        Self {
            tid: 1,
            point,
            selector,
            action: Action::Post,
            return_action: None,
            args: Vec::new(),
            data: Vec::new(),
            returned: None,
            kernel_stack: Vec::new(),
            user_stack: Vec::new(),
            suppressed: 0,
            is_undecided: false,
            noted: None,
        }
    }

    /// The selector's signal was not sent, since the pod was not known yet.
    pub fn is_unenforced(&self) -> bool {
        self.is_undecided && self.selector.signals
    }
}

/// Where a hook is attached, as events name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookPoint {
    /// By `kprobes` or `fentries`; for a system call the kernel's name, e.g. `__x64_sys_openat`.
    Function {
        name: Arc<str>,
    },
    Tracepoint {
        subsystem: Arc<str>,
        event: Arc<str>,
    },
}

/// A value with the label that the policy gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    pub value: ArgValue,
    pub label: Option<Arc<str>>,
}

/// An action of a selector, by Tetragon's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    #[default]
    Post,
    NoPost,
    Sigkill,
    Signal,
    TrackSock,
    UntrackSock,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackFrame {
    pub symbol: String,
    /// From the begin of the symbol, or of the module where there is no symbol.
    pub offset: u64,
    /// File of a user frame; empty for the kernel.
    pub module: String,
}

/// What the records of one attach point mean. The registry has it before the hook's first record, and keeps it until the
/// last record of a detached hook is read. Where the program stays and its policies change, a new `HookInfo` takes the place
/// of the old one under the same hook id, with the selectors of both until the old bits are cleared.
#[derive(Debug)]
pub struct HookInfo {
    pub point: Arc<HookPoint>,
    /// Names of the functions of a list, by the cookie that records carry; empty where `point` is the only one.
    pub functions: Vec<Arc<HookPoint>>,
    /// Kinds of the record's values by their index, as in the `HookPlan`.
    pub values: Vec<ValueKind>,
    /// By the number of the policy's version and the selector's bit, which the record's winners carry.
    pub selectors: HashMap<(u32, u16), Arc<SelectorInfo>>,
}

/// One selector of a policy: what its events show. Selectors of one hook share their texts.
#[derive(Clone, Debug, Default)]
pub struct SelectorInfo {
    pub policy: Arc<str>,
    /// Namespace of the policy; empty for a cluster-wide one.
    pub policy_namespace: Arc<str>,
    pub message: Arc<str>,
    pub tags: Arc<[String]>,
    pub args: Arc<[ShownValue]>,
    pub data: Arc<[ShownValue]>,
    pub returned: Option<ShownValue>,
    /// It sends a signal.
    pub signals: bool,
    /// Of a hook whose events are made at the return: what `matchActions` did at the entry.
    pub entry_action: Action,
    /// The pods of the selector, where `matchWorkloads` narrows those of its policy.
    pub scope: Option<Arc<PodScope>>,
    pub consumers: Arc<[Arc<EventConsumer>]>,
}

impl PartialEq for SelectorInfo {
    fn eq(&self, other: &Self) -> bool {
        let texts = |of: &Self| (of.policy.clone(), of.policy_namespace.clone(), of.message.clone(), of.tags.clone());
        texts(self) == texts(other)
    }
}
