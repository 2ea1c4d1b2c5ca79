//! A kernel from a file of facts: for tests, and for `policy explain --kernel` on another machine.

mod declaration;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use self::declaration::{parameters, prototype, r#type};
use super::{
    dimension::NamespaceKind,
    format::parse_format,
    kernel_view::{Architecture, Kernel, TracepointFormat},
};
use crate::kernel::{
    Release,
    btf::{CType, Function, Member, Parameter},
    symbols::Symbol,
};

/// The facts as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    /// E.g. `"6.12"`.
    release: String,
    #[serde(default)]
    architecture: String,
    /// Whether trampolines work.
    #[serde(default)]
    fentry: bool,
    #[serde(default)]
    kprobe_multi: bool,
    /// Prototypes of functions that BTF has and that can be traced, e.g. `int tcp_connect(struct sock *sk)`.
    #[serde(default)]
    functions: Vec<String>,
    /// Names of further functions that can be traced.
    #[serde(default)]
    traceable: Vec<String>,
    /// Names of functions that exist and cannot be traced.
    #[serde(default)]
    untraceable: Vec<String>,
    /// By event: the parameters of the tracepoint's function.
    #[serde(default)]
    raw_tracepoints: BTreeMap<String, String>,
    /// By `subsystem/event`: the text of the format file.
    #[serde(default)]
    tracepoints: BTreeMap<String, String>,
    /// By name.
    #[serde(default)]
    structs: BTreeMap<String, WrittenStruct>,
    /// Inodes of the host's namespaces, by kind, e.g. `mnt`.
    #[serde(default)]
    host_namespaces: BTreeMap<String, u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenStruct {
    #[serde(default)]
    bytes: u32,
    /// By name: offset and type, e.g. `16 char [16]`.
    members: BTreeMap<String, String>,
}

/// A kernel that consists of facts.
#[derive(Clone, Debug, Default)]
pub struct KernelFacts {
    release: Release,
    architecture: Architecture,
    fentry: bool,
    kprobe_multi: bool,
    functions: BTreeMap<String, Function>,
    traceable: BTreeSet<String>,
    untraceable: BTreeSet<String>,
    raw_tracepoints: BTreeMap<String, Vec<CType>>,
    tracepoints: BTreeMap<String, String>,
    structs: BTreeMap<String, (u32, BTreeMap<String, Member>)>,
    host_namespaces: BTreeMap<String, u32>,
}

impl KernelFacts {
    /// Reads YAML; an error says which fact is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        let mut facts = Self {
            release: release(&written.release).ok_or_else(|| format!("release: {} is none", written.release))?,
            architecture: match written.architecture.as_str() {
                "" | "x86_64" => Architecture::X86_64,
                "aarch64" => Architecture::Aarch64,
                other => return Err(format!("architecture: {other} is not known; use x86_64 or aarch64")),
            },
            fentry: written.fentry,
            kprobe_multi: written.kprobe_multi,
            traceable: written.traceable.into_iter().collect(),
            untraceable: written.untraceable.into_iter().collect(),
            tracepoints: written.tracepoints,
            host_namespaces: written.host_namespaces,
            ..Self::default()
        };
        for text in written.functions {
            let (name, function) = prototype(&text).ok_or_else(|| format!("functions: {text} is no prototype"))?;
            facts.functions.insert(name, function);
        }
        for (event, text) in written.raw_tracepoints {
            let types = parameters(&text).ok_or_else(|| format!("rawTracepoints.{event}: {text} are no parameters"))?;
            let types = types.into_iter().map(|Parameter { r#type, .. }| r#type);
            facts.raw_tracepoints.insert(event, types.collect());
        }
        for (name, written) in written.structs {
            let mut members = BTreeMap::new();
            for (member, text) in written.members {
                let wrong = || format!("structs.{name}.members.{member}: {text} is no offset and type");
                let (offset, declared) = text.trim().split_once(' ').ok_or_else(wrong)?;
                let offset = offset.parse().map_err(|_| wrong())?;
                let r#type = r#type(declared).ok_or_else(wrong)?;
                members.insert(member, Member { offset, r#type, is_bitfield: false });
            }
            facts.structs.insert(name, (written.bytes, members));
        }
        Ok(facts)
    }
}

fn release(text: &str) -> Option<Release> {
    let (major, minor) = text.split_once('.')?;
    Some(Release { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

impl Kernel for KernelFacts {
    fn release(&self) -> Release {
        self.release
    }

    fn architecture(&self) -> Architecture {
        self.architecture
    }

    fn function(&self, name: &str) -> Option<Function> {
        self.functions.get(name).cloned()
    }

    fn symbol(&self, name: &str) -> Symbol {
        if self.untraceable.contains(name) {
            Symbol::NotTraceable
        } else if self.functions.contains_key(name) || self.traceable.contains(name) {
            Symbol::Traceable
        } else {
            Symbol::Missing
        }
    }

    fn traceable_functions(&self, accepts: &dyn Fn(&str) -> bool) -> Option<Vec<String>> {
        let all: BTreeSet<&String> = self.functions.keys().chain(&self.traceable).collect();
        let found = all.into_iter().filter(|name| !self.untraceable.contains(*name) && accepts(name));
        Some(found.cloned().collect())
    }

    fn raw_tracepoint(&self, event: &str) -> Option<Vec<CType>> {
        self.raw_tracepoints.get(event).cloned()
    }

    fn tracepoint(&self, subsystem: &str, event: &str) -> TracepointFormat {
        let found = self.tracepoints.get(&format!("{subsystem}/{event}"));
        found.map_or(TracepointFormat::Missing, |text| TracepointFormat::Fields(parse_format(text)))
    }

    fn member(&self, r#struct: &str, name: &str, _: Option<&str>) -> Option<Member> {
        self.structs.get(r#struct)?.1.get(name).cloned()
    }

    fn size_of(&self, r#struct: &str, _: Option<&str>) -> Option<u32> {
        self.structs.get(r#struct).map(|(bytes, _)| *bytes)
    }

    fn host_namespace(&self, kind: NamespaceKind) -> Option<u32> {
        let name = match kind {
            NamespaceKind::Uts => "uts",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Mount => "mnt",
            NamespaceKind::Pid | NamespaceKind::PidForChildren => "pid",
            NamespaceKind::Network => "net",
            NamespaceKind::Time | NamespaceKind::TimeForChildren => "time",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::User => "user",
        };
        self.host_namespaces.get(name).copied()
    }

    fn has_kprobe_multi(&self) -> bool {
        self.kprobe_multi
    }

    fn has_fentry(&self) -> bool {
        self.fentry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_answer_as_a_kernel_does() {
        let facts = KernelFacts::parse(
            "release: '6.1'\nfunctions: ['int tcp_connect(struct sock *sk)']\nuntraceable: [dev_queue_xmit]\n\
             structs: {task_struct: {bytes: 64, members: {comm: '16 char [16]', cred: '32 const struct cred *'}}}\n",
        )
        .unwrap();
        assert_eq!(facts.symbol("tcp_connect"), Symbol::Traceable);
        assert_eq!(facts.symbol("dev_queue_xmit"), Symbol::NotTraceable);
        assert_eq!(facts.symbol("tcp_close"), Symbol::Missing);
        assert_eq!(facts.function("tcp_connect").unwrap().parameters[0].r#type.to_string(), "struct sock *");
        assert_eq!(facts.member("task_struct", "comm", None).unwrap().r#type.to_string(), "char[16]");
        assert_eq!(facts.member("task_struct", "cred", None).unwrap().r#type.to_string(), "struct cred *");
    }

    #[test]
    fn wrong_fact_is_named() {
        let error = KernelFacts::parse("release: '6.1'\nfunctions: [tcp_connect]\n").unwrap_err();
        assert_eq!(error, "functions: tcp_connect is no prototype");
    }
}
