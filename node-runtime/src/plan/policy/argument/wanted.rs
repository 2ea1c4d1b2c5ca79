//! What a type of the policy language wants of the kernel, and whether the kernel has it there.

use trilobite_crds::policy::{ArgumentType, ValueClass};

use super::location::Content;
use crate::{
    kernel::btf::CType,
    plan::policy::{
        kernel_view::Kernel,
        value::{Step, ValueKind},
    },
};

/// What is wanted at a location.
pub(super) enum WantedContent {
    Nothing,
    Number {
        bytes: u8,
        signed: bool,
        /// Another kind than a plain number.
        kind: Option<ValueKind>,
    },
    /// A string.
    Text,
    /// Bytes behind a pointer, with their size elsewhere.
    Buffer {
        kind: ValueKind,
    },
    /// An array whose length its type says.
    FixedBuffer,
    /// A pointer to a struct, or the struct itself.
    Struct {
        accepts: fn(&str) -> bool,
        /// Its usual name, where the type is not known.
        canonical: &'static str,
        kind: ValueKind,
        /// The member that is read instead.
        member: Option<&'static str>,
    },
}

/// What a type wants. `auto` is decided by what is there; an error says what that is.
pub(super) fn of_type(requested: ArgumentType, at: &Content) -> Result<(ArgumentType, WantedContent), String> {
    if let Some(wanted) = simple(requested) {
        return Ok((requested, wanted));
    }
    let found = match at {
        Content::Register(Some(found)) | Content::Memory { r#type: found, .. } => found,
        Content::Register(None) => return Err("an unknown type".into()),
    };
    let r#type = match found {
        CType::Number { bytes, signed } => number_type(*bytes, *signed).ok_or_else(|| found.to_string())?,
        text if text.is_text() => ArgumentType::String,
        CType::Array { element, .. } if matches!(**element, CType::Number { bytes: 1, .. }) => ArgumentType::String,
        CType::Pointer(target) => match &**target {
            CType::Struct(target) => struct_type(&target.name).ok_or_else(|| found.to_string())?,
            _ => return Err(found.to_string()),
        },
        CType::Struct(own) => struct_type(&own.name).ok_or_else(|| found.to_string())?,
        _ => return Err(found.to_string()),
    };
    simple(r#type).map(|wanted| (r#type, wanted)).ok_or_else(|| found.to_string())
}

/// The type that shows a number.
pub(super) fn number_type(bytes: u16, signed: bool) -> Option<ArgumentType> {
    Some(match (bytes, signed) {
        (1, true) => ArgumentType::Sint8,
        (1, false) => ArgumentType::Uint8,
        (2, true) => ArgumentType::Sint16,
        (2, false) => ArgumentType::Uint16,
        (4, true) => ArgumentType::Int,
        (4, false) => ArgumentType::Uint32,
        (8, true) => ArgumentType::Long,
        (8, false) => ArgumentType::Uint64,
        _ => return None,
    })
}

/// The type that shows a struct.
fn struct_type(name: &str) -> Option<ArgumentType> {
    Some(match name {
        "file" => ArgumentType::File,
        "path" => ArgumentType::Path,
        "dentry" => ArgumentType::Dentry,
        "filename" => ArgumentType::Filename,
        "sk_buff" => ArgumentType::Skb,
        "socket" => ArgumentType::Socket,
        "cred" => ArgumentType::Cred,
        "linux_binprm" => ArgumentType::LinuxBinprm,
        "kiocb" => ArgumentType::Kiocb,
        "iov_iter" => ArgumentType::IovIter,
        "user_namespace" => ArgumentType::UserNamespace,
        "module" => ArgumentType::Module,
        "load_info" => ArgumentType::LoadInfo,
        "bpf_attr" => ArgumentType::BpfAttr,
        "bpf_map" => ArgumentType::BpfMap,
        "bpf_prog" => ArgumentType::BpfProg,
        "perf_event" => ArgumentType::PerfEvent,
        "net_device" => ArgumentType::NetDevice,
        name if is_sock(name) => ArgumentType::Sock,
        name if is_sockaddr(name) => ArgumentType::Sockaddr,
        name if is_capability_set(name) => ArgumentType::KernelCapT,
        _ => return None,
    })
}

fn is_sock(name: &str) -> bool {
    name == "sock" || name == "sock_common" || name.ends_with("_sock")
}

fn is_sockaddr(name: &str) -> bool {
    name.starts_with("sockaddr")
}

fn is_capability_set(name: &str) -> bool {
    matches!(name, "kernel_cap_t" | "kernel_cap_struct")
}

/// What a type wants, whatever is there; none for `auto`.
pub(super) fn simple(requested: ArgumentType) -> Option<WantedContent> {
    let structure = |accepts, canonical, kind, member| WantedContent::Struct { accepts, canonical, kind, member };
    let number = |bytes, signed, kind| WantedContent::Number { bytes, signed, kind };
    Some(match requested {
        ArgumentType::Auto => return None,
        ArgumentType::Nop => WantedContent::Nothing,
        ArgumentType::Syscall64 => number(8, true, Some(ValueKind::Syscall)),
        ArgumentType::Fd => number(4, true, Some(ValueKind::Fd)),
        ArgumentType::Capability | ArgumentType::BpfCmd => number(4, true, None),
        ArgumentType::String | ArgumentType::DataLoc => WantedContent::Text,
        ArgumentType::CharBuf => WantedContent::Buffer { kind: ValueKind::Buffer },
        ArgumentType::CharIovec => WantedContent::Buffer { kind: ValueKind::Iovec },
        ArgumentType::ConstBuf => WantedContent::FixedBuffer,
        ArgumentType::Skb => structure(|name| name == "sk_buff", "sk_buff", ValueKind::Skb, None),
        ArgumentType::Sock => structure(is_sock, "sock", ValueKind::Sock, None),
        ArgumentType::Socket => structure(|name| name == "socket", "socket", ValueKind::Sock, Some("sk")),
        ArgumentType::Sockaddr => structure(is_sockaddr, "sockaddr", ValueKind::Sockaddr, None),
        ArgumentType::SockaddrUn => structure(is_sockaddr, "sockaddr_un", ValueKind::SockaddrUnix, None),
        ArgumentType::File => structure(|name| name == "file", "file", ValueKind::File, None),
        ArgumentType::Filename => structure(|name| name == "filename", "filename", ValueKind::String, Some("name")),
        ArgumentType::Path => structure(|name| name == "path", "path", ValueKind::Path, None),
        ArgumentType::Dentry => structure(|name| name == "dentry", "dentry", ValueKind::Dentry, None),
        ArgumentType::Kiocb => structure(|name| name == "kiocb", "kiocb", ValueKind::File, Some("ki_filp")),
        ArgumentType::IovIter => structure(|name| name == "iov_iter", "iov_iter", ValueKind::IovIter, None),
        ArgumentType::LinuxBinprm => {
            structure(|name| name == "linux_binprm", "linux_binprm", ValueKind::File, Some("file"))
        }
        ArgumentType::NetDevice => {
            structure(|name| name == "net_device", "net_device", ValueKind::String, Some("name"))
        }
        ArgumentType::LoadInfo => structure(|name| name == "load_info", "load_info", ValueKind::String, Some("name")),
        ArgumentType::Module => structure(|name| name == "module", "module", ValueKind::Module, None),
        ArgumentType::Cred => structure(|name| name == "cred", "cred", ValueKind::Credentials, None),
        ArgumentType::UserNamespace => {
            structure(|name| name == "user_namespace", "user_namespace", ValueKind::UserNamespace, None)
        }
        ArgumentType::BpfAttr => structure(|name| name == "bpf_attr", "bpf_attr", ValueKind::BpfAttr, None),
        ArgumentType::BpfMap => structure(|name| name == "bpf_map", "bpf_map", ValueKind::BpfMap, None),
        ArgumentType::BpfProg => structure(|name| name == "bpf_prog", "bpf_prog", ValueKind::BpfProg, None),
        ArgumentType::PerfEvent => structure(|name| name == "perf_event", "perf_event", ValueKind::PerfEvent, None),
        ArgumentType::KernelCapT
        | ArgumentType::CapInheritable
        | ArgumentType::CapPermitted
        | ArgumentType::CapEffective => structure(is_capability_set, "kernel_cap_t", ValueKind::CapabilitySet, None),
        other => match other.class() {
            ValueClass::Number(integer) => number(u8::try_from(integer.bits / 8).unwrap_or(8), integer.signed, None),
            _ => return None,
        },
    })
}

/// The kind of a number, and how many bytes of it are loaded. A narrower number of the kernel keeps its own width and sign.
pub(super) fn number(steps: &mut Vec<Step>, at: &Content, bytes: u8, signed: bool) -> Result<(ValueKind, u8), String> {
    let requested = ValueKind::Number { bytes, signed };
    let (found, offset) = match at {
        Content::Register(None) => return Ok((requested, 0)),
        Content::Register(Some(found)) => (found, None),
        Content::Memory { r#type, offset } => (r#type, Some(*offset)),
    };
    let (own, own_signed) = match found {
        CType::Number { bytes: own @ (1 | 2 | 4 | 8), signed } => (u8::try_from(*own).unwrap_or(8), *signed),
        // The address itself.
        CType::Pointer(_) if bytes == 8 => (8, false),
        other => return Err(other.to_string()),
    };
    let kind = if own < bytes { ValueKind::Number { bytes: own, signed: own_signed } } else { requested };
    match offset {
        None => Ok((kind, 0)),
        Some(offset) => {
            steps.push(Step { offset, dereference: false });
            Ok((kind, own))
        }
    }
}

pub(super) fn text(steps: &mut Vec<Step>, at: &Content) -> Result<(), String> {
    let is_character = |r#type: &CType| matches!(r#type, CType::Number { bytes: 1, .. });
    match at {
        Content::Register(None) => Ok(()),
        Content::Register(Some(CType::Pointer(target))) if is_character(target) || **target == CType::Void => Ok(()),
        Content::Register(Some(found)) => Err(found.to_string()),
        Content::Memory { r#type: CType::Array { element, .. }, offset } if is_character(element) => {
            steps.push(Step { offset: *offset, dereference: false });
            Ok(())
        }
        Content::Memory { r#type: CType::Pointer(target), offset }
            if is_character(target) || **target == CType::Void =>
        {
            steps.push(Step { offset: *offset, dereference: true });
            Ok(())
        }
        Content::Memory { r#type, .. } => Err(r#type.to_string()),
    }
}

pub(super) fn bytes(steps: &mut Vec<Step>, at: &Content) -> Result<(), String> {
    match at {
        Content::Register(Some(found)) if !found.is_pointer() => Err(found.to_string()),
        Content::Register(_) => Ok(()),
        Content::Memory { r#type: CType::Pointer(_), offset } => {
            steps.push(Step { offset: *offset, dereference: true });
            Ok(())
        }
        Content::Memory { r#type: CType::Array { .. }, offset } => {
            steps.push(Step { offset: *offset, dereference: false });
            Ok(())
        }
        Content::Memory { r#type, .. } => Err(r#type.to_string()),
    }
}

/// Bytes of an array of numbers.
pub(super) fn array(steps: &mut Vec<Step>, at: &Content) -> Result<u32, String> {
    let length = |r#type: &CType| match r#type {
        CType::Array { element, count } => match **element {
            CType::Number { bytes, .. } => count.checked_mul(bytes.into()),
            _ => None,
        },
        _ => None,
    };
    match at {
        Content::Memory { r#type, offset } => {
            let bytes = length(r#type).ok_or_else(|| r#type.to_string())?;
            steps.push(Step { offset: *offset, dereference: false });
            Ok(bytes)
        }
        Content::Register(Some(CType::Pointer(target))) => length(target).ok_or_else(|| format!("{target} *")),
        Content::Register(found) => Err(found.as_ref().map_or("an unknown type".into(), ToString::to_string)),
    }
}

/// Leads to the struct; its name where it is known.
pub(super) fn structure(
    steps: &mut Vec<Step>,
    at: &Content,
    accepts: fn(&str) -> bool,
) -> Result<Option<String>, String> {
    match at {
        Content::Register(None) => Ok(None),
        Content::Register(Some(found)) => match found.pointed_struct() {
            Some(name) if accepts(name) => Ok(Some(name.to_owned())),
            // What `void *` points to is not known.
            None if *found == CType::Pointer(Box::new(CType::Void)) => Ok(None),
            _ => Err(found.to_string()),
        },
        Content::Memory { r#type: CType::Struct(found), offset } if accepts(&found.name) => {
            steps.push(Step { offset: *offset, dereference: false });
            Ok(Some(found.name.clone()))
        }
        Content::Memory { r#type, offset } => match r#type.pointed_struct() {
            Some(name) if accepts(name) => {
                steps.push(Step { offset: *offset, dereference: true });
                Ok(Some(name.to_owned()))
            }
            _ => Err(r#type.to_string()),
        },
    }
}

/// Leads on to a member of the struct, or to what it points to.
pub(super) fn member(steps: &mut Vec<Step>, name: &str, member: &str, kernel: &dyn Kernel) -> Result<(), String> {
    let found = kernel.member(name, member, None);
    let found = found.ok_or_else(|| format!("struct {name} has no member {member} in this kernel"))?;
    steps.push(Step { offset: found.offset, dereference: found.r#type.is_pointer() });
    Ok(())
}

/// How messages call a type.
pub(super) fn noun(requested: ArgumentType) -> String {
    use trilobite_crds::policy::Vocabulary;

    match requested {
        ArgumentType::Sock => "socket (sock)".into(),
        ArgumentType::CharBuf => "buffer".into(),
        ArgumentType::Fd => "file descriptor".into(),
        other => other.as_str().into(),
    }
}

/// What to do about a type that is there and not wanted.
pub(super) fn suggested_type(found: &str, requested: ArgumentType) -> String {
    use trilobite_crds::policy::Vocabulary;

    let name =
        found.strip_prefix("struct ").or_else(|| found.strip_prefix("union ")).map(|rest| rest.trim_end_matches(" *"));
    let r#type = match name {
        Some(name) => struct_type(name),
        None if found == "char *" => Some(ArgumentType::String),
        None => match found.split_at_checked(1) {
            Some(("s", bits)) => bits.parse().ok().and_then(|bits: u16| number_type(bits / 8, true)),
            Some(("u", bits)) => bits.parse().ok().and_then(|bits: u16| number_type(bits / 8, false)),
            _ => None,
        },
    };
    match r#type.filter(|r#type| *r#type != requested) {
        Some(r#type) => format!("use type {}", r#type.as_str()),
        None => "use another argument, or resolve a field of it".into(),
    }
}
