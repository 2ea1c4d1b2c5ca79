//! What a script asks for, as steps on tables. The order of the steps is the script's. An engine may change it where that
//! changes no answer.

mod explain;
mod expression;
mod node;
mod relation;

pub use expression::{Expression, Literal};
pub use node::{Aggregate, JoinKind, JoinSide, Node, NodeId, Operation, TimeRange};
pub use relation::{Relation, RelationColumn, Visibility};

/// What a script asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps; each stands behind its inputs.
    pub nodes: Vec<Node>,
    /// The tables that are displayed, in the order of the script.
    pub outputs: Vec<Output>,
    /// What the script sets for its answer.
    pub settings: Settings,
}

/// A table that is displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// The node that makes its rows: its listed columns are shown.
    pub node: NodeId,
}

/// What a script sets for its answer, by `#px:set NAME=VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Rows of each table at most.
    pub max_output_rows_per_table: u64,
    /// The plan is wanted beside the rows.
    pub explain: bool,
    /// What each step cost is wanted beside the rows.
    pub analyze: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_output_rows_per_table: 10_000, explain: false, analyze: false }
    }
}

impl Plan {
    /// The node of this number.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    /// The columns of an output, as clients see them.
    pub fn output_columns(&self, output: &Output) -> Vec<&RelationColumn> {
        self.node(output.node).map(|node| node.relation.listed().collect()).unwrap_or_default()
    }

    /// The plan without the steps that lead to no output.
    pub(crate) fn prune(self) -> Self {
        let mut is_used = vec![false; self.nodes.len()];
        for output in &self.outputs {
            is_used[output.node.0] = true;
        }
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if is_used[index] {
                node.inputs.iter().for_each(|input| is_used[input.0] = true);
            }
        }
        let mut renumbered = Vec::with_capacity(self.nodes.len());
        let mut nodes = Vec::new();
        for (mut node, is_used) in self.nodes.into_iter().zip(is_used) {
            renumbered.push(NodeId(nodes.len()));
            if is_used {
                node.inputs.iter_mut().for_each(|input| *input = renumbered[input.0]);
                nodes.push(node);
            }
        }
        let outputs = self.outputs.into_iter().map(|output| Output { node: renumbered[output.node.0], ..output });
        Self { nodes, outputs: outputs.collect(), settings: self.settings }
    }
}
