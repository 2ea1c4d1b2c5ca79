//! Compares with the real `tetra`: it must print our events, read from its standard input and from our service, as we
//! do. It is taken from `target/cache/bin`, where `make` puts it.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures::stream;
use tokio::{
    net::UnixListener,
    sync::{oneshot, watch},
};
use tonic::{service::Routes, transport::Server};
use trilobite_api::tetragon::{self as api, get_events_response::Event};

use super::{
    compact::{self, Paint},
    go_pattern_cases,
    golden::{json, messages},
    samples, service,
};
use crate::{
    identity::Process,
    layers::security::event_bus::EventBus,
    loss::Ledger,
    serve::{read_rows::ReadRows, router::Services, scope::ScopeRule},
};

fn tetra() -> Option<PathBuf> {
    client("tetra")
}

/// None where it was not built, unless it is required.
pub(super) fn client(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/cache/bin").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(env::var_os("TRILOBITE_REQUIRE_CLIENTS").is_none(), "{} is not there", path.display());
    eprintln!("not compared: {} is not there; `make test` builds it", path.display());
    None
}

/// Go's protojson puts blanks after commas and colons depending on the build.
fn without_random_blanks(line: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::new(), false, false);
    for letter in line.chars() {
        match letter {
            ' ' if !inside => continue,
            '"' if !escaped => inside = !inside,
            _ => {}
        }
        escaped = inside && letter == '\\' && !escaped;
        out.push(letter);
    }
    out
}

pub(crate) fn printed_from_stdin(lines: &str, args: &[&str]) -> Option<String> {
    let mut child = Command::new(tetra()?)
        .arg("getevents")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_owned();
    let feeder = thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

#[track_caller]
fn assert_same_lines(ours: &str, theirs: &str) {
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

#[test]
fn tetra_reads_our_json_and_prints_the_same() {
    let ours = json(&messages());
    let Some(theirs) = printed_from_stdin(&ours, &["-o", "json"]) else { return };
    let theirs: Vec<String> = theirs.lines().map(without_random_blanks).collect();
    assert_same_lines(&without_random_blanks(&ours), &theirs.join("\n"));
}

#[test]
fn tetra_ignores_our_own_field() {
    let process = api::Process { binary: "/proc/self/exe".into(), argv0: Some("sleep".into()), ..Default::default() };
    let event = Event::ProcessExec(api::ProcessExec { process: Some(process), ..Default::default() });
    let ours = json(&[api::GetEventsResponse { event: Some(event), ..Default::default() }]);
    let own = r#","argv0":"sleep""#;
    assert!(ours.contains(own), "{ours}");
    let Some(theirs) = printed_from_stdin(&ours, &["-o", "json"]) else { return };
    assert_same_lines(&without_random_blanks(&ours.replace(own, "")), &without_random_blanks(&theirs));
}

#[test]
fn tetra_prints_our_compact_lines() {
    let messages = messages();
    for (colour, paint) in [("never", Paint::Plain), ("always", Paint::Colours)] {
        let args = ["-o", "compact", "--timestamps", "--color", colour];
        let Some(theirs) = printed_from_stdin(&json(&messages), &args) else { return };
        let ours: String = messages.iter().filter_map(|message| compact::text(message, paint, true)).collect();
        assert_same_lines(&ours, &theirs);
    }
}

#[test]
fn our_patterns_match_what_tetra_matches() {
    // A flag of tetra is a line of CSV.
    let flag = |pattern: &str| format!("\"{}\"", pattern.replace('"', "\"\""));
    for (pattern, text, matches) in go_pattern_cases::MATCHES {
        let process = Some(api::Process { binary: text.into(), ..Default::default() });
        let event = Some(Event::ProcessExec(api::ProcessExec { process, ..Default::default() }));
        let line = json(&[api::GetEventsResponse { event, ..Default::default() }]);
        let Some(printed) = printed_from_stdin(&line, &["-o", "json", "--process", &flag(pattern)]) else { return };
        assert_eq!(!printed.is_empty(), matches, "{pattern} in {text:?}");
    }
    for pattern in go_pattern_cases::INVALID {
        let Some(tetra) = tetra() else { return };
        let mut command = Command::new(tetra);
        command.args(["getevents", "--process", &flag(pattern)]).stdin(Stdio::piped());
        assert!(!command.output().unwrap().status.success(), "{pattern}");
    }
}

#[test]
fn our_field_filters_keep_what_tetra_keeps() {
    use trilobite_api::{
        field_mask::EventFieldFilters,
        tetragon::{FieldFilter, FieldFilterAction},
    };
    let messages = messages();
    for (flag, action, paths) in [
        ("-F", FieldFilterAction::Exclude, "parent,process.pod.pod_labels,process.cap"),
        ("-f", FieldFilterAction::Include, "process.exec_id,parent.pod.name,process.pod.container.image"),
        ("-f", FieldFilterAction::Include, "process,policy_name"),
    ] {
        let Some(theirs) = printed_from_stdin(&json(&messages), &["-o", "json", flag, paths]) else { return };
        let fields = Some(prost_types::FieldMask { paths: paths.split(',').map(str::to_owned).collect() });
        let filter = FieldFilter { fields, action: action.into(), ..FieldFilter::default() };
        let filters = EventFieldFilters::new(vec![filter]).unwrap();
        let ours: Vec<_> = messages.iter().map(|message| filters.apply(message.clone())).collect();
        let theirs: Vec<String> = theirs.lines().map(without_random_blanks).collect();
        assert_same_lines(&without_random_blanks(&json(&ours)), &theirs.join("\n"));
    }
}

/// Our service on its own socket and thread.
pub(super) struct Agent {
    bus: EventBus,
    pub(super) address: String,
    _folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl Agent {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let address = format!("unix://{}", path.display());
        let bus = EventBus::new(Ledger::default());
        let info = samples::agent_info("v9.9.9", watch::channel(None).1);
        let of = bus.clone();
        let (_stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = UnixListener::bind(path).unwrap();
                ready.send(()).unwrap();
                let incoming = stream::unfold(listener, async |listener| {
                    Some((listener.accept().await.map(|(stream, _)| stream), listener))
                });
                let service = service(of, samples::encoder(), info, ReadRows::default());
                let routes = Services::new(Routes::new(service)).routes(ScopeRule::Optional);
                let router = Server::builder().add_routes(routes);
                tokio::select! {
                    ended = router.serve_with_incoming(incoming) => ended.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self { bus, address, _folder: folder, _stop }
    }

    fn tetra(&self, args: &[&str]) -> Option<Command> {
        let mut command = Command::new(tetra()?);
        command.args(args).args(["--server-address", &self.address]).stdin(Stdio::null());
        Some(command)
    }

    /// The first `count` lines that tetra prints.
    fn lines(&self, args: &[&str], count: usize) -> Option<Vec<String>> {
        Some(self.lines_of(self.tetra(args)?, count))
    }

    /// The same of another client.
    pub(super) fn lines_of(&self, mut client: Command, count: usize) -> Vec<String> {
        let mut child = KillOnDrop(client.stdout(Stdio::piped()).spawn().unwrap());
        let stdout = BufReader::new(child.0.stdout.take().unwrap());
        self.wait_for_readers(true);
        samples::events().into_iter().for_each(|event| self.bus.publish(Arc::new(event)));
        let (line, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|text| drop(line.send(text))));
        let read = (0..count).map(|_| lines.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        drop(child);
        self.wait_for_readers(false);
        read
    }

    fn wait_for_readers(&self, wanted: bool) {
        let start = Instant::now();
        while self.bus.has_readers() != wanted {
            assert!(start.elapsed() < Duration::from_secs(20), "the bus has readers: not {wanted}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Kills the process when it is dropped.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn tetra_reads_our_stream() {
    let messages: Vec<_> = samples::events().iter().map(|event| samples::encoder().message(event)).collect();
    let agent = Agent::start();
    let Some(theirs) = agent.lines(&["getevents", "-o", "json"], messages.len()) else { return };
    let theirs: Vec<String> = theirs.iter().map(|line| without_random_blanks(line)).collect();
    assert_same_lines(&without_random_blanks(&json(&messages)), &theirs.join("\n"));
}

#[test]
fn tetra_reads_arguments_of_64_kib_from_our_stream() {
    let agent = Agent::start();
    let Some(tetra) = agent.tetra(&["getevents", "-o", "json"]) else { return };
    let mut child = KillOnDrop({ tetra }.stdout(Stdio::piped()).spawn().unwrap());
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    agent.wait_for_readers(true);
    // Each is six bytes of JSON, in the process and in its parent.
    let long = "\u{1}".repeat(64 << 10);
    let mut event = samples::exec();
    let with_long =
        |process: &Arc<Process>| Arc::new(Process { arguments: long.as_str().into(), ..Process::clone(process) });
    event.process.process = with_long(&event.process.process);
    let parent = event.parent.as_mut().unwrap();
    parent.process = with_long(&parent.process);
    agent.bus.publish(Arc::new(event));
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let printed: serde_json::Value = serde_json::from_str(&line).unwrap();
    for process in ["process", "parent"] {
        assert!(printed["process_exec"][process]["arguments"] == long, "{process}: {} bytes", line.len());
    }
}

#[test]
fn tetra_chooses_events_by_its_flags() {
    let agent = Agent::start();
    let chosen = |args: &[&str]| {
        let args = [&["getevents", "-o", "compact", "--color", "never"], args].concat();
        agent.lines(&args, 1).map(|lines| lines[0].clone())
    };
    let Some(line) = chosen(&["-e", "PROCESS_EXIT", "-n", "payments", "--pod", "^cashier", "--process", "curl$"])
    else {
        return;
    };
    assert!(line.contains("exit    payments/cashier-7f9c-x2 /usr/bin/curl"), "{line}");
    assert!(chosen(&["--host"]).unwrap().contains("process reef /usr/sbin/sshd"));
    assert!(chosen(&["--policy-names", "watch-openat"]).unwrap().contains("syscalls sys_enter_openat"));
    assert!(
        chosen(&["--containers", "^till$", "--policy-names", "detect-unexpected-outbound"])
            .unwrap()
            .contains("connect")
    );
    assert!(chosen(&["--namespace-regex", "^pay", "-e", "PROCESS_EXIT"]).unwrap().contains("exit    payments/"));
    // The older spellings, which are hidden.
    let older = ["--namespaces", "payments", "--pods", "^cashier", "--processes", "curl$", "-e", "PROCESS_TRACEPOINT"];
    assert!(chosen(&older).unwrap().contains("syscalls sys_enter_openat"));
    let killed = chosen(&["--cel-expression", "process_exit.signal == 'SIGKILL'"]).unwrap();
    assert!(
        killed.contains("💥 exit    payments/cashier-7f9c-x2 /usr/bin/curl") && killed.contains("SIGKILL"),
        "{killed}"
    );
    let connect = chosen(&["-e", "PROCESS_KPROBE"]).unwrap();
    assert!(
        connect.contains("🔌 connect payments/cashier-7f9c-x2") && connect.contains("-> 185.234.218.95:4444"),
        "{connect}"
    );
}

#[test]
fn tetra_shows_status_version_and_refusals() {
    let agent = Agent::start();
    let output = |args: &[&str]| {
        let output = agent.tetra(args)?.output().unwrap();
        Some(String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let Some(status) = output(&["status"]) else { return };
    assert!(status.contains("Health Status: running"), "{status}");
    assert!(output(&["version", "--server"]).unwrap().contains("Server version: v9.9.9"));
    let refusal = output(&["getevents", "--cel-expression", "true"]).unwrap();
    assert!(refusal.contains("InvalidArgument") && refusal.contains("allow_list[0].cel_expression"), "{refusal}");
    let refusal = output(&["getevents", "-e", "PROCESS_LSM"]).unwrap();
    assert!(refusal.contains("PROCESS_LSM cannot come from this agent, which sends PROCESS_EXEC"), "{refusal}");
}
