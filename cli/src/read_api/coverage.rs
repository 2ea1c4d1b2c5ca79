//! How much of the cluster an answer covers.

use serde::Deserialize;
use trilobite_untrusted_text::escape;

/// Nodes that are named in a warning.
const NAMED_MAX: usize = 3;

/// As the relay counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Coverage {
    nodes: NodeCounts,
    lost: u64,
    interrupted: u64,
    problems: Vec<NodeProblem>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct NodeCounts {
    asked: u64,
    answered: u64,
    late: u64,
    refused: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct NodeProblem {
    node: String,
    state: String,
    message: String,
}

impl Coverage {
    /// Every node has answered, and nothing was lost.
    pub(crate) fn is_complete(&self) -> bool {
        self.nodes.asked == self.nodes.answered && self.lost == 0 && self.interrupted == 0
    }

    /// What is missing, e.g. `nodes: 2 asked, 1 answered, birch late`; none for a complete answer.
    pub(crate) fn warning(&self) -> Option<String> {
        if self.is_complete() {
            return None;
        }
        let Self { nodes: NodeCounts { asked, answered, late, refused }, lost, interrupted, problems } = self;
        let mut parts = vec![format!("nodes: {asked} asked"), format!("{answered} answered")];
        let named = problems.iter().take(NAMED_MAX).map(|NodeProblem { node, state, message }| {
            // Without the right to the whole cluster the message is a word, often that of the state.
            let is_told = message.is_empty() || message == state;
            let why = if is_told { String::new() } else { format!(" ({})", escape(message)) };
            format!("{} {}{why}", escape(node), escape(state))
        });
        parts.extend(named);
        let unnamed = (late + refused).saturating_sub(problems.len().min(NAMED_MAX) as u64);
        match (unnamed, problems.is_empty()) {
            (0, _) => {}
            (_, false) => parts.push(format!("{unnamed} more late or refused")),
            (_, true) => parts.extend(
                [(late, "late"), (refused, "refused")]
                    .iter()
                    .filter(|(count, _)| **count > 0)
                    .map(|(count, state)| format!("{count} {state}")),
            ),
        }
        if *lost > 0 {
            parts.push(format!("{lost} rows lost"));
        }
        if *interrupted > 0 {
            parts.push(format!("{interrupted} streams interrupted: rows in between may be missing"));
        }
        Some(parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(json: &str) -> Option<String> {
        serde_json::from_str::<Coverage>(json).unwrap().warning()
    }

    #[test]
    fn complete_answer_needs_no_warning() {
        assert_eq!(warning(r#"{"nodes": {"asked": 2, "answered": 2, "late": 0, "refused": 0}, "lost": 0}"#), None);
        assert_eq!(warning("{}"), None);
    }

    #[test]
    fn missing_nodes_are_named() {
        let json = r#"{"nodes": {"asked": 2, "answered": 1, "late": 1, "refused": 0}, "lost": 7,
            "problems": [{"node": "birch", "state": "late", "message": "late"}]}"#;
        assert_eq!(warning(json).unwrap(), "nodes: 2 asked, 1 answered, birch late, 7 rows lost");
        let json = r#"{"nodes": {"asked": 2, "answered": 1, "late": 1, "refused": 0},
            "problems": [{"node": "birch", "state": "late", "message": "unreachable"}]}"#;
        assert_eq!(warning(json).unwrap(), "nodes: 2 asked, 1 answered, birch late (unreachable)");
        let counts = r#"{"nodes": {"asked": 5, "answered": 2, "late": 2, "refused": 1}}"#;
        assert_eq!(warning(counts).unwrap(), "nodes: 5 asked, 2 answered, 2 late, 1 refused");
        let many = r#"{"nodes": {"asked": 5, "answered": 0, "late": 5, "refused": 0}, "problems": [
            {"node": "a", "state": "late"}, {"node": "b", "state": "late"}, {"node": "c", "state": "late"},
            {"node": "d", "state": "late"}]}"#;
        assert_eq!(
            warning(many).unwrap(),
            "nodes: 5 asked, 0 answered, a late, b late, c late, 2 more late or refused"
        );
    }
}
