//! Names of functions.

use super::{fault::Faults, list::named_list, wording::shown};
use crate::policy::{Kprobe, TracingPolicySpec, value::LIST_PREFIX};

/// Prefixes of system calls' functions by architecture.
const SYSCALL_PREFIXES: &[&str] =
    &["sys_", "__x64_sys_", "__ia32_sys_", "__ia32_compat_sys_", "__arm64_sys_", "__arm64_compat_sys_"];

pub(super) fn check_call(path: &str, hook: &Kprobe, policy: &TracingPolicySpec, faults: &mut Faults) {
    let field = format!("{path}.call");
    let call = hook.call.as_str();
    if call.starts_with(LIST_PREFIX) {
        named_list(&field, call, policy, faults);
        return;
    }
    let name = call.rsplit_once('/').map_or(call, |(_, name)| name);
    let is_name =
        !name.is_empty() && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"_.$".contains(&letter));
    if call.is_empty() {
        // Its length is a violation of the bounds.
    } else if !is_name {
        faults.invalid(&field, || format!("{} is no name of a function; use letters, digits and _", shown(call)));
    } else if hook.syscall && !SYSCALL_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        faults.invalid(&format!("{path}.syscall"), || {
            format!("{} is no system call, whose names begin with sys_; set syscall: false", shown(call))
        });
    } else if !hook.syscall && call.contains('/') {
        faults.invalid(&field, || {
            format!("{} names an ABI, which only system calls have; set syscall: true", shown(call))
        });
    }
}
