//! The values of a record: how the kernel wrote each, and which type the policy shows.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use trilobite_crds::policy::ArgumentType;
use trilobite_node_ebpf::{
    HookBpfObject, HookCredentials, HookField, HookPath, HookPerfEvent, HookRecord, HookSocket, HookUserNamespace,
    SYSCALL_COMPAT, ValueKind, field_flag, path_flag,
};
use trilobite_untrusted_text::decode;
use zerocopy::{FromBytes, IntoBytes, TryFromBytes};

use super::buffer::{array, at};
use crate::{
    identity::{Credentials, UserNamespace},
    layers::security::event::{
        ArgValue,
        value::{BpfMapValue, BpfProgramValue, CapabilitySet, FileValue, PerfEventValue, SkbValue, SockValue},
    },
};

/// Appended to a text that the kernel has cut; Tetragon's argument has no field for that.
const CUT: char = '…';
/// Tetragon's names of the ABIs of system calls: that of this machine, and that of its 32-bit tasks.
const ABIS: (&str, &str) = if cfg!(target_arch = "aarch64") { ("arm64", "arm32") } else { ("x64", "i386") };
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The table of a record's values.
pub(super) struct Fields<'a> {
    fields: Vec<HookField>,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], count: usize) -> Self {
        let offset = u32::try_from(size_of::<HookRecord>()).unwrap_or(u32::MAX);
        Self { fields: array(bytes, offset, count), bytes }
    }

    /// The field with this index in the hook's values, and its bytes.
    fn get(&self, index: u8) -> Option<(&HookField, &'a [u8])> {
        let field = self.fields.iter().find(|field| field.index == index)?;
        let start = usize::try_from(field.offset).ok()?;
        let end = start.checked_add(usize::try_from(field.length).ok()?)?;
        Some((field, self.bytes.get(start..end)?))
    }
}

/// What an event shows of a value. One that is not in the record, or has another form than its kind says, is unreadable.
pub(super) fn decode_value(fields: &Fields<'_>, index: u8, shown: ArgumentType) -> ArgValue {
    let Some((field, bytes)) = fields.get(index) else {
        return ArgValue::Unreadable("the record does not have it".to_owned());
    };
    if field.error != 0 {
        return ArgValue::Unreadable(error_text(field.error));
    }
    let is_cut = u32::from(field.flags) & field_flag::CUT != 0;
    let kind = ValueKind::try_read_from_bytes(u32::from(field.kind).as_bytes()).ok();
    kind.and_then(|kind| decode_kind(kind, bytes, is_cut, shown))
        .unwrap_or_else(|| ArgValue::Unreadable("the record has fewer bytes than a value of its kind".to_owned()))
}

fn error_text(error: i32) -> String {
    let number = i32::try_from(error.unsigned_abs()).unwrap_or(i32::MAX);
    format!("the value could not be read: {}", io::Error::from_raw_os_error(number))
}

fn decode_kind(kind: ValueKind, bytes: &[u8], is_cut: bool, shown: ArgumentType) -> Option<ArgValue> {
    Some(match kind {
        ValueKind::Number => number(at(bytes, 0)?, shown),
        ValueKind::Syscall => system_call(at(bytes, 0)?),
        ValueKind::CapabilitySet => capabilities(at(bytes, 0)?, shown),
        ValueKind::String | ValueKind::Inline | ValueKind::DataLoc | ValueKind::RelLoc => {
            ArgValue::String(text(bytes, is_cut))
        }
        ValueKind::Buffer | ValueKind::Iovec | ValueKind::IovIter => {
            let (size, rest) = u64::read_from_prefix(bytes).ok()?;
            ArgValue::Bytes { bytes: rest.to_vec(), size }
        }
        ValueKind::File | ValueKind::Path | ValueKind::Dentry | ValueKind::Fd => file(bytes, is_cut, shown)?,
        ValueKind::Sock => ArgValue::Sock(Box::new(sock(&at(bytes, 0)?))),
        ValueKind::Skb => ArgValue::Skb(Box::new(skb(&at(bytes, 0)?))),
        ValueKind::Sockaddr => socket_address(bytes, is_cut, shown)?,
        ValueKind::Credentials => {
            let read: HookCredentials = at(bytes, 0)?;
            ArgValue::Credentials { credentials: Box::new(credentials(&read)), user_namespace: read.user_ns }
        }
        ValueKind::UserNamespace => {
            let HookUserNamespace { level, owner, group, inode } = at(bytes, 0)?;
            let namespace = UserNamespace { level: level.unsigned_abs(), owner, group };
            ArgValue::UserNamespace { namespace, inode }
        }
        ValueKind::Module => ArgValue::Module { name: text(bytes, is_cut), signature_ok: None, taints: 0 },
        ValueKind::BpfAttr => ArgValue::BpfAttr(bpf_program(&at(bytes, 0)?)),
        ValueKind::BpfProg => ArgValue::BpfProgram(bpf_program(&at(bytes, 0)?)),
        ValueKind::BpfMap => ArgValue::BpfMap(Box::new(bpf_map(&at(bytes, 0)?))),
        ValueKind::PerfEvent => ArgValue::PerfEvent(Box::new(perf_event(&at(bytes, 0)?))),
        ValueKind::None => return None,
    })
}

fn number(value: u64, shown: ArgumentType) -> ArgValue {
    use ArgumentType as Type;
    match shown {
        Type::Int | Type::Int32 | Type::Sint32 => ArgValue::Int(value as i32),
        Type::Int16 | Type::Sint16 => ArgValue::Int((value as i16).into()),
        Type::Int8 | Type::Sint8 => ArgValue::Int((value as i8).into()),
        Type::Uint32 => ArgValue::Uint(value as u32),
        Type::Uint16 => ArgValue::Uint((value as u16).into()),
        Type::Uint8 => ArgValue::Uint((value as u8).into()),
        Type::Long | Type::Int64 | Type::Sint64 => ArgValue::Long(value.cast_signed()),
        Type::Capability => ArgValue::Capability(value as i32),
        Type::BpfCmd => ArgValue::BpfCommand(value as i32),
        Type::Syscall64 => system_call(value),
        Type::KernelCapT | Type::CapInheritable | Type::CapPermitted | Type::CapEffective => capabilities(value, shown),
        _ => ArgValue::Size(value),
    }
}

fn system_call(value: u64) -> ArgValue {
    let (native, compat) = ABIS;
    ArgValue::Syscall { id: value as u32, abi: if value & SYSCALL_COMPAT == 0 { native } else { compat } }
}

fn capabilities(bits: u64, shown: ArgumentType) -> ArgValue {
    let set = match shown {
        ArgumentType::CapInheritable => CapabilitySet::Inheritable,
        ArgumentType::CapPermitted => CapabilitySet::Permitted,
        ArgumentType::CapEffective => CapabilitySet::Effective,
        _ => CapabilitySet::Any,
    };
    ArgValue::Capabilities(set, bits)
}

/// Up to the first NUL.
fn text(bytes: &[u8], is_cut: bool) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let mut text = decode(&bytes[..end]);
    if is_cut {
        // The last character may be incomplete.
        text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        text.push(CUT);
    }
    text
}

fn file(bytes: &[u8], is_cut: bool, shown: ArgumentType) -> Option<ArgValue> {
    let (HookPath { flags, mode, .. }, path) = HookPath::read_from_prefix(bytes).ok()?;
    let value = FileValue {
        path: text(path, false),
        is_cut: is_cut || flags & path_flag::CUT != 0,
        is_unlinked: flags & path_flag::UNLINKED != 0,
        mode,
    };
    Some(match shown {
        ArgumentType::Path | ArgumentType::Dentry => ArgValue::Path(value),
        ArgumentType::LinuxBinprm => ArgValue::Binprm(value),
        _ => ArgValue::File(value),
    })
}

/// None for a family without IP addresses.
/// The kernel side maps IPv4 addresses into IPv6.
fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    match family {
        AF_INET => bytes.last_chunk::<4>().map(|last| IpAddr::V4(Ipv4Addr::from(*last))),
        AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => None,
    }
}

fn sock(of: &HookSocket) -> SockValue {
    SockValue {
        family: of.family,
        r#type: of.type_,
        protocol: of.protocol,
        state: of.state,
        source: address(of.family, of.source),
        destination: address(of.family, of.destination),
        source_port: of.source_port,
        destination_port: of.destination_port,
        cookie: of.cookie,
        mark: of.mark,
        priority: of.priority,
    }
}

fn skb(of: &HookSocket) -> SkbValue {
    SkbValue {
        family: of.family,
        protocol: of.protocol,
        source: address(of.family, of.source),
        destination: address(of.family, of.destination),
        source_port: of.source_port,
        destination_port: of.destination_port,
        hash: 0,
        length: of.length,
        mark: of.mark,
        priority: of.priority,
    }
}

/// The address that the caller passes is the one of the destination's members.
fn socket_address(bytes: &[u8], is_cut: bool, shown: ArgumentType) -> Option<ArgValue> {
    let (of, path) = HookSocket::read_from_prefix(bytes).ok()?;
    Some(match shown {
        ArgumentType::SockaddrUn => ArgValue::SockaddrUn { family: of.family, path: unix_path(path, is_cut) },
        _ => ArgValue::Sockaddr { family: of.family, address: address(of.family, of.source), port: of.source_port },
    })
}

/// An abstract address begins with a NUL, which is shown as `@`, and may contain more of them.
fn unix_path(path: &[u8], is_cut: bool) -> String {
    match path.split_first() {
        Some((0, rest)) if rest.iter().any(|byte| *byte != 0) => {
            let visible: Vec<u8> = rest.iter().copied().filter(|byte| *byte != 0).collect();
            format!("@{}", text(&visible, is_cut))
        }
        _ => text(path, is_cut),
    }
}

fn credentials(of: &HookCredentials) -> Credentials {
    Credentials {
        uid: of.uid,
        gid: of.gid,
        permitted: of.permitted,
        effective: of.effective,
        inheritable: of.inheritable,
        securebits: of.securebits,
        user_namespace: UserNamespace { level: of.user_ns_level, owner: of.user_ns_owner, group: of.user_ns_group },
    }
}

fn bpf_program(of: &HookBpfObject) -> BpfProgramValue {
    BpfProgramValue { r#type: of.type_, instructions: of.instructions, name: text(&of.name, false) }
}

fn bpf_map(of: &HookBpfObject) -> BpfMapValue {
    BpfMapValue {
        r#type: of.type_,
        key_size: of.key_size,
        value_size: of.value_size,
        max_entries: of.max_entries,
        name: text(&of.name, false),
    }
}

fn perf_event(of: &HookPerfEvent) -> PerfEventValue {
    PerfEventValue {
        r#type: of.type_,
        function: text(&of.function, false),
        config: of.config,
        probe_offset: of.probe_offset,
    }
}
