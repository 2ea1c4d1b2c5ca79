//! The JSON of Pixie's dns_events: two headers, the questions, the answers.

use serde::Serialize;

use super::message::{A, AAAA, CNAME, Header, Message, Question, Record, kind_name};

/// The fields in Pixie's order and by its names.
#[derive(Serialize)]
struct HeaderJson {
    txid: u16,
    qr: u16,
    opcode: u16,
    aa: u16,
    tc: u16,
    rd: u16,
    ra: u16,
    ad: u16,
    cd: u16,
    rcode: u16,
    num_queries: u16,
    num_answers: u16,
    num_auth: u16,
    num_addl: u16,
}

#[derive(Serialize)]
struct Queries<'a> {
    queries: Vec<Query<'a>>,
}

#[derive(Serialize)]
struct Query<'a> {
    name: &'a str,
    r#type: String,
}

#[derive(Serialize)]
struct Answers<'a> {
    answers: Vec<Answer<'a>>,
}

/// Pixie has `addr` or `cname`; the data of other types, which it does not decode, is `data`.
#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    addr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
}

pub(super) fn header(header: &Header) -> String {
    json(&HeaderJson {
        txid: header.id,
        qr: header.flag(15, 1),
        opcode: header.flag(11, 4),
        aa: header.flag(10, 1),
        tc: header.flag(9, 1),
        rd: header.flag(8, 1),
        ra: header.flag(7, 1),
        ad: header.flag(5, 1),
        cd: header.flag(4, 1),
        rcode: header.rcode(),
        num_queries: header.questions,
        num_answers: header.answers,
        num_auth: header.authorities,
        num_addl: header.additionals,
    })
}

pub(super) fn queries(message: &Message) -> String {
    json(&Queries { queries: message.questions.iter().map(query).collect() })
}

pub(super) fn answers(message: &Message) -> String {
    json(&Answers { answers: message.answers.iter().map(answer).collect() })
}

fn query(question: &Question) -> Query<'_> {
    Query { name: &question.name, r#type: kind_name(question.kind) }
}

fn answer(record: &Record) -> Answer<'_> {
    let data = Some(record.data.as_str());
    let empty = Answer { name: &record.name, r#type: kind_name(record.kind), addr: None, cname: None, data: None };
    match record.kind {
        A | AAAA => Answer { addr: data, ..empty },
        CNAME => Answer { cname: data, ..empty },
        _ => Answer { data, ..empty },
    }
}

/// Structs of numbers and texts always have a JSON form.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
