use trilobite_node_ebpf::{DataRecord, data_flag};
use trilobite_worker_wire::{Message, StreamVerdict};

use super::{
    super::{
        followed::tests::PANIC,
        record_fixtures::{header, record},
    },
    *,
};

const REQUEST: &[u8] = b"GET /cart?key=secret HTTP/1.1\r\nHost: shop\r\nCookie: id=7\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";

/// Connections of a profile, and all that has come of them.
struct Profile {
    connections: Connections,
    counts: RequestCounts,
    verdicts: Verdicts,
    rows: Vec<Row>,
    /// Sockets of each connection that are gone.
    earlier_sockets: u64,
}

fn profile(settings: &RequestSettings) -> Profile {
    Profile {
        connections: Connections::new(settings, None),
        counts: RequestCounts::default(),
        verdicts: Verdicts::default(),
        rows: Vec::new(),
        earlier_sockets: 0,
    }
}

fn all() -> RequestSettings {
    RequestSettings { client: true, server: true, ..RequestSettings::default() }
}

impl Profile {
    fn push(&mut self, header: &DataRecord, bytes: &[u8]) {
        let header = DataRecord { stream: header.stream + (self.earlier_sockets << 32), ..*header };
        let bytes = record(&header, bytes);
        let call = DataCall::parse(&bytes).unwrap();
        self.rows.extend(self.connections.apply(&call, &mut self.counts, &mut self.verdicts));
    }

    /// The sockets of before are gone, and no record has said so.
    fn forget_sockets(&mut self) {
        self.earlier_sockets += 1;
    }

    /// The server's side of a request and its answer, the n-th of its connection.
    fn exchange(&mut self, connection: u64, number: u64, flags: u32, time: u64) {
        let asked = with(header(connection, number * REQUEST.len() as u64, REQUEST), flags, time);
        let answered = header(connection, number * ANSWER.len() as u64, ANSWER);
        self.push(&asked, REQUEST);
        self.push(&with(answered, flags | data_flag::SENT, time + 5_000_000), ANSWER);
    }

    fn verdicts(&mut self) -> Vec<(u64, VerdictKind)> {
        let all = |message| match message {
            Message::Verdicts(verdicts) => verdicts,
            other => panic!("{other:?}"),
        };
        let verdicts = self.verdicts.drain().into_iter().flat_map(all);
        verdicts.map(|StreamVerdict { stream, kind }| (stream, kind)).collect()
    }
}

/// Of a server's or a client's connection with one message in each call.
fn heads(role: Role) -> VerdictKind {
    parse_verdict(role, false, 0)
}

fn with(mut header: DataRecord, flags: u32, time: u64) -> DataRecord {
    header.flags = flags as u8;
    header.record.time = time;
    header
}

#[test]
fn exchange_becomes_a_row_with_process_peer_and_latency() {
    let mut profile = profile(&all());
    profile.exchange(9, 0, data_flag::SERVER, 1_000);
    let row = &profile.rows[0];
    assert_eq!((row.facts.process.pid, row.facts.cgroup, row.facts.connection), (4321, 77, 9));
    assert_eq!(row.facts.remote, "10.0.0.9:41000".parse().ok());
    assert_eq!((row.facts.role, row.started, row.latency, row.is_error), (Role::Server, 1_000, 5_000_000, true));
    assert_eq!(profile.verdicts(), [(9, heads(Role::Server))]);
    assert_eq!((profile.counts.connections, profile.counts.mid_stream, profile.counts.rows["http"]), (1, 0, 1));
    profile.exchange(9, 1, data_flag::SERVER, 9_000_000);
    assert_eq!((profile.rows.len(), profile.verdicts()), (2, vec![]));
    assert_eq!(profile.counts.bytes, 2 * (REQUEST.len() + ANSWER.len()) as u64);
}

#[test]
fn lost_record_is_a_gap_and_its_exchange_is_missing() {
    let mut profile = profile(&all());
    profile.exchange(9, 0, data_flag::SERVER, 1_000);
    (2..6).for_each(|number| profile.exchange(9, number, data_flag::SERVER, number * 9_000_000_000));
    assert!(profile.rows.iter().all(|row| row.latency == 5_000_000), "no wrong pair");
    assert_eq!(profile.counts.gap_bytes, (REQUEST.len() + ANSWER.len()) as u64);
    assert!(profile.counts.gaps >= 2 && profile.rows.len() >= 3, "{} rows, {:?}", profile.rows.len(), profile.counts);
}

#[test]
fn panic_of_a_parser_costs_one_connection() {
    let mut profile = profile(&all());
    profile.exchange(9, 0, data_flag::SERVER, 1_000);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    profile.push(&header(8, 0, PANIC), PANIC);
    std::panic::set_hook(hook);
    profile.exchange(8, 1, data_flag::SERVER, 2_000);
    profile.exchange(9, 1, data_flag::SERVER, 2_000_000);
    assert_eq!(profile.counts.lost_parse, 1);
    assert_eq!(profile.rows.iter().map(|row| row.facts.connection).collect::<Vec<_>>(), [9, 9]);
    assert!(profile.verdicts().contains(&(8, VerdictKind::Ignore)));
}

#[test]
fn role_latency_and_status_decide_what_is_a_row() {
    let rows = |settings: RequestSettings, flags: u32| {
        let mut profile = profile(&settings);
        profile.exchange(9, 0, flags, 1_000);
        (profile.rows.len(), profile.verdicts())
    };
    let ignored = (0, vec![(9, VerdictKind::Ignore)]);
    assert_eq!(rows(RequestSettings { server: false, ..all() }, data_flag::SERVER).0, 0);
    assert_eq!(rows(RequestSettings { client: false, ..all() }, data_flag::SERVER).0, 1);
    assert_eq!(rows(RequestSettings { slower_than_ns: 6_000_000, ..all() }, data_flag::SERVER).0, 0);
    assert_eq!(rows(RequestSettings { slower_than_ns: 5_000_000, ..all() }, data_flag::SERVER).0, 1);
    assert_eq!(rows(RequestSettings { only_errors: true, ..all() }, data_flag::SERVER).0, 1);
    let protocols = vec!["redis".to_owned(), "mqtt".to_owned()];
    assert_eq!(rows(RequestSettings { protocols, ..all() }, data_flag::SERVER), ignored);
}

/// Number of the socket at the other end of connection 9.
const OTHER_END: u64 = 10;

/// The same call as the other end of its connection saw it.
fn mirrored(header: DataRecord) -> DataRecord {
    DataRecord {
        stream: OTHER_END,
        local: header.remote,
        remote: header.local,
        local_port: header.remote_port,
        remote_port: header.local_port,
        flags: header.flags ^ data_flag::SENT as u8 ^ data_flag::SERVER as u8 ^ data_flag::CLIENT as u8,
        ..header
    }
}

/// Server and client on one node, both selected, which share the key of their connection.
fn push_both_ends(profile: &mut Profile) {
    let asked = with(header(9, 0, REQUEST), data_flag::SERVER, 1_000);
    let answered = with(header(9, 0, ANSWER), data_flag::SERVER | data_flag::SENT, 2_000);
    profile.push(&mirrored(asked), REQUEST);
    profile.push(&asked, REQUEST);
    profile.push(&answered, ANSWER);
    profile.push(&mirrored(answered), ANSWER);
}

#[test]
fn both_ends_of_a_connection_have_their_rows() {
    let mut profile = profile(&all());
    push_both_ends(&mut profile);
    let rows: Vec<_> = profile.rows.iter().map(|row| (row.facts.role, row.facts.local.unwrap().port())).collect();
    assert_eq!(rows, [(Role::Server, 8080), (Role::Client, 41000)]);
    assert_eq!((profile.counts.connections, profile.counts.lost_parse), (2, 0));
}

#[test]
fn unwanted_end_is_ignored_and_the_other_one_parsed() {
    let mut profile = profile(&RequestSettings { server: false, ..all() });
    push_both_ends(&mut profile);
    assert_eq!((profile.rows.len(), profile.rows[0].facts.role, profile.counts.other_role), (1, Role::Client, 1));
    assert_eq!(profile.verdicts(), [(9, VerdictKind::Ignore), (OTHER_END, heads(Role::Client))]);
}

#[test]
fn ends_without_addresses_in_one_process_are_told_apart() {
    let mut profile = profile(&all());
    let unix = |header: DataRecord| DataRecord { family: 1, protocol: 0, ..header };
    let asked = with(header(9, 0, REQUEST), 0, 1_000);
    let answered = with(header(9, 0, ANSWER), data_flag::SENT, 2_000);
    for (header, bytes) in
        [(mirrored(asked), REQUEST), (asked, REQUEST), (answered, ANSWER), (mirrored(answered), ANSWER)]
    {
        profile.push(&DataRecord { flags: header.flags & data_flag::SENT as u8, ..unix(header) }, bytes);
    }
    let roles: Vec<Role> = profile.rows.iter().map(|row| row.facts.role).collect();
    assert_eq!((roles, profile.counts.lost_parse), (vec![Role::Server, Role::Client], 0));
}

#[test]
fn pieces_of_a_call_are_read_as_one() {
    let mut profile = profile(&all());
    profile.exchange(9, 0, data_flag::SERVER, 1_000);
    profile.verdicts();
    let (asked, answered) = (REQUEST.repeat(100), ANSWER.repeat(100));
    let mut push_pieces = |from: usize, bytes: &[u8], flags: u32, time: u64| {
        for (number, piece) in bytes.chunks(1000).enumerate() {
            let position = (from + number * 1000) as u64;
            profile.push(&with(header(9, position, piece), flags | data_flag::SERVER, time), piece);
        }
    };
    push_pieces(REQUEST.len(), &asked, 0, 9_000_000);
    push_pieces(ANSWER.len(), &answered, data_flag::SENT, 9_500_000);
    assert_eq!((profile.rows.len(), profile.counts.gaps, profile.counts.lost_parse), (101, 0, 0));
    assert!(profile.rows[1..].iter().all(|row| row.latency == 500_000));
    // From now on all of a call is needed.
    assert_eq!(profile.verdicts(), [(9, parse_verdict(Role::Server, true, 0))]);
}

/// The rows of a client of Redis after the loss of a record, behind which a value holds what looks like a command. `pieces`: numbers
/// of the lost record and of the next one in their calls.
fn rows_after_a_lost_record(pieces: [u8; 2]) -> Vec<String> {
    let mut profile = profile(&all());
    let command = |words: &[&str]| {
        let count = words.len();
        let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{count}\r\n{words}")
    };
    let (mut sent, mut answered) = (0, 0);
    let mut push = |profile: &mut Profile, bytes: &str, piece: u8, is_seen: bool| {
        let flags = data_flag::CLIENT | data_flag::SENT;
        let header = DataRecord { piece, ..with(header(9, sent, bytes.as_bytes()), flags, 1_000) };
        sent += bytes.len() as u64;
        if is_seen {
            profile.push(&header, bytes.as_bytes());
        }
    };
    let mut answer = |profile: &mut Profile| {
        profile.push(&with(header(9, answered, b"+OK\r\n"), data_flag::CLIENT, 2_000), b"+OK\r\n");
        answered += 5;
    };
    push(&mut profile, &command(&["SET", "first", "value"]), 0, true);
    answer(&mut profile);
    let [lost, next] = pieces;
    let hidden = command(&["SET", "hidden", "value"]);
    push(&mut profile, &command(&["SET", "second", "value"]), 0, true);
    push(&mut profile, &format!("*3\r\n$3\r\nSET\r\n$5\r\nthird\r\n${}\r\n", hidden.len()), lost, false);
    push(&mut profile, &format!("{hidden}\r\n"), next, true);
    answer(&mut profile);
    answer(&mut profile);
    for _ in 0..3 {
        push(&mut profile, &command(&["SET", "later", "value"]), 0, true);
        answer(&mut profile);
    }
    profile.rows.iter().map(|row| format!("{row:?}")).collect()
}

#[test]
fn pieces_behind_a_lost_one_are_not_taken_for_a_call() {
    let is_shown = |rows: &[String], key: &str| rows.iter().any(|row| row.contains(key));
    let rows = rows_after_a_lost_record([1, 2]);
    assert!(!is_shown(&rows, "hidden") && is_shown(&rows, "later"), "{rows:?}");
    // A call of its own would be taken for a command.
    assert!(is_shown(&rows_after_a_lost_record([0, 0]), "hidden"));
}

#[test]
fn streams_whose_end_nothing_says_are_given_up() {
    let second = 1_000_000_000;
    let mut profile = profile(&all());
    let udp = |connection, bytes| DataRecord { protocol: 17, ..header(connection, 0, bytes) };
    let greeting = b"no protocol that is known, but long enough";
    profile.push(&with(udp(1, greeting), data_flag::CLIENT, second), greeting);
    profile.push(&with(DataRecord { family: 1, protocol: 0, ..header(2, 0, REQUEST) }, 0, second), REQUEST);
    profile.push(&with(header(3, 0, REQUEST), data_flag::TLS, second), REQUEST);
    profile.push(&with(header(4, 0, REQUEST), data_flag::SERVER, second), REQUEST);
    let mut left_at = |now: u64| {
        profile.connections.review(now * second, &mut profile.counts);
        let mut left: Vec<u64> = profile.connections.states.keys().copied().collect();
        left.sort_unstable();
        left
    };
    assert_eq!(left_at(15), [1, 2, 3, 4]);
    assert_eq!(left_at(17), [2, 3, 4]);
    assert_eq!(left_at(905), [4]);
    assert_eq!(left_at(1_000_000), [4]);
}

#[test]
fn other_protocols_are_counted_by_name() {
    let mut profile = profile(&all());
    let greeting = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
    (1..=3).for_each(|connection| profile.push(&header(connection, 0, greeting), greeting));
    assert_eq!(profile.counts.other_protocols, [("ssh".to_owned(), 3)].into());
    assert_eq!(profile.verdicts().len(), 3);
}

#[test]
fn encrypted_connection_is_counted_until_its_plain_text_comes() {
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 60]].concat();
    let mut profile = profile(&all());
    profile.push(&header(9, 0, &hello), &hello);
    assert_eq!((profile.counts.encrypted, profile.verdicts()), (1, vec![(9, VerdictKind::Ignore)]));
    let plain = |bytes: &[u8], flags: u32| DataRecord {
        stream: 0x715,
        ..with(header(9, 0, bytes), flags | data_flag::TLS | data_flag::SERVER, 1_000)
    };
    profile.push(&plain(REQUEST, 0), REQUEST);
    assert_eq!((profile.counts.encrypted, profile.counts.connections), (0, 1));
    // More of the ciphertext was underway.
    profile.push(&header(9, 900, &hello), &hello);
    assert_eq!((profile.counts.encrypted, profile.counts.connections, profile.counts.mid_stream), (0, 1, 0));
    // The socket has become doubtful.
    let mut nowhere = DataRecord { family: 0, local_port: 0, remote_port: 0, ..plain(ANSWER, data_flag::SENT) };
    nowhere.record.connection = 0;
    profile.push(&nowhere, ANSWER);
    let facts = profile.rows[0].facts;
    assert_eq!((facts.encrypted, facts.connection, facts.local, facts.remote), (true, 0, None, None));
    assert_eq!(profile.verdicts(), [(0x715, heads(Role::Server))]);
    profile.push(&DataRecord { flags: (data_flag::TLS | data_flag::END) as u8, ..plain(b"", 0) }, b"");
    profile.push(&with(header(9, 900, b""), data_flag::END, 2_000), b"");
    assert_eq!(profile.connections.memory(), 0);
}

#[test]
fn connections_idle_for_the_longest_leave_first() {
    let mut profile = profile(&all());
    let key = |number: u64| 1_000 + number;
    for number in 0..1_000 {
        profile.exchange(key(number), 0, data_flag::SERVER, number);
        profile.push(&with(header(key(number), REQUEST.len() as u64, REQUEST), data_flag::SERVER, number), REQUEST);
    }
    let (before, limit) = (profile.connections.memory(), profile.connections.memory() / 2);
    profile.connections.evict_to(limit, &mut profile.counts);
    assert!(profile.connections.memory() <= limit && profile.connections.memory() > before / 3);
    assert!(profile.counts.lost_budget > 400 && profile.counts.lost_budget < 700);
    let rows = profile.rows.len();
    profile.push(&with(header(key(999), ANSWER.len() as u64, ANSWER), data_flag::SENT, 7_000), ANSWER);
    profile.push(&with(header(key(0), ANSWER.len() as u64, ANSWER), data_flag::SENT, 7_000), ANSWER);
    let newer: Vec<u64> = profile.rows[rows..].iter().map(|row| row.facts.connection).collect();
    assert_eq!(newer, [key(999)]);
}

#[test]
fn end_of_a_connection_frees_it_and_completes_its_last_answer() {
    let mut profile = profile(&all());
    let until_close = b"HTTP/1.0 200 OK\r\n\r\nall of it";
    profile.push(&with(header(9, 0, REQUEST), data_flag::SERVER, 1_000), REQUEST);
    profile.push(&with(header(9, 0, until_close), data_flag::SERVER | data_flag::SENT, 3_000), until_close);
    profile.push(&with(header(9, 0, b""), data_flag::END, 4_000), b"");
    assert_eq!((profile.rows.len(), profile.connections.memory()), (1, 0));
}

#[test]
fn unconnected_socket_with_several_peers_shows_no_wrong_one() {
    let mut profile = profile(&all());
    let query = |id: u8| {
        let mut query = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend_from_slice(b"\x02db\x04shop\0\0\x01\0\x01");
        query
    };
    let answer = |id: u8| [&[0, id, 0x81, 0x83][..], &query(id)[4..]].concat();
    let (mut sent, mut received) = (0, 0);
    let mut push = |profile: &mut Profile, bytes: &[u8], flags: u32, peer: Option<u8>| {
        let position = if flags == 0 { &mut received } else { &mut sent };
        let mut datagram = with(header(9, *position, bytes), flags | data_flag::CLIENT, 1_000);
        *position += bytes.len() as u64;
        datagram.protocol = 17;
        datagram.remote_port = if peer.is_some() { 53 } else { 0 };
        datagram.remote[3] = peer.unwrap_or_default();
        profile.push(&datagram, bytes);
    };
    push(&mut profile, &query(1), data_flag::SENT, Some(1));
    push(&mut profile, &answer(1), 0, None);
    push(&mut profile, &query(2), data_flag::SENT, Some(1));
    push(&mut profile, &query(3), data_flag::SENT, Some(2));
    push(&mut profile, &answer(2), 0, None);
    push(&mut profile, &answer(3), 0, None);
    let remotes: Vec<_> = profile.rows.iter().map(|row| row.facts.remote).collect();
    assert_eq!(remotes, ["10.0.0.1:53".parse().ok(), None, None]);
    assert_eq!(profile.verdicts(), [(9, DATAGRAM_VERDICT)]);
}

#[test]
fn later_socket_of_the_same_numbers_is_a_new_connection() {
    let mut profile = profile(&all());
    for number in 0..3 {
        profile.forget_sockets();
        profile.exchange(9, 0, data_flag::SERVER, 1_000 + number * 9_000_000);
    }
    assert_eq!((profile.rows.len(), profile.counts.connections, profile.counts.lost_parse), (3, 3, 0));
}

#[test]
fn verdict_of_an_earlier_socket_is_not_one_of_the_next() {
    let mut profile = profile(&all());
    let greeting = b"SSH-2.0-OpenSSH_9.2\r\n";
    profile.push(&with(header(9, 0, greeting), data_flag::CLIENT, 1_000), greeting);
    assert_eq!(profile.verdicts(), [(9, VerdictKind::Ignore)]);
    profile.forget_sockets();
    profile.exchange(9, 0, data_flag::SERVER, 2_000);
    assert_eq!((profile.rows.len(), profile.counts.connections), (1, 2));
}
