//! Values of hooks as members of Tetragon's KprobeArgument.

mod file;
mod names;

use std::net::IpAddr;

use trilobite_api::tetragon::{self as api, CapabilitiesType, ProcessCredentials, kprobe_argument::Arg as Member};

use super::credentials;
use crate::{
    identity::{Credentials, UserNamespace},
    layers::security::event::{
        Arg, ArgValue,
        value::{BpfMapValue, BpfProgramValue, CapabilitySet, FileValue, PerfEventValue, SkbValue, SockValue},
    },
};

pub(super) fn arguments(args: &[Arg]) -> Vec<api::KprobeArgument> {
    args.iter().map(argument).collect()
}

pub(super) fn argument(Arg { value, label }: &Arg) -> api::KprobeArgument {
    api::KprobeArgument { arg: Some(member(value)), label: label.as_deref().unwrap_or_default().to_owned() }
}

fn member(value: &ArgValue) -> Member {
    match value {
        ArgValue::Int(value) => Member::IntArg(*value),
        ArgValue::Uint(value) => Member::UintArg(*value),
        ArgValue::Long(value) => Member::LongArg(*value),
        ArgValue::Size(value) => Member::SizeArg(*value),
        ArgValue::String(value) => Member::StringArg(value.clone()),
        ArgValue::Bytes { bytes, size } if *size > bytes.len() as u64 => {
            Member::TruncatedBytesArg(api::KprobeTruncatedBytes { bytes_arg: bytes.clone(), orig_size: *size })
        }
        ArgValue::Bytes { bytes, .. } => Member::BytesArg(bytes.clone()),
        ArgValue::Syscall { id, abi } => Member::SyscallId(api::SyscallId { id: *id, abi: (*abi).to_owned() }),
        ArgValue::File(value) => {
            let (path, flags, permission) = file_members(value);
            Member::FileArg(api::KprobeFile { mount: String::new(), path, flags, permission })
        }
        ArgValue::Path(value) => {
            let (path, flags, permission) = file_members(value);
            Member::PathArg(api::KprobePath { mount: String::new(), path, flags, permission })
        }
        ArgValue::Binprm(value) => {
            let (path, flags, permission) = file_members(value);
            Member::LinuxBinprmArg(api::KprobeLinuxBinprm { path, flags, permission })
        }
        ArgValue::Sock(value) => Member::SockArg(sock(value)),
        ArgValue::Skb(value) => Member::SkbArg(skb(value)),
        ArgValue::Sockaddr { family, address, port } => Member::SockaddrArg(api::KprobeSockaddr {
            family: names::family(*family),
            addr: address_text(*address),
            port: (*port).into(),
        }),
        ArgValue::SockaddrUn { family, path } => {
            Member::SockaddrunArg(api::KprobeSockaddrUn { family: names::family(*family), path: path.clone() })
        }
        ArgValue::Credentials { credentials, user_namespace } => {
            Member::ProcessCredentialsArg(process_credentials(credentials, *user_namespace))
        }
        ArgValue::UserNamespace { namespace, inode } => Member::UserNsArg(user_namespace(namespace, *inode)),
        ArgValue::Capability(value) => Member::CapabilityArg(api::KprobeCapability {
            value: Some(*value),
            name: CapabilitiesType::try_from(*value)
                .map_or_else(|_| value.to_string(), |name| name.as_str_name().to_owned()),
        }),
        ArgValue::Capabilities(set, bits) => capability_set(*set, format!("{bits:016x}")),
        ArgValue::Module { name, signature_ok, taints } => Member::ModuleArg(api::KernelModule {
            name: name.clone(),
            signature_ok: *signature_ok,
            tainted: taint_bits(*taints),
        }),
        ArgValue::BpfAttr(BpfProgramValue { r#type, instructions, name }) => Member::BpfAttrArg(api::KprobeBpfAttr {
            prog_type: names::bpf_program_type(*r#type),
            insn_cnt: *instructions,
            prog_name: name.clone(),
        }),
        ArgValue::BpfProgram(BpfProgramValue { r#type, instructions, name }) => {
            Member::BpfProgArg(api::KprobeBpfProg {
                prog_type: names::bpf_program_type(*r#type),
                insn_cnt: *instructions,
                prog_name: name.clone(),
            })
        }
        ArgValue::BpfMap(value) => Member::BpfMapArg(bpf_map(value)),
        ArgValue::BpfCommand(value) => Member::BpfCmdArg(*value),
        ArgValue::PerfEvent(value) => Member::PerfEventArg(perf_event(value)),
        ArgValue::Unreadable(reason) => Member::ErrorArg(api::KprobeError { message: reason.clone() }),
    }
}

/// Path, flags and permission.
fn file_members(value: &FileValue) -> (String, String, String) {
    let flags = if value.is_cut { file::CUT } else { "" };
    (value.path.clone(), flags.to_owned(), file::permission(value.mode))
}

fn sock(value: &SockValue) -> api::KprobeSock {
    api::KprobeSock {
        family: names::family(value.family),
        r#type: names::socket_type(value.r#type),
        protocol: names::protocol(value.protocol),
        mark: value.mark,
        priority: value.priority,
        saddr: address_text(value.source),
        daddr: address_text(value.destination),
        sport: value.source_port.into(),
        dport: value.destination_port.into(),
        cookie: value.cookie,
        state: names::tcp_state(value.state),
    }
}

fn skb(value: &SkbValue) -> api::KprobeSkb {
    api::KprobeSkb {
        hash: value.hash,
        len: value.length,
        priority: value.priority,
        mark: value.mark,
        saddr: address_text(value.source),
        daddr: address_text(value.destination),
        sport: value.source_port.into(),
        dport: value.destination_port.into(),
        proto: value.protocol.into(),
        protocol: names::protocol(value.protocol),
        family: names::family(value.family),
        ..api::KprobeSkb::default()
    }
}

/// Empty for a family without IP addresses.
fn address_text(address: Option<IpAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}

fn process_credentials(value: &Credentials, inode: u32) -> ProcessCredentials {
    ProcessCredentials {
        caps: Some(credentials::capabilities(value)),
        user_ns: Some(user_namespace(&value.user_namespace, inode)),
        ..credentials::ids(value)
    }
}

fn user_namespace(value: &UserNamespace, inode: u32) -> api::UserNamespace {
    api::UserNamespace {
        level: Some(value.level.cast_signed()),
        uid: Some(value.owner),
        gid: Some(value.group),
        ns: Some(api::Namespace { inum: inode, is_host: value.level == 0 }),
    }
}

fn capability_set(set: CapabilitySet, hex: String) -> Member {
    match set {
        CapabilitySet::Any => Member::KernelCapTArg(hex),
        CapabilitySet::Inheritable => Member::CapInheritableArg(hex),
        CapabilitySet::Permitted => Member::CapPermittedArg(hex),
        CapabilitySet::Effective => Member::CapEffectiveArg(hex),
    }
}

/// In the order of Tetragon. A bit of a newer kernel, which has no name here, is its number.
fn taint_bits(taints: u64) -> Vec<i32> {
    (0..31).map(|bit| 1_i32 << bit).filter(|bit| taints & u64::from(bit.unsigned_abs()) != 0).collect()
}

fn bpf_map(value: &BpfMapValue) -> api::KprobeBpfMap {
    api::KprobeBpfMap {
        map_type: names::bpf_map_type(value.r#type),
        key_size: value.key_size,
        value_size: value.value_size,
        max_entries: value.max_entries,
        map_name: value.name.clone(),
    }
}

fn perf_event(value: &PerfEventValue) -> api::KprobePerfEvent {
    api::KprobePerfEvent {
        kprobe_func: value.function.clone(),
        r#type: names::perf_event_type(value.r#type),
        config: value.config,
        probe_offset: value.probe_offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_kernel_has_is_its_number() {
        let name = |number| match member(&ArgValue::Capability(number)) {
            Member::CapabilityArg(capability) => (capability.value, capability.name),
            other => panic!("{other:?}"),
        };
        assert_eq!(name(21), (Some(21), "CAP_SYS_ADMIN".into()));
        assert_eq!(name(63), (Some(63), "63".into()));
        assert_eq!(taint_bits(1 << 30 | 1 << 13 | 1), [1, 1 << 13, 1 << 30]);
    }
}
