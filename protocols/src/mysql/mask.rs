//! What of a packet's bytes may be kept on a disk: lengths, ids, counts and flags, statements without their literals, errors
//! without values; no rows, parameters, passwords, texts of files or names of columns.

use super::answer::{Kind, status_bytes};
use super::command::Command;
use super::handshake::Greeting;
use super::packet::Taken;
use super::server_error::ServerError;
use super::statement_text::statement_start;
use crate::mask::{FILL, fill};
use crate::redact::{SqlDialect, mask_sql};

/// What of a packet may be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MaskRule {
    #[default]
    Nothing,
    Everything,
    /// The first bytes.
    Beginning(usize),
    Greeting,
    Statement(SqlDialect),
    /// A statement with its literals, behind values that are not shown.
    WholeStatement,
    Status,
    Error,
    Row,
    Description,
}

impl MaskRule {
    pub(super) fn of_command(command: Option<Command>, dialect: SqlDialect, keep_literals: bool) -> Self {
        match command {
            None => Self::Nothing,
            Some(Command::Query) if keep_literals => Self::WholeStatement,
            Some(Command::Prepare) if keep_literals => Self::Everything,
            Some(Command::Query | Command::Prepare) => Self::Statement(dialect),
            Some(Command::InitDb | Command::CreateDb | Command::DropDb | Command::FieldList) => Self::Everything,
            // Its id, flags, and the number of executions.
            Some(Command::Execute) => Self::Beginning(10),
            Some(Command::Fetch) => Self::Beginning(9),
            Some(Command::SendLongData | Command::BulkExecute) => Self::Beginning(7),
            Some(Command::CloseStatement | Command::ResetStatement) => Self::Beginning(5),
            Some(Command::SetOption) => Self::Beginning(3),
            Some(_) => Self::Beginning(1),
        }
    }

    pub(super) fn of_answer(kind: Kind, keep_literals: bool) -> Self {
        match kind {
            Kind::Status => Self::Status,
            Kind::Error if keep_literals => Self::Everything,
            Kind::Error => Self::Error,
            // Ids and counts of a prepared statement.
            Kind::Count => Self::Beginning(13),
            Kind::Description => Self::Description,
            Kind::Row => Self::Row,
            Kind::Content => Self::Beginning(1),
        }
    }
}

/// Overwrites what rows do not show.
pub(super) fn mask(shown: MaskRule, taken: Taken, bytes: &mut [u8]) {
    let payload = bytes.get_mut(taken.header..).unwrap_or_default();
    match shown {
        MaskRule::Everything => {}
        // How a text goes on depends on its beginning.
        _ if !taken.is_beginning => fill(payload),
        MaskRule::Nothing => fill(payload),
        MaskRule::Beginning(kept) => fill(payload.get_mut(kept..).unwrap_or_default()),
        MaskRule::Greeting => {
            for salt in Greeting::salt(payload) {
                fill(payload.get_mut(salt).unwrap_or_default());
            }
        }
        MaskRule::Statement(dialect) => {
            let statement = hide_attributes(payload);
            mask_sql(statement, dialect);
        }
        MaskRule::WholeStatement => drop(hide_attributes(payload)),
        MaskRule::Status => {
            let numbers = status_bytes(payload);
            fill(payload.get_mut(numbers..).unwrap_or_default());
        }
        MaskRule::Error => ServerError::mask(payload),
        // Not what ends rows, nor NULL, by which a file is asked for.
        MaskRule::Row => payload.fill(FILL),
        // The catalogue, which is always the same, is a sign of a description.
        MaskRule::Description => {
            let kept = if payload.starts_with(b"\x03def") { 4 } else { 0 };
            fill(payload.get_mut(kept..).unwrap_or_default());
        }
    }
}

/// The statement of a Query, or of Prepare; attributes before it become none, in their place blanks.
fn hide_attributes(payload: &mut [u8]) -> &mut [u8] {
    let body = payload.get_mut(1..).unwrap_or_default();
    match statement_start(body) {
        Some(0) => body,
        Some(start) => {
            let (attributes, statement) = body.split_at_mut(start.min(body.len()));
            attributes.fill(b' ');
            if let [count, sets, ..] = attributes {
                (*count, *sets) = (0, 1);
            }
            statement
        }
        None => {
            fill(body);
            &mut []
        }
    }
}
