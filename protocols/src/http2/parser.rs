//! The state of one connection: where each direction stands among its frames, and the streams.

use super::block::{BlockEnd, BlockSearch, fragments, joined};
use super::fields::Fields;
use super::frames::{Chain, Frame, HEADER_BYTES, Kind, PREFACE, chain};
use super::hpack::Table;
use super::mask::{BlockMask, Taken, mask};
use super::redaction::Redaction;
use super::streams::Streams;
use crate::{Exchange, Parser, Role, Settings, Side, Step, Times};

/// Bytes of RST_STREAM, and of the part of GOAWAY that is read.
const RESET_BYTES: usize = HEADER_BYTES + 4;
const GO_AWAY_BYTES: usize = HEADER_BYTES + 8;

pub(super) struct Http2Connection {
    role: Role,
    /// Bytes were missed: what does not fit is no proof of another protocol.
    joined: bool,
    keep_max: usize,
    masks: bool,
    redaction: Redaction,
    requests: Half,
    answers: Half,
    streams: Streams,
    /// Rows are made of gRPC calls alone.
    only_grpc: bool,
    not_understood: u64,
    taken: Taken,
}

/// A direction.
struct Half {
    state: State,
    table: Table,
    block: BlockSearch,
    /// The frames that are waited for.
    awaited: Option<Awaited>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preface,
    Frame,
    /// In the content of a DATA frame.
    Content {
        stream: u32,
        left: usize,
        padding: usize,
        ends: bool,
    },
    /// In bytes of a frame that are not read.
    Payload {
        left: usize,
    },
    /// After a loss: until a call begins with a chain of frames.
    Searching,
}

/// Frames whose beginning has come.
#[derive(Clone, Copy)]
struct Awaited {
    bytes: usize,
    /// What follows them is a frame's header.
    ends: bool,
    is_block: bool,
}

impl Half {
    fn new(state: State, mid_stream: bool, redaction: &Redaction) -> Self {
        let state = if mid_stream { State::Searching } else { state };
        Self { state, table: Table::new(mid_stream, redaction.clone()), block: BlockSearch::default(), awaited: None }
    }
}

impl Parser for Http2Connection {
    fn parse(&mut self, side: Side, bytes: &[u8], at: Times) -> Step {
        let asks = side.asks(self.role);
        let half = self.half(asks);
        half.awaited = None;
        match half.state {
            State::Preface => self.parse_preface(asks, bytes, at),
            State::Frame => self.parse_frame(asks, bytes, at),
            State::Content { stream, left, padding, ends } => {
                let content = bytes.get(..left).unwrap_or(bytes);
                self.read_content(asks, stream, content, at);
                let left = left - content.len();
                self.half(asks).state = State::Content { stream, left, padding, ends };
                self.finish_content(asks);
                Step::Message { bytes: content.len() }
            }
            State::Payload { left } => {
                let taken = left.min(bytes.len());
                self.taken = Taken::Nothing;
                self.half(asks).state = behind_payload(left - taken);
                Step::Message { bytes: taken }
            }
            State::Searching => self.search(asks, bytes, at),
        }
    }

    fn gap(&mut self, side: Side, bytes: u64, at: Times) {
        let asks = side.asks(self.role);
        // Where the last byte is among the missing ones, the last byte that was seen stands for it.
        let at = Times { first: at.first, last: at.first };
        let half = self.half(asks);
        let missing = usize::try_from(bytes).unwrap_or(usize::MAX);
        match (half.state, half.awaited.take()) {
            (State::Content { stream, left, padding, ends }, _) if missing <= left => {
                self.streams.change(stream, |stream| stream.half(asks).skip(bytes));
                self.half(asks).state = State::Content { stream, left: left - missing, padding, ends };
                self.finish_content(asks);
            }
            (State::Content { stream, left, padding, ends }, _) => {
                self.streams.change(stream, |stream| stream.half(asks).skip(left as u64));
                self.half(asks).state = State::Content { stream, left: 0, padding, ends };
                self.finish_content(asks);
                self.lose_step(asks, at);
            }
            (State::Payload { left }, _) if missing <= left => half.state = behind_payload(left - missing),
            (State::Frame, Some(awaited)) if awaited.ends && missing <= awaited.bytes => {
                half.state = behind_payload(awaited.bytes - missing);
                half.block = BlockSearch::default();
                if awaited.is_block {
                    half.table.forget();
                }
                self.joined = true;
                self.streams.miss(asks, at);
            }
            _ => self.lose_step(asks, at),
        }
    }

    fn finish(&mut self, _: Times) {
        self.streams.finish_all();
    }

    fn take_exchange(&mut self) -> Option<Exchange> {
        loop {
            let exchange = self.streams.take_exchange()?;
            let is_grpc = matches!(&exchange.fields, crate::Fields::Http(http) if http.grpc_status.is_some());
            if is_grpc || !self.only_grpc {
                return Some(exchange);
            }
        }
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.requests.table.memory() + self.answers.table.memory() + self.streams.memory()
    }

    fn confirmed(&self) -> bool {
        self.streams.has_paired()
    }

    fn lost(&self) -> u64 {
        self.streams.lost() + self.not_understood
    }

    fn mask(&self, _: Side, taken: &mut [u8]) {
        mask(&self.taken, taken, &self.redaction);
    }
}

/// Behind bytes that are not read.
fn behind_payload(left: usize) -> State {
    if left == 0 { State::Frame } else { State::Payload { left } }
}

impl Http2Connection {
    pub(super) fn new(role: Role, mid_stream: bool, settings: &Settings, only_grpc: bool) -> Self {
        let redaction = Redaction::new(settings);
        Self {
            role,
            joined: mid_stream,
            keep_max: settings.payload_bytes,
            masks: settings.masks,
            requests: Half::new(State::Preface, mid_stream, &redaction),
            answers: Half::new(State::Frame, mid_stream, &redaction),
            streams: Streams::new(redaction.clone()),
            redaction,
            only_grpc,
            not_understood: 0,
            taken: Taken::default(),
        }
    }

    /// The request of an upgrade, which stream 1 answers (RFC 7540, 3.2).
    pub(super) fn ask_by_upgrade(&mut self, fields: Fields, bytes: usize, at: Times) {
        self.streams.ask(1, fields, bytes, true, at);
    }

    fn half(&mut self, asks: bool) -> &mut Half {
        if asks { &mut self.requests } else { &mut self.answers }
    }

    fn parse_preface(&mut self, asks: bool, bytes: &[u8], at: Times) -> Step {
        let length = bytes.len().min(PREFACE.len());
        if bytes.get(..length) != PREFACE.get(..length) {
            return self.refuse(asks, bytes, at);
        }
        if length < PREFACE.len() {
            self.half(asks).awaited = Some(Awaited { bytes: PREFACE.len(), ends: true, is_block: false });
            return Step::NeedMore;
        }
        self.half(asks).state = State::Frame;
        self.taken = Taken::Frame(PREFACE.len());
        Step::Message { bytes: PREFACE.len() }
    }

    fn parse_frame(&mut self, asks: bool, bytes: &[u8], at: Times) -> Step {
        let Some(frame) = Frame::read(bytes) else { return Step::NeedMore };
        if !frame.is_plausible() {
            return self.refuse(asks, bytes, at);
        }
        match frame.kind {
            Kind::Headers | Kind::PushPromise => self.parse_block(asks, frame, bytes, at),
            Kind::Data => self.parse_data(asks, frame, bytes, at),
            Kind::ResetStream => self.parse_reset(asks, frame, bytes, at),
            Kind::GoAway => self.parse_go_away(asks, frame, bytes, at),
            // Only behind its block, which `parse_block` takes with it.
            Kind::Continuation => self.refuse(asks, bytes, at),
            Kind::Priority | Kind::Settings | Kind::Ping | Kind::WindowUpdate | Kind::Other => {
                self.take_header(asks, frame, HEADER_BYTES)
            }
        }
    }

    /// Takes the first bytes of a frame; the others are not read.
    fn take_header(&mut self, asks: bool, frame: Frame, bytes: usize) -> Step {
        self.taken = Taken::Frame(bytes);
        self.half(asks).state = behind_payload(frame.total().saturating_sub(bytes));
        Step::Message { bytes }
    }

    fn wait_for(&mut self, asks: bool, bytes: usize, ends: bool, is_block: bool) -> Step {
        self.half(asks).awaited = Some(Awaited { bytes, ends, is_block });
        Step::NeedMore
    }

    fn parse_data(&mut self, asks: bool, frame: Frame, bytes: &[u8], at: Times) -> Step {
        let padded = usize::from(frame.is_padded());
        let Some(padding) = (if padded == 0 { Some(0) } else { bytes.get(HEADER_BYTES).copied().map(usize::from) })
        else {
            return self.wait_for(asks, frame.total(), true, false);
        };
        let Some(left) = (frame.length - padded).checked_sub(padding) else { return self.refuse(asks, bytes, at) };
        let taken = HEADER_BYTES + padded;
        self.streams.change(frame.stream, |stream| {
            stream.doubtful_since = stream.doubtful_since.filter(|_| asks);
            stream.half(asks).note(taken + padding, at);
        });
        self.half(asks).state = State::Content { stream: frame.stream, left, padding, ends: frame.ends_stream() };
        self.finish_content(asks);
        self.taken = Taken::Frame(taken);
        Step::Message { bytes: taken }
    }

    fn read_content(&mut self, asks: bool, id: u32, content: &[u8], at: Times) {
        let (keep_max, masks) = (self.keep_max, self.masks);
        let mut prefixes = Vec::new();
        let mut shown = 0;
        self.streams.change(id, |stream| {
            let half = stream.half(asks);
            half.note(content.len(), at);
            shown = if half.shows_text(asks) { half.room(keep_max) } else { 0 };
            half.read(content, keep_max, masks.then_some(&mut prefixes));
        });
        self.taken = Taken::Content { shown, prefixes };
    }

    /// Goes on behind the content, if all of it has come.
    fn finish_content(&mut self, asks: bool) {
        let half = self.half(asks);
        let State::Content { stream, left: 0, padding, ends } = half.state else { return };
        half.state = behind_payload(padding);
        if ends {
            self.streams.end(stream, asks);
        }
    }

    fn parse_block(&mut self, asks: bool, frame: Frame, bytes: &[u8], at: Times) -> Step {
        let total = match self.half(asks).block.find(bytes) {
            BlockEnd::Whole(total) => total,
            BlockEnd::NeedMore { bytes, ends } => return self.wait_for(asks, bytes, ends, true),
            BlockEnd::Broken => return self.refuse(asks, bytes, at),
        };
        let frames = bytes.get(..total).unwrap_or_default();
        let Some(fragments) = fragments(frames) else { return self.refuse(asks, bytes, at) };
        let block = joined(frames, &fragments);
        let (mut fields, mut literals) = (Fields::default(), Vec::new());
        let wants_literals = self.masks.then_some(&mut literals);
        if self.half(asks).table.decode(&block, wants_literals, |field| fields.add(field)).is_err() {
            return self.refuse(asks, bytes, at);
        }
        let (id, ends, mut is_grpc) = (frame.stream, frame.ends_stream(), fields.is_grpc());
        match frame.kind {
            // The server asks itself, on a stream of its own.
            Kind::PushPromise => {
                let promised =
                    bytes.get(HEADER_BYTES + usize::from(frame.is_padded())..).and_then(|id| id.first_chunk());
                let promised = promised.map_or(0, |id: &[u8; 4]| u32::from_be_bytes(*id) & 0x7fff_ffff);
                if !asks && promised % 2 == 0 {
                    self.streams.ask(promised, fields, total, true, at);
                }
            }
            _ => {
                is_grpc |= self.streams.get(id).is_some_and(|stream| stream.is_grpc());
                match asks {
                    true => self.streams.ask(id, fields, total, ends, at),
                    false => self.streams.answer(id, fields, total, ends, at),
                }
            }
        }
        self.taken = Taken::Block(BlockMask { fragments, literals, is_grpc });
        Step::Message { bytes: total }
    }

    fn parse_reset(&mut self, asks: bool, frame: Frame, bytes: &[u8], at: Times) -> Step {
        let Some(code) = bytes.get(HEADER_BYTES..).and_then(|code| code.first_chunk()) else {
            return self.wait_for(asks, RESET_BYTES, true, false);
        };
        self.streams.reset(frame.stream, asks, error_name(u32::from_be_bytes(*code)), RESET_BYTES, at);
        self.take_header(asks, frame, RESET_BYTES)
    }

    fn parse_go_away(&mut self, asks: bool, frame: Frame, bytes: &[u8], at: Times) -> Step {
        let Some([a, b, c, d, code @ ..]) = bytes.get(HEADER_BYTES..).and_then(|payload| payload.first_chunk::<8>())
        else {
            return self.wait_for(asks, frame.total(), true, false);
        };
        if !asks {
            let last = u32::from_be_bytes([*a, *b, *c, *d]) & 0x7fff_ffff;
            self.streams.go_away(last, error_name(u32::from_be_bytes(*code)), at);
        }
        self.take_header(asks, frame, GO_AWAY_BYTES)
    }

    /// The bytes are not what the frames before promised.
    fn refuse(&mut self, asks: bool, bytes: &[u8], at: Times) -> Step {
        if !self.confirmed() && !self.joined {
            return Step::NotMine;
        }
        self.not_understood += u64::from(self.half(asks).state != State::Searching);
        self.lose_step(asks, at);
        Step::Skip { bytes: bytes.len() }
    }

    fn lose_step(&mut self, asks: bool, at: Times) {
        self.joined = true;
        let half = self.half(asks);
        half.state = State::Searching;
        half.block = BlockSearch::default();
        half.table.forget();
        self.streams.miss(asks, at);
    }

    /// Only what a call begins with is believed to be a frame: content may contain anything, frames too.
    fn search(&mut self, asks: bool, bytes: &[u8], at: Times) -> Step {
        let length = bytes.len().min(PREFACE.len());
        if asks && bytes.get(..length) == PREFACE.get(..length) {
            self.half(asks).table = Table::new(false, self.redaction.clone());
            return self.parse_preface(asks, bytes, at);
        }
        match chain(bytes) {
            Chain::Frames => {
                self.half(asks).state = State::Frame;
                self.parse_frame(asks, bytes, at)
            }
            Chain::NeedMore => Step::NeedMore,
            Chain::None => match self.find_content(bytes) {
                Some(at) => {
                    self.half(asks).state = State::Frame;
                    Step::Skip { bytes: at }
                }
                None => Step::Skip { bytes: bytes.len() },
            },
        }
    }

    /// In a long content no call may begin with a frame: the header of a DATA frame of a stream that is open is one, too, if a
    /// frame follows it, as far as can be seen.
    fn find_content(&mut self, bytes: &[u8]) -> Option<usize> {
        (1..bytes.len()).find(|at| {
            let rest = bytes.get(*at..).unwrap_or_default();
            let frame = Frame::read(rest).filter(|frame| frame.kind == Kind::Data && frame.is_convincing());
            frame.is_some_and(|frame| {
                let next = Frame::read(rest.get(frame.total()..).unwrap_or_default());
                self.streams.get(frame.stream).is_some() && next.is_none_or(Frame::is_convincing)
            })
        })
    }
}

/// RFC 9113, 7.
fn error_name(code: u32) -> &'static str {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code).copied()).unwrap_or("of a code without a name")
}
