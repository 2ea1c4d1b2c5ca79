//! The plan of one hook: all that its program is specialised with and all that its maps contain, of all policies together.

use std::sync::Arc;

pub use trilobite_crds::policy::RateLimitScope;
use trilobite_crds::{node::PodScope, policy::ArgumentType};

use super::{
    attach_point::{AttachPoint, Attachment},
    dimension::{DimensionPlan, DimensionTable, Operand, ProcessFact},
    predicate::Predicate,
    value::{ValueKind, ValuePlan},
};

/// A loaded version of a policy. The caller numbers versions upwards and never uses a number again: another version of
/// a resource has another number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub u32);

/// Words of a row: a hook has 64, 256 or 1,024 selector bits. Each is a variant of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    #[default]
    One = 1,
    Four = 4,
    Sixteen = 16,
}

/// The most selectors of one policy on one hook: two versions of them fit into a word.
pub const MAX_POLICY_SELECTORS: usize = 32;

/// All of one hook.
#[derive(Clone, Debug, PartialEq)]
pub struct HookPlan {
    pub point: AttachPoint,
    /// Further functions with exactly the same plan, from a `list:`; attached by kprobe.multi, cookie = 1 + index.
    pub further_functions: Vec<String>,
    pub attachment: Attachment,
    /// The function is a system call's: its one argument is the user's `pt_regs`, from which arguments are read.
    pub is_syscall: bool,
    /// At most `MAX_VALUES`.
    pub values: Vec<ValuePlan>,
    /// At most `MAX_DIMENSIONS`, the cheapest first, those of the return last.
    pub dimensions: Vec<DimensionPlan>,
    pub width: Width,
    /// Parts of the program that its actions need.
    pub parts: ActionParts,
    /// By bit, upwards.
    pub selectors: Vec<SelectorPlan>,
    /// What the policies on this hook are called and show.
    pub entries: Vec<HookEntry>,
    /// One for each dimension. Shared with the plan before where it has the same selectors; that of an active hook has none, as its
    /// maps have them.
    pub tables: Arc<[DimensionTable]>,
    /// New versions and the active ones that they replace: the flip from one to the other is one write.
    pub replaced: Vec<(PolicyId, PolicyId)>,
}

/// One item of a policy's list of hooks, e.g. `spec.kprobes[0]`. Its first selector that matches wins, and makes one event.
#[derive(Clone, Debug, PartialEq)]
pub struct HookEntry {
    pub policy: PolicyId,
    /// E.g. `spec.kprobes[0]`.
    pub field: String,
    pub section: HookSection,
    /// The actions at the entry of a hook whose event is made at the return: makes no event.
    pub is_entry_of_return: bool,
    /// The word of its bits, which has all other bits of the policy on this hook too.
    pub word: u8,
    /// Its bits in that word. Of those that match, the lowest wins.
    pub mask: u64,
    pub message: Option<Arc<str>>,
    pub tags: Arc<[String]>,
    /// In the order of the policy.
    pub args: Vec<ShownValue>,
    pub data: Vec<ShownValue>,
    pub returned: Option<ShownValue>,
    /// The number under which the policy notes processes with sockets; the same for all its versions. None where it does not.
    pub tracker: Option<u32>,
}

/// Parts of a hook's program that only some actions need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionParts {
    pub signals: bool,
    pub rate_limits: bool,
    pub stacks: bool,
    pub sockets: bool,
}

/// Which list of the spec an entry is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookSection {
    Kprobe,
    Fentry,
    Tracepoint,
}

/// How an entry's events show a value.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownValue {
    /// Index in `HookPlan::values`.
    pub value: u8,
    /// `index` of the argument in the policy.
    pub index: u32,
    /// The type that the policy asks for, resolved where it says `auto`.
    pub r#type: ArgumentType,
    pub label: Option<Arc<str>>,
}

/// One bit of a hook. A selector of a policy has several where its conditions have alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectorPlan {
    pub bit: u16,
    pub policy: PolicyId,
    /// Index in `HookPlan::entries`.
    pub entry: u16,
    /// Index in the entry's `selectors`; 0 where it has none.
    pub selector: u16,
    /// The pods that the policy selects, and its `matchWorkloads` too.
    pub scope: Arc<PodScope>,
    pub actions: Vec<ActionPlan>,
    /// Conditions, all of which must hold.
    pub predicates: Vec<Predicate>,
}

/// What happens when a selector wins. No action at all means `Post` without a rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionPlan {
    Post {
        rate_limit_ns: u64,
        scope: RateLimitScope,
        kernel_stack: bool,
        user_stack: bool,
    },
    NoPost,
    /// Also Sigkill; sent by no policy whose mode is `monitor`, see `is_monitored`.
    Signal {
        number: u8,
        is_monitored: bool,
    },
    /// Notes the process with the socket, by the index of the socket's value.
    TrackSock {
        value: u8,
    },
    UntrackSock {
        value: u8,
    },
}

impl HookPlan {
    /// All functions with this plan.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        let own = self.point.is_function().then(|| self.point.name());
        own.into_iter().chain(self.further_functions.iter().map(String::as_str))
    }

    /// The first socket that an entry shows: events name the process that the policy has noted with it.
    pub fn socket_of(&self, entry: &HookEntry) -> Option<u8> {
        let mut shown = entry.args.iter().chain(&entry.returned).map(|shown| shown.value);
        shown.find(|value| {
            let kind = self.values.get(usize::from(*value)).map(|value| value.kind);
            matches!(kind, Some(ValueKind::Sock | ValueKind::Skb))
        })
    }

    /// Policies with a condition that processes inherit.
    pub fn following_policies(&self) -> impl Iterator<Item = PolicyId> {
        let follows = |selector: &&SelectorPlan| {
            selector.predicates.iter().any(|predicate| {
                let operand = predicate.dimension.operand;
                matches!(operand, Operand::Process(ProcessFact::Followed | ProcessFact::ParentFollowed))
            })
        };
        self.selectors.iter().filter(follows).map(|selector| selector.policy)
    }

    /// The entry of a policy's bit.
    pub fn entry_of(&self, selector: &SelectorPlan) -> Option<&HookEntry> {
        self.entries.get(usize::from(selector.entry))
    }
}

impl ActionParts {
    /// What the actions of a plan's selectors need.
    pub fn needed(selectors: &[SelectorPlan], entries: &[HookEntry]) -> Self {
        let mut parts = Self { sockets: entries.iter().any(|entry| entry.tracker.is_some()), ..Self::default() };
        for action in selectors.iter().flat_map(|selector| &selector.actions) {
            match action {
                ActionPlan::Post { rate_limit_ns, kernel_stack, user_stack, .. } => {
                    parts.rate_limits |= *rate_limit_ns > 0;
                    parts.stacks |= *kernel_stack || *user_stack;
                }
                ActionPlan::Signal { is_monitored, .. } => parts.signals |= !is_monitored,
                ActionPlan::NoPost | ActionPlan::TrackSock { .. } | ActionPlan::UntrackSock { .. } => {}
            }
        }
        parts
    }

    /// The parts of both.
    pub fn join(self, other: Self) -> Self {
        Self {
            signals: self.signals || other.signals,
            rate_limits: self.rate_limits || other.rate_limits,
            stacks: self.stacks || other.stacks,
            sockets: self.sockets || other.sockets,
        }
    }
}

impl ActionPlan {
    /// What a selector without actions does.
    pub fn post() -> Self {
        Self::Post { rate_limit_ns: 0, scope: RateLimitScope::Thread, kernel_stack: false, user_stack: false }
    }
}

impl Width {
    /// The width that has so many words.
    pub fn with_words(words: usize) -> Option<Self> {
        [Self::One, Self::Four, Self::Sixteen].into_iter().find(|width| words <= width.words())
    }

    pub fn words(self) -> usize {
        self as usize
    }

    pub fn bits(self) -> usize {
        self.words() * 64
    }
}
