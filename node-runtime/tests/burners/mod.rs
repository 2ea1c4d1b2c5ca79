//! Programs that burn CPU in cgroups of their own, and what is needed to profile them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use trilobite_node::{
    kernel::Map,
    layers::application::{Belongs, Live, Meta, Results, Session, SessionSpec, Subject, sampler::SamplerSpec},
    report::Ledger,
};

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

/// A place for one test: one at a time, with cgroups, binaries and results that leave with it.
pub(crate) struct World {
    folder: PathBuf,
    cgroups: Vec<PathBuf>,
    children: Vec<Child>,
    pub(crate) selection: Map,
    pub(crate) results: Results,
    pub(crate) ledger: Ledger,
    /// When every profile of it ends by itself.
    pub(crate) expires_at: Timestamp,
    _alone: MutexGuard<'static, ()>,
}

/// The v2 tree of this machine.
fn tree() -> PathBuf {
    let unified = PathBuf::from("/sys/fs/cgroup/unified");
    if unified.join("cgroup.procs").exists() { unified } else { "/sys/fs/cgroup".into() }
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("burners-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let ledger = Ledger::default();
        Self {
            results: Results::open(&folder, ledger.clone()),
            selection: Map::hash("cgroups", 8, 24, 64, true).unwrap(),
            folder,
            cgroups: Vec::new(),
            children: Vec::new(),
            ledger,
            expires_at: Timestamp::now() + SignedDuration::from_secs(120),
            _alone: alone,
        }
    }

    /// A program with these function names, one calling the other.
    pub(crate) fn program(&self, name: &str, outer: &str, inner: &str, flags: &[&str]) -> PathBuf {
        let (source, program) = (self.folder.join(format!("{name}.c")), self.folder.join(name));
        fs::write(&source, SOURCE).unwrap();
        let status = Command::new("cc")
            .args([&format!("-DOUTER={outer}"), &format!("-DINNER={inner}")])
            .args(flags)
            .arg("-o")
            .args([&program, &source])
            .status()
            .unwrap();
        assert!(status.success());
        program
    }

    /// A program whose stacks are whole.
    pub(crate) fn with_frame_pointers(&self, name: &str, outer: &str, inner: &str) -> PathBuf {
        self.program(name, outer, inner, &["-O0", "-fno-omit-frame-pointer"])
    }

    /// A new cgroup; its id is the inode of its directory.
    pub(crate) fn cgroup(&mut self, name: &str) -> PathBuf {
        let (top, rest) = name.split_once('/').map_or((name, None), |(top, rest)| (top, Some(rest)));
        let mut path = tree().join(format!("burners-{}-{top}", std::process::id()));
        path.extend(rest);
        fs::create_dir(&path).unwrap();
        self.cgroups.push(path.clone());
        path
    }

    /// Decides a cgroup for slot 1.
    pub(crate) fn decide(&self, cgroup: &Path, wanted: bool) {
        let mut state = [0; 24];
        state[..8].copy_from_slice(&1u64.to_ne_bytes());
        state[8..16].copy_from_slice(&u64::from(wanted).to_ne_bytes());
        self.selection.set(&id(cgroup).to_ne_bytes(), &state).unwrap();
    }

    /// Everything that is not decided otherwise is another's.
    pub(crate) fn decide_everything_else(&self) {
        self.decide(&tree(), false);
    }

    /// Runs a program in a cgroup, before others where the machine is busy.
    pub(crate) fn run(&mut self, program: &Path, cgroup: &Path, arguments: &[&str]) -> u32 {
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
        SamplerSpec { frequency_hz, selection: Some((1, self.selection.fd())), ..SamplerSpec::default() }
    }

    /// A profile by the agent's own binary as the worker; it is ended by the test.
    pub(crate) fn profile(&self, name: &str, belongs: impl Fn(u64) -> Belongs + Send + 'static) -> Session {
        self.profile_within(32 << 20, name, belongs)
    }

    /// The same with another budget.
    pub(crate) fn profile_within(
        &self,
        budget_bytes: u64,
        name: &str,
        belongs: impl Fn(u64) -> Belongs + Send + 'static,
    ) -> Session {
        let spec = SessionSpec {
            name: name.into(),
            node: "here".into(),
            source: format!("AppProfile/{name}"),
            expires_at: Some(self.expires_at),
            budget_bytes,
            program: env!("CARGO_BIN_EXE_trilobite-node").into(),
            cgroups: tree(),
        };
        let subject = Subject { belongs: Box::new(belongs), pods: Box::new(|| vec!["shop/cart-7".into()]) };
        Session::start(spec, self.sampler(199), subject, self.results.clone(), self.ledger.clone()).unwrap()
    }

    /// What a profile has made: what it is about, folded stacks, picture.
    pub(crate) fn result(&self, name: &str) -> (Meta, String, String) {
        let (meta, mut folded, mut svg) = self.results.get(name, Timestamp::now()).unwrap().unwrap();
        let mut texts = [String::new(), String::new()];
        folded.read_to_string(&mut texts[0]).unwrap();
        svg.read_to_string(&mut texts[1]).unwrap();
        let [folded, svg] = texts;
        println!("{meta:#?}\n{folded}");
        (meta, folded, svg)
    }
}

/// Waits until a profile has come so far: the machine may be busy with other things.
pub(crate) async fn until(session: &Session, far_enough: impl Fn(&Live) -> bool) {
    for _ in 0..600 {
        if far_enough(&session.live()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not after a minute: {:?}", session.live());
}

impl Drop for World {
    fn drop(&mut self) {
        for mut child in self.children.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
        for cgroup in self.cgroups.iter().rev() {
            // What a killed process had started itself leaves a little later.
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

/// Seconds that a process has been on a processor; none once it has ended.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    (!maps.is_empty()).then(|| text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9)
}

/// Samples of a folded text whose line holds all of these.
pub(crate) fn samples_with(folded: &str, parts: &[&str]) -> u64 {
    folded
        .lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}
