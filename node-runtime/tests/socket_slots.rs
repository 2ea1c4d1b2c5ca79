//! Slots of the capture of sockets in this machine's kernel: which of them gets a record, and what stays when they are gone.
//! Needs root and a kernel that attaches the programs: `cargo test -p trilobite-node --test socket_slots -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod captured_port;
mod cpu_load;

use std::{
    collections::BTreeSet,
    io::{IoSlice, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    path::Path,
    process::Command,
    time::Duration,
};

use captured_port::{Call, CapturedPort, RING, Reader, add, alone, connected, exchange, listener, streams};
use cpu_load::{ProfileFixture, id};
use rustix::net;
use trilobite_node::{
    identity::SelectionMaps,
    kernel::account,
    layers::application::requests::programs::{Capture, SlotSpec, Verdict},
};
use trilobite_node_ebpf::data_flag::{CLIENT, END, LAST_OF_CALL, MID_STREAM, SENT, UNDECIDED};

fn texts(calls: &[Call]) -> Vec<String> {
    calls.iter().map(Call::text).collect()
}

#[test]
#[ignore = "needs root"]
fn second_slot_costs_no_program_and_sees_the_same_records() {
    let (listener, number) = listener();
    let mut port = CapturedPort::new(number);
    let before = account();
    let (second, mut reader) = add(&mut port.capture, &[number]);
    let (other, mut stranger) = add(&mut port.capture, &[9]);
    assert_eq!((account().programs, account().links), (before.programs, before.links));
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"question", b"answer");

    let (first, same) = (port.reader.calls(), reader.calls());
    assert_eq!((first.len(), texts(&first)), (4, texts(&same)));
    assert_eq!(stranger.calls().len(), 0);
    assert_eq!((first[0].header.record.source, same[0].header.record.source), (0, 1));
    assert_eq!((port.capture.counts(second).records, port.capture.counts(other).records), (4, 0));
}

#[test]
#[ignore = "needs root"]
fn late_slot_joins_a_connection_in_mid_stream() {
    let (listener, number) = listener();
    let mut port = CapturedPort::new(number);
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"question", b"answer");
    let (_, mut late) = add(&mut port.capture, &[number]);
    exchange(&mut client, &mut server, b"next", b"answer");

    let (first, late) = (port.reader.calls(), late.calls());
    assert_eq!(texts(&late), texts(&first[4..]));
    assert!(late.iter().all(|call| call.has(MID_STREAM)) && !first.iter().any(|call| call.has(MID_STREAM)));
}

#[test]
#[ignore = "needs root"]
fn ignored_connection_is_ignored_by_that_slot_alone() {
    let (listener, number) = listener();
    let mut port = CapturedPort::new(number);
    let (_, mut other) = add(&mut port.capture, &[number]);
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"question", b"answer");
    let ends = streams(&port.reader.calls());
    port.set_verdict(ends.0, Verdict::Ignore);
    port.set_verdict(ends.1, Verdict::Ignore);
    exchange(&mut client, &mut server, b"next", b"answer");
    exchange(&mut client, &mut server, b"third", b"answer");
    // Another connection is not concerned.
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"another", b"answer");

    let calls = port.reader.calls();
    assert_eq!(texts(&calls), [">0+7 another", "<0+7 another", ">0+6 answer", "<0+6 answer"]);
    assert_eq!(other.calls().len(), 16);
}

#[test]
#[ignore = "needs root"]
fn verdict_limits_the_bytes_that_are_copied() {
    let (listener, number) = listener();
    let mut port = CapturedPort::new(number);
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"question", b"answer");
    let (of_client, of_server) = streams(&port.reader.calls());
    port.set_verdict(of_client, Verdict::Parse { sent: 3, received: 1 });
    port.set_verdict(of_server, Verdict::Parse { sent: 0, received: 8 });
    exchange(&mut client, &mut server, b"question", b"answer");
    assert_eq!(port.reader.texts(), [">8+8 que", "<8+8 question", ">6+6 ", "<6+6 a"]);
    assert_eq!(port.counts().gap_bytes, 16);
    port.set_verdict(of_client, Verdict::Lengths);
    port.set_verdict(of_server, Verdict::Lengths);
    exchange(&mut client, &mut server, b"question", b"answer");
    assert_eq!(port.reader.texts(), [">16+8 ", "<16+8 ", ">12+6 ", "<12+6 "]);
    // The slot wants no more: that is no gap.
    assert_eq!(port.counts().gap_bytes, 16);
}

#[test]
#[ignore = "needs root"]
fn each_end_of_a_connection_has_its_own_verdict() {
    let (listener, number) = listener();
    let mut port = CapturedPort::new(number);
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"question", b"answer");
    let calls = port.reader.calls();
    assert!(calls.iter().all(|call| call.connection() == calls[0].connection()));
    let (of_client, of_server) = streams(&calls);
    port.set_verdict(of_client, Verdict::Ignore);
    port.set_verdict(of_server, Verdict::Parse { sent: 3, received: 4 });
    for _ in 0..2 {
        exchange(&mut client, &mut server, b"question", b"answer");
    }
    assert_eq!(port.reader.texts(), ["<8+8 ques", ">6+6 ans", "<16+8 ques", ">12+6 ans"]);
}

/// A connection from a port of the client's own, which its reset makes free at once.
fn connected_from(listener: &TcpListener, port: u16) -> (TcpStream, TcpStream) {
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None).unwrap();
    net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    net::connect(&socket, &listener.local_addr().unwrap()).unwrap();
    (TcpStream::from(socket), listener.accept().unwrap().0)
}

#[test]
#[ignore = "needs root"]
fn later_socket_of_the_same_ports_has_no_verdict() {
    let (listener, number) = listener();
    let mut port = CapturedPort::new(number);
    let (mut client, mut server) = connected_from(&listener, 0);
    let from = client.local_addr().unwrap().port();
    exchange(&mut client, &mut server, b"question", b"answer");
    let before = port.reader.calls();
    drop((client, server));
    // Too late: no call of these sockets takes them.
    let (of_client, of_server) = streams(&before);
    port.set_verdict(of_client, Verdict::Ignore);
    port.set_verdict(of_server, Verdict::Ignore);
    let (mut client, mut server) = connected_from(&listener, from);
    exchange(&mut client, &mut server, b"another", b"answer");

    let after: Vec<Call> = port.reader.calls().into_iter().filter(|call| !call.has(END)).collect();
    assert_eq!(texts(&after), [">0+7 another", "<0+7 another", ">0+6 answer", "<0+6 answer"]);
    assert_eq!(after[0].connection(), before[0].connection());
    let streams: BTreeSet<u64> = before.iter().chain(&after).map(Call::stream).collect();
    assert_eq!(streams.len(), 4);
}

#[test]
#[ignore = "needs root"]
fn later_datagram_socket_of_the_same_ports_has_no_verdict() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut port = CapturedPort::new(server.local_addr().unwrap().port());
    let mut from = 0;
    let mut sent = Vec::new();
    for _ in 0..3 {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, from)).unwrap();
        from = client.local_addr().unwrap().port();
        client.connect(server.local_addr().unwrap()).unwrap();
        client.send(b"a question").unwrap();
        sent.extend(port.reader.calls());
        let call = sent.last().unwrap();
        assert_eq!(call.text(), ">0+10 a question");
        port.set_verdict(call.stream(), Verdict::Ignore);
    }
    assert!(sent.iter().all(|call| call.connection() == sent[0].connection()));
}

/// The whole of a call, from records of its pieces; with the check that they fit.
fn joined(pieces: &[&Call]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let header = &piece.header;
        let (first, is_last) = (&pieces[0].header, number + 1 == pieces.len());
        assert_eq!(header.position, first.position + bytes.len() as u64);
        assert_eq!((header.sequence, header.record.time), (first.sequence, first.record.time));
        assert_eq!(usize::from(header.piece), number);
        assert_eq!((piece.has(LAST_OF_CALL), header.length > header.copied), (is_last, false), "{piece:?}");
        bytes.extend_from_slice(&piece.bytes);
    }
    bytes
}

fn numbered(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 % 251) as u8).collect()
}

const ALL: Verdict = Verdict::Parse { sent: 65_536, received: 65_536 };

/// A port with a connection of which all of each call is wanted.
fn wanted_connection(listener: &TcpListener) -> (CapturedPort, TcpStream, TcpStream) {
    let mut port = CapturedPort::new(listener.local_addr().unwrap().port());
    let (mut client, mut server) = connected(listener);
    exchange(&mut client, &mut server, b"question", b"answer");
    let (of_client, of_server) = streams(&port.reader.calls());
    port.set_verdict(of_client, ALL);
    port.set_verdict(of_server, ALL);
    (port, client, server)
}

#[test]
#[ignore = "needs root"]
fn large_call_comes_in_pieces() {
    let (listener, number) = listener();
    let (mut port, mut client, mut server) = wanted_connection(&listener);
    // Another slot wants less.
    let (_, mut other) = add(&mut port.capture, &[number]);
    let text = numbered(48_000);
    client.write_all(&text).unwrap();
    server.read_exact(&mut [0; 48_000]).unwrap();
    client.write_all(b"next").unwrap();

    let calls = port.reader.calls();
    let sent: Vec<&Call> = calls.iter().filter(|call| call.sent()).collect();
    let (pieces, next) = sent.split_at(sent.len() - 1);
    assert!(joined(pieces) == text && pieces.len() == 12, "{pieces:?}");
    assert_eq!((next[0].text(), next[0].header.sequence), (">48008+4 next".into(), pieces[0].header.sequence + 1));
    let received: Vec<u8> = calls.iter().filter(|call| !call.sent()).flat_map(|call| call.bytes.clone()).collect();
    assert!(received == text);
    let counts = port.counts();
    assert_eq!((counts.gaps, counts.lost_records, counts.bytes), (0, 0, 2 * 48_000 + 28 + 4));
    let other: Vec<Call> = other.calls().into_iter().filter(Call::sent).collect();
    assert_eq!((other[0].header.length, other[0].header.copied, other[0].has(LAST_OF_CALL)), (48_000, 4_096, true));
    assert_eq!((other.len(), other[1].text()), (2, ">48008+4 next".to_owned()));
}

#[test]
#[ignore = "needs root"]
fn call_above_the_largest_verdict_has_a_gap_behind_its_last_piece() {
    let (listener, _) = listener();
    let (mut port, mut client, mut server) = wanted_connection(&listener);
    let text = numbered(100_000);
    let reader = std::thread::spawn(move || server.read_exact(&mut vec![0; 100_000]).unwrap());
    client.write_all(&text).unwrap();
    reader.join().unwrap();
    let calls = port.reader.calls();
    let sent: Vec<&Call> = calls.iter().filter(|call| call.sent()).collect();
    let (pieces, last) = sent.split_at(sent.len() - 1);
    let mut bytes = pieces.iter().flat_map(|call| call.bytes.clone()).collect::<Vec<_>>();
    bytes.extend_from_slice(&last[0].bytes);
    assert!(sent.len() == 16 && bytes == text[..65_536], "{sent:?}");
    assert_eq!((last[0].header.length, last[0].has(LAST_OF_CALL)), (4_096 + 34_464, true));
    assert!(pieces.iter().all(|call| !call.has(LAST_OF_CALL)));
}

#[test]
#[ignore = "needs root"]
fn vector_of_many_segments_comes_whole() {
    let (listener, _) = listener();
    let (mut port, mut client, mut server) = wanted_connection(&listener);
    let text = numbered(10_000);
    let slices: Vec<IoSlice<'_>> = text.chunks(100).map(IoSlice::new).collect();
    assert_eq!(client.write_vectored(&slices).unwrap(), 10_000);
    server.read_exact(&mut [0; 10_000]).unwrap();
    let calls = port.reader.calls();
    assert!(joined(&calls.iter().filter(|call| call.sent()).collect::<Vec<_>>()) == text);
    assert_eq!(port.counts().gaps, 0);
}

#[test]
#[ignore = "needs root"]
fn later_pieces_leave_half_of_the_ring_to_other_calls() {
    let (listener, _) = listener();
    let (mut port, mut client, mut server) = wanted_connection(&listener);
    let text = numbered(48_000);
    for _ in 0..40 {
        client.write_all(&text).unwrap();
        server.read_exact(&mut [0; 48_000]).unwrap();
    }
    let counts = port.counts();
    assert!(counts.lost_records == 0 && counts.gaps > 40, "{counts:?}");
    let calls = port.reader.calls();
    assert!(calls.iter().filter(|call| call.sent()).take(12).all(|call| call.header.length == call.header.copied));
    // With room again all of a call is copied.
    client.write_all(&text).unwrap();
    assert_eq!(port.reader.calls().len(), 12);
}

#[test]
#[ignore = "needs root"]
fn new_slot_of_a_used_number_remembers_nothing() {
    let (listener, number) = listener();
    let mut port = CapturedPort::new(number);
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"question", b"answer");
    let ends = streams(&port.reader.calls());
    port.set_verdict(ends.0, Verdict::Ignore);
    port.set_verdict(ends.1, Verdict::Ignore);
    exchange(&mut client, &mut server, b"ignored", b"answer");
    port.capture.remove(port.slot);
    exchange(&mut client, &mut server, b"unseen", b"answer");
    let (slot, mut reader) = add(&mut port.capture, &[number]);
    assert_eq!(slot, port.slot);
    exchange(&mut client, &mut server, b"seen", b"answer");

    let calls = reader.calls();
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| call.has(MID_STREAM)));
    assert_eq!((port.capture.counts(slot).records, port.capture.counts(slot).bytes), (4, 20));
    assert_eq!(port.reader.calls().len(), 0);
}

#[test]
#[ignore = "needs root"]
fn records_that_find_no_room_are_counted() {
    let (listener, number) = listener();
    let _alone = alone();
    let mut capture = Capture::load(None, (0, 0)).unwrap();
    let spec = SlotSpec { ring_bytes: 4096, ports: &[number], ..SlotSpec::default() };
    let slot = capture.add(&spec).unwrap();
    let (other, _) = add(&mut capture, &[number]);
    let mut reader = Reader::new(capture.ring(slot).unwrap(), 4096);
    let (mut client, mut server) = connected(&listener);
    for _ in 0..50 {
        exchange(&mut client, &mut server, b"question", b"answer");
    }
    let read = reader.calls();
    let counts = capture.counts(slot);
    assert_eq!((counts.records, counts.records + counts.lost_records), (read.len() as u64, 200));
    assert_eq!(counts.bytes + counts.lost_bytes, 50 * 28);
    assert!(counts.lost_records > 100);
    assert_eq!((capture.counts(other).records, capture.counts(other).lost_records), (200, 0));
    exchange(&mut client, &mut server, b"question", b"answer");
    // What was lost shows in the position.
    assert_eq!(reader.texts(), [">400+8 question", "<400+8 question", ">300+6 answer", "<300+6 answer"]);
}

/// One line to a port of this machine, by a process in a cgroup.
fn ask_from(cgroup: &Path, listener: &TcpListener, line: &str) {
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "echo $$ > '{}/cgroup.procs' && exec 3<>/dev/tcp/127.0.0.1/{port} && echo {line} >&3 && cat <&3",
        cgroup.display()
    );
    let mut child = Command::new("bash").args(["-c", &script]).spawn().unwrap();
    let mut stream = listener.accept().unwrap().0;
    stream.read_exact(&mut vec![0; line.len() + 1]).unwrap();
    stream.write_all(b"an answer").unwrap();
    drop(stream);
    child.wait().unwrap();
}

#[test]
#[ignore = "needs root"]
fn only_processes_of_the_scope_are_captured() {
    let (listener, number) = listener();
    let _alone = alone();
    let mut fixture = ProfileFixture::new("sockets");
    let (mine, nested, other, unknown) =
        (fixture.cgroup("mine"), fixture.cgroup("mine/nested"), fixture.cgroup("other"), fixture.cgroup("unknown"));
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    let owned = |map: std::os::fd::BorrowedFd<'_>| map.try_clone_to_owned().unwrap();
    let maps = SelectionMaps { cgroups: owned(fixture.selection.fd()), classes: owned(fixture.classes.fd()) };
    let mut capture = Capture::load(Some(maps), (0, 0)).unwrap();
    let ports = [number];
    let spec = SlotSpec { scope: Some(0), ring_bytes: RING, ports: &ports, generation: 0 };
    let slot = capture.add(&spec).unwrap();
    let undecided = capture.add(&SlotSpec { scope: Some(1), ..spec }).unwrap();
    let mut reader = Reader::new(capture.ring(slot).unwrap().as_fd(), RING);
    ask_from(&mine, &listener, "mine");
    ask_from(&nested, &listener, "nested");
    ask_from(&other, &listener, "other");
    ask_from(&unknown, &listener, "unknown");

    let calls = reader.calls();
    let sent: Vec<(u64, String)> = calls
        .iter()
        .filter(|call| call.has(SENT) && !call.has(END))
        .map(|call| (call.header.record.cgroup, call.text()))
        .collect();
    assert_eq!(sent, [(id(&mine), ">0+5 mine\n".to_owned()), (id(&nested), ">0+7 nested\n".to_owned())]);
    assert!(calls.iter().all(|call| call.has(CLIENT) && !call.has(UNDECIDED)));
    // Nothing is decided about the other scope: its worker has to ask.
    let calls = Reader::new(capture.ring(undecided).unwrap(), RING).calls();
    assert!(calls.iter().filter(|call| !call.has(END)).all(|call| call.has(UNDECIDED)));
    assert!(texts(&calls).contains(&">0+8 unknown\n".to_owned()), "{calls:?}");
}

#[test]
#[ignore = "needs root"]
fn nothing_stays_loaded() {
    let _alone = alone();
    let before = account();
    for _ in 0..20 {
        let mut capture = Capture::load(None, (0, 0)).unwrap();
        let slots = [80, 81].map(|port| add(&mut capture, &[port]).0);
        assert!(account().programs > before.programs && account().links > before.links);
        for slot in slots {
            capture.remove(slot);
        }
        assert!(capture.is_empty());
    }
    assert_eq!(account(), before);
}
