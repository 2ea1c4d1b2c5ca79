//! Records as the kernel side writes them, and any other bytes.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
};

use proptest::prelude::*;
use trilobite_crds::policy::ArgumentType;
use trilobite_node_ebpf::{
    HookCredentials, HookField, HookPath, HookRecord, HookSocket, HookUserNamespace, HookWinner, RECORD_LAYOUT, Record,
    RecordKind, SYSCALL_COMPAT, ValueKind, action_flag, field_flag, hook_record_flag, path_flag,
};
use zerocopy::IntoBytes;

use super::*;
use crate::{
    identity::{Credentials, ExecKey},
    layers::security::event::{
        Action, ArgValue, HookEvent, HookInfo, HookPoint, NotedProcess, SelectorInfo,
        value::{CapabilitySet, FileValue},
    },
    plan::policy::hook_plan::ShownValue,
};

const POLICY: u32 = 7;

#[derive(Default)]
struct Call {
    fields: Vec<(HookField, Vec<u8>)>,
    winners: Vec<HookWinner>,
    kernel_stack: Vec<u64>,
}

impl Call {
    fn value(mut self, kind: ValueKind, bytes: &[u8]) -> Self {
        let index = self.fields.len() as u8;
        let field = HookField { kind: kind as u8, index, length: bytes.len() as u32, ..HookField::default() };
        self.fields.push((field, bytes.to_vec()));
        self
    }

    fn won_by(mut self, policy: u32, bit: u16, flags: u32) -> Self {
        let signal = if flags & action_flag::SIGNAL == 0 { 0 } else { 9 };
        self.winners.push(HookWinner { policy, bit, flags, signal, ..HookWinner::default() });
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let table = size_of::<HookRecord>() + self.fields.len() * size_of::<HookField>();
        let mut fields = Vec::new();
        let mut values = Vec::new();
        for (field, bytes) in &self.fields {
            let offset = (table + values.len()) as u32;
            fields.extend_from_slice(HookField { offset, ..*field }.as_bytes());
            values.extend_from_slice(bytes);
        }
        let stack = (table + values.len()) as u32;
        values.extend(self.kernel_stack.iter().flat_map(|address| address.to_ne_bytes()));
        let winners_offset = (table + values.len()) as u32;
        let size = winners_offset + (self.winners.len() * size_of::<HookWinner>()) as u32;
        let header =
            Record { layout: RECORD_LAYOUT, kind: RecordKind::Hook as u16, size, tid: 4115, ..Record::default() };
        let record = HookRecord {
            header,
            hook_id: 3,
            value_count: self.fields.len() as u16,
            winner_count: self.winners.len() as u16,
            winners_offset,
            kernel_stack_offset: stack,
            kernel_stack_bytes: self.kernel_stack.len() as u32 * 8,
            ..HookRecord::default()
        };
        let winners = self.winners.iter().flat_map(|winner| winner.as_bytes().to_vec());
        record.as_bytes().iter().copied().chain(fields).chain(values).chain(winners).collect()
    }
}

fn shown(types: &[ArgumentType]) -> Arc<[ShownValue]> {
    let value = |(index, r#type): (usize, &ArgumentType)| ShownValue {
        value: index as u8,
        index: index as u32,
        r#type: *r#type,
        label: None,
    };
    types.iter().enumerate().map(value).collect()
}

/// A hook with one policy of two selectors, each of which shows values of these types.
fn info(types: &[ArgumentType]) -> HookInfo {
    let selector = Arc::new(SelectorInfo { policy: "reef".into(), args: shown(types), ..SelectorInfo::default() });
    HookInfo {
        point: Arc::new(HookPoint::Function { name: "tcp_connect".into() }),
        functions: Vec::new(),
        values: Vec::new(),
        selectors: HashMap::from([((POLICY, 0), selector.clone()), ((POLICY, 1), selector)]),
    }
}

fn events(bytes: &[u8], info: &HookInfo) -> (Vec<HookEvent>, u64) {
    let record = decode_record(bytes).unwrap();
    let (events, unknown) = record.events(info, &mut Symbols::in_folder(Path::new("/nowhere")));
    (events.into_iter().map(|(_, event)| event).collect(), unknown)
}

/// The one value of a call that shows one.
fn shown_as(kind: ValueKind, bytes: &[u8], r#type: ArgumentType) -> ArgValue {
    let call = Call::default().value(kind, bytes).won_by(POLICY, 0, action_flag::POST);
    let (mut events, _) = events(&call.bytes(), &info(&[r#type]));
    events.remove(0).args.remove(0).value
}

#[test]
fn each_winner_makes_an_event_of_its_own() {
    let call = Call::default()
        .value(ValueKind::Number, &5_u64.to_ne_bytes())
        .won_by(POLICY, 0, action_flag::POST | action_flag::SIGNAL)
        .won_by(POLICY, 1, action_flag::POST)
        // Not posted: NoPost, and a rate limit.
        .won_by(POLICY, 1, 0)
        .won_by(POLICY, 1, action_flag::LIMITED)
        // A policy that left meanwhile.
        .won_by(POLICY + 1, 0, action_flag::POST);
    let (events, unknown) = events(&call.bytes(), &info(&[ArgumentType::Int]));
    let actions: Vec<Action> = events.iter().map(|event| event.action).collect();
    assert_eq!((actions, unknown), (vec![Action::Sigkill, Action::Post], 1));
    assert_eq!((events[0].tid, &events[1].args[0].value), (4115, &ArgValue::Int(5)));
}

#[test]
fn function_of_a_list_is_the_one_that_was_called() {
    let named = |name: &str| Arc::new(HookPoint::Function { name: name.into() });
    let list =
        HookInfo { functions: ["sys_read", "sys_write"].map(named).into(), point: named("sys_read"), ..info(&[]) };
    let called = |number: u32| {
        let mut bytes = Call::default().won_by(POLICY, 0, action_flag::POST).bytes();
        let at = std::mem::offset_of!(HookRecord, function);
        bytes[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        events(&bytes, &list).0.remove(0).point
    };
    assert_eq!([1, 2].map(called), [named("sys_read"), named("sys_write")]);
    // Without a number, as where attach cookies are not supported, and one that no list has.
    assert_eq!([0, 3].map(called), [named("sys_read"), named("sys_read")]);
}

#[test]
fn event_of_a_return_has_the_actions_of_both_ends() {
    let mut bytes = Call::default().won_by(POLICY, 0, action_flag::POST | action_flag::TRACK_SOCKET).bytes();
    let at = std::mem::offset_of!(HookRecord, flags);
    bytes[at..at + 4].copy_from_slice(&hook_record_flag::HAS_RETURNED.to_ne_bytes());
    let mut info = info(&[]);
    let selector = SelectorInfo { entry_action: Action::Sigkill, ..SelectorInfo::default() };
    info.selectors.insert((POLICY, 0), Arc::new(selector));
    let (events, _) = events(&bytes, &info);
    assert_eq!((events[0].action, events[0].return_action), (Action::Sigkill, Some(Action::TrackSock)));
    assert_eq!(events[0].noted, None);
}

#[test]
fn event_of_a_tracked_socket_names_the_process_that_opened_it() {
    let mut call = Call::default().won_by(POLICY, 0, action_flag::POST);
    call.winners[0] = HookWinner { tid: 7007, exec_pid: 7006, exec_ktime: 5, cgroup: 11, ..call.winners[0] };
    let (events, _) = events(&call.bytes(), &info(&[]));
    let noted = NotedProcess { key: ExecKey { ktime: 5, pid: 7006 }, cgroup: 11 };
    assert_eq!((events[0].tid, events[0].noted), (7007, Some(noted)));
}

#[test]
fn failed_signal_is_shown_as_a_post() {
    let flags = action_flag::POST | action_flag::SIGNAL | action_flag::SIGNAL_FAILED;
    let (events, _) = events(&Call::default().won_by(POLICY, 0, flags).bytes(), &info(&[]));
    assert_eq!(events[0].action, Action::Post);
}

#[test]
fn numbers_are_shown_by_the_type_of_the_policy() {
    let number = |value: i64, r#type| shown_as(ValueKind::Number, &value.to_ne_bytes(), r#type);
    for (r#type, expected) in [
        (ArgumentType::Int, ArgValue::Int(-2)),
        (ArgumentType::Int8, ArgValue::Int(-2)),
        (ArgumentType::Uint16, ArgValue::Uint(0xfffe)),
        (ArgumentType::Uint32, ArgValue::Uint(u32::MAX - 1)),
        (ArgumentType::Long, ArgValue::Long(-2)),
        (ArgumentType::SizeT, ArgValue::Size(u64::MAX - 1)),
        (ArgumentType::Capability, ArgValue::Capability(-2)),
        (ArgumentType::BpfCmd, ArgValue::BpfCommand(-2)),
        (ArgumentType::CapEffective, ArgValue::Capabilities(CapabilitySet::Effective, u64::MAX - 1)),
    ] {
        assert_eq!(number(-2, r#type), expected, "{type:?}");
    }
    let compat = SYSCALL_COMPAT | 5;
    let call = shown_as(ValueKind::Syscall, &compat.to_ne_bytes(), ArgumentType::Syscall64);
    assert!(matches!(call, ArgValue::Syscall { id: 5, abi: "i386" | "arm32" }));
}

#[test]
fn values_without_a_place_in_the_record_are_marked() {
    let call = Call::default().won_by(POLICY, 0, action_flag::POST);
    let (events, _) = events(&call.bytes(), &info(&[ArgumentType::String, ArgumentType::Nop]));
    let [only] = &events[0].args[..] else { panic!("{events:?}") };
    assert_eq!(only.value, ArgValue::Unreadable("the record does not have it".into()));
    let short = shown_as(ValueKind::Sock, b"short", ArgumentType::Sock);
    assert!(matches!(short, ArgValue::Unreadable(_)), "{short:?}");
}

#[test]
fn errno_of_the_kernel_is_told() {
    let mut call = Call::default().value(ValueKind::String, b"left over").won_by(POLICY, 0, action_flag::POST);
    call.fields[0].0.error = -14;
    let (mut events, _) = events(&call.bytes(), &info(&[ArgumentType::String]));
    let expected = "the value could not be read: Bad address (os error 14)";
    assert_eq!(events.remove(0).args.remove(0).value, ArgValue::Unreadable(expected.into()));
}

#[test]
fn cut_text_ends_with_an_ellipsis_and_a_cut_path_is_flagged() {
    let mut call = Call::default().value(ValueKind::String, b"caf\xc3").won_by(POLICY, 0, action_flag::POST);
    call.fields[0].0.flags = field_flag::CUT as u16;
    let (mut events, _) = events(&call.bytes(), &info(&[ArgumentType::String]));
    assert_eq!(events.remove(0).args.remove(0).value, ArgValue::String("caf…".into()));

    let path = HookPath { flags: path_flag::CUT | path_flag::UNLINKED, mode: 0o100_755, pad: 0 };
    let bytes = [path.as_bytes(), b"/deep/file"].concat();
    let value = FileValue { path: "/deep/file".into(), is_cut: true, is_unlinked: true, mode: 0o100_755 };
    assert_eq!(shown_as(ValueKind::File, &bytes, ArgumentType::File), ArgValue::File(value.clone()));
    assert_eq!(shown_as(ValueKind::Path, &bytes, ArgumentType::Path), ArgValue::Path(value.clone()));
    assert_eq!(shown_as(ValueKind::File, &bytes, ArgumentType::LinuxBinprm), ArgValue::Binprm(value));
}

#[test]
fn sockets_have_addresses_of_their_family() {
    let source = Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets();
    let socket =
        HookSocket { family: 2, type_: 1, protocol: 6, state: 2, source, source_port: 40_000, ..HookSocket::default() };
    let ArgValue::Sock(sock) = shown_as(ValueKind::Sock, socket.as_bytes(), ArgumentType::Sock) else { panic!() };
    assert_eq!((sock.source, sock.source_port), ("10.0.0.2".parse::<IpAddr>().ok(), 40_000));
    let unix = HookSocket { family: 1, ..socket };
    let ArgValue::Sock(sock) = shown_as(ValueKind::Sock, unix.as_bytes(), ArgumentType::Sock) else { panic!() };
    assert_eq!((sock.source, sock.destination), (None, None));
    let path = |path: &[u8]| {
        let bytes = [unix.as_bytes(), path].concat();
        shown_as(ValueKind::Sockaddr, &bytes, ArgumentType::SockaddrUn)
    };
    assert_eq!(path(b"/run/x\0"), ArgValue::SockaddrUn { family: 1, path: "/run/x".into() });
    assert_eq!(path(b"\0hid\0den"), ArgValue::SockaddrUn { family: 1, path: "@hidden".into() });
    assert_eq!(path(b"\0\0"), ArgValue::SockaddrUn { family: 1, path: String::new() });
}

#[test]
fn buffer_knows_how_much_it_lacks() {
    let bytes = [&9_u64.to_ne_bytes()[..], b"abc"].concat();
    assert_eq!(
        shown_as(ValueKind::Buffer, &bytes, ArgumentType::CharBuf),
        ArgValue::Bytes { bytes: b"abc".to_vec(), size: 9 }
    );
}

#[test]
fn credentials_and_user_namespaces_are_whole() {
    let credentials = HookCredentials { uid: [1, 2, 3, 4], user_ns: 77, ..HookCredentials::default() };
    let read = shown_as(ValueKind::Credentials, credentials.as_bytes(), ArgumentType::Cred);
    let expected = Credentials { uid: [1, 2, 3, 4], ..Credentials::default() };
    assert_eq!(read, ArgValue::Credentials { credentials: Box::new(expected), user_namespace: 77 });
    let namespace = HookUserNamespace { level: 1, owner: 1000, group: 100, inode: 78 };
    let read = shown_as(ValueKind::UserNamespace, namespace.as_bytes(), ArgumentType::UserNamespace);
    assert!(matches!(read, ArgValue::UserNamespace { inode: 78, .. }), "{read:?}");
}

#[test]
fn cut_record_and_other_kinds_are_refused() {
    let whole = Call::default().value(ValueKind::Number, &[0; 8]).won_by(POLICY, 0, action_flag::POST).bytes();
    assert!(decode_record(&whole).is_some());
    assert!(decode_record(&whole[..whole.len() - 1]).is_none());
    let mut other = whole.clone();
    other[2] = RecordKind::Exec as u8;
    assert!(decode_record(&other).is_none());
}

proptest! {
    #[test]
    fn no_bytes_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        kinds in proptest::collection::vec(0_u8..28, 0..4),
        types in proptest::collection::vec(0_usize..52, 4),
    ) {
        use trilobite_crds::policy::Vocabulary;
        let types: Vec<ArgumentType> =
            types.iter().map(|at| ArgumentType::ALL[at % ArgumentType::ALL.len()]).collect();
        let mut call = Call::default().won_by(POLICY, 0, action_flag::POST | action_flag::KERNEL_STACK);
        call.kernel_stack = vec![u64::MAX, 1];
        for kind in kinds {
            call = call.value(ValueKind::Number, &bytes);
            call.fields.last_mut().unwrap().0.kind = kind;
        }
        let mut record = call.bytes();
        let header = size_of::<Record>();
        for (at, byte) in changes {
            // What the kernel side itself vouches for stays as it is.
            let at = header + at.index(record.len() - header);
            record[at] = byte;
        }
        let mut symbols = Symbols::in_folder(Path::new("/nowhere"));
        if let Some(decoded) = decode_record(&record) {
            let _ = decoded.events(&info(&types), &mut symbols);
        }
        if let Some(decoded) = decode_record(&bytes) {
            let _ = decoded.events(&info(&types), &mut symbols);
        }
    }
}
