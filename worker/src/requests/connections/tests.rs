use trilobite_node_ebpf::{DataRecord, data_flag};
use trilobite_worker_wire::{ConnectionVerdict, Message};

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
    /// Calls so far on the socket of a connection, at each of its ends.
    calls: HashMap<(u64, u64, u16), u32>,
}

fn profile(settings: &RequestSettings) -> Profile {
    Profile {
        connections: Connections::new(settings),
        counts: RequestCounts::default(),
        verdicts: Verdicts::default(),
        rows: Vec::new(),
        calls: HashMap::new(),
    }
}

fn all() -> RequestSettings {
    RequestSettings { client: true, server: true, ..RequestSettings::default() }
}

impl Profile {
    fn push(&mut self, header: &DataRecord, bytes: &[u8]) {
        let calls = self.calls.entry((header.record.connection, header.stream, header.local_port)).or_default();
        let header = DataRecord { sequence: *calls, ..*header };
        *calls += 1;
        let bytes = record(&header, bytes);
        let call = DataCall::parse(&bytes).unwrap();
        self.rows.extend(self.connections.apply(&call, &mut self.counts, &mut self.verdicts));
    }

    /// The sockets of before are gone, and no record has said so.
    fn forget_sockets(&mut self) {
        self.calls.clear();
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
        verdicts.map(|ConnectionVerdict { connection, kind, .. }| (connection, kind)).collect()
    }
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
    assert_eq!(profile.verdicts(), [(9, VerdictKind::Parse)]);
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
    let protocols = vec!["redis".to_owned(), "mysql".to_owned()];
    assert_eq!(rows(RequestSettings { protocols, ..all() }, data_flag::SERVER), ignored);
}

/// The same call as the other end of its connection saw it.
fn mirrored(header: DataRecord) -> DataRecord {
    DataRecord {
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
fn unwanted_end_is_ignored_unless_the_other_end_is_wanted() {
    let mut both = profile(&RequestSettings { server: false, ..all() });
    push_both_ends(&mut both);
    both.connections.review(1_000_000_000, &mut both.counts, &mut both.verdicts);
    assert_eq!((both.rows.len(), both.rows[0].facts.role, both.counts.other_role), (1, Role::Client, 1));
    assert_eq!(both.verdicts(), [(9, VerdictKind::Parse)]);
    let mut alone = profile(&RequestSettings { server: false, ..all() });
    alone.exchange(9, 0, data_flag::SERVER, 1_000);
    assert_eq!(alone.verdicts(), []);
    alone.connections.review(1_000_000_000, &mut alone.counts, &mut alone.verdicts);
    assert_eq!(alone.verdicts(), [(9, VerdictKind::Ignore)]);
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
    assert_eq!(profile.verdicts(), [(0x715, VerdictKind::Parse)]);
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
}

#[test]
fn key_that_is_used_again_begins_a_new_connection() {
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
