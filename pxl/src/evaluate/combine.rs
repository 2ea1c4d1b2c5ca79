//! `merge` and `append`.

use std::sync::Arc;

use trilobite_schema::ColumnType;

use super::{
    evaluator::Evaluator,
    value::{Argument, Item, Value},
};
use crate::{
    error::{Position, Refused, quote},
    nearest::did_you_mean,
    plan::{JoinKind, JoinSide, NodeId, Operation, Relation, RelationColumn},
};

const KINDS: [JoinKind; 4] = [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Outer];

impl Evaluator<'_> {
    /// `left.merge(right, how, left_on, right_on, suffixes)`
    pub(super) fn merge(&mut self, mut left: NodeId, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let parameters = ["right", "how", "left_on", "right_on", "suffixes"];
        let [right, how, left_on, right_on, suffixes] = self.bind("merge", parameters, arguments)?;
        let right = self.required(right, "merge", "right", at)?;
        let mut right = self.frame(&right, "what is merged")?;
        let how = how.map_or(Ok(JoinKind::Inner), |how| self.join_kind(&how))?;
        let left_on = self.required(left_on, "merge", "left_on", at)?;
        let left_names = self.column_names(&left_on, "left_on")?;
        let right_on = self.required(right_on, "merge", "right_on", at)?;
        let right_names = self.column_names(&right_on, "right_on")?;
        if left_names.len() != right_names.len() || left_names.is_empty() {
            let (left, right) = (left_names.len(), right_names.len());
            let message =
                format!("left_on has {left} columns and right_on {right}: as many are needed, and one at least");
            return Err(self.refuse(right_on.position, message));
        }
        let mut on = Vec::new();
        for ((left_name, left_at), (right_name, right_at)) in left_names.into_iter().zip(right_names) {
            let (changed, left_column) = self.real_column(left, &left_name, left_at)?;
            left = changed;
            let (changed, right_column) = self.real_column(right, &right_name, right_at)?;
            right = changed;
            if left_column.kind != right_column.kind {
                let message = format!(
                    "{} is {} and {} is {}: columns that are joined have one type",
                    quote(&left_name),
                    left_column.kind.name(),
                    quote(&right_name),
                    right_column.kind.name()
                );
                return Err(self.refuse(right_at, message));
            }
            on.push((left_column.name, right_column.name));
        }
        let suffixes = suffixes.map_or(Ok(("_x".into(), "_y".into())), |suffixes| self.suffixes(&suffixes))?;
        let (columns, relation) = self.joined(left, right, &suffixes, at)?;
        self.add_node(at, Operation::Join { how, on, columns }, vec![left, right], relation).map(Value::Frame)
    }

    fn join_kind(&mut self, item: &Item) -> Result<JoinKind, Refused> {
        let how = self.text(item, "how")?;
        match KINDS.into_iter().find(|kind| kind.name() == &*how) {
            Some(kind) => Ok(kind),
            None => {
                let advice = did_you_mean(&how, KINDS.map(JoinKind::name));
                Err(self
                    .refuse(item.position, format!("how is inner, left, right or outer, not {}{advice}", quote(&how))))
            }
        }
    }

    fn suffixes(&mut self, item: &Item) -> Result<(Arc<str>, Arc<str>), Refused> {
        match &item.value {
            Value::List(items) | Value::Tuple(items) if items.len() == 2 => {
                let mut texts = items.iter().map(|item| self.text(item, "a suffix").map(|text| Arc::from(&*text)));
                match (texts.next(), texts.next()) {
                    (Some(left), Some(right)) => Ok((left?, right?)),
                    _ => Err(Refused),
                }
            }
            _ => Err(self.refuse(item.position, "suffixes are two strings, e.g. ['', '_right']")),
        }
    }

    /// Columns of both inputs; those that have one name get the suffix of their input.
    #[expect(clippy::type_complexity, reason = "as the node has them")]
    fn joined(
        &mut self,
        left: NodeId,
        right: NodeId,
        suffixes: &(Arc<str>, Arc<str>),
        at: Position,
    ) -> Result<(Vec<(JoinSide, Arc<str>)>, Relation), Refused> {
        let (left, right) = (self.relation(left), self.relation(right));
        let is_listed = |relation: &Relation, name: &str| relation.listed().any(|column| &*column.name == name);
        let sides = [(JoinSide::Left, &left, &right, &suffixes.0), (JoinSide::Right, &right, &left, &suffixes.1)];
        let (mut sources, mut columns) = (Vec::new(), Vec::<RelationColumn>::new());
        for (side, relation, other, suffix) in sides {
            for column in relation.listed() {
                let is_in_both = is_listed(other, &column.name);
                let name = if is_in_both { format!("{}{suffix}", column.name).into() } else { column.name.clone() };
                if columns.iter().any(|earlier| earlier.name == name) {
                    let message =
                        format!("two columns are called {} after merge: other suffixes are needed", quote(&name));
                    return Err(self.refuse(at, message));
                }
                let name = self.checked_name(&name, at)?;
                sources.push((side, column.name.clone()));
                columns.push(RelationColumn::listed(name, column.kind, column.semantic));
            }
        }
        Ok((sources, Relation::new(columns)))
    }

    /// `df.append(other)`, `df.append([others])`
    pub(super) fn append(&mut self, frame: NodeId, arguments: Vec<Argument>, at: Position) -> Result<Value, Refused> {
        let [objs] = self.bind("append", ["objs"], arguments)?;
        let objs = self.required(objs, "append", "objs", at)?;
        let items: Vec<Item> = match &objs.value {
            Value::List(items) | Value::Tuple(items) => items.to_vec(),
            _ => vec![objs],
        };
        let first = Relation::new(self.relation(frame).listed().cloned().collect());
        let mut inputs = vec![frame];
        for item in &items {
            let other = self.frame(item, "what is appended")?;
            self.check_same_columns(&first, other, item.position)?;
            inputs.push(other);
        }
        let by_time = first.find("time_").is_some_and(|column| column.kind == ColumnType::Time64Ns);
        self.add_node(at, Operation::Union { by_time }, inputs, first).map(Value::Frame)
    }

    fn check_same_columns(&mut self, first: &Relation, other: NodeId, at: Position) -> Result<(), Refused> {
        let other = self.relation(other);
        let missing = first.listed().find(|column| other.listed().all(|known| known.name != column.name));
        let added = other.listed().find(|column| first.find(&column.name).is_none());
        let differs = first.listed().find_map(|column| {
            other
                .listed()
                .find(|known| known.name == column.name && known.kind != column.kind)
                .map(|known| (column, known))
        });
        let message = match (missing, added, differs) {
            (Some(column), ..) => format!("what is appended lacks the column {}", quote(&column.name)),
            (_, Some(column), _) => {
                format!("what is appended has the column {}, which the first lacks", quote(&column.name))
            }
            (.., Some((column, known))) => {
                let (name, first, other) = (quote(&column.name), column.kind.name(), known.kind.name());
                format!("the column {name} is {first} in the first and {other} in what is appended")
            }
            (None, None, None) => return Ok(()),
        };
        Err(self.refuse(at, message))
    }
}
