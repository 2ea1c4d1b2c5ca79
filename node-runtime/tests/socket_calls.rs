//! Calls on sockets, captured in this machine's kernel: whose bytes they are, where in their stream, and what is missing of them.
//! Needs root and a kernel that attaches the programs: `cargo test -p trilobite-node --test socket_calls -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[cfg(target_arch = "x86_64")]
mod bufferless_calls;
mod captured_port;
mod node_and_pod;

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    thread,
    time::Duration,
};

use captured_port::{Call, CapturedPort, add, connected, ends, exchange, listener};
use nix::{
    sched::{CloneFlags, unshare},
    sys::socket::{MsgFlags, MultiHeaders, recvmmsg, recvmsg, sendmmsg, sendmsg},
};
use node_and_pod::{NodeAndPod, POD};
use trilobite_node::layers::network::sources::tcx::MapSizes;
use trilobite_node_ebpf::data_flag::{CLIENT, END, LAST_OF_CALL, MID_STREAM, SERVER};

const MEBIBYTE: usize = 1 << 20;

/// Ends of closed connections are reported a little later.
fn settle() {
    thread::sleep(Duration::from_millis(60));
}

#[test]
#[ignore = "needs root"]
fn exchange_shows_both_ends_roles_positions_and_its_end() {
    let (listener, port) = listener();
    let mut port = CapturedPort::new(port);
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n");
    exchange(&mut client, &mut server, b"GET /b", b"HTTP/1.1 404");
    let client_end = client.local_addr().unwrap();
    drop((client, server));
    settle();

    let calls = port.reader.calls();
    let of = |flag| calls.iter().filter(|call| call.has(flag)).collect::<Vec<_>>();
    let (client, server) = (of(CLIENT), of(SERVER));
    let texts = |calls: &[&Call]| calls.iter().map(|call| call.text()).collect::<Vec<_>>();
    let question = "GET / HTTP/1.1\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\n\r\n";
    let expected =
        [format!(">0+18 {question}"), format!("<0+19 {answer}"), ">18+6 GET /b".into(), "<19+12 HTTP/1.1 404".into()];
    assert_eq!(texts(&client)[..4], expected);
    let expected =
        [format!("<0+18 {question}"), format!(">0+19 {answer}"), "<18+6 GET /b".into(), ">19+12 HTTP/1.1 404".into()];
    assert_eq!(texts(&server)[..4], expected);
    assert_eq!(
        (texts(&client)[4..].to_vec(), texts(&server)[4..].to_vec()),
        (vec![">24+0  end".to_owned()], vec![">31+0  end".to_owned()])
    );
    assert_eq!(calls.len(), 10);
    assert!(client.iter().all(|call| ends(call) == (client_end, listener.local_addr().unwrap())));
    assert!(server.iter().all(|call| ends(call) == (listener.local_addr().unwrap(), client_end)));
    let sequences: Vec<u32> = client[..4].iter().map(|call| call.header.sequence).collect();
    assert_eq!(sequences, [0, 1, 2, 3]);
    for call in &calls {
        let record = &call.header.record;
        assert_eq!(record.connection, calls[0].connection());
        assert_ne!(record.connection, 0);
        assert_eq!((record.exec_pid, record.source, record.generation), (std::process::id(), 0, 7));
        assert_eq!((call.header.protocol, call.has(LAST_OF_CALL), call.has(MID_STREAM)), (6, true, false), "{call:?}");
    }
    let counts = port.counts();
    assert_eq!((counts.records, counts.bytes, counts.gaps, counts.lost_records), (10, 110, 0, 0));
}

#[test]
#[ignore = "needs root"]
fn every_call_of_a_stream_shows_its_bytes() {
    let (listener, port) = listener();
    let mut port = CapturedPort::new(port);
    let (mut client, server) = connected(&listener);
    let slices = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two "), IoSlice::new(b"three")];
    let mut buffers = [[0; 3], [0; 3], [0; 3], [0; 3], [0; 3]];

    client.write_all(b"sendto").unwrap();
    let mut file = File::from(OwnedFd::from(client));
    file.write_all(b"write").unwrap();
    assert!(file.write_vectored(&slices).unwrap() > 0);
    sendmsg::<()>(file.as_raw_fd(), &slices, &[], MsgFlags::empty(), None).unwrap();

    let mut server = File::from(OwnedFd::from(server));
    server.read_exact(&mut [0; 6]).unwrap();
    let [a, b, c, d, e] = &mut buffers;
    let mut vector = [a, b, c, d, e].map(|buffer| IoSliceMut::new(buffer));
    let read = server.read_vectored(&mut vector).unwrap();
    let received = recvmsg::<()>(server.as_raw_fd(), &mut vector, None, MsgFlags::empty()).unwrap().bytes;
    let rest = TcpStream::from(OwnedFd::from(server)).read(&mut [0; 64]).unwrap();

    assert_eq!((read, received, rest), (15, 15, 1));
    let expected = [">0+6 sendto", ">6+5 write", ">11+13 one two three", ">24+13 one two three"];
    let texts = port.reader.texts();
    assert_eq!(texts[..4], expected);
    assert_eq!(texts[4..8], ["<0+6 sendto", "<6+15 writeone two th", "<21+15 reeone two thre", "<36+1 e"]);
}

#[test]
#[ignore = "needs root"]
fn each_message_of_a_call_with_many_has_its_own_bytes() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut port = CapturedPort::new(server.local_addr().unwrap().port());
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    let to: [Option<()>; 3] = [None; 3];
    for _ in 0..2 {
        let slices = [[IoSlice::new(b"A shop.example")], [IoSlice::new(b"")], [IoSlice::new(b"AAAA shop.example")]];
        let mut headers = MultiHeaders::<()>::preallocate(3, None);
        sendmmsg(client.as_raw_fd(), &mut headers, &slices, to, [], MsgFlags::empty()).unwrap();
        let mut buffers = [[0; 64]; 3];
        let mut vectors = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let mut headers = MultiHeaders::<()>::preallocate(3, None);
        let received = recvmmsg(server.as_raw_fd(), &mut headers, vectors.iter_mut(), MsgFlags::empty(), None);
        assert_eq!(received.unwrap().map(|message| message.bytes).collect::<Vec<_>>(), [14, 0, 17]);
    }
    let texts = port.reader.texts();
    let expected =
        [">0+14 A shop.example", ">14+17 AAAA shop.example", "<0+14 A shop.example", "<14+17 AAAA shop.example"];
    assert_eq!(texts[..4], expected);
    assert_eq!(
        texts[4..],
        [">31+14 A shop.example", ">45+17 AAAA shop.example", "<31+14 A shop.example", "<45+17 AAAA shop.example"]
    );
}

#[test]
#[ignore = "needs root"]
fn datagram_sent_by_an_unconnected_socket_names_its_destination() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let there = server.local_addr().unwrap();
    let mut port = CapturedPort::new(there.port());
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.send_to(b"a question", there).unwrap();
    let (_, from) = server.recv_from(&mut [0; 64]).unwrap();
    server.send_to(b"an answer", from).unwrap();
    client.recv_from(&mut [0; 64]).unwrap();

    let calls = port.reader.calls();
    let texts: Vec<String> = calls.iter().map(Call::text).collect();
    // The client's receive does not say from whom it is: its socket was chosen when it sent to the port.
    assert_eq!(texts, [">0+10 a question", "<0+10 a question", ">0+9 an answer", "<0+9 an answer"]);
    assert_eq!(ends(&calls[0]), (client.local_addr().unwrap(), there));
    assert_eq!(ends(&calls[2]), (there, client.local_addr().unwrap()));
    // Each socket is a connection of its own.
    assert_ne!(calls[0].connection(), calls[1].connection());
    assert_eq!(calls[1].connection(), calls[2].connection());
    assert_eq!(calls[0].header.protocol, 17);
}

#[test]
#[ignore = "needs root"]
fn sendfile_is_a_gap_of_its_length() {
    let (listener, port) = listener();
    let mut port = CapturedPort::new(port);
    let (mut client, mut server) = connected(&listener);
    let reader = thread::spawn(move || client.read_to_end(&mut Vec::new()).unwrap());
    server.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let path = std::env::temp_dir().join(format!("socket-calls-{}", std::process::id()));
    std::fs::write(&path, vec![b'x'; MEBIBYTE]).unwrap();
    let (file, mut left) = (File::open(&path).unwrap(), MEBIBYTE);
    while left > 0 {
        left -= rustix::fs::sendfile(&server, &file, None, left).unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    server.write_all(b"HTTP/1.1 404").unwrap();
    drop(server);
    assert_eq!(reader.join().unwrap(), 19 + MEBIBYTE + 12);

    let calls = port.reader.calls();
    let sent: Vec<_> = calls.iter().filter(|call| call.has(SERVER) && !call.has(END)).collect();
    let last = sent.last().unwrap();
    assert_eq!(last.text(), format!(">{}+12 HTTP/1.1 404", 19 + MEBIBYTE));
    let gaps: u64 = sent.iter().map(|call| u64::from(call.header.length - call.header.copied)).sum();
    assert_eq!(gaps as usize, MEBIBYTE, "{sent:?}");
}

#[test]
#[ignore = "needs root"]
fn bytes_that_no_call_shows_are_missing_in_the_position_of_the_next() {
    let (listener, port) = listener();
    let mut port = CapturedPort::new(port);
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"before", b"answer");
    client.write_all(&[b'y'; 1000]).unwrap();
    client.write_all(b"after").unwrap();
    // By splice, which passes no hook of the socket.
    let (mut from, mut to) = io::pipe().unwrap();
    assert_eq!(io::copy(&mut (&mut server).take(1000), &mut to).unwrap(), 1000);
    from.read_exact(&mut [0; 1000]).unwrap();
    server.read_exact(&mut [0; 5]).unwrap();

    let received: Vec<String> =
        port.reader.calls().iter().filter(|call| call.has(SERVER) && !call.sent()).map(Call::text).collect();
    assert_eq!(received.last().unwrap(), "<1006+5 after");
    let counts = port.counts();
    assert_eq!((counts.gaps, counts.gap_bytes), (1, 1000), "{received:?}");
}

#[test]
#[ignore = "needs root"]
fn call_above_the_limit_is_cut_and_its_rest_counted() {
    let (listener, port) = listener();
    let mut port = CapturedPort::new(port);
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, &[b'q'; 10_000], b"answer");
    exchange(&mut client, &mut server, b"next", b"answer");
    let calls = port.reader.calls();
    let sent: Vec<_> = calls.iter().filter(|call| call.has(CLIENT) && call.sent()).collect();
    assert_eq!((sent[0].bytes.len(), sent[0].header.length, sent[1].header.position), (4096, 10_000, 10_000));
    assert!(sent[0].bytes.iter().all(|byte| *byte == b'q'));
    let (copied, length) = calls.iter().fold((0, 0), |(copied, length), call| {
        (copied + u64::from(call.header.copied), length + u64::from(call.header.length))
    });
    let counts = port.counts();
    assert_eq!((counts.bytes, counts.gap_bytes), (length, length - copied));
}

#[test]
#[ignore = "needs root"]
fn vector_of_many_segments_is_joined_up_to_the_limit() {
    let (listener, port) = listener();
    let mut port = CapturedPort::new(port);
    let (mut client, mut server) = connected(&listener);
    let parts: Vec<Vec<u8>> = (0..9_u8).map(|part| vec![b'a' + part; 500]).collect();
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    assert_eq!(client.write_vectored(&slices).unwrap(), 4500);
    server.read_exact(&mut [0; 4500]).unwrap();
    let calls = port.reader.calls();
    assert_eq!(calls[0].bytes, parts.concat()[..4096]);
}

#[test]
#[ignore = "needs root"]
fn peeked_bytes_come_once() {
    let (listener, port) = listener();
    let mut port = CapturedPort::new(port);
    let (mut client, mut server) = connected(&listener);
    client.write_all(b"question").unwrap();
    assert_eq!(server.peek(&mut [0; 64]).unwrap(), 8);
    server.read_exact(&mut [0; 8]).unwrap();
    assert_eq!(port.reader.texts(), [">0+8 question", "<0+8 question"]);
    assert_eq!(port.counts().gaps, 0);
}

/// Runs a program whose second message and first answer are moved by calls that show no buffer.
#[cfg(target_arch = "x86_64")]
fn calls_without_a_buffer_are_gaps(program: &'static str, message: &str) {
    let (listener, number) = listener();
    let mut port = CapturedPort::new(number);
    let client = thread::spawn(move || bufferless_calls::transfer(program, number));
    // A program that the kernel refuses does not connect.
    let server = thread::spawn(move || {
        let mut server = listener.accept()?.0;
        server.read_exact(&mut [0; 7 + 11])?;
        server.write_all(b"answer")?;
        server.read_exact(&mut [0; 5])
    });
    if !client.join().unwrap() {
        return println!("this kernel refuses the calls {message}");
    }
    server.join().unwrap().unwrap();

    let calls = port.reader.calls();
    let of_client: Vec<String> =
        calls.iter().filter(|call| call.has(CLIENT) && !call.has(END)).map(Call::text).collect();
    assert_eq!(of_client, [">0+7 before ", ">7+11 ", "<0+6 ", ">18+5 after"]);
    let received: Vec<u8> =
        calls.iter().filter(|call| call.has(SERVER) && !call.sent()).flat_map(|call| call.bytes.clone()).collect();
    assert_eq!(String::from_utf8(received).unwrap(), format!("before {message}after"));
    let counts = port.counts();
    assert_eq!((counts.gaps, counts.gap_bytes), (2, 11 + 6), "{calls:?}");
}

#[test]
#[ignore = "needs root"]
#[cfg(target_arch = "x86_64")]
fn bytes_moved_by_io_uring_are_a_gap() {
    calls_without_a_buffer_are_gaps(bufferless_calls::BY_IO_URING, "by io_uring");
}

#[test]
#[ignore = "needs root"]
#[cfg(target_arch = "x86_64")]
fn bytes_of_a_32_bit_caller_are_a_gap() {
    calls_without_a_buffer_are_gaps(bufferless_calls::BY_32_BIT_CALL, "by int 0x80");
}

#[test]
#[ignore = "needs root"]
fn connection_of_before_is_mid_stream_with_its_role() {
    let (listener, number) = listener();
    let (mut client, mut server) = connected(&listener);
    let (mut fresh, mut accepted) = connected(&listener);
    exchange(&mut client, &mut server, b"before", b"an answer");
    let mut port = CapturedPort::new(number);
    exchange(&mut client, &mut server, b"after", b"answer");
    exchange(&mut fresh, &mut accepted, b"first", b"answer");

    let calls = port.reader.calls();
    let texts: Vec<String> = calls.iter().map(Call::text).collect();
    assert_eq!(texts[..4], [">0+5 after", "<0+5 after", ">0+6 answer", "<0+6 answer"]);
    assert_eq!(
        calls.iter().map(|call| call.has(MID_STREAM)).collect::<Vec<_>>(),
        [true, true, true, true, false, false, false, false]
    );
    let roles: Vec<bool> = calls.iter().map(|call| call.has(SERVER)).collect();
    assert_eq!(roles, [false, true, true, false, false, true, true, false]);
    assert_eq!(port.counts().gaps, 0);
}

#[test]
#[ignore = "needs root"]
fn ipv6_socket_that_speaks_ipv4_has_the_same_key_on_both_ends() {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let number = listener.local_addr().unwrap().port();
    let mut port = CapturedPort::new(number);
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, number)).unwrap();
    let mut server = listener.accept().unwrap().0;
    exchange(&mut client, &mut server, b"question", b"answer");
    let mut client = TcpStream::connect((Ipv6Addr::LOCALHOST, number)).unwrap();
    let mut server = listener.accept().unwrap().0;
    exchange(&mut client, &mut server, b"question", b"answer");

    let calls = port.reader.calls();
    assert_eq!(calls.iter().map(|call| call.header.family).collect::<Vec<_>>(), [2, 2, 2, 2, 10, 10, 10, 10]);
    assert!(calls[..4].iter().all(|call| call.connection() == calls[0].connection()));
    assert!(calls[4..].iter().all(|call| call.connection() == calls[4].connection()));
    assert_ne!(calls[0].connection(), calls[4].connection());
}

#[test]
#[ignore = "needs root"]
fn unix_stream_has_one_key_and_roles() {
    let path = std::env::temp_dir().join(format!("socket-calls-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    // Unix sockets have no ports: a slot for all of them.
    let mut port = CapturedPort::new(0);
    port.capture.remove(port.slot);
    let (slot, mut reader) = add(&mut port.capture, &[]);
    let mut client = UnixStream::connect(&path).unwrap();
    let mut server = listener.accept().unwrap().0;
    client.write_all(b"PING of this test").unwrap();
    server.read_exact(&mut [0; 17]).unwrap();
    server.write_all(b"PONG of this test").unwrap();
    client.read_exact(&mut [0; 17]).unwrap();
    std::fs::remove_file(&path).unwrap();
    port.capture.remove(slot);

    let mut calls = reader.calls();
    calls.retain(|call| call.bytes.ends_with(b" of this test"));
    assert_eq!(calls.iter().map(|call| call.has(SERVER)).collect::<Vec<_>>(), [false, true, true, false], "{calls:?}");
    assert!(calls.iter().all(|call| call.connection() == calls[0].connection() && call.header.family == 1));
}

#[test]
#[ignore = "needs root"]
fn loopback_connections_of_two_namespaces_have_two_keys() {
    let mut port = CapturedPort::new(48_081);
    for _ in 0..2 {
        let in_namespace = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            assert!(std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 48_081)).unwrap();
            // The same address and port in both.
            let socket =
                rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
            rustix::net::bind(&socket, &std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 48_082))).unwrap();
            rustix::net::connect(&socket, &listener.local_addr().unwrap()).unwrap();
            let (mut client, mut server) = (TcpStream::from(socket), listener.accept().unwrap().0);
            exchange(&mut client, &mut server, b"question", b"answer");
        });
        in_namespace.join().unwrap();
    }
    let calls: Vec<_> = port.reader.calls().into_iter().filter(|call| !call.has(END)).collect();
    assert_eq!(calls.len(), 8);
    assert_eq!(ends(&calls[0]), ends(&calls[4]));
    assert_ne!(calls[0].header.namespace, calls[4].header.namespace);
    assert_ne!(calls[0].connection(), calls[4].connection());
    assert!(calls[4..].iter().all(|call| call.connection() == calls[4].connection()));
}

#[test]
#[ignore = "needs root"]
fn request_and_flow_have_one_key() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let listener = link.in_pod(|| TcpListener::bind((POD[0], 0)).unwrap());
    let mut port = CapturedPort::new(listener.local_addr().unwrap().port());
    let (mut client, mut server) = connected(&listener);
    exchange(&mut client, &mut server, b"question", b"answer");
    let mut keys = Vec::new();
    watcher.drain(&mut |flow| {
        keys.extend((flow.destination == listener.local_addr().unwrap()).then_some(flow.connection))
    });
    let calls = port.reader.calls();
    assert_eq!(calls.len(), 4);
    assert!(!keys.is_empty() && keys.iter().all(|key| *key == calls[0].connection()), "{keys:x?} {calls:?}");
}
