//! `MysqlParser`: the state of one connection. Packets of the client become commands, those of the server answers, which are
//! paired in order.

use std::sync::Arc;

use super::answer::{Answer, AnswerReader, NO_BACKSLASH_ESCAPES, Read};
use super::command::{Command, Reply};
use super::exchange::Request;
use super::handshake::{Greeting, Login};
use super::mask::{MaskRule, mask};
use super::packet::{Cut, Packet, PacketCutter};
use super::signs::PROTOCOL;
use super::statement_text::statement_start;
use super::statements::{LAST_STATEMENT, Statements, unknown_statement};
use super::wire::{Sender, le32, text_of};
use crate::by_side::BySide;
use crate::exchange::{ExchangeQueue, TRUNCATED};
use crate::infer::{COMPRESSED_MYSQL, TLS};
use crate::pair::InOrder;
use crate::redact::{self, SqlDialect};
use crate::{Exchange, Parser, Role, Settings, Side, Step, Times, Transport};

/// What the connection's packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The client's first packet has not come.
    Login,
    Commands,
    /// The same, once the login is answered: then packets are compressed.
    CompressedSoon,
    Compressed,
    /// TLS.
    Encrypted,
    /// Replication.
    Endless,
}

/// An answer, and as what it was read.
struct ReadAnswer {
    answer: Answer,
    reply: Reply,
}

pub(super) struct MysqlParser {
    role: Role,
    transport: Transport,
    keep_literals: bool,
    masks: bool,
    phase: Phase,
    greeting: Option<Greeting>,
    client: PacketCutter,
    server: PacketCutter,
    statements: Statements,
    reader: AnswerReader,
    /// The answer that is being read was begun without a request.
    is_unasked: bool,
    reply: Reply,
    /// Parameters that are sent before the statement is executed: when that began, and their bytes.
    long_data: Option<(u64, u64)>,
    order: InOrder<Request, ReadAnswer>,
    finished: ExchangeQueue,
    shown: BySide<MaskRule>,
    fitted: bool,
    lost: u64,
}

impl MysqlParser {
    pub(super) fn new(role: Role, transport: Transport, mid_stream: bool, settings: &Settings) -> Self {
        Self {
            role,
            transport,
            keep_literals: settings.keep_literals,
            masks: settings.masks,
            phase: if mid_stream { Phase::Commands } else { Phase::Login },
            greeting: None,
            client: PacketCutter::new(Sender::Client, mid_stream),
            server: PacketCutter::new(Sender::Server, mid_stream),
            statements: Statements::default(),
            reader: AnswerReader::new(),
            is_unasked: false,
            reply: Reply::Unknown,
            long_data: None,
            order: InOrder::new(mid_stream),
            finished: ExchangeQueue::default(),
            shown: BySide::default(),
            fitted: false,
            lost: 0,
        }
    }

    fn asks(&mut self, packet: Packet) {
        match self.phase {
            Phase::Login if packet.sequence > 0 => self.log_in(&packet),
            _ if packet.sequence == 0 => self.command(packet),
            _ => self.goes_on(&packet),
        }
    }

    fn log_in(&mut self, packet: &Packet) {
        self.phase = Phase::Commands;
        let Some(login) = Login::parse(&packet.body, packet.length) else { return };
        if login.asks_for_tls {
            self.phase = Phase::Encrypted;
            return;
        }
        if login.is_compressed(self.greeting) {
            self.phase = Phase::CompressedSoon;
        }
        self.reader.has_eof = login.ends_without_eof(self.greeting).map(|without| !without);
        self.ask(Request {
            command: Command::Connect,
            text: "".into(),
            statement: None,
            at: packet.at,
            bytes: packet.bytes,
            answered_by: None,
        });
    }

    fn command(&mut self, packet: Packet) {
        if self.phase == Phase::Login {
            self.phase = Phase::Commands;
        }
        let Some(command) = packet.first.and_then(Command::from_byte) else { return };
        let body = packet.body.get(1..).unwrap_or_default();
        let id = le32(body, 0).filter(|_| command.has_statement_id());
        // Which statement is the last one is known once those before it are answered.
        let known = id.filter(|id| *id != LAST_STATEMENT).and_then(|id| self.statements.text(id));
        let text: Arc<str> = match command {
            Command::Query => match statement_start(body) {
                Some(start) => self.shown_statement(body.get(start..).unwrap_or_default(), packet.cut),
                None => "<unknown statement>".into(),
            },
            Command::Prepare => self.shown_statement(body, packet.cut),
            Command::InitDb | Command::CreateDb | Command::DropDb => String::from_utf8_lossy(body).into(),
            Command::FieldList => String::from_utf8_lossy(text_of(body)).into(),
            _ => known.clone().unwrap_or_else(|| id.map(unknown_statement).unwrap_or_default().into()),
        };
        let mut request = Request {
            command,
            text,
            statement: id.filter(|_| known.is_none()),
            at: packet.at,
            bytes: packet.bytes,
            answered_by: Some(packet.last_sequence.wrapping_add(1)).filter(|_| command.reply() != Reply::Login),
        };
        if command == Command::SendLongData {
            let (began, bytes) = self.long_data.unwrap_or((packet.at.first, 0));
            self.long_data = Some((began, bytes + packet.bytes));
            return;
        }
        if command == Command::Execute
            && let Some((began, bytes)) = self.long_data.take()
        {
            request.at.first = began;
            request.bytes += bytes;
        }
        match command.reply() {
            Reply::None => {
                if let Some(id) = id.filter(|_| command == Command::CloseStatement) {
                    self.statements.close(id);
                }
                self.finished.push(request.unanswered());
            }
            Reply::Endless => {
                self.phase = Phase::Endless;
                self.finished.push(request.unanswered());
            }
            _ => self.ask(request),
        }
    }

    /// A step of authentication, or a part of a file.
    fn goes_on(&mut self, packet: &Packet) {
        if self.reader.awaits_file()
            && let Some(request) = self.order.front_mut()
        {
            request.bytes += packet.bytes;
            request.at.last = packet.at.last;
        }
    }

    fn ask(&mut self, request: Request) {
        if self.server.is_searching() && self.order.front().is_none() {
            self.reader.reset();
            self.server.expect_packet();
        }
        let (size, at) = (request.text.len(), request.at);
        self.order.ask(request, size, at);
        self.pair();
    }

    fn answers(&mut self, packet: Packet) {
        if self.phase == Phase::Login && packet.sequence == 0 {
            return self.greet(&packet);
        }
        if self.reader.is_idle() {
            if self.reader.is_trailing(&packet) || !self.begin_answer(&packet) {
                return;
            }
        } else if self.reader.next.is_some_and(|next| next != packet.sequence) {
            return self.lose(Sender::Server);
        }
        match self.reader.read(&packet) {
            Read::More => self.server.in_rows = self.reader.is_in_rows(),
            Read::Broken => self.lose(Sender::Server),
            Read::Done => {
                self.server.in_rows = false;
                let answer = self.reader.take();
                self.end_answer(answer, packet.at);
            }
        }
    }

    fn greet(&mut self, packet: &Packet) {
        if packet.first == Some(PROTOCOL) {
            self.greeting = Greeting::parse(&packet.body);
            self.reader.status = self.greeting.map(|greeting| greeting.status);
            return;
        }
        // The server refuses the connection before anything is asked.
        self.reader.begin(Reply::Login, packet.at.first);
        if self.reader.read(packet) == Read::Done {
            let request = Request {
                command: Command::Connect,
                text: "".into(),
                statement: None,
                at: packet.at,
                bytes: 0,
                answered_by: None,
            };
            self.fitted = true;
            let answer = self.reader.take();
            self.finished.push(request.exchange(answer, self.keep_literals));
        } else {
            self.lose(Sender::Server);
        }
    }

    /// Whether the packet begins an answer that is to be read.
    fn begin_answer(&mut self, packet: &Packet) -> bool {
        let Some(request) = self.order.front() else {
            // Before it closes a connection that was idle, the server may say why.
            if packet.first == Some(0xff) && packet.sequence == 0 {
                return false;
            }
            self.is_unasked = self.order.begin_unasked();
            if !self.is_unasked {
                // The next turn begins with an answer.
                self.server.search();
                self.reader.reset();
                return false;
            }
            if packet.sequence != 1 {
                self.lose(Sender::Server);
                return false;
            }
            self.reply = Reply::Unknown;
            self.reader.begin(Reply::Unknown, packet.at.first);
            return true;
        };
        if request.answered_by.is_some_and(|number| number != packet.sequence) {
            self.lose(Sender::Server);
            return false;
        }
        self.is_unasked = false;
        self.reply = request.command.reply();
        self.reader.begin(self.reply, packet.at.first);
        true
    }

    fn end_answer(&mut self, answer: Answer, at: Times) {
        let (size, began) = (answer.size(), answer.began);
        let answer = ReadAnswer { answer, reply: self.reply };
        if self.is_unasked {
            self.order.answer_unasked(answer, size, began, at);
        } else {
            self.order.answer(answer, size, at);
        }
        self.pair();
    }

    fn pair(&mut self) {
        while let Some((mut request, ReadAnswer { answer, reply })) = self.order.take_pair() {
            if !request.is_answered_by(reply) {
                // This was another command's answer: nothing is certain until the next turn.
                self.lost += 1;
                self.order.answers_lost();
                continue;
            }
            let failed = answer.error.is_some();
            match request.command {
                Command::Connect if self.phase == Phase::CompressedSoon => {
                    self.phase = Phase::Compressed;
                    continue;
                }
                Command::Prepare => match answer.prepared {
                    Some(id) => self.statements.prepare(id, request.text.clone()),
                    None => self.statements.forget_last(),
                },
                Command::ChangeUser | Command::ResetConnection if !failed => self.statements.clear(),
                _ => {}
            }
            self.fitted = true;
            if let Some(text) = request.statement.and_then(|id| self.statements.text(id)) {
                request.text = text;
            }
            if request.command != Command::Connect || failed {
                self.finished.push(request.exchange(answer, self.keep_literals));
            }
        }
    }

    /// How strings end: the server says so with each status.
    fn dialect(&self) -> SqlDialect {
        match self.reader.status {
            Some(status) if status & NO_BACKSLASH_ESCAPES == 0 => SqlDialect::MySql,
            _ => SqlDialect::MySqlOfAnyMode,
        }
    }

    fn shown_statement(&self, text: &[u8], cut: bool) -> Arc<str> {
        let text = String::from_utf8_lossy(text.trim_ascii_start());
        let mut text = if self.keep_literals { text.into_owned() } else { redact::sql(&text, self.dialect()) };
        if cut {
            text.push_str(TRUNCATED);
        }
        text.into()
    }

    fn lose(&mut self, sender: Sender) {
        if self.phase == Phase::CompressedSoon {
            self.phase = Phase::Compressed;
        }
        match sender {
            Sender::Client => {
                self.phase = if self.phase == Phase::Login { Phase::Commands } else { self.phase };
                self.client.search();
                self.long_data = None;
                self.order.requests_lost();
            }
            Sender::Server => {
                self.server.search();
                self.reader.reset();
                self.order.answers_lost();
            }
        }
    }

    fn sender(&self, side: Side) -> Sender {
        if side.asks(self.role) { Sender::Client } else { Sender::Server }
    }

    fn cutter(&mut self, sender: Sender) -> &mut PacketCutter {
        match sender {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        }
    }

    fn receive(&mut self, sender: Sender, packet: Packet) {
        match sender {
            Sender::Client => self.asks(packet),
            Sender::Server => self.answers(packet),
        }
    }

    /// Notes what of the packet that begins may be shown, before it is read.
    fn note_shown(&mut self, side: Side, sender: Sender) {
        let taken = self.cutter(sender).taken;
        if !self.masks || !taken.is_beginning {
            return;
        }
        *self.shown.of_mut(side) = match sender {
            Sender::Client if taken.sequence == 0 => {
                MaskRule::of_command(taken.first.and_then(Command::from_byte), self.dialect(), self.keep_literals)
            }
            // Flags and sizes of a login.
            Sender::Client if self.phase == Phase::Login => MaskRule::Beginning(32),
            Sender::Client => MaskRule::Nothing,
            Sender::Server if self.phase == Phase::Login && taken.first == Some(PROTOCOL) => MaskRule::Greeting,
            Sender::Server => {
                let asked = self.order.front().map(|request| request.command.reply());
                MaskRule::of_answer(self.reader.kind(asked, taken.first, taken.length), self.keep_literals)
            }
        };
    }
}

impl Parser for MysqlParser {
    fn parse(&mut self, side: Side, bytes: &[u8], at: Times) -> Step {
        if matches!(self.phase, Phase::Encrypted | Phase::Compressed) || self.transport == Transport::Datagram {
            return Step::NotMine;
        }
        let sender = self.sender(side);
        let cut = self.cutter(sender).cut(bytes, at);
        self.note_shown(side, sender);
        match cut {
            Cut::Part(bytes) => Step::Message { bytes },
            Cut::Packet(bytes, packet) => {
                self.receive(sender, packet);
                Step::Message { bytes }
            }
            Cut::NeedMore => Step::NeedMore,
            Cut::Skip(bytes) => Step::Skip { bytes },
            Cut::Broken if self.fitted => {
                self.lose(sender);
                Step::Skip { bytes: 1 }
            }
            Cut::Broken => Step::NotMine,
        }
    }

    fn gap(&mut self, side: Side, bytes: u64, at: Times) {
        let sender = self.sender(side);
        let (packet, in_step) = self.cutter(sender).gap(bytes, at);
        if let Some(packet) = packet {
            self.receive(sender, packet);
        }
        if !in_step {
            self.lose(sender);
        }
    }

    fn finish(&mut self, _: Times) {
        self.order.finish();
    }

    fn take_exchange(&mut self) -> Option<Exchange> {
        self.finished.pop()
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + self.client.memory()
            + self.server.memory()
            + self.statements.memory()
            + self.reader.memory()
            + self.order.memory()
            + self.finished.memory()
    }

    fn confirmed(&self) -> bool {
        self.fitted
    }

    fn lost(&self) -> u64 {
        self.lost + self.order.lost()
    }

    fn mask(&self, side: Side, taken: &mut [u8]) {
        let cutter = if side.asks(self.role) { &self.client } else { &self.server };
        mask(*self.shown.of(side), cutter.taken, taken);
    }

    fn lengths_only(&self) -> bool {
        self.phase == Phase::Endless
    }

    fn foreign(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Compressed => Some(COMPRESSED_MYSQL),
            Phase::Encrypted => Some(TLS),
            _ => None,
        }
    }
}
