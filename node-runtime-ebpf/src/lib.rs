//! The kernel programs: types and limits that they share with the agent, and handles on their programs and maps, generated
//! from the C sources when this crate is built.

/// Generated from `bpf/include/contract.h`, whose comments say what each type and constant is.
#[allow(missing_docs, non_camel_case_types, unsafe_code, reason = "generated; the C headers document them")]
mod contract {
    include!(concat!(env!("OUT_DIR"), "/contract.rs"));
}

mod record;

pub use contract::*;

/// Handles on the programs, maps and constants of each object that is loaded as a whole.
pub mod skeleton {
    macro_rules! skeletons {
        ($($(#[doc = $doc:literal])* $name:ident),*) => {
            $($(#[doc = $doc])*
            #[allow(missing_docs, non_camel_case_types, unsafe_code, unreachable_pub, single_use_lifetimes, clippy::all, clippy::unwrap_used, reason = "generated")]
            pub mod $name {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".skel.rs"));
            })*
        };
    }

    skeletons!(
        /// `bpf/identity/cgroup.bpf.c`: cgroups that are made and removed.
        cgroup,
        /// `bpf/application/cpu.bpf.c`: stacks on the CPU.
        cpu,
        /// `bpf/network/dns.bpf.c`: packets from or to DNS servers.
        dns,
        /// `bpf/network/drops.bpf.c`: packets that the kernel drops.
        drops,
        /// `bpf/network/flow.bpf.c`: the flows of chosen interfaces.
        flow,
        /// `bpf/identity/process.bpf.c`: fork, exec, exit, and the processes that ran before.
        process,
        /// `bpf/application/socket.bpf.c`: bytes on sockets, by tracepoints.
        socket,
        /// `bpf/application/socket_fexit.bpf.c`: the same, by the functions that send and receive.
        socket_fexit
    );
}

/// Bytes of an object, aligned as libbpf wants them.
#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

/// `bpf/security/hook.bpf.c`: one attach point of all policies, for rows of 1, 4 or 16 words. It is loaded once for each hook.
pub fn hook(words: u32) -> &'static [u8] {
    static ONE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/hook1.bpf.o")));
    static FOUR: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/hook4.bpf.o")));
    static SIXTEEN: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/hook16.bpf.o")));
    match words {
        0..=1 => &ONE.0,
        2..=4 => &FOUR.0,
        _ => &SIXTEEN.0,
    }
}

/// Every object by its name, to try what a kernel says of each.
pub fn all() -> [(&'static str, &'static [u8]); 11] {
    [
        ("hook1", hook(1)),
        ("hook4", hook(4)),
        ("hook16", hook(16)),
        ("cgroup", &skeleton::cgroup::DATA),
        ("process", &skeleton::process::DATA),
        ("flow", &skeleton::flow::DATA),
        ("dns", &skeleton::dns::DATA),
        ("drops", &skeleton::drops::DATA),
        ("cpu", &skeleton::cpu::DATA),
        ("socket", &skeleton::socket::DATA),
        ("socket_fexit", &skeleton::socket_fexit::DATA),
    ]
}

/// Why a packet is counted in no flow, by the numbers of `OtherReason`. The text is a metric's label.
pub const OTHER_REASONS: [&str; OtherReason::Count as usize] = {
    let mut labels = [""; OtherReason::Count as usize];
    labels[OtherReason::Protocol as usize] = "protocol";
    labels[OtherReason::NotIp as usize] = "not_ip";
    labels[OtherReason::Fragment as usize] = "fragment";
    labels[OtherReason::Malformed as usize] = "malformed";
    labels[OtherReason::MapFull as usize] = "map_full";
    labels[OtherReason::Ending as usize] = "ending";
    labels[OtherReason::Share as usize] = "share";
    let mut index = 0;
    while index < labels.len() {
        assert!(!labels[index].is_empty(), "a reason of the kernel side has no label");
        index += 1;
    }
    labels
};

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn every_source_is_an_object_that_can_be_asked_for() {
        let mut sources = BTreeSet::new();
        for folder in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf")).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                let Some(name) = name.strip_suffix(".bpf.c") else { continue };
                match name {
                    "hook" => sources.extend(["hook1", "hook4", "hook16"].map(str::to_owned)),
                    _ => drop(sources.insert(name.to_owned())),
                }
            }
        }
        assert_eq!(sources, super::all().map(|(name, _)| name.to_owned()).into());
    }
}
