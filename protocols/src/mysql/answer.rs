//! `AnswerReader`: packets of the server become the answer of a command. Which packets belong to it follows from the command;
//! whether descriptions of columns end with a packet of their own shows in what comes.

use super::command::Reply;
use super::packet::Packet;
use super::server_error::ServerError;
use super::wire::{le16, le32, length_encoded};

const OK: u8 = 0x00;
const AUTHENTICATION: std::ops::RangeInclusive<u8> = 0x01..=0x02;
const LOCAL_INFILE: u8 = 0xfb;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;
/// Bytes of EOF: warnings and flags.
const EOF_BYTES: u64 = 5;
/// A row that begins as EOF does is longer.
const END_BYTES_MAX: u64 = 0xff_ffff;

/// Another result follows.
const MORE_RESULTS: u16 = 0x0008;
/// Rows are fetched by a cursor.
const CURSOR_EXISTS: u16 = 0x0040;
/// Backslashes in strings are characters.
pub(super) const NO_BACKSLASH_ESCAPES: u16 = 0x0200;

const COLUMNS_MAX: u64 = 4096;
/// Bytes of the texts of results; a procedure may have any number of them.
const TEXT_BYTES_MAX: usize = 1024;

/// What the server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// When its first packet was seen.
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) bytes: u64,
    /// Rows that were returned or changed.
    pub(super) rows: u64,
    /// Each result, where there are rows or several of them.
    pub(super) text: String,
    results: u64,
    pub(super) error: Option<ServerError>,
    /// Id of the statement that was prepared.
    pub(super) prepared: Option<u32>,
    /// The server asked for a file of the client.
    pub(super) reads_file: bool,
}

impl Answer {
    pub(super) fn size(&self) -> usize {
        self.text.len() + self.error.as_ref().map_or(0, |_| 512)
    }

    fn add_result(&mut self, text: &str) {
        // One that is OK says nothing, as long as it is the only one.
        if self.results == 1 && self.text.is_empty() {
            self.text.push_str("OK");
        }
        self.results += 1;
        if self.text.len() + text.len() + 2 > TEXT_BYTES_MAX {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str(", ");
        }
        self.text.push_str(if text.is_empty() && self.results > 1 { "OK" } else { text });
    }
}

/// What the next packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The first packet of the answer, or of another result.
    Result,
    /// Descriptions of columns or parameters, and what follows them.
    Descriptions {
        left: u64,
        then: After,
    },
    /// The end of descriptions, unless this server leaves it out.
    DescriptionsEnd(After),
    Rows,
    /// The result of a file that the client sends.
    FileRead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Rows,
    /// Descriptions of a prepared statement's columns, then nothing.
    Columns(u64),
    Nothing,
}

/// What a packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The answer goes on.
    More,
    Done,
    /// It fits nowhere.
    Broken,
}

/// How a packet of an answer may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// OK or EOF.
    Status,
    Error,
    /// The number of columns, the ids of a prepared statement.
    Count,
    Description,
    /// A row, a file's name, a text, a step of authentication: only its first byte frames it.
    Content,
    Row,
}

#[derive(Debug)]
pub(super) struct AnswerReader {
    reply: Option<Reply>,
    expected: Expected,
    answer: Answer,
    /// Rows of the result that is being read.
    rows: u64,
    /// Number of the next packet; none: the client may send packets between.
    pub(super) next: Option<u8>,
    /// Number of a packet that may still end the descriptions of a prepared statement.
    trailing: Option<u8>,
    /// Descriptions end with EOF; none: not seen yet.
    pub(super) has_eof: Option<bool>,
    /// Flags of the session, as far as they were seen.
    pub(super) status: Option<u16>,
}

impl AnswerReader {
    pub(super) fn new() -> Self {
        Self {
            reply: None,
            expected: Expected::Result,
            answer: Answer::default(),
            rows: 0,
            next: None,
            trailing: None,
            has_eof: None,
            status: None,
        }
    }

    /// No answer has begun.
    pub(super) fn is_idle(&self) -> bool {
        self.reply.is_none()
    }

    pub(super) fn is_in_rows(&self) -> bool {
        self.reply.is_some() && self.expected == Expected::Rows
    }

    /// The client is to send a file.
    pub(super) fn awaits_file(&self) -> bool {
        self.reply.is_some() && self.expected == Expected::FileRead
    }

    pub(super) fn memory(&self) -> usize {
        self.answer.size()
    }

    /// The next packet begins an answer to a command.
    pub(super) fn begin(&mut self, reply: Reply, at: u64) {
        self.trailing = None;
        self.reply = Some(reply);
        self.answer = Answer { began: at, ..Answer::default() };
        self.rows = 0;
        self.expected = first_expected(reply);
    }

    /// Packets were lost.
    pub(super) fn reset(&mut self) {
        *self = Self { has_eof: self.has_eof, ..Self::new() };
    }

    /// The answer, whose last packet was read.
    pub(super) fn take(&mut self) -> Answer {
        self.reply = None;
        std::mem::take(&mut self.answer)
    }

    /// Whether the packet ends what a prepared statement was answered with, which was taken for complete.
    pub(super) fn is_trailing(&mut self, packet: &Packet) -> bool {
        let is_trailing = self.trailing.take() == Some(packet.sequence) && is_eof(packet.first, packet.length);
        if is_trailing {
            self.has_eof = Some(true);
        }
        is_trailing
    }

    /// How a packet may be shown which begins with this byte. `asked`: the answer that an idle reader would begin.
    pub(super) fn kind(&self, asked: Option<Reply>, first: Option<u8>, length: u64) -> Kind {
        let ends = first == Some(END) && length < END_BYTES_MAX;
        let (reply, expected) = match (self.reply, asked) {
            (Some(reply), _) => (reply, self.expected),
            (None, Some(asked)) => (asked, first_expected(asked)),
            (None, None) if ends => return Kind::Status,
            (None, None) => return if first == Some(ERROR) { Kind::Error } else { Kind::Content },
        };
        match (first, expected) {
            _ if reply == Reply::Text => Kind::Content,
            (Some(ERROR), _) => Kind::Error,
            (Some(OK), Expected::Result) if reply == Reply::Prepared => Kind::Count,
            (Some(OK), Expected::Result | Expected::FileRead) => Kind::Status,
            (_, Expected::Result) if reply == Reply::Login => Kind::Content,
            _ if ends => Kind::Status,
            (_, Expected::Rows | Expected::DescriptionsEnd(After::Rows)) => Kind::Row,
            (_, Expected::Descriptions { .. } | Expected::DescriptionsEnd(_)) => Kind::Description,
            (Some(LOCAL_INFILE), _) => Kind::Content,
            (_, Expected::Result | Expected::FileRead) => Kind::Count,
        }
    }

    pub(super) fn read(&mut self, packet: &Packet) -> Read {
        let Some(reply) = self.reply else { return Read::Broken };
        self.next = Some(packet.last_sequence.wrapping_add(1));
        self.answer.bytes += packet.bytes;
        self.answer.ended = packet.at.last;
        if packet.first == Some(ERROR) && packet.length >= 3 && reply != Reply::Text {
            return self.fail(packet);
        }
        match self.expected {
            Expected::Result => self.result(reply, packet),
            Expected::FileRead => {
                if packet.first == Some(OK) {
                    self.ok(packet)
                } else {
                    Read::Broken
                }
            }
            Expected::Rows => self.row(packet),
            Expected::Descriptions { left, then } => self.description(left, then),
            Expected::DescriptionsEnd(then) => self.descriptions_end(reply, then, packet),
        }
    }

    fn result(&mut self, reply: Reply, packet: &Packet) -> Read {
        let Some(first) = packet.first else {
            return if reply == Reply::Text { Read::Done } else { Read::Broken };
        };
        match (reply, first) {
            (Reply::Text, _) => Read::Done,
            (Reply::Prepared, OK) => self.prepared(packet),
            // Its length says that it is no answer to a preparation.
            (Reply::Unknown, OK) if packet.length != 7 => Read::Broken,
            (Reply::Status | Reply::Results | Reply::Login | Reply::Unknown, OK) => self.ok(packet),
            (Reply::Login, END) => self.goes_on(),
            (Reply::Login, step) if AUTHENTICATION.contains(&step) => self.goes_on(),
            (Reply::Status | Reply::Results, END) if is_eof(packet.first, packet.length) => self.ok(packet),
            (Reply::Status, END) if packet.length >= 7 => self.ok(packet),
            (Reply::Results, LOCAL_INFILE) => {
                self.answer.reads_file = true;
                self.expected = Expected::FileRead;
                self.next = None;
                Read::More
            }
            (Reply::Results | Reply::Unknown, _) => self.columns(packet),
            _ => Read::Broken,
        }
    }

    /// The client answers, and the number of the next packet depends on it.
    fn goes_on(&mut self) -> Read {
        self.next = None;
        Read::More
    }

    fn columns(&mut self, packet: &Packet) -> Read {
        let Some((count, width)) = length_encoded(&packet.body) else { return Read::Broken };
        if !(1..=COLUMNS_MAX).contains(&count) {
            return Read::Broken;
        }
        // MariaDB: whether descriptions follow, or the client has them from an execution before.
        let left = match (packet.length.checked_sub(width as u64), packet.body.get(width)) {
            (Some(0), _) | (Some(1), Some(1)) => count,
            (Some(1), Some(0)) => 0,
            _ => return Read::Broken,
        };
        self.expect_descriptions(left, After::Rows);
        Read::More
    }

    fn expect_descriptions(&mut self, left: u64, then: After) {
        self.expected = match left {
            0 => Expected::DescriptionsEnd(then),
            left => Expected::Descriptions { left, then },
        };
    }

    fn description(&mut self, left: u64, then: After) -> Read {
        self.expect_descriptions(left - 1, then);
        if left > 1 {
            return Read::More;
        }
        match (self.has_eof, then) {
            (Some(false), After::Columns(columns)) => {
                self.expect_descriptions(columns, After::Nothing);
                Read::More
            }
            // Where it is not known whether EOF follows, it is dropped when it comes.
            (Some(false) | None, After::Nothing) => {
                self.trailing = self.next;
                Read::Done
            }
            _ => Read::More,
        }
    }

    fn descriptions_end(&mut self, reply: Reply, then: After, packet: &Packet) -> Read {
        let ends = is_end(packet.first, packet.length);
        if reply == Reply::Columns {
            return if ends { Read::Done } else { Read::More };
        }
        let is_eof = is_eof(packet.first, packet.length);
        self.has_eof = Some(is_eof);
        match then {
            After::Rows if is_eof => {
                let status = le16(&packet.body, 3).unwrap_or(0);
                self.expected = Expected::Rows;
                if status & CURSOR_EXISTS != 0 { self.end_result(status, "") } else { Read::More }
            }
            After::Rows => {
                self.expected = Expected::Rows;
                self.row(packet)
            }
            After::Columns(columns) => {
                self.expect_descriptions(columns, After::Nothing);
                if is_eof { Read::More } else { self.description(columns, After::Nothing) }
            }
            After::Nothing if is_eof => Read::Done,
            After::Nothing => Read::Broken,
        }
    }

    fn row(&mut self, packet: &Packet) -> Read {
        if !is_end(packet.first, packet.length) {
            self.rows += 1;
            return Read::More;
        }
        let status = if is_eof(packet.first, packet.length) {
            le16(&packet.body, 3)
        } else {
            ok_numbers(&packet.body).map(|ok| ok.1)
        };
        let Some(status) = status else { return Read::Broken };
        let rows = std::mem::take(&mut self.rows);
        self.answer.rows = self.answer.rows.saturating_add(rows);
        self.end_result(status, &format!("Resultset rows = {rows}"))
    }

    fn ok(&mut self, packet: &Packet) -> Read {
        let numbers = if is_eof(packet.first, packet.length) {
            le16(&packet.body, 3).map(|status| (0, status))
        } else {
            ok_numbers(&packet.body)
        };
        let Some((rows, status)) = numbers else { return Read::Broken };
        self.answer.rows = self.answer.rows.saturating_add(rows);
        self.end_result(status, "")
    }

    fn end_result(&mut self, status: u16, text: &str) -> Read {
        self.status = Some(status);
        self.answer.add_result(text);
        self.expected = Expected::Result;
        if status & MORE_RESULTS == 0 { Read::Done } else { Read::More }
    }

    /// A statement's id, the numbers of its columns and of its parameters.
    fn prepared(&mut self, packet: &Packet) -> Read {
        let numbers = (le32(&packet.body, 1), le16(&packet.body, 5), le16(&packet.body, 7));
        let (Some(id), Some(columns), Some(parameters)) = numbers else { return Read::Broken };
        if packet.length < 12 {
            return Read::Broken;
        }
        self.answer.prepared = Some(id);
        match (u64::from(parameters), u64::from(columns)) {
            (0, 0) => return Read::Done,
            (0, columns) => self.expect_descriptions(columns, After::Nothing),
            (parameters, 0) => self.expect_descriptions(parameters, After::Nothing),
            (parameters, columns) => self.expect_descriptions(parameters, After::Columns(columns)),
        }
        Read::More
    }

    fn fail(&mut self, packet: &Packet) -> Read {
        let Some(error) = ServerError::parse(&packet.body) else { return Read::Broken };
        if error.is_progress() {
            return Read::More;
        }
        self.answer.error = Some(error);
        Read::Done
    }
}

fn first_expected(reply: Reply) -> Expected {
    match reply {
        Reply::Columns => Expected::DescriptionsEnd(After::Nothing),
        Reply::Rows => Expected::Rows,
        _ => Expected::Result,
    }
}

fn is_eof(first: Option<u8>, length: u64) -> bool {
    first == Some(END) && length == EOF_BYTES
}

/// EOF, or OK in its place.
fn is_end(first: Option<u8>, length: u64) -> bool {
    first == Some(END) && (is_eof(first, length) || (7..END_BYTES_MAX).contains(&length))
}

/// Rows that were changed, and the session's flags.
fn ok_numbers(body: &[u8]) -> Option<(u64, u16)> {
    let rest = body.get(1..)?;
    let (rows, width) = length_encoded(rest)?;
    let (_, id_width) = length_encoded(rest.get(width..)?)?;
    Some((rows, le16(rest, width + id_width)?))
}

/// Bytes of OK or EOF up to the texts behind its numbers.
pub(super) fn status_bytes(body: &[u8]) -> usize {
    if is_eof(body.first().copied(), body.len() as u64) {
        return body.len();
    }
    let numbers = body.get(1..).and_then(|rest| {
        let (_, rows) = length_encoded(rest)?;
        let (_, id) = length_encoded(rest.get(rows..)?)?;
        Some(1 + rows + id + 4)
    });
    numbers.unwrap_or(1).min(body.len())
}
