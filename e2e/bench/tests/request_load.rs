//! The load of requests, as the program that the benchmark starts in a pod.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Once, all connections wait for so long.
const STALL: Duration = Duration::from_millis(500);

fn answer(mut peer: TcpStream, stall: Option<(Instant, Instant)>) {
    let mut request = [0; 512];
    while peer.read(&mut request).is_ok_and(|count| count > 0) {
        if let Some((_, end)) = stall.filter(|(from, end)| (*from..*end).contains(&Instant::now())) {
            thread::sleep(end - Instant::now());
        }
        if peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").is_err() {
            return;
        }
    }
}

/// Two seconds of requests, to a server that may stop for a while.
fn requests(rate: u32, stalls: bool) -> Value {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let from = Instant::now() + Duration::from_secs(1);
    let stall = stalls.then_some((from, from + STALL));
    thread::spawn(move || {
        for peer in server.incoming().flatten() {
            thread::spawn(move || answer(peer, stall));
        }
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_trilobite-bench"));
    command.args(["traffic", "requests", "127.0.0.1", "--service", "nginx", "--port", &port.to_string()]);
    let done = command.args(["--rate", &rate.to_string(), "--seconds", "2"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn requests_come_at_the_rate_that_is_asked_for() {
    let done = requests(1_000, false);
    let count = done["requests"].as_u64().unwrap();
    assert!((1_000..=2_000).contains(&count), "{done}");
}

#[test]
fn server_that_stops_makes_every_request_of_that_time_slow() {
    let done = requests(4_000, true);
    // Only the 32 that were on their way would be slow, of 8,000, if what was due meanwhile did not count.
    let p99 = done["p99"].as_f64().unwrap();
    assert!(p99 > STALL.as_secs_f64() / 2.0, "{done}");
}
