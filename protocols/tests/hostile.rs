//! Malformed and hostile bytes, to every parser: no panic, bounded memory, linear work.
//! TRILOBITE_PARSER_RUNS: connections of random bytes for each parser.

#![allow(clippy::unwrap_used)]

use std::{
    fs::OpenOptions,
    io::Write,
    time::{Duration, Instant},
};

use trilobite_protocols::{Connection, Name, Role, Settings, Side, Step, Times, Transport};

/// Connections for each parser where the environment says nothing.
const RUNS: u64 = 1_000_000;

/// What one connection may hold, whatever it is sent.
const MEMORY_MAX: usize = 5 << 20;

/// CPU time far above what a mebibyte takes in linear time.
const CPU_MAX: Duration = Duration::from_secs(4);

/// How long this thread has run: other than the clock, it does not depend on what else the machine does.
fn cpu_time() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

/// Fragments of what each protocol's two ends say.
fn fragments(name: Name) -> Vec<&'static [u8]> {
    match name {
        Name::Http => vec![
            b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n",
            b"HEAD / HTTP/1.0\r\n\r\n",
            b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nT: 1\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            b"HTTP/1.0 404 Not Found\r\n\r\ngone",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"Set-Cookie: a=b\r\n c\r\n",
            b"ffffffffffffffff\r\n",
            b"\r\n",
        ],
        Name::Pgsql => vec![
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\0\0\0\x16\0\x03\0\0user\0u\0\0",
            b"Q\0\0\0\x0eSELECT 1\0",
            b"P\0\0\0\x12s\0SELECT $1\0\0\0",
            b"B\0\0\0\x0e\0s\0\0\0\0\0\0\0",
            b"E\0\0\0\x09\0\0\0\0\0",
            b"S\0\0\0\x04",
            b"1\0\0\0\x042\0\0\0\x04",
            b"T\0\0\0\x1a\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
            b"D\0\0\0\x0b\0\x01\0\0\0\x011",
            b"C\0\0\0\x0dSELECT 1\0",
            b"E\0\0\0\x19SERROR\0C42601\0Mno\0\0",
            b"Z\0\0\0\x05I",
            b"d\x7f\xff\xff\xff",
        ],
        Name::Redis => vec![
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
            b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
            b"*1\r\n$5\r\nMULTI\r\n",
            b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
            b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
            b"PING\r\n",
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":12\r\n",
            b"$5\r\nhello\r\n",
            b"$-1\r\n",
            b"*2\r\n+a\r\n*1\r\n:1\r\n",
            b"%1\r\n+a\r\n#t\r\n",
            b">3\r\n+message\r\n+c\r\n+m\r\n",
            b"|1\r\n+a\r\n+b\r\n",
            b"$?\r\n;1\r\na\r\n;0\r\n",
            b"*2147483647\r\n",
            b"$9223372036854775807\r\n",
        ],
        Name::Kafka => vec![
            b"\0\0\0\x0b\0\x12\0\0\0\0\0\x01\0\x01a",
            b"\0\0\0\x06\0\0\0\x01\0\0",
            b"\0\0\0\x28\0\0\0\x03\0\0\0\x01\0\x01a\xff\xff\0\x01\0\0\0\x09\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\x01x",
            b"\0\0\0\x26\0\0\0\x09\0\0\0\x02\0\x01a\0\0\0\x01\0\0\0\x09\x02\x02t\x02\0\0\0\0\x02x\0\0\0\0\0\0\0\0",
            b"\0\0\0\x1c\0\0\0\x02\0\x02\x02t\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\0\0\0\x0f\0\x03\0\0\0\0\0\x01\0\x01a\xff\xff\xff\xff",
            b"\0\0\0\x0f\0\x0c\0\x04\0\0\0\x01\xff\xff\0\x02g",
            b"\0\0\0\x1f\0\x01\0\x0d\0\0\0\x02\xff\xff\0",
            b"\x80\x80\x80\x80\x80",
            b"\x7f\xff\xff\xff",
            b"\0\0\0\x04",
        ],
        Name::Mysql => vec![
            b"\x36\0\0\0\x0a10.11.6-MariaDB\0\x07\0\0\0saltsalt\0\xfe\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\0\0\0\0salt\0",
            b"\x26\0\0\x01\x05\xa2\x0a\0\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0bob\0\0\0",
            b"\x09\0\0\0\x03SELECT 1",
            b"\x09\0\0\0\x16SELECT ?",
            b"\x0a\0\0\0\x17\x01\0\0\0\0\x01\0\0\0",
            b"\x05\0\0\0\x19\x01\0\0\0",
            b"\x07\0\0\0\x18\x01\0\0\0\0\0",
            b"\x01\0\0\0\x0e",
            b"\x07\0\0\x01\0\0\0\x02\0\0\0",
            b"\x07\0\0\x02\0\0\0\x0a\0\0\0",
            b"\x0c\0\0\x01\0\x01\0\0\0\x01\0\x01\0\0\0\0",
            b"\x01\0\0\x01\x01",
            b"\x0a\0\0\x02\x03def\0\0\0\x01a\0",
            b"\x05\0\0\x03\xfe\0\0\x02\0",
            b"\x02\0\0\x04\x011",
            b"\x05\0\0\x05\xfe\0\0\x02\0",
            b"\x0b\0\0\x01\xff\x28\x04#42000no",
            b"\x05\0\0\x01\xfbfile",
            b"\xff\xff\xff\0\x03",
        ],
        Name::Http2 | Name::Grpc => vec![
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64",
            b"\0\0\0\x04\0\0\0\0\0",
            b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a",
            b"\0\0\x06\x01\x04\0\0\0\x03\x83\x86\x84\xbe\xbf\xc0",
            b"\0\0\x01\x01\x04\0\0\0\x01\x88",
            b"\0\0\x02\x01\x05\0\0\0\x03\x8d\xbe",
            b"\0\0\x02\x01\0\0\0\0\x05\x82\x86\0\0\x01\x09\x04\0\0\0\x05\x84",
            b"\0\0\x08\x01\x2d\0\0\0\x07\x01\0\0\0\0\x10\x82x",
            b"\0\0\x17\x01\x05\0\0\0\x01\x88\x5f\x10application/grpc\x40\x01a\x00",
            b"\0\0\x0f\x01\x05\0\0\0\x01\x40\x0bgrpc-status\x015",
            b"\0\0\x05\0\x01\0\0\0\x01\0\0\0\0\0",
            b"\0\0\x04\0\x08\0\0\0\x01\x02a\0\0",
            b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
            b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\x02",
            b"\0\0\x05\x05\x04\0\0\0\x01\0\0\0\x02\x82",
            b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01\0\0\x08\x06\0\0\0\0\0AAAAAAAA",
            b"\0\0\x03\x01\x04\0\0\0\x09\x3f\xe1\x7f",
            b"\0\x40\0\0\0\0\0\0\x01",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        ],
        Name::Dns => vec![
            b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
            b"\0\x01\x81\x80\0\x01\0\x01\0\0\0\0\x01a\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01",
            b"\0\x13\0\x02\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x1c\0\x01",
            b"\0\x13\0\x02\x81\x83\0\x01\0\0\0\0\0\0\x01a\0\0\x1c\0\x01",
            b"\xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\x05\x04text",
            b"\0\0\x29\x10\0\0\0\0\0\0\0",
        ],
    }
}

fn side(random: &mut fastrand::Rng) -> Side {
    if random.bool() { Side::Sent } else { Side::Received }
}

/// A few pieces of fragments, some with wrong bytes, gaps and repetitions.
fn play_random(name: Name, fragments: &[&[u8]], random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    let role = [None, Some(Role::Client), Some(Role::Server)][random.usize(..3)];
    let transport = if random.u8(..8) == 0 { Transport::Datagram } else { Transport::Stream };
    let (payload_bytes, keep_literals, masks) = (random.usize(..64), random.bool(), random.bool());
    let settings = Settings { payload_bytes, keep_literals, masks, ..Settings::default() };
    let mut connection = Connection::new(role, transport, random.u8(..4) == 0, &[name], &settings);
    let mut positions = [0u64; 2];
    for time in 1..=random.u64(1..6) {
        let side = side(random);
        bytes.clear();
        for _ in 0..random.usize(1..4) {
            bytes.extend_from_slice(fragments[random.usize(..fragments.len())]);
        }
        if random.bool() {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        if random.u8(..4) == 0 {
            bytes.truncate(random.usize(..=bytes.len()));
        }
        let position = &mut positions[usize::from(side == Side::Received)];
        let missing = if random.u8(..4) == 0 { random.u64(..2000) } else { 0 };
        let start = position.saturating_sub(if random.u8(..16) == 0 { random.u64(..50) } else { 0 });
        let start = start + if random.u8(..8) == 0 { random.u64(..50) } else { 0 };
        connection.push(side, start, bytes, bytes.len() as u64 + missing, time * 1_000_000);
        *position = (*position).max(start + bytes.len() as u64 + missing);
        while connection.take_exchange().is_some() {}
        connection.take_masked();
        assert!(connection.memory() < MEMORY_MAX, "{name}: {}", connection.memory());
    }
    connection.finish(10_000_000);
    while connection.take_exchange().is_some() {}
}

/// Prints a measurement, and keeps it in the file that `TRILOBITE_NOTES` names.
fn note(text: &str) {
    eprintln!("{text}");
    let Some(path) = std::env::var_os("TRILOBITE_NOTES") else { return };
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    writeln!(file, "- {text}").unwrap();
}

/// The seed is printed when a run panics: the same seed plays the same connections.
#[test]
fn random_connections_never_panic() {
    let runs = std::env::var("TRILOBITE_PARSER_RUNS").ok().map_or(RUNS, |runs| runs.parse().expect("a number"));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    for name in Name::ALL {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    let fragments = fragments(name);
                    let mut bytes = Vec::new();
                    for run in (thread..runs).step_by(threads as usize) {
                        let play = || play_random(name, &fragments, &mut fastrand::Rng::with_seed(run), &mut bytes);
                        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(play)) {
                            eprintln!("{name}: seed {run}");
                            std::panic::resume_unwind(panic);
                        }
                    }
                });
            }
        });
        let took = began.elapsed();
        note(&format!("{name}: {runs} hostile connections, {:.0} a second", runs as f64 / took.as_secs_f64()));
    }
}

/// Endless beginnings of messages, by which a parser could be made to hold or search everything again and again.
const ENDLESS: [(&[u8], &[u8]); 38] = [
    (b"", b"A"),
    (b"", b"\0"),
    (b"", b"\xff"),
    (b"", b"\n"),
    (b"", b"\r\n"),
    (b"GET /", b"a"),
    (b"GET / HTTP/1.1\r\n", b"X: a\r\n"),
    (b"GET / HTTP/1.1\r\nX: ", b"a"),
    (b"GET / HTTP/1.1\r\nX: a\r\n", b" \r\n"),
    (b"", b"GET / HTTP/1.1\r\n\r\n"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a"),
    (b"", b"HTTP/1.1 200 OK\r\n\r\n"),
    (b"", b"*1\r\n"),
    (b"", b"*2147483647\r\n"),
    (b"*2147483647\r\n", b"$1\r\na\r\n"),
    (b"*2\r\n$3\r\nGET\r\n$2147483647\r\n", b"a"),
    (b"", b"Q\0\0\0\x05\0"),
    (b"Q\x7f\xff\xff\xff", b"'"),
    (b"", b"\x09\0\0\0\x03SELECT 1"),
    (b"", b"\0\0\0\x0b\0\x12\0\0\0\0\0\x01\0\x01a"),
    (b"\x06\0\0\0\0\x03\0\x09\0\0\0\x01\xff\xff\0\xff\xff\xff\x07", b"\x02a\0"),
    (b"\x06\0\0\0\0\0\0\x09\0\0\0\x01\xff\xff\xff\xff\xff\x07", b"\0\0"),
    (b"\xff\xff\xff\0\x03SELECT '", b"a"),
    (b"\x09\0\0\0\x03SELECT (", b"("),
    (b"", b"\x01\0\0\x01"),
    (b"\xff\xff\0\x01\x01\0\0\x01\0\0\0\0\0\0", b"\x01a"),
    (b"", b"\0\x13\0\x02\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x1c\0\x01"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\x04\0\0\0\0\0"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x01\x01\0\0\0\0\x01\x82", b"\0\0\0\x09\0\0\0\0\x01"),
    (b"\0\0\x08\x06\0\0\0\0\0AAAAAAAA\0\xff\xff\x01\x04\0\0\0\x01", b"\xbe"),
    (b"\0\0\x08\x06\0\0\0\0\0AAAAAAAA\0\x01\0\0\0\0\0\0\x01", b"\0"),
    (b"", b"\0\0\x01\0\0\0\0\0\x01a"),
    (b"", b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a"),
    (b"", b"\0\0\x05\x01\x04\0\0\0\x01\x82\x40\x01a\0"),
    (b"\0\0\x01\x01\x04\0\0\0\x01\x82", b"\0\0\x0a\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0"),
    (b"\0\0\x08\x06\0\0\0\0\0AAAAAAAA\0\x40\0\x01\0\0\0\0\x01", b"\x40\x81\x8f\x81\x8f"),
];

/// Gives bytes to a parser as `Connection` does; says how often the parser was asked, and how much it held at most.
fn feed(name: Name, role: Role, bytes: &[u8], piece: usize) -> (usize, usize) {
    let protocol = trilobite_protocols::all().into_iter().find(|protocol| protocol.name() == name).unwrap();
    // A parser that looks for a message takes anything; one at the beginning of a connection refuses at once.
    let mut parser = protocol.connection(role, Transport::Stream, true, &Settings::default());
    let began = cpu_time();
    let (mut steps, mut memory, mut start, mut end) = (0, 0, 0, 0);
    while end < bytes.len() {
        end = bytes.len().min(end + piece);
        while start < end {
            steps += 1;
            if steps % 1024 == 0 && cpu_time() - began > CPU_MAX {
                return (usize::MAX, memory);
            }
            match parser.parse(Side::Received, &bytes[start..end], Times { first: 1, last: 1 }) {
                Step::Message { bytes } | Step::Skip { bytes } => {
                    assert!(bytes > 0 && bytes <= end - start, "{name}: {bytes} of {}", end - start);
                    start += bytes;
                }
                Step::NeedMore => break,
                Step::NotMine => return (steps, memory),
            }
            while parser.take_exchange().is_some() {}
        }
        memory = memory.max(parser.memory() + end - start);
    }
    (steps, memory)
}

#[test]
fn endless_messages_cost_linear_work_and_bounded_memory() {
    for name in Name::ALL {
        for (beginning, repeated) in ENDLESS {
            let bytes: Vec<u8> = beginning.iter().chain(repeated.iter().cycle()).copied().take(1 << 20).collect();
            for role in [Role::Client, Role::Server] {
                for (length, piece) in [(1 << 17, 1), (1 << 20, 1000), (1 << 20, 1 << 20)] {
                    let (steps, memory) = feed(name, role, &bytes[..length], piece);
                    let what = format!(
                        "{name} {role:?}: {} {}, pieces of {piece}",
                        beginning.escape_ascii(),
                        repeated.escape_ascii()
                    );
                    assert!(steps <= 2 * length + length / piece, "{what}: {steps} steps");
                    assert!(memory < MEMORY_MAX, "{what}: {memory} bytes");
                }
            }
        }
    }
}

#[test]
fn pipelined_requests_without_answers_are_bounded() {
    for (name, request) in [
        (Name::Http, &b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n"[..]),
        (Name::Redis, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"),
        (Name::Pgsql, b"Q\0\0\0\x0eSELECT 1\0"),
        (Name::Mysql, b"\x09\0\0\0\x03SELECT 1"),
    ] {
        let mut connection =
            Connection::new(Some(Role::Server), Transport::Stream, false, &[name], &Settings::default());
        let mut most = 0;
        for number in 0..200_000u64 {
            let length = request.len() as u64;
            connection.push(Side::Received, number * length, request, length, number + 1);
            most = most.max(connection.memory());
        }
        assert!(most < MEMORY_MAX, "{name}: {most}");
    }
}
