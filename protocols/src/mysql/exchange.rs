//! A command with its answer, if they fit each other.

use std::sync::Arc;

use super::answer::Answer;
use super::command::{Command, Reply};
use crate::{Exchange, Fields, MysqlFields, MysqlStatus, Times};

/// A command that was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) command: Command,
    /// The statement, or a name.
    pub(super) text: Arc<str>,
    /// Of a prepared statement whose text was not known when it was executed.
    pub(super) statement: Option<u32>,
    pub(super) at: Times,
    pub(super) bytes: u64,
    /// Number of the first packet of its answer; none: any, the client may send more before.
    pub(super) answered_by: Option<u8>,
}

impl Request {
    /// Whether this may be its answer, which was read as that to another command where `reply` is not its own.
    pub(super) fn is_answered_by(&self, reply: Reply) -> bool {
        reply == self.command.reply()
            || reply == Reply::Unknown && matches!(self.command.reply(), Reply::Results | Reply::Status)
    }

    pub(super) fn exchange(self, answer: Answer, keep_literals: bool) -> Exchange {
        let status = if answer.error.is_some() { MysqlStatus::Error } else { MysqlStatus::Ok };
        let (error_code, sql_state) =
            answer.error.as_ref().map(|error| (error.code, error.sql_state.clone())).unwrap_or_default();
        let mut response = answer.error.as_ref().map_or(answer.text, |error| error.shown(keep_literals));
        if answer.reads_file && response.is_empty() {
            response.push_str(LOCAL_INFILE);
        }
        Exchange {
            started: self.at.first,
            asked: self.at.last,
            ended: answer.ended,
            request_bytes: self.bytes,
            response_bytes: answer.bytes,
            is_error: status == MysqlStatus::Error,
            mid_stream: false,
            fields: Fields::Mysql(MysqlFields {
                command: self.command.byte(),
                text: self.text.to_string(),
                status,
                response,
                error_code,
                sql_state,
                rows: answer.rows,
            }),
        }
    }

    /// Of a command without an answer.
    pub(super) fn unanswered(self) -> Exchange {
        Exchange {
            started: self.at.first,
            asked: self.at.last,
            ended: self.at.last,
            request_bytes: self.bytes,
            response_bytes: 0,
            is_error: false,
            mid_stream: false,
            fields: Fields::Mysql(MysqlFields {
                command: self.command.byte(),
                text: self.text.to_string(),
                status: MysqlStatus::None,
                ..MysqlFields::default()
            }),
        }
    }
}

/// Text of an answer for which the client had to send a file.
const LOCAL_INFILE: &str = "LOCAL INFILE";
