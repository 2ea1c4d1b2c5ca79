//! What is known while a script is evaluated.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use super::value::{Module, Value};
use crate::{
    error::{Errors, Position, Refused, quote},
    limits::{COLUMNS, EVALUATION_DEPTH, EVALUATION_STEPS, NAME_BYTES, PLAN_NODES},
    nearest::did_you_mean,
    plan::{Node, NodeId, Operation, Output, Plan, Relation, Settings},
};

type Names = HashMap<Rc<str>, Value>;

pub(crate) struct Evaluator<'e> {
    pub(super) errors: &'e mut Errors,
    /// Nanoseconds of the wall clock.
    pub(super) now: i64,
    pub(super) nodes: Vec<Node>,
    pub(super) outputs: Vec<Output>,
    pub(super) settings: Settings,
    pub(super) script_names: Names,
    pub(super) view_names: Names,
    /// The functions that are being called: whose names they see, and their own.
    pub(super) calls: Vec<(Module, Names)>,
    /// Where the script called a function of a module: errors inside of it are reported there.
    pub(super) call_site: Option<(Position, String)>,
    /// Columns that could not be computed, which was reported: that they are missing is not reported again.
    pub(super) refused_columns: HashSet<Arc<str>>,
    /// Calls, columns and constants of the nodes.
    pub(super) parts: u32,
    /// Bytes of texts that were joined.
    pub(super) joined_bytes: usize,
    steps: u32,
    depth: u32,
    /// The script costs more than it may: the rest of it is not evaluated.
    is_stopped: bool,
}

impl<'e> Evaluator<'e> {
    pub(crate) fn new(now: i64, errors: &'e mut Errors) -> Self {
        Self {
            errors,
            now,
            nodes: Vec::new(),
            outputs: Vec::new(),
            settings: Settings::default(),
            script_names: Names::new(),
            view_names: Names::new(),
            calls: Vec::new(),
            call_site: None,
            refused_columns: HashSet::new(),
            parts: 0,
            joined_bytes: 0,
            steps: 0,
            depth: 0,
            is_stopped: false,
        }
    }

    pub(super) fn refuse(&mut self, position: Position, message: impl Into<String>) -> Refused {
        match &self.call_site {
            Some((site, function)) => {
                let message = format!("in {function}: {}", message.into());
                self.errors.refuse(*site, message)
            }
            None => self.errors.refuse(position, message),
        }
    }

    /// Evaluation has become pointless: too many errors, or too costly a script.
    pub(super) fn is_over(&self) -> bool {
        self.errors.is_full() || self.is_stopped
    }

    /// Counts an expression, and those that it is inside of.
    pub(super) fn enter(&mut self, position: Position) -> Result<(), Refused> {
        if self.is_over() {
            return Err(Refused);
        }
        self.steps += 1;
        let message = match (self.steps > EVALUATION_STEPS, self.depth >= EVALUATION_DEPTH) {
            (true, _) => format!("the script takes more than {EVALUATION_STEPS} steps to read"),
            (_, true) => "calls of functions are inside of each other too deep".to_owned(),
            (false, false) => {
                self.depth += 1;
                return Ok(());
            }
        };
        Err(self.stop(position, message))
    }

    /// Refuses something, and the rest of the script with it.
    pub(super) fn stop(&mut self, position: Position, message: impl Into<String>) -> Refused {
        self.is_stopped = true;
        self.refuse(position, message)
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The value of a name.
    pub(super) fn look_up(&mut self, name: &str, position: Position) -> Result<Value, Refused> {
        let module = self.calls.last().map_or(Module::Script, |(module, _)| *module);
        let globals = if module == Module::Views { &self.view_names } else { &self.script_names };
        let found = self.calls.last().and_then(|(_, names)| names.get(name)).or_else(|| globals.get(name));
        match found {
            Some(Value::Poison) => Err(Refused),
            Some(value) => Ok(value.clone()),
            None => {
                let advice = match name {
                    "px" | "pxviews" => format!(": add 'import {name}'"),
                    _ => {
                        let own = self.calls.last().into_iter().flat_map(|(_, names)| names.keys());
                        did_you_mean(name, own.chain(globals.keys()).map(|known| &**known))
                    }
                };
                Err(self.refuse(position, format!("{} is not defined{advice}", quote(name))))
            }
        }
    }

    /// Gives a name its value, in the function that is being called or in the script.
    pub(super) fn define(&mut self, name: Rc<str>, value: Value) {
        match self.calls.last_mut() {
            Some((_, names)) => drop(names.insert(name, value)),
            None => drop(self.script_names.insert(name, value)),
        }
    }

    /// Adds a step to the plan.
    pub(super) fn add_node(
        &mut self,
        position: Position,
        operation: Operation,
        inputs: Vec<NodeId>,
        relation: impl Into<Arc<Relation>>,
    ) -> Result<NodeId, Refused> {
        let relation = relation.into();
        if self.nodes.len() >= PLAN_NODES {
            return Err(self.refuse(position, format!("the script makes more than {PLAN_NODES} steps")));
        }
        if relation.columns().len() > COLUMNS {
            return Err(self.refuse(position, format!("a DataFrame has at most {COLUMNS} columns")));
        }
        let position = self.call_site.as_ref().map_or(position, |(site, _)| *site);
        self.nodes.push(Node { operation, inputs, relation, position });
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// The columns of a DataFrame.
    pub(super) fn relation(&self, frame: NodeId) -> Arc<Relation> {
        self.nodes.get(frame.0).map(|node| node.relation.clone()).unwrap_or_default()
    }

    /// A name that a column or a table may have.
    pub(super) fn checked_name(&mut self, name: &str, position: Position) -> Result<Arc<str>, Refused> {
        if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
            let message =
                format!("a name has 1 to {NAME_BYTES} bytes and no control characters, unlike {}", quote(name));
            return Err(self.refuse(position, message));
        }
        Ok(name.into())
    }
}

impl Evaluator<'_> {
    /// The plan of what was evaluated. A script that displays nothing is refused.
    pub(crate) fn finish(self) -> Plan {
        if self.outputs.is_empty() && self.errors.is_empty() {
            self.errors.refuse(Position::START, "the script displays nothing: add px.display(df, 'name')");
        }
        Plan { nodes: self.nodes, outputs: self.outputs, settings: self.settings }.prune()
    }
}
