//! The load of a measurement: connections or requests at a rate, one bulk stream, busy CPUs. Each prints one JSON line with the work done. Addresses are those of the bench's own network namespaces.

use std::{
    hint::black_box,
    io::{ErrorKind, Read, Write, stdin, stdout},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, socket, sockopt::set_socket_reuseaddr},
    process::getppid,
    thread::set_name,
};
use serde_json::{Value, json};

use crate::{
    pinned::Pinned,
    request_load::{self, RequestLoad},
};

const CONNECTIONS: u16 = 7001;
const BULK: u16 = 7002;
const MESSAGE: [u8; 64] = [b'm'; 64];
const PIECE: usize = 256 << 10;
const CALLS: u32 = 200_000;
const CALL_ROUNDS: u32 = 7;
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One kind of load.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Traffic {
    /// Answers both other kinds, until standard input ends.
    Serve {
        #[command(flatten)]
        pinned: Pinned,
    },
    /// Connections that ask once, are answered once and end.
    Connect {
        /// The server.
        address: IpAddr,
        /// Connections a second; 0 means as many as there can be.
        #[arg(long)]
        rate: u32,
        /// For so long.
        #[arg(long)]
        seconds: u32,
        /// Each from the port behind that of the one before it, from this one on; 0 means from any.
        #[arg(long)]
        from_port: u16,
        #[command(flatten)]
        pinned: Pinned,
    },
    /// One stream of TCP.
    Bulk {
        /// The server.
        address: IpAddr,
        /// For so long.
        #[arg(long)]
        seconds: u32,
        #[command(flatten)]
        pinned: Pinned,
    },
    /// Requests of HTTP or Redis over some connections, at a rate.
    Requests(RequestLoad),
    /// Threads that compute.
    Burn {
        /// How many.
        #[arg(long)]
        threads: u32,
        /// For so long.
        #[arg(long)]
        seconds: u32,
    },
    /// Calls of the kernel, one after the other.
    Calls {
        /// Which call.
        call: Call,
        #[command(flatten)]
        pinned: Pinned,
    },
}

/// A call that costs little by itself, and hits one tracepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Call {
    /// getppid: raw_syscalls/sys_enter, with numbers alone.
    Number,
    /// prctl(PR_SET_NAME): task/task_rename, with a string.
    Rename,
}

/// Generates the load until its time is over, and prints the work done.
pub(crate) fn generate(traffic: &Traffic) -> Result<()> {
    let done = match *traffic {
        Traffic::Serve { pinned } => {
            pinned.apply()?;
            return serve();
        }
        Traffic::Connect { address, rate, seconds, from_port, pinned } => {
            pinned.apply()?;
            connect(address, rate, seconds, from_port)?
        }
        Traffic::Bulk { address, seconds, pinned } => {
            pinned.apply()?;
            bulk(address, seconds)?
        }
        Traffic::Requests(load) => {
            load.pinned.apply()?;
            request_load::generate(&load)?
        }
        Traffic::Burn { threads, seconds } => burn(threads, seconds),
        Traffic::Calls { call, pinned } => {
            pinned.apply()?;
            calls(call)?
        }
    };
    Ok(writeln!(stdout(), "{done}")?)
}

/// A number of the work that a load has done.
pub(crate) fn number(done: &Value, what: &str) -> Result<f64> {
    done[what].as_f64().with_context(|| format!("{done} has no {what}"))
}

/// The same a second.
pub(crate) fn rate(done: &Value, what: &str) -> Result<f64> {
    Ok(number(done, what)? / number(done, "seconds")?)
}

fn serve() -> Result<()> {
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let connections = TcpListener::bind((any, CONNECTIONS)).context("listening for connections")?;
    let streams = TcpListener::bind((any, BULK)).context("listening for streams")?;
    thread::spawn(move || {
        for mut peer in connections.incoming().flatten() {
            let mut message = MESSAGE;
            // The server ends it first, so that the client's ports are free again at once.
            if peer.read_exact(&mut message).is_ok() {
                let _ = peer.write_all(&message);
            }
        }
    });
    thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        for mut peer in streams.incoming().flatten() {
            let mut bytes: u64 = 0;
            while let Ok(count @ 1..) = peer.read(&mut piece) {
                bytes += count as u64;
            }
            let _ = peer.write_all(&bytes.to_le_bytes());
        }
    });
    writeln!(stdout(), "ready")?;
    let mut rest = [0; 16];
    while stdin().read(&mut rest).is_ok_and(|count| count > 0) {}
    Ok(())
}

fn connect(address: IpAddr, rate: u32, seconds: u32, from_port: u16) -> Result<Value> {
    let start = Instant::now();
    let end = Duration::from_secs(seconds.into());
    let (mut count, mut port): (u32, u16) = (0, from_port);
    while start.elapsed() < end {
        if let Some(due) = Duration::from_secs(1).checked_mul(count).and_then(|time| time.checked_div(rate)) {
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let mut answer = ask(address, port);
        while answer.as_ref().is_err_and(is_taken) {
            port += 1;
            answer = ask(address, port);
        }
        port += u16::from(port != 0);
        answer.with_context(|| format!("connection {count} to {address}"))?;
        count += 1;
    }
    Ok(json!({ "connections": count, "seconds": start.elapsed().as_secs_f64() }))
}

/// An earlier connection still has the port.
fn is_taken(error: &anyhow::Error) -> bool {
    error.downcast_ref() == Some(&Errno::ADDRINUSE)
}

fn ask(address: IpAddr, from_port: u16) -> Result<()> {
    let there = SocketAddr::from((address, CONNECTIONS));
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    if from_port != 0 {
        set_socket_reuseaddr(&socket, true)?;
        let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
        rustix::net::bind(&socket, &SocketAddr::from((any, from_port)))?;
    }
    rustix::net::connect(&socket, &there)?;
    let mut peer = TcpStream::from(socket);
    peer.set_read_timeout(Some(PATIENCE))?;
    peer.set_nodelay(true)?;
    peer.write_all(&MESSAGE)?;
    let mut answer = Vec::with_capacity(MESSAGE.len());
    peer.read_to_end(&mut answer)?;
    ensure!(answer == MESSAGE, "the answer is not the question");
    Ok(())
}

fn bulk(address: IpAddr, seconds: u32) -> Result<Value> {
    let mut peer = TcpStream::connect((address, BULK)).with_context(|| format!("a stream to {address}"))?;
    let piece = vec![0; PIECE];
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds.into()) {
        match peer.write_all(&piece) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error).context("writing the stream"),
            _ => {}
        }
    }
    peer.shutdown(Shutdown::Write)?;
    let mut bytes = [0; 8];
    peer.read_exact(&mut bytes).context("the server's count")?;
    Ok(json!({ "bytes": u64::from_le_bytes(bytes), "seconds": start.elapsed().as_secs_f64() }))
}

fn burn(threads: u32, seconds: u32) -> Value {
    let end = Instant::now() + Duration::from_secs(seconds.into());
    let workers: Vec<_> = (0..threads).map(|_| thread::spawn(move || rounds_until(end))).collect();
    let rounds: u64 = workers.into_iter().filter_map(|worker| worker.join().ok()).sum();
    json!({ "rounds": rounds })
}

/// The best of some rounds: what disturbs a round makes it longer only.
fn calls(call: Call) -> Result<Value> {
    let mut best = Duration::MAX;
    for _ in 0..CALL_ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            match call {
                Call::Number => {
                    black_box(getppid());
                }
                Call::Rename => set_name(c"reef-worker")?,
            }
        }
        best = best.min(start.elapsed());
    }
    Ok(json!({ "nanoseconds": best.as_secs_f64() * 1e9 / f64::from(CALLS) }))
}

fn rounds_until(end: Instant) -> u64 {
    let mut rounds = 0;
    while Instant::now() < end {
        black_box((0..20_000_u64).fold(rounds, |hash, word| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        rounds += 1;
    }
    rounds
}
