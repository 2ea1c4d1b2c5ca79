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

/// Every object by its name, for those who want to see what a kernel says of each.
pub fn all() -> [(&'static str, &'static [u8]); 5] {
    [("cgroup", cgroup()), ("process", process()), ("tracepoint", tracepoint()), ("flow", flow()), ("cpu", cpu())]
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_source_is_an_object_that_can_be_asked_for() {
        let mut sources = BTreeSet::new();
        for folder in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf")).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                sources.extend(name.strip_suffix(".bpf.c").map(str::to_owned));
            }
        }
        assert_eq!(sources, super::all().map(|(name, _)| name.to_owned()).into());
    }
}
