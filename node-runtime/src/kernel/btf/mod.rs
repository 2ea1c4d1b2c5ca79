//! The kernel's types: functions, structs and their members, arguments of raw tracepoints; those of modules too.

mod ctype;
mod parse;

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

pub use ctype::{CType, Function, Member, Parameter, StructRef};
use parse::{TypeSet, Types};

/// The BTF of the kernel and of each module, one file each.
const BTF_DIR: &str = "/sys/kernel/btf";
const KERNEL: &str = "vmlinux";

/// Types of the kernel and its modules, read at the first use; several megabytes, freed on drop.
pub struct KernelTypes {
    folder: PathBuf,
    kernel: OnceCell<Option<Types>>,
    modules: RefCell<BTreeMap<String, Option<Rc<Types>>>>,
}

impl Default for KernelTypes {
    fn default() -> Self {
        Self::new(Path::new(BTF_DIR))
    }
}

impl KernelTypes {
    /// `folder` has a file for the kernel, `vmlinux`, and one for each module.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), kernel: OnceCell::new(), modules: RefCell::default() }
    }

    /// Names and values of enums of the running kernel; empty for one that it does not have. Reads the types anew and keeps none.
    pub fn enumerators<const N: usize>(names: [&str; N]) -> [Vec<(u32, String)>; N] {
        let types = fs::read(Path::new(BTF_DIR).join(KERNEL)).ok().and_then(|bytes| Types::parse(bytes, None));
        names.map(|name| types.as_ref().map(|types| types.enumerators(name)).unwrap_or_default())
    }

    fn kernel(&self) -> Option<&Types> {
        let read = || Some(Types::parse(fs::read(self.folder.join(KERNEL)).ok()?, None)?.with_index(None));
        self.kernel.get_or_init(read).as_ref()
    }

    fn module(&self, name: &str) -> Option<Rc<Types>> {
        if let Some(found) = self.modules.borrow().get(name) {
            return found.clone();
        }
        // A name with a slash would leave the folder.
        let is_name = !name.contains('/') && name != KERNEL;
        let bytes = is_name.then(|| fs::read(self.folder.join(name)).ok()).flatten();
        let types = bytes.and_then(|bytes| {
            let kernel = self.kernel()?;
            Some(Rc::new(Types::parse(bytes, Some(kernel))?.with_index(Some(kernel))))
        });
        self.modules.borrow_mut().insert(name.to_owned(), types.clone());
        types
    }

    fn module_names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name != KERNEL).collect();
        names.sort_unstable();
        names
    }

    /// Asks the kernel first, then each module.
    fn find<T>(&self, ask: impl Fn(TypeSet<'_>) -> Option<T>) -> Option<T> {
        let kernel = self.kernel()?;
        ask(TypeSet { kernel, module: None }).or_else(|| {
            self.module_names().iter().find_map(|module| {
                let module = self.module(module)?;
                ask(TypeSet { kernel, module: Some(&module) })
            })
        })
    }

    /// A function of the kernel or of a loaded module.
    pub fn function(&self, name: &str) -> Option<Function> {
        self.find(|types| types.function(name))
    }

    /// The arguments of a raw tracepoint of the kernel or of a loaded module.
    pub fn raw_tracepoint(&self, event: &str) -> Option<Vec<CType>> {
        let typedef = format!("btf_trace_{event}");
        let function = self.find(|types| types.function_of_typedef(&typedef))?;
        // The first one is the `void *` of the tracepoint itself.
        Some(function.parameters.into_iter().skip(1).map(|parameter| parameter.r#type).collect())
    }

    /// A member of a struct, also one inside an anonymous member. `module` has the struct, if the kernel does not.
    pub fn member(&self, r#struct: &str, name: &str, module: Option<&str>) -> Option<Member> {
        self.in_struct(r#struct, module, |types, found| types.member(found, name))
    }

    /// Bytes of a struct.
    pub fn size_of(&self, r#struct: &str, module: Option<&str>) -> Option<u32> {
        self.in_struct(r#struct, module, |types, found| types.size_of(found))
    }

    fn in_struct<T>(
        &self,
        name: &str,
        module: Option<&str>,
        ask: impl Fn(TypeSet<'_>, &StructRef) -> Option<T>,
    ) -> Option<T> {
        let kernel = self.kernel()?;
        let module = module.and_then(|module| self.module(module));
        let types = TypeSet { kernel, module: module.as_deref() };
        ask(types, &types.structure(name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{parse::tests::Builder, *};

    const POINTER: u32 = 2;
    const TYPEDEF: u32 = 8;
    const PROTOTYPE: u32 = 13;

    /// BTF of a raw tracepoint with one argument, `void *`.
    fn tracepoint(event: &str, base: Option<&Types>) -> Vec<u8> {
        let mut btf = Builder::new(base.map_or(0, Types::string_bytes));
        let first = base.map_or(1, Types::count);
        btf.add("", POINTER, 0, 0, &[]);
        btf.add("", PROTOTYPE, 2, 0, &[0, first, 0, first]);
        btf.add("", POINTER, 0, first + 1, &[]);
        btf.add(&format!("btf_trace_{event}"), TYPEDEF, 0, first + 2, &[]);
        btf.finish()
    }

    #[test]
    fn tracepoint_of_a_module_is_found_by_its_whole_name() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = tracepoint("tide", None);
        let base = Types::parse(kernel.clone(), None).unwrap();
        fs::write(folder.path().join("vmlinux"), kernel).unwrap();
        fs::write(folder.path().join("reef"), tracepoint("reef_grows", Some(&base))).unwrap();
        fs::write(folder.path().join("broken"), b"\x9f\xeb\x01\0reef_grows").unwrap();
        let types = KernelTypes::new(folder.path());
        let pointer = vec![CType::Pointer(Box::new(CType::Void))];
        assert_eq!(types.raw_tracepoint("reef_grows"), Some(pointer.clone()));
        assert_eq!(types.raw_tracepoint("tide"), Some(pointer));
        assert_eq!(types.raw_tracepoint("reef_grow"), None);
    }

    #[test]
    fn own_kernel_has_the_arguments_of_its_functions() {
        let types = KernelTypes::default();
        if types.kernel().is_none() {
            return;
        }
        let function = types.function("security_file_open").unwrap();
        assert_eq!(function.parameters[0].r#type.pointed_struct(), Some("file"));
        let pid = types.member("task_struct", "pid", None).unwrap();
        assert_eq!(pid.r#type, CType::Number { bytes: 4, signed: true });
        let uid = types.member("cred", "uid", None).unwrap();
        let CType::Struct(uid) = uid.r#type else { panic!() };
        assert_eq!(uid.name, "kuid_t");
        assert_eq!(types.member(&uid.name, "val", None).unwrap().offset, 0);
    }
}
