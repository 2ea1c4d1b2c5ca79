//! The fields and values of Tetragon's policies, to distinguish what is not supported yet from typing errors.

/// Fields of `spec` that are not supported yet.
pub(super) const SPEC: &[&str] = &[
    "kprobes",
    "fentries",
    "uprobes",
    "usdts",
    "lsmhooks",
    "loader",
    "lists",
    "enforcers",
    "options",
    "containerSelector",
    "hostSelector",
    "nodeSelector",
    "selectorsMacros",
];

/// Fields of an argument.
pub(super) const ARG: &[&str] =
    &["resolve", "sizeArgIndex", "returnCopy", "maxData", "source", "btfType", "btfTypeModule"];

/// Fields of a selector.
pub(super) const SELECTOR: &[&str] = &[
    "label",
    "matchPIDs",
    "matchArgs",
    "matchData",
    "matchReturnArgs",
    "matchReturnActions",
    "matchBinaries",
    "matchParentBinaries",
    "matchNamespaces",
    "matchNamespaceChanges",
    "matchCapabilities",
    "matchCapabilityChanges",
    "matchWorkloads",
    "macros",
];

/// Values of `action`.
pub(super) const ACTIONS: &[&str] = &[
    "NoPost",
    "Sigkill",
    "Signal",
    "Override",
    "NotifyEnforcer",
    "CleanupEnforcerNotification",
    "TrackSock",
    "UntrackSock",
    "GetUrl",
    "DnsLookup",
    "Set",
    "FollowFD",
    "UnfollowFD",
    "CopyFD",
];

/// Parameters of an action.
pub(super) const ACTION: &[&str] = &[
    "rateLimit",
    "rateLimitScope",
    "kernelStackTrace",
    "userStackTrace",
    "imaHash",
    "argSig",
    "argError",
    "argRegs",
    "argNewSymbol",
    "argNewAddr",
    "argNewOffset",
    "argSock",
    "argUrl",
    "argFqdn",
    "argFd",
    "argName",
    "argIndex",
    "argValue",
];

/// Values of an argument's `type` that are not supported yet.
pub(super) const ARG_TYPES: &[&str] = &[
    "char_buf",
    "char_iovec",
    "skb",
    "sock",
    "sockaddr",
    "socket",
    "sockaddr_un",
    "fd",
    "file",
    "filename",
    "path",
    "nop",
    "bpf_attr",
    "perf_event",
    "bpf_map",
    "user_namespace",
    "capability",
    "kiocb",
    "iov_iter",
    "cred",
    "const_buf",
    "load_info",
    "module",
    "kernel_cap_t",
    "cap_inheritable",
    "cap_permitted",
    "cap_effective",
    "linux_binprm",
    "data_loc",
    "net_device",
    "bpf_cmd",
    "dentry",
    "bpf_prog",
    "unsigned long",
];
