//! Exec and exit events of the running kernel, as root: complete, reported once, and with stable keys after a restart.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod node;

use std::{
    collections::{BTreeSet, HashSet},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use libbpf_rs::query::{MapInfoIter, ProgInfoIter, ProgInfoQueryOptions};
use node::Node;
use trilobite_node::{
    identity::{ExecKey, Process},
    kernel::{Account, Opened, account},
    layers::security::{SecurityEvent, SecurityEventKind},
};
use trilobite_node_ebpf::{ARGS_HEAD_MAX, ARGS_MAX, PATH_DEPTH_MAX};

/// Fills the ring more than once. The cluster tests count a storm of 20,000.
const STORM: usize = 5_000;
/// Many times the capacity of the small ring.
const UNREAD: usize = 1_000;

fn storm(node: &Node, count: usize) -> std::process::Child {
    node.sh(&format!("i=0; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done"))
}

fn keys(events: &[Arc<SecurityEvent>], kind: fn(&SecurityEventKind) -> bool) -> Vec<ExecKey> {
    events.iter().filter(|event| kind(&event.kind)).map(|event| event.process.process.key).collect()
}

fn is_exec(kind: &SecurityEventKind) -> bool {
    matches!(kind, SecurityEventKind::Exec)
}

fn is_exit(kind: &SecurityEventKind) -> bool {
    matches!(kind, SecurityEventKind::Exit { .. })
}

fn unique(keys: &[ExecKey]) -> usize {
    keys.iter().collect::<HashSet<_>>().len()
}

#[tokio::test]
async fn exec_storm_is_reported_once_each_with_known_parents() {
    let mut node = Node::new("storm");
    node.request_processes(1 << 20);
    node.apply().await;
    let mut child = storm(&node, STORM);
    let events = node.events().await;
    child.wait().unwrap();
    let losses = node.identity.losses();
    let (execs, exits) = (keys(&events, is_exec), keys(&events, is_exit));
    println!("{} execs reported, {losses:?}", execs.len());
    assert_eq!(unique(&execs), execs.len(), "an exec was reported twice");
    assert_eq!(unique(&exits), exits.len(), "an exit was reported twice");
    // One more for the shell itself.
    assert_eq!(execs.len() as u64 + losses.exec, STORM as u64 + 1, "{losses:?}");
    assert_eq!(exits.len() as u64 + losses.exit, STORM as u64 + 1, "{losses:?}");
    let shell = execs[0];
    let orphans = events.iter().filter(|event| event.process.process.key != shell && event.parent.is_none()).count();
    assert_eq!(orphans, 0);
    assert!(events.iter().all(|event| event.process.process.key == shell || event.process.process.parent == shell));
}

#[tokio::test]
async fn full_ring_counts_its_losses() {
    let mut node = Node::new("small");
    node.request_processes(4096);
    node.apply().await;
    // The runtime has one thread, so that the ring is not read while this waits.
    storm(&node, UNREAD).wait().unwrap();
    let events = node.events().await;
    let losses = node.identity.losses();
    assert!(losses.exec > 0 && losses.exit > 0 && losses.fork > 0, "{losses:?}");
    assert_eq!(unique(&keys(&events, is_exec)) as u64 + losses.exec, UNREAD as u64 + 1, "{losses:?}");
    assert_eq!(unique(&keys(&events, is_exit)) as u64 + losses.exit, UNREAD as u64 + 1, "{losses:?}");
}

#[tokio::test]
async fn threads_ending_together_make_one_exit() {
    let mut node = Node::new("threads");
    node.request_processes(1 << 20);
    node.apply().await;
    let program = std::env::current_exe().unwrap();
    let rounds = 100;
    let script = format!(
        "i=0; while [ $i -lt {rounds} ]; do {} --exact process_with_many_threads --ignored >/dev/null; i=$((i+1)); done",
        program.display()
    );
    let mut child = node.sh(&script);
    let events = node.events().await;
    child.wait().unwrap();
    let exits = keys(&events, is_exit);
    assert_eq!(unique(&exits), exits.len());
    assert_eq!(exits.len(), rounds + 1);
    assert_eq!(node.identity.losses().exit, 0);
}

#[test]
#[ignore = "run by the test above"]
fn process_with_many_threads() {
    for _ in 0..8 {
        std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_secs(60)));
    }
    std::process::exit(0);
}

#[tokio::test]
async fn process_keeps_its_key_when_the_agent_restarts() {
    let mut node = Node::new("restart");
    node.request_processes(256 << 10);
    node.apply().await;
    let mut child = node.sh("exec /bin/sleep 30");
    let events = node.events().await;
    let before =
        events.iter().map(|event| &event.process.process).find(|process| process.binary == "/bin/sleep").unwrap();
    node.restart_agent().await;
    node.apply().await;
    let after = node.identity.process(before.key).expect("the iterator finds the key that the exec had");
    assert_eq!((after.arguments.as_str(), after.uid, after.ns_pid), ("30", before.uid, before.ns_pid));
    assert_eq!(after.flags.split(' ').next(), Some("procFS"));
    child.kill().unwrap();
    child.wait().unwrap();
    let events = node.events().await;
    let end = events.iter().find(|event| event.process.process.key == before.key).unwrap();
    assert_eq!(end.kind, SecurityEventKind::Exit { status: 0, signal: 9 });
}

#[tokio::test]
async fn upgraded_program_keeps_its_identity_when_the_agent_restarts() {
    let mut node = Node::new("upgraded");
    node.request_processes(256 << 10);
    node.apply().await;
    let folder = public_folder("upgraded");
    let program = folder.join("nap");
    std::fs::copy("/bin/sleep", &program).unwrap();
    // Called through a link, which /proc does not show.
    std::os::unix::fs::symlink("nap", folder.join("link")).unwrap();
    let mut child = node.sh(&format!("cd {}; exec ./link 30", folder.display()));
    let events = node.events().await;
    let named = |event: &&Arc<SecurityEvent>| event.process.process.binary.ends_with("/link");
    let before = events.iter().find(named).unwrap().process.process.clone();
    std::fs::remove_file(&program).unwrap();

    let known = node.identity.known_processes(u64::MAX);
    node.restart_agent().await;
    node.identity.set_known_processes(known);
    node.apply().await;
    assert_eq!(node.identity.process(before.key), Some(before.clone()), "as its exec was seen");

    node.restart_agent().await;
    node.apply().await;
    let read = node.identity.process(before.key).unwrap();
    let seen = (read.binary.as_str(), read.inode.1, read.arguments.as_str(), read.cwd.as_str());
    assert_eq!(seen, (program.to_str().unwrap(), 0, "30", folder.to_str().unwrap()), "no agent has seen it");
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn exec_has_binary_arguments_directory_and_parent() {
    let mut node = Node::new("exec");
    node.request_processes(256 << 10);
    node.apply().await;
    let mut child = node.sh("cd /proc/sys/kernel; /usr/bin/env -i true 'two words' ''; cd /; exit 3");
    let events = node.events().await;
    child.wait().unwrap();
    let of = |name: &str| {
        let named = |event: &&Arc<SecurityEvent>| is_exec(&event.kind) && event.process.process.binary.ends_with(name);
        events.iter().find(named).unwrap().process.process.clone()
    };
    let (env, program) = (of("/env"), of("/true"));
    assert_eq!(env.arguments, "-i true \"two words\" \"\"");
    assert_eq!(program.arguments, "\"two words\" \"\"");
    // The test may run in a container.
    let flags = |process: &Process| process.flags.trim_end_matches(" inInitTree").to_owned();
    assert_eq!((env.cwd.as_str(), flags(&env).as_str()), ("/proc/sys/kernel", "execve clone"));
    assert_eq!((program.key.pid, flags(&program).as_str()), (env.key.pid, "execve"));
    assert_eq!(env.in_init_tree, program.in_init_tree);
    assert_eq!(program.parent, env.parent);
    assert_ne!(program.key, env.key);
    let statuses: BTreeSet<u32> = events
        .iter()
        .filter_map(|event| match event.kind {
            SecurityEventKind::Exit { status, .. } => Some(status),
            _ => None,
        })
        .collect();
    assert_eq!(statuses, BTreeSet::from([0, 3]));
}

/// A word of so many bytes in the variable `$word`.
fn long_word(bytes: usize) -> String {
    format!("word=$(head -c {bytes} /dev/zero | tr '\\0' x)")
}

#[tokio::test]
async fn arguments_are_whole_up_to_64_kib_and_marked_beyond() {
    let mut node = Node::new("arguments");
    node.request_processes(1 << 20);
    node.apply().await;
    // The bytes of all arguments are those of the word and of "/bin/true", "end" and three zeros.
    let others = "/bin/true\0\0end\0".len();
    let limit = ARGS_MAX as usize;
    let sizes = [ARGS_HEAD_MAX as usize, ARGS_HEAD_MAX as usize + 1, 20_000, limit, limit + 1, 100_000];
    let commands = sizes.map(|size| format!("{}; /bin/true $word end; ", long_word(size - others)));
    node.sh(&commands.concat()).wait().unwrap();
    let events = node.events().await;
    let execs: Vec<&Process> = events
        .iter()
        .filter(|event| is_exec(&event.kind) && event.process.process.binary == "/bin/true")
        .map(|event| &*event.process.process)
        .collect();
    assert_eq!(execs.len(), sizes.len());
    for (process, size) in execs.iter().zip(sizes) {
        let whole = format!("{} end", "x".repeat(size - others));
        let shown = &whole[..whole.len().min(limit - "/bin/true\0".len())];
        assert!(process.arguments == shown, "{size}: {} bytes", process.arguments.len());
        assert_eq!(process.flags.contains("truncArgs"), size > limit, "{size}: {}", process.flags);
    }
    // The exit, and what a process inherits by fork, have the same.
    let ended = events.iter().filter(|event| is_exit(&event.kind) && event.process.process.arguments.len() > 60_000);
    assert_eq!(ended.count(), 3);
    assert_eq!(node.identity.losses().records(), 0);
}

#[tokio::test]
async fn long_arguments_of_a_running_process_are_read_from_proc() {
    let mut node = Node::new("wordy");
    node.request_processes(256 << 10);
    node.apply().await;
    // The name is too long for a file, and tail goes on with the other.
    let mut child = node.sh(&format!("{}; exec /usr/bin/tail -f /dev/null $word 2>/dev/null", long_word(60_000)));
    let events = node.events().await;
    let mut processes = events.iter().map(|event| &event.process.process);
    let before = processes.find(|process| process.arguments.len() > 60_000).unwrap();
    node.restart_agent().await;
    node.apply().await;
    let read = node.identity.process(before.key).unwrap();
    assert!(read.arguments == before.arguments, "{} bytes", read.arguments.len());
    assert!(read.flags.starts_with("procFS") && !read.flags.contains("truncArgs"), "{}", read.flags);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn long_arguments_cost_no_other_process_its_records() {
    let mut node = Node::new("crowd");
    node.request_processes(128 << 10);
    node.apply().await;
    let usual = "/bin/true usual; ".repeat(20);
    // The runtime has one thread, so that the ring is not read while this waits.
    let hostile = "/bin/true $word; ".repeat(5);
    node.sh(&format!("{}; {hostile}{usual}", long_word(60_000))).wait().unwrap();
    let events = node.events().await;
    assert_eq!(node.identity.losses().records(), 0, "{:?}", node.identity.losses());
    let execs = |matches: fn(&Process) -> bool| {
        events.iter().filter(|event| is_exec(&event.kind) && matches(&event.process.process)).count()
    };
    assert_eq!(execs(|process| process.arguments == "usual"), 20);
    assert_eq!(execs(|process| process.arguments.starts_with("xx")), 5);
    let cut = execs(|process| process.arguments.starts_with("xx") && process.flags.contains("truncArgs"));
    assert!((3..5).contains(&cut), "{cut} were cut");
}

/// `process-variants`, which makes processes in ways that a shell does not.
fn variants() -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().with_file_name("process-variants");
    assert!(path.is_file(), "{} is missing: cargo build -p trilobite-kernels", path.display());
    path
}

/// A folder that every user may enter.
fn public_folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("trilobite-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn exec_of<'a>(events: &'a [Arc<SecurityEvent>], arguments: &str) -> &'a Process {
    let mut execs = events.iter().filter(|event| is_exec(&event.kind)).map(|event| &*event.process.process);
    execs.find(|process| process.arguments == arguments).unwrap_or_else(|| panic!("no exec with {arguments}"))
}

fn exit_with(events: &[Arc<SecurityEvent>], status: u32) -> &SecurityEvent {
    let kind = SecurityEventKind::Exit { status, signal: 0 };
    events.iter().find(|event| event.kind == kind).unwrap_or_else(|| panic!("no exit with {status}"))
}

#[tokio::test]
async fn child_has_the_image_of_its_forker() {
    let mut node = Node::new("forker");
    node.request_processes(256 << 10);
    node.apply().await;
    let program = variants().display().to_string();
    let all = ["sibling", "thread-sibling", "vfork", "thread-uid"];
    let script = all.map(|variant| format!("{program} {variant} marked; ")).concat();
    node.sh(&format!("{script} :")).wait().unwrap();
    let events = node.events().await;
    for (variant, status) in all.into_iter().zip([21, 22, 127, 23]) {
        let (end, maker) = (exit_with(&events, status), exec_of(&events, &format!("{variant} marked")));
        let child = &end.process.process;
        assert_eq!(
            (child.binary.as_str(), child.arguments.as_str()),
            (maker.binary.as_str(), maker.arguments.as_str())
        );
        assert_ne!(child.key, maker.key);
        let parent = if variant.contains("sibling") { maker.parent } else { maker.key };
        assert_eq!(child.parent, parent, "{variant}");
        assert_eq!(end.parent.as_ref().map(|parent| parent.process.key), Some(parent), "{variant}");
    }
    // A thread of its forker had changed its user.
    let uid = |status| exit_with(&events, status).process.process.credentials.uid;
    assert_eq!((uid(22), uid(23), exit_with(&events, 23).process.process.uid), ([0; 4], [1000; 4], 1000));
}

#[tokio::test]
async fn file_that_runs_is_named_where_it_is_another() {
    let mut node = Node::new("file");
    node.request_processes(256 << 10);
    node.apply().await;
    let folder = public_folder("file");
    let (link, script) = (folder.join("link"), folder.join("script"));
    std::os::unix::fs::symlink("/bin/true", &link).unwrap();
    std::fs::write(&script, "#!/bin/true\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = Path::new("/bin/true").canonicalize().unwrap().display().to_string();
    let (program, folder_text) = (variants().display().to_string(), folder.display().to_string());
    let commands = [
        format!("{program} memfd /bin/true of-memory"),
        format!("{program} open /bin/true of-a-file"),
        format!("{program} as disguise {file} of-itself"),
        format!("{} of-a-link", link.display()),
        format!("cd {folder_text}; ./script of-a-script"),
    ];
    node.sh(&commands.join("; ")).wait().unwrap();
    let events = node.events().await;
    std::fs::remove_dir_all(&folder).unwrap();
    let of = |arguments: &str| {
        let process = exec_of(&events, arguments);
        (process.binary.as_str(), process.file.as_deref(), process.argv0.as_deref())
    };
    assert!(of("of-memory").0.starts_with("/dev/fd/") && of("of-a-file").0.starts_with("/dev/fd/"));
    assert_eq!((of("of-memory").1, of("of-memory").2), (Some("/memfd:payload"), Some("true")));
    assert_eq!(of("of-a-file").1, Some(file.as_str()));
    assert_eq!(of("of-itself"), (file.as_str(), None, Some("disguise")));
    assert_eq!((of("of-a-link").1, of("of-a-link").2), (Some(file.as_str()), None));
    let script = format!("{folder_text}/script");
    assert_eq!(of("./script of-a-script"), (script.as_str(), Some(file.as_str()), Some("/bin/true")));
}

#[tokio::test]
async fn capabilities_of_a_file_raise_privileges_and_a_namespace_does_not() {
    let mut node = Node::new("privilege");
    node.request_processes(256 << 10);
    node.apply().await;
    let folder = public_folder("privilege");
    let ping = folder.join("ping");
    std::fs::copy("/bin/true", &ping).unwrap();
    let (program, ping) = (variants().display().to_string(), ping.display().to_string());
    let commands = [
        format!("{program} file-caps {ping} raised"),
        format!("{program} file-caps-no-new-privs {ping} refused"),
        format!("{ping} by-root"),
        "unshare --user --map-root-user /bin/true in-a-namespace".to_owned(),
    ];
    node.sh(&commands.join("; ")).wait().unwrap();
    let events = node.events().await;
    std::fs::remove_dir_all(&folder).unwrap();
    let raised = exec_of(&events, "raised");
    assert_eq!((raised.raised_by_file, raised.uid, raised.credentials.permitted), (true, 1000, 1 << 13));
    assert_eq!((raised.setuid, raised.setgid), (None, None));
    let refused = exec_of(&events, "refused");
    assert_eq!((refused.raised_by_file, refused.credentials.permitted), (false, 0));
    let by_root = exec_of(&events, "by-root");
    assert!(!by_root.raised_by_file && by_root.credentials.permitted != 0);
    let level = |process: &Process| process.credentials.user_namespace.level;
    let within = exec_of(&events, "in-a-namespace");
    assert_eq!(level(within), level(by_root) + 1);
    assert!(!within.raised_by_file && within.credentials.effective >> 21 & 1 == 1, "{within:?}");
    assert_ne!(within.namespaces[9], by_root.namespaces[9]);
}

#[tokio::test]
async fn orphan_has_the_first_process_of_the_machine_as_its_parent() {
    let mut node = Node::new("orphan");
    let file = std::env::temp_dir().join(format!("trilobite-orphan-{}", std::process::id()));
    node.sh(&format!("/bin/sleep 300 & echo $! > {}", file.display())).wait().unwrap();
    let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    std::fs::remove_file(&file).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("\nPPid:\t1\n"), "something else adopts orphans here: {status}");
    node.request_processes(256 << 10);
    node.apply().await;
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    let events = node.events().await;
    let parent = events[0].parent.as_ref().expect("a parent, although it is not on the node");
    assert_eq!((events[0].process.process.key.pid, parent.process.key.pid), (pid, 1));
    assert_eq!(parent.process.key, events[0].process.process.parent);
    assert!(parent.process.flags.starts_with("procFS") && parent.pod.is_none(), "{parent:?}");
}

#[tokio::test]
async fn directory_is_whole_or_marked_as_cut() {
    let mut node = Node::new("deep");
    node.request_processes(256 << 10);
    node.apply().await;
    let top = std::env::temp_dir().join(format!("trilobite-deep-{}", std::process::id()));
    let below = |names: usize| top.join("d/".repeat(names));
    std::fs::create_dir_all(below(100)).unwrap();
    let (whole, cut) = (below(40), below(100));
    let script = format!("cd {} && /bin/true whole; cd {} && /bin/true cut", whole.display(), cut.display());
    let mut child = node.sh(&script);
    let events = node.events().await;
    child.wait().unwrap();
    std::fs::remove_dir_all(&top).unwrap();
    let of = |arguments: &str| {
        let named = |event: &&Arc<SecurityEvent>| event.process.process.arguments == arguments;
        events.iter().find(named).unwrap().process.process.clone()
    };
    assert_eq!(format!("{}/", of("whole").cwd), whole.display().to_string());
    assert!(!of("whole").flags.contains("errorCWD"));
    assert!(of("cut").flags.contains("errorCWD"), "{}", of("cut").flags);
    assert_eq!(of("cut").cwd, vec!["d"; PATH_DEPTH_MAX as usize].join("/"));
}

#[tokio::test]
async fn task_iterator_has_a_buffer_of_its_own() {
    let _alone = Node::new("list");
    let mut opened = Opened::open("process", &trilobite_node_ebpf::skeleton::process::DATA).unwrap();
    // The iterator may be preempted: with the others' scratch an exec on its processor would write over its record.
    opened.only(&["list_tasks"]);
    let loaded = opened.load().unwrap();
    let with_maps = ProgInfoQueryOptions::default().include_map_ids(true);
    let lister =
        ProgInfoIter::with_query_opts(with_maps).filter(|program| program.name == "list_tasks").last().unwrap();
    let maps = MapInfoIter::default().filter(|map| lister.map_ids.contains(&map.id));
    let names: Vec<String> = maps.map(|map| map.name.to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name == "processes"), "{names:?}");
    assert!(!names.iter().any(|name| name == "scratch"), "{names:?}");
    drop(loaded);
}

#[tokio::test]
async fn only_descendants_of_a_first_process_are_in_its_tree() {
    let mut node = Node::new("tree");
    node.request_processes(256 << 10);
    node.apply().await;
    let script = "unshare --pid --fork /bin/sh -c '/bin/sleep 3; :' & /bin/sleep 1
        nsenter --pid=/proc/$!/ns/pid_for_children /bin/echo entered; wait";
    node.sh(script).wait().unwrap();
    let events = node.events().await;
    let of = |name: &str, arguments: &str| {
        let processes = events.iter().filter(|event| is_exec(&event.kind)).map(|event| &event.process.process);
        let found = processes.into_iter().find(|of| of.binary.ends_with(name) && of.arguments == arguments).unwrap();
        (found.in_init_tree, found.flags.ends_with(" inInitTree"))
    };
    assert_eq!(of("/sleep", "3"), (Some(true), true));
    assert_eq!(of("/echo", "entered"), (Some(false), false));
}

#[tokio::test]
async fn ring_of_another_size_takes_over_without_gap_or_duplicate() {
    let mut node = Node::new("swap");
    node.request_processes(256 << 10);
    node.apply().await;
    let mut child = storm(&node, 3000);
    let a_while = std::time::Duration::from_millis(150);
    let mut events = Vec::new();
    for ring_bytes in [512 << 10, 1 << 20, 512 << 10, 256 << 10] {
        events.extend(node.events_of(a_while).await);
        node.request_processes(ring_bytes);
        node.apply().await;
    }
    // On a busy machine the storm may pause for longer than the reader waits.
    while child.try_wait().unwrap().is_none() {
        events.extend(node.events_of(a_while).await);
    }
    events.extend(node.events().await);
    let losses = node.identity.losses();
    let (execs, exits) = (keys(&events, is_exec), keys(&events, is_exit));
    assert_eq!((unique(&execs), unique(&exits)), (execs.len(), exits.len()));
    assert_eq!(execs.len() as u64 + losses.exec, 3001, "{losses:?}");
    assert_eq!(exits.len() as u64 + losses.exit, 3001, "{losses:?}");
}

#[tokio::test]
async fn nothing_stays_in_the_kernel_without_units() {
    let mut node = Node::new("idle");
    node.request_processes(256 << 10);
    node.apply().await;
    assert!(account().programs >= 5);
    node.request_nothing();
    node.apply().await;
    assert_eq!(account(), Account::default());
}
