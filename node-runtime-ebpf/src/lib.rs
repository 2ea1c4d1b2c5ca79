//! The kernel programs as bytes, and the layouts and limits that both sides share. No logic.

pub mod flow;
pub mod limits;
pub mod process;
pub mod record;
pub mod sample;
pub mod tracepoint;

/// Bytes of an object, aligned as libbpf wants them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

macro_rules! object {
    ($name:literal) => {{
        static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o")));
        &OBJECT.0
    }};
}

/// `bpf/identity/cgroup.bpf.c`: cgroups that come and go.
pub fn cgroup() -> &'static [u8] {
    object!("cgroup")
}

/// `bpf/network/flow.bpf.c`: the flows of chosen interfaces.
pub fn flow() -> &'static [u8] {
    object!("flow")
}

/// `bpf/application/cpu.bpf.c`: stacks on the CPU.
pub fn cpu() -> &'static [u8] {
    object!("cpu")
}

/// `bpf/identity/process.bpf.c`: fork, exec, exit, and who ran before.
pub fn process() -> &'static [u8] {
    object!("process")
}

/// `bpf/security/tracepoint.bpf.c`: one tracepoint of a policy.
pub fn tracepoint() -> &'static [u8] {
    object!("tracepoint")
}
