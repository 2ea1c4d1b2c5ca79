//! What the policies say about a connection.

use crate::policy_name::PolicyName;

/// Whether the policies let a connection pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// They do, or none of them decides.
    #[default]
    Allowed,
    /// They do not.
    Denied,
}

/// What the rule that decided asks for: Hubble's `policy_match_type`, of the same numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum MatchType {
    /// No rule matched.
    #[default]
    None = 0,
    /// A peer.
    L3Only = 1,
    /// A peer and a port.
    L3L4 = 2,
    /// A port.
    L4Only = 3,
    /// Neither: the rule matches everything.
    All = 4,
}

impl MatchType {
    pub(crate) fn from_restrictions(by_peer: bool, by_port: bool) -> Self {
        match (by_peer, by_port) {
            (true, false) => Self::L3Only,
            (true, true) => Self::L3L4,
            (false, true) => Self::L4Only,
            (false, false) => Self::All,
        }
    }

    /// The higher, the more a rule asks for. Of several rules that allow the highest is shown, as Cilium looks rules up.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::None => 0,
            Self::All => 1,
            Self::L3Only => 2,
            Self::L4Only => 3,
            Self::L3L4 => 4,
        }
    }
}

/// What the policies of one end say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Allowed where no policy decides.
    pub verdict: Verdict,
    /// The policies with a rule that allows it.
    pub allowed_by: Vec<PolicyName>,
    /// The policy with a rule that denies it.
    pub denied_by: Vec<PolicyName>,
    /// All policies that isolate the pod, where it is denied because none of them allows it.
    pub isolated_by: Vec<PolicyName>,
    /// Policies whose domain names may accept what is denied: whether the address belongs to one is not known here.
    pub undecided_by: Vec<PolicyName>,
    /// What the rule that decided asks for; none where no rule did.
    pub match_type: MatchType,
}

/// What the policies say about a connection, at each end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// At the client; allowed where the client is no pod.
    pub egress: Side,
    /// At the server; allowed where the server is no pod.
    pub ingress: Side,
}

impl Decision {
    /// Whether both ends let it pass.
    pub fn is_allowed(&self) -> bool {
        self.egress.verdict == Verdict::Allowed && self.ingress.verdict == Verdict::Allowed
    }
}
