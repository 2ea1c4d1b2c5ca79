//! `head` and `sort`, and tables that are displayed.

use super::{
    evaluator::Evaluator,
    value::{Argument, Item, Value},
};
use crate::{
    error::{Position, Refused},
    limits::OUTPUTS,
    plan::{NodeId, Operation, Output},
};

impl Evaluator<'_> {
    /// `df.head(n=5)`
    pub(super) fn head(&mut self, frame: NodeId, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let [rows] = self.bind("head", ["n"], arguments)?;
        let (rows, position) = match rows {
            Some(item) => (self.integer(&item, "the number of rows")?, item.position),
            None => (5, at),
        };
        let Ok(rows) = u64::try_from(rows) else {
            return Err(self.refuse(position, "the number of rows cannot be negative"));
        };
        let relation = self.relation(frame);
        self.add_node(at, Operation::Limit { rows }, vec![frame], relation).map(Value::Frame)
    }

    /// `df.sort('column', ascending=False)`, which Pixie does not have.
    pub(super) fn sort(&mut self, mut frame: NodeId, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let [by, ascending] = self.bind("sort", ["by", "ascending"], arguments)?;
        let by = self.required(by, "sort", "by", at)?;
        let names = self.column_names(&by, "what is sorted by")?;
        if names.is_empty() {
            return Err(self.refuse(by.position, "sort needs a column"));
        }
        let ascending = self.directions(ascending, names.len())?;
        let mut columns = Vec::new();
        for ((name, position), ascending) in names.into_iter().zip(ascending) {
            let (changed, column) = self.real_column(frame, &name, position)?;
            frame = changed;
            columns.push((column.name, ascending));
        }
        let relation = self.relation(frame);
        self.add_node(at, Operation::Sort { by: columns }, vec![frame], relation).map(Value::Frame)
    }

    /// Whether each of so many columns is ascending.
    fn directions(&mut self, item: Option<Item>, columns: usize) -> Result<Vec<bool>, Refused> {
        let Some(item) = item else { return Ok(vec![true; columns]) };
        match &item.value {
            Value::List(items) if items.len() == columns => {
                items.iter().map(|item| self.truth(item, "ascending")).collect()
            }
            Value::List(items) => {
                let message = format!("ascending has {} values for {columns} columns", items.len());
                Err(self.refuse(item.position, message))
            }
            _ => Ok(vec![self.truth(&item, "ascending")?; columns]),
        }
    }

    /// `px.display(df, 'name')`, `px.debug(df, 'name')`
    pub(super) fn display(&mut self, arguments: Vec<Argument>, is_debug: bool, at: Position) -> Result<Value, Refused> {
        let function = if is_debug { "px.debug" } else { "px.display" };
        let [out, name] = self.bind(function, ["out", "name"], arguments)?;
        let out = self.required(out, function, "out", at)?;
        let frame = self.frame(&out, "what is displayed")?;
        let name = match name {
            Some(item) => {
                let name = self.text(&item, "the name of the table")?;
                self.checked_name(&name, item.position)?
            }
            None => "output".into(),
        };
        let prefix = if is_debug { "_" } else { "" };
        self.add_output(format!("{prefix}{name}"), frame, at)?;
        Ok(Value::None)
    }

    /// Displays a table. A second one of a name gets a number.
    pub(super) fn add_output(&mut self, name: String, node: NodeId, at: Position) -> Result<(), Refused> {
        if self.outputs.len() >= OUTPUTS {
            return Err(self.refuse(at, format!("a script displays at most {OUTPUTS} tables")));
        }
        let is_free = |name: &String| self.outputs.iter().all(|output| output.name != *name);
        let numbered = std::iter::once(name.clone()).chain((1..=OUTPUTS).map(|number| format!("{name}_{number}")));
        let free = numbered.into_iter().find(is_free);
        self.outputs.push(Output { name: free.unwrap_or(name), node });
        Ok(())
    }
}
