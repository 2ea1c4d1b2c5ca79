//! Arguments of raw tracepoints, from the kernel's BTF.

use std::{cell::OnceCell, fs, path::Path};

use libbpf_rs::btf::{
    Btf, BtfKind, BtfType, HasSize, ReferencesType,
    types::{FuncProto, Int, Ptr, Typedef},
};

/// The type of one argument in a tracepoint's prototype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawArg {
    /// An integer or enum.
    Number {
        /// 1, 2, 4 or 8.
        bytes: u16,
        signed: bool,
    },
    /// `char *`.
    Text,
    /// Another pointer.
    Pointer,
    /// A struct by value, or something else that does not fit into a register.
    Other,
}

/// The BTF of the kernel and of each module, one file each.
const BTF_DIR: &str = "/sys/kernel/btf";

/// The kernel's BTF, parsed at the first use; several megabytes, freed on drop.
#[derive(Default)]
pub struct KernelTypes(OnceCell<Option<Btf<'static>>>);

impl KernelTypes {
    /// The arguments of a raw tracepoint; none if vmlinux has no such tracepoint.
    pub fn raw_tracepoint(&self, event: &str) -> Option<Vec<RawArg>> {
        let kernel = self.0.get_or_init(|| Btf::from_vmlinux().ok()).as_ref()?;
        let typedef: Typedef<'_> = kernel.type_by_name(&typedef_of(event))?;
        let pointer = Ptr::try_from(typedef.referenced_type()).ok()?;
        let prototype = FuncProto::try_from(pointer.referenced_type()).ok()?;
        // The first one is the `void *` of the tracepoint itself.
        let arguments = prototype.iter().skip(1);
        Some(arguments.map(|param| kernel.type_by_id(param.ty).map_or(RawArg::Other, argument)).collect())
    }
}

/// The module that defines a raw tracepoint of this name. Arguments of modules' tracepoints are not read yet.
pub fn module_of(event: &str) -> Option<String> {
    module_in(Path::new(BTF_DIR), event)
}

/// BTF stores names as NUL-terminated strings, so that a search for the bytes is enough.
fn module_in(types: &Path, event: &str) -> Option<String> {
    let name = format!("\0{}\0", typedef_of(event));
    let holds = |bytes: &[u8]| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    let modules = fs::read_dir(types).ok()?.flatten().filter(|entry| entry.file_name() != "vmlinux");
    let mut found = modules.filter(|module| fs::read(module.path()).is_ok_and(|bytes| holds(&bytes)));
    found.next().map(|module| module.file_name().to_string_lossy().into_owned())
}

fn typedef_of(event: &str) -> String {
    format!("btf_trace_{event}")
}

fn argument(r#type: BtfType<'_>) -> RawArg {
    let r#type = r#type.skip_mods_and_typedefs();
    match r#type.kind() {
        BtfKind::Int => Int::try_from(r#type).map_or(RawArg::Other, |int| number(&int)),
        BtfKind::Enum | BtfKind::Enum64 => RawArg::Number { bytes: 4, signed: true },
        BtfKind::Ptr => {
            let target = Ptr::try_from(r#type).map(|pointer| pointer.referenced_type().skip_mods_and_typedefs());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracepoint_of_a_module_is_found_by_its_whole_name() {
        let types = std::env::temp_dir().join(format!("trilobite-btf-{}", std::process::id()));
        fs::create_dir_all(&types).unwrap();
        fs::write(types.join("vmlinux"), b"\0btf_trace_of_the_kernel\0").unwrap();
        fs::write(types.join("reef"), b"\x9f\xeb\x01\0int\0btf_trace_reef_grows\0").unwrap();
        let module = |event| module_in(&types, event);
        assert_eq!(module("reef_grows"), Some("reef".into()));
        assert_eq!(module("reef_grow"), None);
        assert_eq!(module("of_the_kernel"), None);
        fs::remove_dir_all(types).unwrap();
    }
}
