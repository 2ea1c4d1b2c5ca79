//! `RedisParser`: the state of one connection. Commands are paired with replies in order; messages without a
//! command (published messages, lines of MONITOR) are told apart from replies.

use std::borrow::Cow;

use super::mask::{self, Taken};
use super::reply::is_monitor_line;
use super::signs::{FirstElement, first_of_array};
use super::value::{Decoded, Decoder, Value};
use super::{arguments, reply};
use crate::exchange::ExchangeQueue;
use crate::pair::InOrder;
use crate::{Exchange, Fields, Parser, RedisFields, Role, Settings, Side, Step, Times, Transport};

/// A command of which a reply is expected.
struct Command {
    name: Cow<'static, str>,
    arguments: String,
    at: Times,
    bytes: u64,
    /// Confirmations of a subscription that are still to come; none: one reply. 0: as many as there are subscriptions.
    confirmations: Option<u64>,
}

struct Reply {
    text: String,
    is_error: bool,
    bytes: u64,
    ended: u64,
}

/// Subscriptions of a connection, by what they are for: channels, patterns, shard channels.
#[derive(Default)]
struct Subscriptions {
    counts: [u64; 3],
    total: u64,
}

/// Which replies the client has switched off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replies {
    On,
    Off,
    /// The next command has none.
    SkipNext,
}

pub(super) struct RedisParser {
    role: Role,
    transport: Transport,
    keep_literals: bool,
    payload_bytes: usize,
    masks: bool,
    taken: Taken,
    commands: Decoder,
    replies: Decoder,
    /// A command is searched for.
    searches_command: bool,
    /// The beginning of a reply is not known before the next turn.
    searches_reply: bool,
    /// A turn began where a reply was taken to begin.
    reply_is_guessed: bool,
    switched: Replies,
    subscriptions: Subscriptions,
    monitors: bool,
    replicates: bool,
    order: InOrder<Command, Reply>,
    finished: ExchangeQueue,
    fitted: bool,
    lost: u64,
}

impl RedisParser {
    pub(super) fn new(role: Role, transport: Transport, mid_stream: bool, settings: &Settings) -> Self {
        Self {
            role,
            transport,
            keep_literals: settings.keep_literals,
            payload_bytes: settings.payload_bytes,
            masks: settings.masks,
            taken: Taken::default(),
            commands: Decoder::new(true, 0),
            replies: Decoder::new(false, settings.payload_bytes),
            searches_command: mid_stream,
            searches_reply: false,
            reply_is_guessed: mid_stream,
            switched: Replies::On,
            subscriptions: Subscriptions::default(),
            monitors: false,
            replicates: false,
            order: InOrder::new(mid_stream),
            finished: ExchangeQueue::default(),
            fitted: false,
            lost: 0,
        }
    }

    /// `false`: this is no command.
    fn ask(&mut self, value: Value) -> bool {
        let Some((name, arguments)) = arguments::describe(&value, self.keep_literals) else { return false };
        let sent = value.leaf_count - 1;
        match &*name {
            "CLIENT REPLY" => {
                let mode = value.leaves.get(2).map(|leaf| leaf.text.to_ascii_uppercase()).unwrap_or_default();
                match &mode[..] {
                    b"OFF" => self.switched = Replies::Off,
                    b"SKIP" if self.switched == Replies::On => self.switched = Replies::SkipNext,
                    b"ON" => self.switched = Replies::On,
                    _ => {}
                }
                if matches!(&mode[..], b"OFF" | b"SKIP") {
                    self.lost += 1;
                    return true;
                }
            }
            "SYNC" | "PSYNC" => self.replicates = true,
            _ => {}
        }
        match self.switched {
            Replies::On => {}
            Replies::Off => {
                self.lost += 1;
                return true;
            }
            Replies::SkipNext => {
                self.lost += 1;
                self.switched = Replies::On;
                return true;
            }
        }
        if self.order.front().is_none() && (self.searches_reply || self.reply_is_guessed) {
            self.replies.reset();
            self.searches_reply = false;
            self.reply_is_guessed = true;
        }
        let confirmations = Subscriptions::class_of(name.as_bytes()).map(|_| sent);
        let command = Command { name, arguments, at: value.at, bytes: value.length, confirmations };
        let size = command.name.len() + command.arguments.len();
        self.order.ask(command, size, value.at);
        self.pair();
        true
    }

    fn receive(&mut self, value: Value) {
        let word = first_word(&value);
        if self.is_publication(&value, &word) {
            return self.publish(&value, &word);
        }
        if self.is_confirmation(&value, &word)
            && let Some(total) = confirmation(&value)
        {
            return self.confirm(&value, &word, total);
        }
        let is_monitored = value.kind == b'+' && value.leaves.last().is_some_and(is_monitor_line);
        if value.kind == b'>' || is_monitored && (self.monitors || self.order.front().is_none()) {
            return;
        }
        self.answer(&value);
    }

    /// A published message. In RESP2 an array of a reply may look the same.
    fn is_publication(&self, value: &Value, word: &[u8]) -> bool {
        let is_array = matches!(value.kind, b'>' | b'*');
        is_array && is_published(value, word) && (self.subscriptions.total > 0 || self.expects_no_reply(value))
    }

    /// The confirmation of a subscription, as far as its first word and its size say.
    fn is_confirmation(&self, value: &Value, word: &[u8]) -> bool {
        let is_array = matches!(value.kind, b'>' | b'*') && value.count == Some(3);
        is_array && Subscriptions::class_of(word).is_some() && self.expects_no_reply(value)
    }

    /// No command waits for an array such as this one.
    fn expects_no_reply(&self, value: &Value) -> bool {
        value.kind == b'>' || self.order.front().is_none_or(|command| command.confirmations.is_some())
    }

    fn answer(&mut self, value: &Value) {
        let error = reply::error_of(value).is_some();
        let (mut is_error, mut by_script) = (error, true);
        if let Some(command) = self.order.front() {
            by_script = is_script(&command.name);
            match &*command.name {
                "MONITOR" => self.monitors |= !error,
                "RESET" => {
                    self.monitors = false;
                    self.subscriptions = Subscriptions::default();
                }
                // Errors of the commands of a transaction stand in the array.
                "EXEC" => is_error |= value.has_error,
                _ => {}
            }
        }
        let text = reply::describe(value, by_script, self.payload_bytes);
        let size = text.len();
        self.order.answer(Reply { text, is_error, bytes: value.length, ended: value.at.last }, size, value.at);
        self.pair();
    }

    /// SUBSCRIBE and its like are answered once for each channel.
    fn confirm(&mut self, value: &Value, word: &[u8], total: u64) {
        let before = self.subscriptions.record(word, total);
        let Some(command) = self.order.front_mut() else { return };
        let Some(left) = command.confirmations.filter(|_| command.name.as_bytes().eq_ignore_ascii_case(word)) else {
            return;
        };
        let left = if left == 0 { before.max(1) } else { left };
        command.confirmations = Some(left - 1);
        if left == 1 {
            self.answer(value);
        }
    }

    fn publish(&mut self, value: &Value, word: &[u8]) {
        self.fitted = true;
        let text = |index: usize| value.leaves.get(index).map(|leaf| String::from_utf8_lossy(&leaf.text).into_owned());
        // pmessage, the pattern, the channel, the message
        let channel = text(if word == b"pmessage" { 2 } else { 1 }).unwrap_or_default();
        self.finished.push(Exchange {
            started: value.at.first,
            asked: value.at.last,
            ended: value.at.last,
            request_bytes: 0,
            response_bytes: value.length,
            is_error: false,
            mid_stream: false,
            fields: Fields::Redis(RedisFields {
                command: "PUSH PUB".to_owned(),
                arguments: channel,
                response: reply::describe(value, false, self.payload_bytes),
            }),
        });
    }

    fn pair(&mut self) {
        while let Some((command, reply)) = self.order.take_pair() {
            self.fitted = true;
            self.reply_is_guessed = false;
            self.finished.push(Exchange {
                started: command.at.first,
                asked: command.at.last,
                ended: reply.ended,
                request_bytes: command.bytes,
                response_bytes: reply.bytes,
                is_error: reply.is_error,
                mid_stream: false,
                fields: Fields::Redis(RedisFields {
                    command: command.name.into_owned(),
                    arguments: command.arguments,
                    response: reply.text,
                }),
            });
        }
    }

    fn lose_commands(&mut self) {
        self.commands.reset();
        self.searches_command = true;
        // CLIENT REPLY may have been among them.
        self.switched = Replies::On;
        self.order.requests_lost();
    }

    fn lose_replies(&mut self) {
        self.replies.reset();
        self.searches_reply = true;
        self.order.answers_lost();
    }

    /// Notes what of the last piece may be shown. `ended`: the value that ends with it.
    fn note_command(&mut self, ended: Option<&Value>) {
        if self.masks
            && let Some(value) = ended.or(self.commands.unfinished())
        {
            self.taken = mask::of_command(self.commands.piece, value, self.keep_literals);
        }
    }

    fn note_reply(&mut self, ended: Option<&Value>) {
        if self.masks
            && let Some(value) = ended.or(self.replies.unfinished())
        {
            let word = first_word(value);
            let shows = mask::Shows {
                by_script: self.order.front().is_none_or(|command| is_script(&command.name)),
                payload_bytes: self.payload_bytes,
                published: self.is_publication(value, &word),
                confirms: self.is_confirmation(value, &word),
            };
            self.taken = mask::of_reply(self.replies.piece, value, &word, shows);
        }
    }

    fn parse_command(&mut self, bytes: &[u8], at: Times) -> Step {
        if self.searches_command {
            for skipped in 0..bytes.len() {
                match first_of_array(bytes.get(skipped..).unwrap_or_default()) {
                    FirstElement::Command => {
                        self.searches_command = false;
                        if skipped > 0 {
                            return Step::Skip { bytes: skipped };
                        }
                        break;
                    }
                    FirstElement::TooShort if skipped == 0 => return Step::NeedMore,
                    FirstElement::TooShort => return Step::Skip { bytes: skipped },
                    FirstElement::Text | FirstElement::Other => {}
                }
            }
            if self.searches_command {
                return Step::Skip { bytes: bytes.len() };
            }
        }
        match self.commands.decode(bytes, at) {
            Decoded::Part(bytes) => {
                self.note_command(None);
                Step::Message { bytes }
            }
            Decoded::Value(bytes, value) => {
                self.note_command(Some(&value));
                if self.ask(value) {
                    return Step::Message { bytes };
                }
                self.broken_command(bytes)
            }
            Decoded::Broken => self.broken_command(1),
        }
    }

    fn broken_command(&mut self, bytes: usize) -> Step {
        if !self.fitted {
            return Step::NotMine;
        }
        self.lose_commands();
        Step::Skip { bytes }
    }

    fn parse_reply(&mut self, bytes: &[u8], at: Times) -> Step {
        if self.searches_reply {
            return Step::Skip { bytes: bytes.len() };
        }
        match self.replies.decode(bytes, at) {
            Decoded::Part(bytes) => {
                self.note_reply(None);
                Step::Message { bytes }
            }
            Decoded::Value(bytes, value) => {
                self.note_reply(Some(&value));
                self.receive(value);
                Step::Message { bytes }
            }
            Decoded::Broken if self.fitted => {
                self.lose_replies();
                Step::Skip { bytes: bytes.len() }
            }
            Decoded::Broken => Step::NotMine,
        }
    }
}

impl Parser for RedisParser {
    fn parse(&mut self, side: Side, bytes: &[u8], at: Times) -> Step {
        if self.transport == Transport::Datagram {
            return Step::NotMine;
        }
        if side.asks(self.role) { self.parse_command(bytes, at) } else { self.parse_reply(bytes, at) }
    }

    fn gap(&mut self, side: Side, bytes: u64, at: Times) {
        if side.asks(self.role) {
            let (value, in_step) = self.commands.gap(bytes, at);
            if let Some(value) = value {
                self.ask(value);
            }
            if !in_step {
                self.lose_commands();
            }
            return;
        }
        let (value, in_step) = self.replies.gap(bytes, at);
        if let Some(value) = value {
            self.receive(value);
        }
        if !in_step {
            self.lose_replies();
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
            + self.commands.memory()
            + self.replies.memory()
            + self.order.memory()
            + self.finished.memory()
    }

    fn confirmed(&self) -> bool {
        self.fitted
    }

    fn lost(&self) -> u64 {
        self.lost + self.order.lost()
    }

    fn mask(&self, _: Side, taken: &mut [u8]) {
        mask::mask(self.taken, taken);
    }

    fn lengths_only(&self) -> bool {
        self.replicates
    }
}

impl Subscriptions {
    /// What a command, or the first word of its confirmation, is about.
    fn class_of(word: &[u8]) -> Option<usize> {
        match word.to_ascii_lowercase().as_slice() {
            b"subscribe" | b"unsubscribe" => Some(0),
            b"psubscribe" | b"punsubscribe" => Some(1),
            b"ssubscribe" | b"sunsubscribe" => Some(2),
            _ => None,
        }
    }

    /// Notes a confirmation; says how many of its class there were before.
    fn record(&mut self, word: &[u8], total: u64) -> u64 {
        let Some(count) = Self::class_of(word).and_then(|class| self.counts.get_mut(class)) else { return 0 };
        let before = *count;
        match word.windows(2).any(|pair| pair == b"un") {
            true => *count = count.saturating_sub(1),
            false if total > self.total => *count += 1,
            false => {}
        }
        self.total = total;
        before
    }
}

/// The first word of a value, in lower case.
fn first_word(value: &Value) -> Vec<u8> {
    value.leaves.first().map(|leaf| leaf.text.to_ascii_lowercase()).unwrap_or_default()
}

/// `[message, channel, text]`, `[pmessage, pattern, channel, text]`
fn is_published(value: &Value, word: &[u8]) -> bool {
    match word {
        b"message" | b"smessage" => value.count == Some(3),
        b"pmessage" => value.count == Some(4),
        _ => false,
    }
}

/// `[subscribe, channel, subscriptions]`
fn confirmation(value: &Value) -> Option<u64> {
    let [_, _, total] = value.leaves.as_slice() else { return None };
    std::str::from_utf8(&total.text).ok()?.parse().ok().filter(|_| total.kind == b':' && value.count == Some(3))
}

fn is_script(name: &str) -> bool {
    matches!(name, "EVAL" | "EVALSHA" | "EVAL_RO" | "EVALSHA_RO" | "FCALL" | "FCALL_RO" | "EXEC")
}
