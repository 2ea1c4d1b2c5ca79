//! Compact lines of hooks: a word and the arguments for hooks that many policies use, the name for all others.

use std::fmt::Write;

use trilobite_api::tetragon::{self as api, KprobeArgument, kprobe_argument::Arg};

use super::Paint;

/// Emoji and word, and the text after the process.
type Description = ((&'static str, String), Option<String>);

/// Masks of security_file_permission.
const WRITE: i32 = 1 << 1;
const READ: i32 = 1 << 2;

pub(super) fn describe(kprobe: &api::ProcessKprobe, paint: Paint) -> Description {
    let args = Args(&kprobe.args);
    let cyan = |text: Option<String>| text.map(|text| paint.cyan(&text)).unwrap_or_default();
    let name = kprobe.function_name.as_str();
    let call = ["__x64_", "__arm64_", "__ia32_"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);

    let (sign, word, tail) = match call {
        "sys_write" => ("📝", "write", format!("{} {}", cyan(args.file(0)), cyan(args.bytes(2)))),
        "sys_read" => ("📚", "read", format!("{} {}", cyan(args.file(0)), cyan(args.bytes(2)))),
        "fd_install" => ("📬", "open", cyan(args.file(1))),
        "sys_openat" => ("📬️", "openat", cyan(args.string(1))),
        "sys_open" => ("📬️", "open", cyan(args.string(1))),
        "sys_close" => ("📪", "close", cyan(args.file(0))),
        "sys_mount" => ("💾", "mount", format!("{} {}", cyan(args.string(0)), cyan(args.string(1)))),
        "sys_pivot_root" => ("💾", "pivot_root", format!("{} {}", cyan(args.string(0)), cyan(args.string(1)))),
        "sys_setuid" => ("🔑", "setuid", cyan(args.int(0).map(|uid| uid.to_string()))),
        "sys_clock_settime" => return (("⏰", "clock_settime".to_owned()), None),
        "proc_exec_connector" => return (("🔧", "proc_exec_connector".to_owned()), None),
        "sys_setns" => ("🔧", "setns", args.int(1).map(namespace).unwrap_or_default().to_owned()),
        "tcp_connect" => ("🔌", "connect", cyan(args.connection(0))),
        "tcp_close" => ("🧹", "close", cyan(args.connection(0))),
        "tcp_sendmsg" => {
            let bytes = args.int(1).unwrap_or_default();
            ("📤", "sendmsg", format!("{} bytes {bytes}", cyan(args.connection(0))))
        }
        "bpf_check" => ("🐝", "bpf_load", cyan(args.program(0))),
        "security_perf_event_alloc" => ("🐝", "perf_event_alloc", cyan(args.perf_event(0))),
        "security_bpf_map_alloc" | "security_bpf_map_create" => ("🗺", "bpf_map_create", cyan(args.map(0))),
        "security_file_permission" => {
            let (sign, word) = match args.int(1) {
                Some(WRITE) => ("📝", "write"),
                Some(READ) => ("📚", "read"),
                _ => ("❓", "security_file_permission"),
            };
            (sign, word, cyan(args.file(0)))
        }
        "security_mmap_file" => {
            let protection = args.uint(1).unwrap_or_default();
            let letters = ['r', 'w', 'x'].into_iter().enumerate().filter(|(bit, _)| protection >> bit & 1 == 1);
            let word = letters.fold("mmap-".to_owned(), |word, (_, letter)| word + &letter.to_string());
            return (("📝", word), Some(cyan(args.file(0))));
        }
        "security_path_truncate" => ("📝", "truncate", cyan(args.path(0))),
        "security_file_truncate" => ("📝", "truncate", cyan(args.file(0))),
        _ => ("❓", "syscall", name.to_owned()),
    };
    ((sign, word.to_owned()), Some(tail))
}

/// Number of the system call for `raw_syscalls/sys_enter`; none for other tracepoints.
pub(super) fn system_call(point: &api::ProcessTracepoint) -> Option<String> {
    if (point.subsys.as_str(), point.event.as_str()) != ("raw_syscalls", "sys_enter") {
        return None;
    }
    Some(match Args(&point.args).get(0) {
        Some(Arg::SyscallId(call)) if call.abi != "x64" => format!("{}/{}", call.abi, call.id),
        Some(Arg::SyscallId(call)) => call.id.to_string(),
        Some(Arg::LongArg(id)) => id.to_string(),
        _ => "unknown".to_owned(),
    })
}

/// Stack traces, one line per frame.
pub(super) fn stacks(kprobe: &api::ProcessKprobe, paint: Paint) -> String {
    let mut text = String::new();
    if !kprobe.kernel_stack_trace.is_empty() {
        text.push_str("Kernel:\n");
    }
    for step in &kprobe.kernel_stack_trace {
        let (address, symbol) = (format!("   0x{:x}:", step.address), format!(" {}", step.symbol));
        let offset = paint.yellow(&format!("0x{:x}\n", step.offset));
        let _ = write!(text, "{}{}+{offset}", paint.green(&address), paint.blue(&symbol));
    }
    if !kprobe.user_stack_trace.is_empty() {
        text.push_str("User:\n");
    }
    for step in &kprobe.user_stack_trace {
        text.push_str(&paint.green(&format!("   0x{:x}:", step.address)));
        if !step.symbol.is_empty() {
            text.push_str(&paint.blue(&format!(" {}", step.symbol)));
        }
        text.push_str(&paint.yellow(&format!(" ({}+0x{:x})\n", step.module, step.offset)));
    }
    text
}

/// Name of the namespace by its flag in clone(2).
fn namespace(flag: i32) -> &'static str {
    match flag {
        0 => "any",
        0x0200_0000 => "cgroup",
        0x0800_0000 => "ipc",
        0x4000_0000 => "net",
        0x0002_0000 => "mnt",
        0x2000_0000 => "pid",
        0x80 => "time",
        0x1000_0000 => "user",
        0x0400_0000 => "uts",
        _ => "",
    }
}

struct Args<'a>(&'a [KprobeArgument]);

impl<'a> Args<'a> {
    fn get(&self, at: usize) -> Option<&'a Arg> {
        self.0.get(at)?.arg.as_ref()
    }

    fn file(&self, at: usize) -> Option<String> {
        match self.get(at)? {
            Arg::FileArg(file) => Some(file.path.clone()),
            _ => None,
        }
    }

    fn path(&self, at: usize) -> Option<String> {
        match self.get(at)? {
            Arg::PathArg(path) => Some(path.path.clone()),
            _ => None,
        }
    }

    fn string(&self, at: usize) -> Option<String> {
        match self.get(at)? {
            Arg::StringArg(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn bytes(&self, at: usize) -> Option<String> {
        match self.get(at)? {
            Arg::SizeArg(size) => Some(format!("{size} bytes")),
            _ => None,
        }
    }

    fn int(&self, at: usize) -> Option<i32> {
        match self.get(at)? {
            Arg::IntArg(value) => Some(*value),
            _ => None,
        }
    }

    fn uint(&self, at: usize) -> Option<u32> {
        match self.get(at)? {
            Arg::UintArg(value) => Some(*value),
            _ => None,
        }
    }

    fn connection(&self, at: usize) -> Option<String> {
        match self.get(at)? {
            Arg::SockArg(sock) => Some(format!("tcp {}:{} -> {}:{}", sock.saddr, sock.sport, sock.daddr, sock.dport)),
            _ => None,
        }
    }

    fn program(&self, at: usize) -> Option<String> {
        match self.get(at)? {
            Arg::BpfAttrArg(of) => Some(format!("{} {} instruction count {}", of.prog_type, of.prog_name, of.insn_cnt)),
            _ => None,
        }
    }

    fn perf_event(&self, at: usize) -> Option<String> {
        match self.get(at)? {
            Arg::PerfEventArg(event) => Some(format!("{} {}", event.r#type, event.kprobe_func)),
            _ => None,
        }
    }

    fn map(&self, at: usize) -> Option<String> {
        match self.get(at)? {
            Arg::BpfMapArg(map) => Some(format!(
                "{} {} key size {} value size {} max entries {}",
                map.map_type, map.map_name, map.key_size, map.value_size, map.max_entries
            )),
            _ => None,
        }
    }
}
