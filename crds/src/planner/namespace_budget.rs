//! Budgets of namespaces: which AppProfiles and FlowCaptures fit, oldest first, and what the others are told.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{budget::FLOW_ENTRY_BYTES, refusal::Refusal};
use crate::{
    condition::cut,
    node::{AppProfileSession, CpuProfileSession, Session, SessionContent, Source, SourceKind},
    reason::Reason,
    stack::NamespaceBudget,
};

/// Most characters of the names that a message lists.
const MAX_NAMES: usize = 28;

/// An AppProfile or FlowCapture that has not ended, and what it takes from the budget of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceClaim {
    /// The resource.
    pub source: Source,
    /// When the resource was created; none for one from a file.
    pub created: Option<Timestamp>,
    /// Memory that it holds on each node, in bytes.
    pub bytes: i64,
}

impl NamespaceClaim {
    /// The claim of the resource for which `session` was planned.
    pub fn new(session: &Session, created: Option<Timestamp>) -> Self {
        let bytes = match &session.content {
            SessionContent::AppProfile(AppProfileSession { memory_budget_bytes, .. })
            | SessionContent::CpuProfile(CpuProfileSession { memory_budget_bytes, .. }) => {
                i64::try_from(*memory_budget_bytes).unwrap_or(i64::MAX)
            }
            SessionContent::Flows(flows) => {
                i64::from(flows.flow_entries) * i64::from(FLOW_ENTRY_BYTES) + i64::from(flows.ring_bytes)
            }
        };
        Self { source: session.source.clone(), created, bytes }
    }

    /// Oldest first, then by name; one without a creation time is the newest.
    fn age(&self) -> (bool, Option<Timestamp>, &str, SourceKind) {
        (self.created.is_none(), self.created, &self.source.name, self.source.kind)
    }
}

/// The refusals of all claims that do not fit into the budget of their namespace. One that does not fit uses nothing, so
/// a smaller newer one may fit.
pub fn above_namespace_budget(claims: &[NamespaceClaim], budget: &NamespaceBudget) -> Vec<Refusal> {
    let mut oldest_first: Vec<_> = claims.iter().collect();
    oldest_first.sort_by(|a, b| a.age().cmp(&b.age()));
    let mut used_by_namespace: BTreeMap<Option<&str>, Vec<&NamespaceClaim>> = BTreeMap::new();
    let mut refusals = Vec::new();
    for claim in oldest_first {
        let used = used_by_namespace.entry(claim.source.namespace.as_deref()).or_default();
        match refusal(claim, used, budget) {
            Some(refusal) => refusals.push(refusal),
            None => used.push(claim),
        }
    }
    refusals
}

/// Why `claim` does not fit beside what is in use; none if it does.
fn refusal(claim: &NamespaceClaim, used: &[&NamespaceClaim], budget: &NamespaceBudget) -> Option<Refusal> {
    let kind = claim.source.kind;
    let of_kind: Vec<_> = used.iter().copied().filter(|other| other.source.kind == kind).collect();
    let (field, limit) = match kind {
        SourceKind::AppProfile => ("profiles", budget.profiles),
        _ => ("captures", budget.captures),
    };
    if of_kind.len() >= usize::try_from(limit).unwrap_or_default() {
        let plural = if limit == 1 { "" } else { "s" };
        let what = format!("{limit} {kind:?}{plural} in use{}", used_by(&of_kind));
        return Some(namespace_budget_exceeded(&claim.source, field, &what));
    }
    let in_use = used.iter().fold(0, |sum: i64, other| sum.saturating_add(other.bytes));
    if in_use.saturating_add(claim.bytes) > budget.bytes {
        let what = format!("{in_use} of {} bytes in use{}, this needs {}", budget.bytes, used_by(used), claim.bytes);
        return Some(namespace_budget_exceeded(&claim.source, "bytes", &what));
    }
    None
}

/// ` by hot, slow and 2 more`, oldest first.
fn used_by(used: &[&NamespaceClaim]) -> String {
    let mut names = String::new();
    for (listed, claim) in used.iter().enumerate() {
        let name = cut(&claim.source.name, MAX_NAMES);
        if names.chars().count() + name.chars().count() > MAX_NAMES {
            return format!(" by {names} and {} more", used.len() - listed);
        }
        names = if names.is_empty() { name } else { format!("{names}, {name}") };
    }
    if names.is_empty() { names } else { format!(" by {names}") }
}

fn namespace_budget_exceeded(source: &Source, field: &str, what: &str) -> Refusal {
    let message =
        format!("the namespace has {what}; wait, delete one, or raise tenancy.perNamespace.{field} of the stack");
    Refusal::new(source, Reason::NamespaceBudgetExceeded, "", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(kind: SourceKind, name: &str, second: i64, bytes: i64) -> NamespaceClaim {
        let source = Source { kind, namespace: Some("payments".into()), name: name.into(), generation: 1 };
        NamespaceClaim { source, created: Timestamp::from_second(second).ok(), bytes }
    }

    fn profile(name: &str, second: i64, bytes: i64) -> NamespaceClaim {
        claim(SourceKind::AppProfile, name, second, bytes)
    }

    fn budget(profiles: i32, captures: i32, bytes: i64) -> NamespaceBudget {
        NamespaceBudget { profiles, captures, bytes }
    }

    fn refused(claims: &[NamespaceClaim], budget: &NamespaceBudget) -> Vec<(String, String)> {
        let refusals = above_namespace_budget(claims, budget).into_iter();
        refusals
            .inspect(|refusal| assert_eq!(refusal.reason, Reason::NamespaceBudgetExceeded))
            .map(|refusal| (refusal.source.name, refusal.message))
            .collect()
    }

    #[test]
    fn oldest_profiles_keep_their_place_whatever_the_order() {
        let mut claims = vec![profile("c", 3, 1), profile("b", 1, 1), profile("a", 2, 1), profile("late", 1, 1)];
        for _ in 0..claims.len() {
            claims.rotate_left(1);
            let found = refused(&claims, &budget(2, 2, 10));
            let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["a", "c"], "b and late are the oldest");
            assert_eq!(
                found[0].1,
                "the namespace has 2 AppProfiles in use by b, late; wait, delete one, or raise \
                 tenancy.perNamespace.profiles of the stack"
            );
        }
    }

    #[test]
    fn captures_have_a_budget_of_their_own() {
        let capture = |name, second| claim(SourceKind::FlowCapture, name, second, 1);
        let claims = [profile("hot", 1, 1), capture("tills", 2), capture("web", 3)];
        let found = refused(&claims, &budget(1, 1, 10));
        assert_eq!(found.len(), 1);
        assert!(found[0].0 == "web" && found[0].1.contains("1 FlowCapture in use by tills;"), "{found:?}");
        assert!(refused(&claims, &budget(0, 0, 10))[0].1.contains("has 0 AppProfiles in use; wait"));
    }

    #[test]
    fn bytes_are_those_of_profiles_and_captures_together() {
        let claims = [
            profile("hot", 1, 60),
            claim(SourceKind::FlowCapture, "tills", 2, 30),
            profile("large", 3, 20),
            profile("small", 4, 10),
        ];
        let found = refused(&claims, &budget(9, 9, 100));
        assert_eq!(
            found,
            [(
                "large".into(),
                "the namespace has 90 of 100 bytes in use by hot, tills, this needs 20; wait, delete one, or raise \
                 tenancy.perNamespace.bytes of the stack"
                    .into()
            )]
        );
        assert_eq!(refused(&[profile("huge", 1, i64::MAX), profile("b", 2, 1)], &budget(9, 9, 100)).len(), 1);
    }

    #[test]
    fn namespaces_have_budgets_of_their_own() {
        let mut other = profile("b", 2, 1);
        other.source.namespace = Some("shop".into());
        assert_eq!(refused(&[profile("a", 1, 1), other], &budget(1, 1, 1)), []);
    }

    #[test]
    fn message_stays_short_however_long_the_names_are() {
        let long = |second| profile(&format!("{second}{}", "x".repeat(250)), second, 51 << 30);
        let mut claims: Vec<_> = (0..20).map(long).collect();
        claims.push(profile("last", 99, 5 << 30));
        let found = refused(&claims, &budget(100, 9, 1 << 40));
        assert_eq!(found.len(), 1);
        assert!(found[0].1.contains("and 19 more") && found[0].1.ends_with("of the stack"), "{found:?}");
        assert!(found[0].1.chars().count() <= 200, "{} characters", found[0].1.chars().count());
    }
}
