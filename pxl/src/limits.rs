//! What a script may cost before it is refused.

/// Bytes of a script. The longest of Pixie's own has 276 lines.
pub(crate) const SCRIPT_BYTES: usize = 256 << 10;

/// Expressions inside of expressions, as written. They are read and dropped recursively.
pub(crate) const NESTED_MAX: u16 = 100;

/// Expressions and calls of functions inside of each other while a script is evaluated.
pub(crate) const EVALUATION_DEPTH: u32 = 250;

/// Expressions that are evaluated. Functions that call others twice grow exponentially.
pub(crate) const EVALUATION_STEPS: u32 = 200_000;

/// Bytes of a text that is known before any row is read.
pub(crate) const TEXT_BYTES: usize = 64 << 10;

/// Bytes of all texts that are joined before any row is read.
pub(crate) const JOINED_BYTES: usize = 4 << 20;

/// Calls, columns and constants in one expression of a plan.
pub(crate) const EXPRESSION_SIZE: u32 = 2_000;

/// Calls inside of calls in one expression of a plan.
pub(crate) const EXPRESSION_DEPTH: u32 = 150;

/// Calls, columns and constants of all nodes of a plan.
pub(crate) const PLAN_PARTS: u32 = 100_000;

/// Nodes of a plan, also those that lead nowhere.
pub(crate) const PLAN_NODES: usize = 2_000;

/// Columns of a DataFrame.
pub(crate) const COLUMNS: usize = 300;

/// Bytes of a column's or table's name.
pub(crate) const NAME_BYTES: usize = 200;

/// Tables that a script displays.
pub(crate) const OUTPUTS: usize = 100;
