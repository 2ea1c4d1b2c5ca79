//! Programs that use CPU time in cgroups of their own, and what is needed to profile them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use trilobite_node::{
    kernel::Map,
    layers::{
        application::{
            Membership, ProfileMeta, ProfileTarget, ProfiledPod, Results, Session, SessionSpec, SessionStatus,
            cpu::programs::SamplerSpec,
        },
        worker::WorkerProgram,
    },
    loss::Ledger,
};
use trilobite_node_ebpf::{CgroupClass, CgroupState};

const SOURCE: &str = "
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
volatile uint64_t sink;
#define HIDDEN __attribute__((noinline, noclone))
HIDDEN void INNER(void) { for (int i = 0; i < 20000; i++) sink += i * sink; }
HIDDEN void OUTER(void) { for (int i = 0; i < 20; i++) INNER(); sink++; }
int main(int argc, char **argv)
{
	struct timespec now, end;
	clock_gettime(CLOCK_MONOTONIC, &end);
	long ms = argc > 1 ? atol(argv[1]) : 600000;
	do {
		OUTER();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - end.tv_sec) * 1000 + (now.tv_nsec - end.tv_nsec) / 1000000 < ms);
	return 0;
}
";

/// The classes of cgroups that scope 0 selects and leaves out.
const SELECTED: u32 = 1;
const NOT_SELECTED: u32 = 2;

fn two_classes() -> Map {
    let classes = Map::array::<CgroupClass>("classes", 3).unwrap();
    for (class, selected) in [(SELECTED, true), (NOT_SELECTED, false)] {
        let mut answers = CgroupClass::default();
        answers.decided[0] = 1;
        answers.wanted[0] = u64::from(selected);
        classes.set(&class, &answers).unwrap();
    }
    classes
}

/// Cgroups, programs and results of one test, removed at its end. Tests run one at a time.
pub(crate) struct ProfileFixture {
    folder: PathBuf,
    cgroups: Vec<PathBuf>,
    children: Vec<Child>,
    pub(crate) selection: Map,
    pub(crate) classes: Map,
    pub(crate) results: Results,
    pub(crate) ledger: Ledger,
    /// When every profile ends by itself.
    pub(crate) expires_at: Timestamp,
    _alone: MutexGuard<'static, ()>,
}

/// The cgroup v2 tree of this machine.
fn cgroup_root() -> PathBuf {
    let unified = PathBuf::from("/sys/fs/cgroup/unified");
    if unified.join("cgroup.procs").exists() { unified } else { "/sys/fs/cgroup".into() }
}

impl ProfileFixture {
    pub(crate) fn new(name: &str) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock();
        let folder = std::env::temp_dir().join(format!("cpu-load-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let ledger = Ledger::default();
        Self {
            results: Results::open(&folder, ledger.clone()),
            selection: Map::hash::<u64, CgroupState>("cgroups", 64, true).unwrap(),
            classes: two_classes(),
            folder,
            cgroups: Vec::new(),
            children: Vec::new(),
            ledger,
            expires_at: Timestamp::now() + SignedDuration::from_secs(120),
            _alone: alone,
        }
    }

    /// Compiles a program in which one function calls another, with these names.
    pub(crate) fn program(&self, name: &str, outer: &str, inner: &str, flags: &[&str]) -> PathBuf {
        let (outer, inner) = (format!("-DOUTER={outer}"), format!("-DINNER={inner}"));
        self.compile(name, SOURCE, &[&[outer.as_str(), &inner], flags].concat())
    }

    /// Compiles a source.
    pub(crate) fn compile(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (file, program) = (self.folder.join(format!("{name}.c")), self.folder.join(name));
        fs::write(&file, source).unwrap();
        let status = Command::new("cc").args(flags).arg("-o").args([&program, &file]).status().unwrap();
        assert!(status.success());
        program
    }

    /// The same with complete stacks.
    pub(crate) fn with_frame_pointers(&self, name: &str, outer: &str, inner: &str) -> PathBuf {
        self.program(name, outer, inner, &["-O0", "-fno-omit-frame-pointer"])
    }

    /// Creates a cgroup.
    pub(crate) fn cgroup(&mut self, name: &str) -> PathBuf {
        let (top, rest) = name.split_once('/').map_or((name, None), |(top, rest)| (top, Some(rest)));
        let mut path = cgroup_root().join(format!("cpu-load-{}-{top}", std::process::id()));
        path.extend(rest);
        fs::create_dir(&path).unwrap();
        self.cgroups.push(path.clone());
        path
    }

    /// Writes whether scope 0 selects a cgroup.
    pub(crate) fn decide(&self, cgroup: &Path, selected: bool) {
        let state = CgroupState { class_id: if selected { SELECTED } else { NOT_SELECTED }, flags: 0 };
        self.selection.set(&id(cgroup), &state).unwrap();
    }

    /// Cgroups without a decision of their own are not selected.
    pub(crate) fn deselect_everything_else(&self) {
        self.decide(&cgroup_root(), false);
    }

    /// Starts a program in a cgroup, with a higher priority because the machine may be busy.
    pub(crate) fn start(&mut self, program: &Path, cgroup: &Path, arguments: &[&str]) -> u32 {
        let enter = r#"echo $$ > "$0/cgroup.procs" && exec nice -n -10 "$@""#;
        let child = Command::new("sh")
            .args(["-c", enter])
            .arg(cgroup)
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        self.children.push(child);
        let name = program.file_name().unwrap().to_string_lossy().into_owned();
        while fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() != name) {
            std::thread::sleep(Duration::from_millis(5));
        }
        pid
    }

    pub(crate) fn sampler(&self, frequency_hz: u32) -> SamplerSpec<'_> {
        SamplerSpec {
            frequency_hz,
            selection: Some((0, self.selection.fd(), self.classes.fd())),
            ..SamplerSpec::default()
        }
    }

    /// Starts a profile, which the test ends.
    pub(crate) fn profile(&self, name: &str, membership: impl Fn(u64) -> Membership + Send + 'static) -> Session {
        self.profile_within(32 << 20, name, membership)
    }

    /// The same with another budget.
    pub(crate) fn profile_within(
        &self,
        budget_bytes: u64,
        name: &str,
        membership: impl Fn(u64) -> Membership + Send + 'static,
    ) -> Session {
        let spec = SessionSpec {
            name: name.into(),
            node: "here".into(),
            source: format!("AppProfile/{name}"),
            expires_at: Some(self.expires_at),
            budget_bytes,
            worker: worker_program(),
            cgroup_root: cgroup_root(),
        };
        let pods = || vec![ProfiledPod { name: "shop/cart-7".into(), cpu_limit_millis: Some(300) }];
        let target = ProfileTarget {
            membership: Box::new(membership),
            pods: Box::new(pods),
            container_name: Box::new(|_| Some("cart-7/app".into())),
        };
        Session::start(spec, self.sampler(199), target, self.results.clone(), self.ledger.clone()).unwrap()
    }

    /// Metadata, folded stacks and picture of a stored profile.
    pub(crate) fn result(&self, name: &str) -> (ProfileMeta, String, String) {
        let (meta, mut folded, mut svg) = self.results.get(name, Timestamp::now()).unwrap().unwrap();
        let mut texts = [String::new(), String::new()];
        folded.read_to_string(&mut texts[0]).unwrap();
        svg.read_to_string(&mut texts[1]).unwrap();
        let [folded, svg] = texts;
        println!("{meta:#?}\n{folded}");
        (meta, folded, svg)
    }
}

/// The worker's binary: built by cargo beside the agent's, a folder above this test.
fn worker_program() -> WorkerProgram {
    let path = std::env::var_os("TRILOBITE_WORKER").map_or_else(
        || std::env::current_exe().unwrap().parent().unwrap().with_file_name("trilobite-worker"),
        PathBuf::from,
    );
    WorkerProgram::open(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; build it first: cargo build -p trilobite-worker", path.display()))
}

/// Waits for a profile to reach a status, up to a minute.
pub(crate) async fn wait_until(session: &Session, reached: impl Fn(&SessionStatus) -> bool) {
    for _ in 0..600 {
        if reached(&session.status()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not after a minute: {:?}", session.status());
}

impl Drop for ProfileFixture {
    fn drop(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
        for cgroup in self.cgroups.iter().rev() {
            // Children of a killed process end a little later.
            for _ in 0..100 {
                if fs::remove_dir(cgroup).is_ok() || !cgroup.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The id of a cgroup.
pub(crate) fn id(cgroup: &Path) -> u64 {
    fs::metadata(cgroup).unwrap().ino()
}

/// CPU time of a process; none once it has ended.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    (!maps.is_empty()).then(|| text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9)
}

/// Samples in the lines of a folded text that contain all of these parts.
pub(crate) fn samples_with(folded: &str, parts: &[&str]) -> u64 {
    folded
        .lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}
