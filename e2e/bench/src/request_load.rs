//! Requests of HTTP or Redis at a rate, and how long each took from the moment at which it was due: a server that stops for a
//! while makes every request of that while slow, not one.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::pinned::Pinned;

/// Connections that are open, one request at a time on each.
const CONNECTIONS: u32 = 32;
/// Requests become due at whole ticks.
const TICK: Duration = Duration::from_millis(1);
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of Redis's value and of nginx's page.
pub(crate) const ANSWER_BYTES: usize = 1024;

/// The server that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// `GET /index.html` of HTTP/1.1.
    Nginx,
    /// `GET` of one key.
    Redis,
}

/// Requests over some connections.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct RequestLoad {
    /// The server.
    pub(crate) address: IpAddr,
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long, value_enum)]
    pub(crate) service: Service,
    /// Requests a second; 0 means as many as there can be.
    #[arg(long)]
    pub(crate) rate: u32,
    /// For so long.
    #[arg(long)]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) pinned: Pinned,
}

impl Service {
    /// The port that it listens on.
    pub(crate) fn port(self) -> u16 {
        match self {
            Service::Nginx => 8080,
            Service::Redis => 6379,
        }
    }

    fn request(self) -> &'static [u8] {
        match self {
            Service::Nginx => b"GET /index.html HTTP/1.1\r\nHost: bench\r\n\r\n",
            Service::Redis => b"*2\r\n$3\r\nGET\r\n$5\r\nbench\r\n",
        }
    }

    /// What makes the value that is asked for.
    fn preparation(self) -> Option<Vec<u8>> {
        let value = "v".repeat(ANSWER_BYTES);
        let set = || format!("*3\r\n$3\r\nSET\r\n$5\r\nbench\r\n${ANSWER_BYTES}\r\n{value}\r\n").into_bytes();
        (self == Service::Redis).then(set)
    }

    /// Bytes of the whole answer, once enough of it is there.
    fn answer_length(self, begin: &[u8]) -> Option<usize> {
        let text = String::from_utf8_lossy(begin);
        let first = text.find("\r\n")? + 2;
        match self {
            Service::Redis if begin[0] == b'$' => Some(first + text[1..first - 2].parse::<usize>().ok()? + 2),
            Service::Redis => Some(first),
            Service::Nginx => {
                let head = text.find("\r\n\r\n")? + 4;
                let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
                Some(head + length.parse::<usize>().ok()?)
            }
        }
    }

    fn is_success(self, answer: &[u8]) -> bool {
        match self {
            Service::Nginx => answer.starts_with(b"HTTP/1.1 200 "),
            Service::Redis => matches!(answer.first(), Some(b'$' | b'+')) && !answer.starts_with(b"$-1"),
        }
    }
}

impl RequestLoad {
    /// Its arguments.
    pub(crate) fn words(&self) -> Vec<String> {
        let service = self.service.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let pairs = [
            ("--port", self.port.to_string()),
            ("--service", service),
            ("--rate", self.rate.to_string()),
            ("--seconds", self.seconds.to_string()),
        ];
        let options = pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        [self.address.to_string()].into_iter().chain(options).collect()
    }
}

/// One connection; every answer is as long as the first one.
struct Connection {
    peer: TcpStream,
    service: Service,
    answer: Vec<u8>,
}

impl Connection {
    fn open(load: &RequestLoad) -> Result<Self> {
        let there = (load.address, load.port);
        let peer = TcpStream::connect(there).with_context(|| format!("a connection to {there:?}"))?;
        peer.set_nodelay(true)?;
        peer.set_read_timeout(Some(TIMEOUT))?;
        let mut connection = Self { peer, service: load.service, answer: Vec::new() };
        if let Some(preparation) = load.service.preparation() {
            connection.peer.write_all(&preparation)?;
            connection.read_first()?;
        }
        connection.ask()?;
        connection.read_first()?;
        Ok(connection)
    }

    fn ask(&mut self) -> Result<()> {
        Ok(self.peer.write_all(self.service.request())?)
    }

    fn read_first(&mut self) -> Result<()> {
        self.answer.clear();
        let mut piece = [0; 4096];
        while self.service.answer_length(&self.answer).is_none_or(|length| self.answer.len() < length) {
            let count = self.peer.read(&mut piece)?;
            ensure!(count > 0, "the server ended the connection");
            self.answer.extend_from_slice(&piece[..count]);
        }
        self.check()
    }

    fn read_answer(&mut self) -> Result<()> {
        self.peer.read_exact(&mut self.answer).context("reading an answer")?;
        self.check()
    }

    fn check(&self) -> Result<()> {
        let begin = &self.answer[..self.answer.len().min(64)];
        ensure!(self.service.is_success(&self.answer), "an error for an answer: {:?}", String::from_utf8_lossy(begin));
        Ok(())
    }
}

/// Generates the load, and gives the count of requests and their latencies.
pub(crate) fn generate(load: &RequestLoad) -> Result<Value> {
    let mut connections = (0..CONNECTIONS).map(|_| Connection::open(load)).collect::<Result<Vec<_>>>()?;
    let mut latencies = Vec::new();
    let mut asked: u64 = 0;
    let end = Duration::from_secs(load.seconds.into());
    let start = Instant::now();
    while start.elapsed() < end {
        let now = start.elapsed();
        let due = match load.rate {
            0 => u64::from(CONNECTIONS),
            rate => due_until(now, rate).saturating_sub(asked).min(CONNECTIONS.into()),
        };
        if due == 0 {
            thread::sleep(next_tick(now) - now);
            continue;
        }
        let asking = &mut connections[..usize::try_from(due)?];
        asking.iter_mut().try_for_each(Connection::ask)?;
        for (number, connection) in (asked..).zip(asking) {
            connection.read_answer()?;
            let was_due = if load.rate == 0 { now } else { due_at(number, load.rate) };
            latencies.push(start.elapsed().saturating_sub(was_due));
        }
        asked += due;
        connections.rotate_left(usize::try_from(due)?);
    }
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let quantile = |permille: usize| latencies.get(latencies.len() * permille / 1000).map(Duration::as_secs_f64);
    Ok(json!({
        "requests": asked, "seconds": seconds,
        "p50": quantile(500).unwrap_or_default(), "p99": quantile(990).unwrap_or_default(),
    }))
}

fn next_tick(now: Duration) -> Duration {
    TICK * u32::try_from(now.as_nanos() / TICK.as_nanos() + 1).unwrap_or(u32::MAX)
}

/// How many requests are due at the last tick before `now`: those of a tick come together.
fn due_until(now: Duration, rate: u32) -> u64 {
    (now.as_millis() as u64) * u64::from(rate) / 1000
}

/// The tick at which the request of this number, from 0, is due.
fn due_at(number: u64, rate: u32) -> Duration {
    Duration::from_millis(((number + 1) * 1000).div_ceil(rate.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_due_at_the_tick_that_sends_it() {
        for rate in [7, 1_000, 9_999, 40_000] {
            for number in [0, 1, 500, 12_345] {
                let at = due_at(number, rate);
                assert!(due_until(at, rate) > number, "{rate} {number}");
                assert!(due_until(at - TICK, rate) <= number, "{rate} {number}");
            }
        }
        assert_eq!(next_tick(Duration::from_micros(2_300)), Duration::from_millis(3));
    }

    #[test]
    fn answer_is_as_long_as_it_says() {
        let page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(Service::Nginx.answer_length(page), Some(page.len()));
        assert_eq!(Service::Nginx.answer_length(&page[..30]), None);
        assert_eq!(Service::Redis.answer_length(b"$3\r\nabc\r\n"), Some(9));
        assert_eq!(Service::Redis.answer_length(b"+OK\r\n"), Some(5));
        assert!(!Service::Redis.is_success(b"-ERR no\r\n") && !Service::Redis.is_success(b"$-1\r\n"));
    }
}
