//! Exchanges of a group and its answers, if they fit each other.

use std::sync::Arc;

use super::group::{Answer, Answers, Group, Outcome, Request, RequestKind, RequestSpan};
use super::statements::Statements;
use crate::{Exchange, Fields, PgsqlFields};

/// Exchanges of the group's statements; none: these are not its answers.
pub(super) fn exchanges(group: &Group, answers: &Answers, statements: &mut Statements) -> Option<Vec<Exchange>> {
    if answers.overflown {
        return None;
    }
    let answers = answers.answers.as_slice();
    match group {
        Group::Startup(asked) => startup(*asked, answers),
        Group::Query(asked, text) => query(*asked, text, answers).map(|exchange| vec![exchange]),
        Group::Extended(requests) => extended(requests, answers, statements),
        Group::Function => answers
            .iter()
            .all(|answer| matches!(answer, Answer::FunctionResult | Answer::Ended(Outcome { error: Some(_), .. })))
            .then(Vec::new),
    }
}

/// A login is an exchange only if it failed.
fn startup(asked: RequestSpan, answers: &[Answer]) -> Option<Vec<Exchange>> {
    let mut failed = Vec::new();
    for answer in answers {
        match answer {
            Answer::Authentication => {}
            Answer::Ended(outcome) if outcome.error.is_some() => failed.push(exchange("Startup", "", asked, outcome)),
            _ => return None,
        }
    }
    Some(failed)
}

/// All statements of a simple query are one exchange, since the text is one.
fn query(asked: RequestSpan, text: &Arc<str>, answers: &[Answer]) -> Option<Exchange> {
    let mut command = "Query";
    let mut whole: Option<Outcome> = None;
    for answer in answers {
        match answer {
            Answer::Description => {}
            Answer::CopyBegins => command = "Copy",
            Answer::Ended(outcome) => {
                whole = Some(match whole {
                    None => outcome.clone(),
                    Some(before) => Outcome {
                        text: format!("{}; {}", before.text, outcome.text),
                        error: outcome.error.clone().or(before.error),
                        rows: before.rows + outcome.rows,
                        bytes: before.bytes + outcome.bytes,
                        ended: outcome.ended,
                    },
                });
            }
            _ => return None,
        }
    }
    let outcome = whole?;
    if outcome.error.is_none() && !tag_fits(text, &outcome.text) {
        return None;
    }
    Some(exchange(command, text, asked, &outcome))
}

fn extended(requests: &[Request], answers: &[Answer], statements: &mut Statements) -> Option<Vec<Exchange>> {
    let mut exchanges = Vec::new();
    let mut answers = answers.iter().peekable();
    for (index, request) in requests.iter().enumerate() {
        let mut command = command(&request.kind);
        if request.kind == RequestKind::Execute {
            while answers.next_if(|answer| matches!(answer, Answer::CopyBegins)).is_some() {
                command = "Copy";
            }
        }
        let answer = answers.next()?;
        match (answer, &request.kind) {
            (Answer::Ended(outcome), kind) if outcome.error.is_some() => {
                exchanges.push(exchange(command, &request.text, request.asked, outcome));
                // The server skips the rest up to Sync: what was to be prepared was not.
                if *kind != RequestKind::Execute {
                    forget_prepared(std::slice::from_ref(request), statements);
                }
                forget_prepared(requests.get(index + 1..).unwrap_or_default(), statements);
                return answers.next().is_none().then_some(exchanges);
            }
            (Answer::ParseComplete, RequestKind::Parse(_))
            | (Answer::BindComplete, RequestKind::Bind)
            | (Answer::CloseComplete, RequestKind::Close)
            | (Answer::Description, RequestKind::DescribePortal) => {}
            (Answer::ParameterDescription, RequestKind::DescribeStatement) => {
                if !matches!(answers.next()?, Answer::Description) {
                    return None;
                }
            }
            (Answer::Ended(outcome), RequestKind::Execute) if tag_fits(&request.text, &outcome.text) => {
                exchanges.push(exchange(command, &request.text, request.asked, outcome));
            }
            _ => return None,
        }
    }
    match answers.next() {
        None => {}
        // Sync commits, and a deferred constraint fails.
        Some(Answer::Ended(outcome)) if outcome.error.is_some() => {
            let (text, asked) = requests.last().map_or(("", RequestSpan::default()), |last| (&*last.text, last.asked));
            exchanges.push(exchange("Sync", text, asked, outcome));
        }
        Some(_) => return None,
    }
    answers.next().is_none().then_some(exchanges)
}

fn forget_prepared(requests: &[Request], statements: &mut Statements) {
    for request in requests {
        if let RequestKind::Parse(name) = &request.kind {
            statements.forget(name);
        }
    }
}

fn command(kind: &RequestKind) -> &'static str {
    match kind {
        RequestKind::Parse(_) => "Parse",
        RequestKind::Bind => "Bind",
        RequestKind::DescribeStatement | RequestKind::DescribePortal => "Describe",
        RequestKind::Execute => "Execute",
        RequestKind::Close => "Close",
    }
}

/// Whether a tag may end this statement, as far as the first words say.
fn tag_fits(statement: &str, tag: &str) -> bool {
    let word = |text: &str| text.split([' ', ';', '(']).next().unwrap_or_default().to_ascii_uppercase();
    let (asked, ended) = (word(statement), word(tag));
    match asked.as_str() {
        "SELECT" | "INSERT" | "UPDATE" | "DELETE" => ended == asked || ended == PORTAL_SUSPENDED_WORD,
        _ => true,
    }
}

/// Text of an Execute whose rows were not all fetched.
pub(super) const PORTAL_SUSPENDED: &str = "PORTAL SUSPENDED";
const PORTAL_SUSPENDED_WORD: &str = "PORTAL";

pub(super) fn exchange(command: &str, statement: &str, asked: RequestSpan, outcome: &Outcome) -> Exchange {
    Exchange {
        started: asked.started,
        asked: asked.asked,
        ended: outcome.ended,
        request_bytes: asked.bytes,
        response_bytes: outcome.bytes,
        is_error: outcome.error.is_some(),
        mid_stream: false,
        fields: Fields::Pgsql(PgsqlFields {
            command: command.to_owned(),
            statement: statement.to_owned(),
            response: outcome.text.clone(),
            error_code: outcome.error.clone().unwrap_or_default(),
            rows: outcome.rows,
        }),
    }
}
