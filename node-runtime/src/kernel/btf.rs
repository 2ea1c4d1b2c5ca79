//! What the kernel's own types say of raw tracepoints.

use libbpf_rs::btf::{
    Btf, BtfKind, BtfType, HasSize, ReferencesType,
    types::{FuncProto, Int, Ptr, Typedef},
};

/// An argument of a tracepoint's prototype, as far as it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawArg {
    /// A number of so many bytes.
    Number {
        /// 1, 2, 4 or 8.
        bytes: u16,
        /// Below 0 is possible.
        signed: bool,
    },
    /// `char *`.
    Text,
    /// Another pointer.
    Pointer,
    /// A struct by value, or something else that does not fit into a register.
    Other,
}

/// The arguments of a raw tracepoint; none if the kernel has no such tracepoint.
pub fn raw_tracepoint(event: &str) -> Option<Vec<RawArg>> {
    let kernel = Btf::from_vmlinux().ok()?;
    let typedef: Typedef<'_> = kernel.type_by_name(&format!("btf_trace_{event}"))?;
    let pointer = Ptr::try_from(typedef.referenced_type()).ok()?;
    let prototype = FuncProto::try_from(pointer.referenced_type()).ok()?;
    // The first one is the tracepoint's own.
    Some(prototype.iter().skip(1).map(|param| kernel.type_by_id(param.ty).map_or(RawArg::Other, argument)).collect())
}

fn argument(found: BtfType<'_>) -> RawArg {
    let found = found.skip_mods_and_typedefs();
    match found.kind() {
        BtfKind::Int => Int::try_from(found).map_or(RawArg::Other, |int| number(&int)),
        BtfKind::Enum | BtfKind::Enum64 => RawArg::Number { bytes: 4, signed: true },
        BtfKind::Ptr => {
            let target = Ptr::try_from(found).map(|pointer| pointer.referenced_type().skip_mods_and_typedefs());
            match target {
                Ok(target) if Int::try_from(target).is_ok_and(|int| int.size() == 1) => RawArg::Text,
                _ => RawArg::Pointer,
            }
        }
        _ => RawArg::Other,
    }
}

fn number(int: &Int<'_>) -> RawArg {
    let signed = matches!(int.encoding, libbpf_rs::btf::types::IntEncoding::Signed);
    match int.size() {
        bytes @ (1 | 2 | 4 | 8) => RawArg::Number { bytes: bytes as u16, signed },
        _ => RawArg::Other,
    }
}
