//! Where rows come from: tables, and functions that make tables.

use trilobite_schema::{ColumnType, SemanticType, find};

use super::{
    evaluator::Evaluator,
    times::parse_time,
    value::{Argument, Item, Value},
};
use crate::{
    error::{Position, Refused, quote},
    functions::Generator,
    nearest::did_you_mean,
    plan::{Literal, Operation, Relation, RelationColumn, TimeRange},
};

impl Evaluator<'_> {
    /// `px.DataFrame(table, select, start_time, end_time)`
    pub(super) fn data_frame(&mut self, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let parameters = ["table", "select", "start_time", "end_time"];
        let [table, select, start, end] = self.bind("px.DataFrame", parameters, arguments)?;
        let table_item = self.required(table, "px.DataFrame", "table", at)?;
        let name = self.text(&table_item, "the name of a table")?;
        let start = self.bound(start, "start_time");
        let end = self.bound(end, "end_time");
        let Some(table) = find(&name) else {
            let advice = did_you_mean(&name, trilobite_schema::ALL.iter().map(|table| table.name));
            return Err(self.refuse(table_item.position, format!("there is no table {}{advice}", quote(&name))));
        };
        let range = TimeRange { start: start?, end: end? };
        if let TimeRange { start: Some(start), end: Some(end) } = range
            && start > end
        {
            return Err(self.refuse(at, "start_time is after end_time"));
        }
        let operation = Operation::Scan { table: table.name, range };
        let frame = self.add_node(at, operation, Vec::new(), Relation::of_table(table))?;
        let Some(select) = select else { return Ok(Value::Frame(frame)) };
        let names = self.column_names(&select, "what is selected")?;
        if names.is_empty() {
            return Ok(Value::Frame(frame));
        }
        self.project(frame, names, select.position).map(Value::Frame)
    }

    /// A time that bounds the rows of a table.
    fn bound(&mut self, item: Option<Item>, name: &str) -> Result<Option<i64>, Refused> {
        match item {
            None => Ok(None),
            Some(Item { value: Value::None, .. }) => Ok(None),
            Some(item) => self.instant(&item, name).map(Some),
        }
    }

    /// A time as a string, as nanoseconds, or as px.now() and durations make it.
    pub(super) fn instant(&mut self, item: &Item, what: &str) -> Result<i64, Refused> {
        match &item.value {
            Value::Time(time) | Value::Integer(time) => Ok(*time),
            Value::Text(text) => match parse_time(text, self.now) {
                Some(time) => Ok(time),
                None => {
                    let message = format!("{what} is e.g. '-5m' or '2026-11-30T12:00:00Z', not {}", quote(text));
                    Err(self.refuse(item.position, message))
                }
            },
            other => Err(self.refuse(item.position, format!("{what} is a time, not {}", other.describe()))),
        }
    }

    /// `px.GetX()`
    pub(super) fn generate(
        &mut self,
        generator: &'static Generator,
        arguments: Vec<Argument>,
        at: Position,
    ) -> Result<Value, Refused> {
        let mut given = Vec::new();
        for (index, Argument { name, position, item }) in arguments.into_iter().enumerate() {
            let parameter = match &name {
                Some(name) => generator.arguments.iter().find(|(parameter, _)| *parameter == &**name),
                None => generator.arguments.get(index),
            };
            let Some((parameter, kind)) = parameter else {
                let known: Vec<&str> = generator.arguments.iter().map(|(name, _)| *name).collect();
                let shown = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!("px.{} has the arguments: {shown}", generator.name);
                return Err(self.refuse(position, message));
            };
            let value = match (kind, &item.value) {
                (ColumnType::Boolean, Value::Truth(truth)) => Literal::Boolean(*truth),
                (ColumnType::Int64, Value::Integer(number)) => Literal::Int64(*number),
                (ColumnType::String, Value::Text(text)) => Literal::String((&**text).into()),
                (kind, other) => {
                    let message = format!("{parameter} is {}, not {}", kind.name(), other.describe());
                    return Err(self.refuse(item.position, message));
                }
            };
            given.push((*parameter, value));
        }
        let column = |column: &trilobite_schema::Column| {
            RelationColumn::listed(column.name.into(), column.kind, SemanticType::None)
        };
        let relation = Relation::new(generator.columns.iter().map(column).collect());
        self.add_node(at, Operation::Generate { generator, arguments: given }, Vec::new(), relation).map(Value::Frame)
    }
}
