//! A script evaluated: each call adds a step to the plan, and what is known before rows are read is computed.

mod apply;
mod arguments;
mod calls;
mod columns;
mod combine;
mod constants;
mod evaluator;
mod expressions;
mod groups;
mod metadata;
mod operators;
mod order;
mod px;
mod settings;
mod source;
mod statements;
mod times;
mod value;

pub(crate) use evaluator::Evaluator;
