//! Runs a program as uid 0 with the named capabilities and no other, in every set, with no_new_privs.
//! What a container runtime does for a pod; nothing here knows the agent.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use rustix::{
    io::Errno,
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capability_is_in_bounding_set,
        configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
        set_capabilities_secure_bits, set_no_new_privs,
    },
};

const USAGE: &str = "usage: with-capabilities NAME[,NAME...] PROGRAM [ARGUMENT...]   (names as in BPF,NET_ADMIN)";

/// Why the program was not started.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{USAGE}")]
    Usage,
    #[error("no capability is called {0}")]
    NoSuchCapability(String),
    #[error("{step}: {errno}")]
    Kernel { step: &'static str, errno: Errno },
    #[error("exec {program:?}: {error}")]
    Exec { program: OsString, error: std::io::Error },
}

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let refused = match confine_and_exec(arguments.next(), arguments.next(), arguments.collect()) {
        Ok(never) => match never {},
        Err(refused) => refused,
    };
    eprintln!("with-capabilities: {refused}");
    std::process::exit(126);
}

fn confine_and_exec(
    names: Option<OsString>,
    program: Option<OsString>,
    arguments: Vec<OsString>,
) -> Result<std::convert::Infallible, Refused> {
    let (Some(names), Some(program)) = (names.and_then(|n| n.into_string().ok()), program) else {
        return Err(Refused::Usage);
    };
    confine(parse(&names)?)?;
    let error = Command::new(&program).args(arguments).exec();
    Err(Refused::Exec { program, error })
}

fn parse(names: &str) -> Result<CapabilitySet, Refused> {
    names.split(',').try_fold(CapabilitySet::empty(), |set, name| {
        let name = name.trim();
        CapabilitySet::from_name(name).map(|one| set | one).ok_or_else(|| Refused::NoSuchCapability(name.to_owned()))
    })
}

/// The order matters: the bounding set and the secure bits need SETPCAP, which the fourth step gives away,
/// and an ambient capability must be permitted and inheritable first.
fn confine(wanted: CapabilitySet) -> Result<(), Refused> {
    let at = |step| move |errno| Refused::Kernel { step, errno };
    for unwanted in CapabilitySet::all().difference(wanted).iter() {
        // A kernel that does not know a capability answers EINVAL, and cannot grant it either.
        if capability_is_in_bounding_set(unwanted).unwrap_or(false) {
            remove_capability_from_bounding_set(unwanted).map_err(at("drop from the bounding set"))?;
        }
    }
    let no_root = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    set_capabilities_secure_bits(no_root).map_err(at("set SECBIT_NOROOT"))?;
    let sets = CapabilitySets { effective: wanted, permitted: wanted, inheritable: wanted };
    set_capabilities(None, sets).map_err(at("set the permitted capabilities"))?;
    for one in wanted.iter() {
        configure_capability_in_ambient_set(one, true).map_err(at("raise an ambient capability"))?;
    }
    set_no_new_privs(true).map_err(at("set no_new_privs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_a_pods_security_context() {
        let set = parse("BPF,PERFMON,NET_ADMIN,SYS_PTRACE,DAC_READ_SEARCH,SYSLOG").unwrap();
        assert_eq!(set.bits(), 1 << 39 | 1 << 38 | 1 << 12 | 1 << 19 | 1 << 2 | 1 << 34);
    }

    #[test]
    fn an_unknown_name_is_refused_by_name() {
        assert_eq!(parse("BPF,FLY").unwrap_err().to_string(), "no capability is called FLY");
    }
}
