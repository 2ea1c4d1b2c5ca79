//! Operators: computed at once where both operands are known, else part of the plan.

use super::{evaluator::Evaluator, value::Value};
use crate::{
    error::{Position, Refused},
    limits::{JOINED_BYTES, TEXT_BYTES},
    parser::ast::{Binary, Unary},
};

impl Evaluator<'_> {
    pub(super) fn unary(&mut self, operator: Unary, operand: Value, position: Position) -> Result<Value, Refused> {
        match (operator, operand) {
            (Unary::Not, Value::Truth(truth)) => Ok(Value::Truth(!truth)),
            (Unary::Minus, Value::Integer(number)) => match number.checked_neg() {
                Some(number) => Ok(Value::Integer(number)),
                None => Err(self.refuse(position, "the number does not fit into 64 bits")),
            },
            (Unary::Minus, Value::Float(number)) => Ok(Value::Float(-number)),
            (Unary::Plus, number @ (Value::Integer(_) | Value::Float(_))) => Ok(number),
            (operator, operand) => {
                let (name, symbol) = match operator {
                    Unary::Not => ("logicalNot", "not"),
                    Unary::Minus => ("negate", "-"),
                    Unary::Plus => return Err(self.refuse(position, format!("'+' before {}", operand.describe()))),
                };
                match operand.typed() {
                    Some(typed) => self.apply_by_name(name, vec![typed], position),
                    None => Err(self.refuse(position, format!("'{symbol}' before {}", operand.describe()))),
                }
            }
        }
    }

    pub(super) fn binary(
        &mut self,
        operator: Binary,
        left: Value,
        right: Value,
        at: Position,
    ) -> Result<Value, Refused> {
        let is_known = |value: &Value| !matches!(value, Value::Expression(_));
        if is_known(&left) && is_known(&right) {
            match fold(operator, &left, &right) {
                Folded::Value(value) => return self.counted(value, at),
                Folded::Refused(message) => return Err(self.refuse(at, message)),
                Folded::No => {}
            }
        }
        match (left.typed(), right.typed()) {
            (Some(left), Some(right)) => self.apply_by_name(operator.function(), vec![left, right], at),
            _ => {
                let message = format!("'{}' between {} and {}", operator.symbol(), left.describe(), right.describe());
                Err(self.refuse(at, message))
            }
        }
    }
}

impl Evaluator<'_> {
    /// The value, if the script has not joined too many texts.
    fn counted(&mut self, value: Value, at: Position) -> Result<Value, Refused> {
        if let Value::Text(text) = &value {
            self.joined_bytes += text.len();
            if self.joined_bytes > JOINED_BYTES {
                return Err(
                    self.stop(at, format!("the strings that the script joins have more than {JOINED_BYTES} bytes"))
                );
            }
        }
        Ok(value)
    }
}

enum Folded {
    Value(Value),
    Refused(&'static str),
    /// It has no value before rows are read.
    No,
}

fn fold(operator: Binary, left: &Value, right: &Value) -> Folded {
    match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => fold_integers(operator, *left, *right),
        (Value::Time(left), Value::Time(right)) if operator == Binary::Subtract => number(left.checked_sub(*right)),
        (Value::Time(time), Value::Integer(duration)) => match operator {
            Binary::Add => instant(time.checked_add(*duration)),
            Binary::Subtract => instant(time.checked_sub(*duration)),
            _ => Folded::No,
        },
        (Value::Integer(duration), Value::Time(time)) if operator == Binary::Add => {
            instant(time.checked_add(*duration))
        }
        (Value::Text(left), Value::Text(right)) => match operator {
            Binary::Add if left.len() + right.len() > TEXT_BYTES => Folded::Refused("the string becomes too long"),
            Binary::Add => Folded::Value(Value::Text(format!("{left}{right}").into())),
            Binary::Equal => Folded::Value(Value::Truth(left == right)),
            Binary::NotEqual => Folded::Value(Value::Truth(left != right)),
            _ => Folded::No,
        },
        (Value::Truth(left), Value::Truth(right)) => match operator {
            Binary::And => Folded::Value(Value::Truth(*left && *right)),
            Binary::Or => Folded::Value(Value::Truth(*left || *right)),
            Binary::Equal => Folded::Value(Value::Truth(left == right)),
            Binary::NotEqual => Folded::Value(Value::Truth(left != right)),
            _ => Folded::No,
        },
        _ => match (float(left), float(right)) {
            (Some(left), Some(right)) => fold_floats(operator, left, right),
            _ => Folded::No,
        },
    }
}

fn number(result: Option<i64>) -> Folded {
    result
        .map_or(Folded::Refused("the result does not fit into 64 bits"), |number| Folded::Value(Value::Integer(number)))
}

fn instant(result: Option<i64>) -> Folded {
    result.map_or(Folded::Refused("the time does not fit into 64 bits"), |time| Folded::Value(Value::Time(time)))
}

#[expect(clippy::cast_precision_loss, reason = "as Pixie's casts")]
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn fold_integers(operator: Binary, left: i64, right: i64) -> Folded {
    match operator {
        Binary::Add => number(left.checked_add(right)),
        Binary::Subtract => number(left.checked_sub(right)),
        Binary::Multiply => number(left.checked_mul(right)),
        Binary::Modulo if right == 0 => Folded::Refused("'%' by zero"),
        Binary::Modulo => number(left.checked_rem(right)),
        Binary::Equal => Folded::Value(Value::Truth(left == right)),
        Binary::NotEqual => Folded::Value(Value::Truth(left != right)),
        Binary::Less => Folded::Value(Value::Truth(left < right)),
        Binary::LessEqual => Folded::Value(Value::Truth(left <= right)),
        Binary::Greater => Folded::Value(Value::Truth(left > right)),
        Binary::GreaterEqual => Folded::Value(Value::Truth(left >= right)),
        // A quotient is never a whole number, and x/0 is no error.
        Binary::Divide => match (float(&Value::Integer(left)), float(&Value::Integer(right))) {
            (Some(left), Some(right)) => Folded::Value(Value::Float(left / right)),
            _ => Folded::No,
        },
        Binary::And | Binary::Or => Folded::No,
    }
}

fn fold_floats(operator: Binary, left: f64, right: f64) -> Folded {
    Folded::Value(match operator {
        Binary::Add => Value::Float(left + right),
        Binary::Subtract => Value::Float(left - right),
        Binary::Multiply => Value::Float(left * right),
        Binary::Divide => Value::Float(left / right),
        Binary::Less => Value::Truth(left < right),
        Binary::LessEqual => Value::Truth(left <= right),
        Binary::Greater => Value::Truth(left > right),
        Binary::GreaterEqual => Value::Truth(left >= right),
        _ => return Folded::No,
    })
}
