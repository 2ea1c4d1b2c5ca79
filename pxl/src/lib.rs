//! PxL, Pixie's language for questions, turned into plans: what to read, in which steps, with types and meanings. A plan is data;
//! nothing here reads a row, a clock or a file, and no engine is linked.
//!
//! ```
//! use trilobite_pxl::{Request, compile};
//!
//! let script = "import px\ndf = px.DataFrame('http_events', start_time='-5m')\npx.display(df[df.resp_status >= 500], 'errors')\n";
//! let plan = compile(&Request { script, functions: &[], now: 1_796_000_000_000_000_000 })?;
//! assert_eq!(plan.outputs[0].name, "errors");
//!
//! let wrong = compile(&Request { script: "import px\npx.display(px.DataFrame('http_event'))", functions: &[], now: 0 });
//! let errors = wrong.unwrap_err();
//! assert_eq!(errors[0].to_string(), "line 2, column 25: there is no table 'http_event'; did you mean 'http_events'?");
//! # Ok::<(), Vec<trilobite_pxl::ScriptError>>(())
//! ```
//!
//! What Pixie's language has and this does not, and what this adds, is in `docs/pxl.md`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod compile;
mod error;
mod evaluate;
mod functions;
mod lexer;
mod limits;
mod nearest;
mod parser;
mod plan;
mod request;

pub use compile::compile;
pub use error::{Position, ScriptError};
pub use functions::{
    ComputedAt, Function, FunctionKind, GENERATORS, Generator, Overload, SemanticRule, find_function, functions,
};
pub use plan::{
    Aggregate, Expression, JoinKind, JoinSide, Literal, Node, NodeId, Operation, Output, Plan, Relation,
    RelationColumn, Settings, TimeRange, Visibility,
};
pub use request::{FunctionCall, Request};
