//! A kernel that has every function, of which it knows no types: policies meet no refusal but their own faults and our limits.

use crate::{
    kernel::{
        Release,
        btf::{CType, Function, Member},
        symbols::Symbol,
    },
    plan::policy::{
        Kernel,
        dimension::NamespaceKind,
        facts::KernelFacts,
        kernel_view::{Architecture, TracepointFormat},
    },
};

/// Answers with everything.
pub(super) struct AnyKernel(KernelFacts);

const FACTS: &str = "
release: '6.12'
tracepoints:
  any/any: |
    field:unsigned short common_type; offset:0; size:2; signed:0;
    field:unsigned char common_flags; offset:2; size:1; signed:0;
    field:unsigned char common_preempt_count; offset:3; size:1; signed:0;
    field:int common_pid; offset:4; size:4; signed:1;
    field:long id; offset:8; size:8; signed:1;
    field:unsigned long args[6]; offset:16; size:48; signed:0;
rawTracepoints:
  any: 'struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm'
";

impl AnyKernel {
    pub(super) fn new() -> Self {
        Self(KernelFacts::parse(FACTS).unwrap())
    }
}

impl Kernel for AnyKernel {
    fn release(&self) -> Release {
        self.0.release()
    }

    fn architecture(&self) -> Architecture {
        Architecture::X86_64
    }

    fn function(&self, _: &str) -> Option<Function> {
        None
    }

    fn symbol(&self, _: &str) -> Symbol {
        Symbol::Traceable
    }

    fn traceable_functions(&self, accepts: &dyn Fn(&str) -> bool) -> Option<Vec<String>> {
        let names = ["__x64_sys_dup", "__x64_sys_openat", "ksys_read", "ksys_write", "vfs_read"];
        Some(names.into_iter().filter(|name| accepts(name)).map(str::to_owned).collect())
    }

    fn raw_tracepoint(&self, _: &str) -> Option<Vec<CType>> {
        self.0.raw_tracepoint("any")
    }

    fn tracepoint(&self, _: &str, _: &str) -> TracepointFormat {
        self.0.tracepoint("any", "any")
    }

    fn member(&self, _: &str, _: &str, _: Option<&str>) -> Option<Member> {
        Some(Member { offset: 8, r#type: CType::Pointer(Box::new(CType::Void)), is_bitfield: false })
    }

    fn size_of(&self, _: &str, _: Option<&str>) -> Option<u32> {
        Some(64)
    }

    fn host_namespace(&self, _: NamespaceKind) -> Option<u32> {
        Some(4_026_531_840)
    }

    fn has_kprobe_multi(&self) -> bool {
        true
    }

    fn has_fentry(&self) -> bool {
        true
    }
}
