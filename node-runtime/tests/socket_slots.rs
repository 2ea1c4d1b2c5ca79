//! Slots of the capture of sockets in this machine's kernel: which of them gets a record, and what stays when they are gone.
//! Needs root and a kernel that attaches the programs: `cargo test -p trilobite-node --test socket_slots -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod captured_port;
mod cpu_load;

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::fd::AsFd,
    path::Path,
    process::Command,
};

use captured_port::{Call, CapturedPort, RING, Reader, add, alone, connected, exchange, listener};
use cpu_load::{ProfileFixture, id};
use trilobite_node::{
    identity::SelectionMaps,
    kernel::account,
    layers::application::requests::programs::{Capture, SlotSpec, Verdict},
};
use trilobite_node_ebpf::data_flag::{CLIENT, END, MID_STREAM, SENT, UNDECIDED};

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
    let connection = port.reader.calls()[0].connection();
    port.capture.set_verdict(port.slot, connection, Verdict::Ignore);
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
    let connection = port.reader.calls()[0].connection();
    port.capture.set_verdict(port.slot, connection, Verdict::Parse { bytes: 3 });
    exchange(&mut client, &mut server, b"question", b"answer");
    assert_eq!(port.reader.texts(), [">8+8 que", "<8+8 que", ">6+6 ans", "<6+6 ans"]);
    assert_eq!(port.counts().gap_bytes, 16);
    port.capture.set_verdict(port.slot, connection, Verdict::Lengths);
    exchange(&mut client, &mut server, b"question", b"answer");
    assert_eq!(port.reader.texts(), [">16+8 ", "<16+8 ", ">12+6 ", "<12+6 "]);
    // The slot wants no more: that is no gap.
    assert_eq!(port.counts().gap_bytes, 16);
}

#[test]
#[ignore = "needs root"]
fn new_slot_of_a_used_number_remembers_nothing() {
    let (listener, number) = listener();
    let mut port = CapturedPort::new(number);
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"question", b"answer");
    let connection = port.reader.calls()[0].connection();
    port.capture.set_verdict(port.slot, connection, Verdict::Ignore);
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
