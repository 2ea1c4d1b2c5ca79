//! Boots every asked kernel with the tests, two at a time, and prints each one's table as it comes.

use std::{collections::VecDeque, env, io, path::PathBuf, sync::Mutex, thread, time::Duration};

use crate::{
    boot::{self, BootError},
    console::say,
    fetch::{FetchError, fetch},
    initramfs::{InitramfsError, Programs, build},
    kernels::Kernel,
    place::Place,
    report::{Report, report},
    smoke::{ScriptError, Test},
};

/// Debian's busybox-static puts it there.
const BUSYBOX: &str = "/bin/busybox";

/// What to run where.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) agent: Option<PathBuf>,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) scripts: Vec<PathBuf>,
    pub(crate) limit: Duration,
    pub(crate) at_a_time: usize,
}

/// Why a kernel could not be booted at all; a boot that went wrong is a report, not an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Script(#[from] ScriptError),
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("find the directory of this program: {0}")]
    OwnPlace(io::Error),
    #[error("{} is missing: build the whole crate, `cargo build -p trilobite-kernels`", .0.display())]
    NoLauncher(PathBuf),
    #[error("the smoke tests need --agent PATH; --script FILE runs a test without it")]
    AgentNotNamed,
    #[error("there is no agent at {}", .0.display())]
    NoAgent(PathBuf),
}

/// True when every test of every kernel ended as expected.
pub(crate) fn run(place: &Place, asked: Run) -> Result<bool, RunError> {
    let tests = tests(place, &asked)?;
    let programs = programs(&asked)?;
    fetch(place, &asked.kernels, false)?;
    let names: Vec<_> = asked.kernels.iter().map(|kernel| kernel.series).collect();
    say(&format!(
        "booting {} with {} tests each; at most {} s a kernel",
        names.join(", "),
        tests.len(),
        asked.limit.as_secs()
    ));
    let queue = Mutex::new(VecDeque::from(asked.kernels));
    let next = || queue.lock().ok()?.pop_front();
    let work = || {
        let mut reports = Vec::new();
        while let Some(kernel) = next() {
            let report = one(place, kernel, &programs, &tests, asked.limit)?;
            say(&report.text);
            reports.push(report);
        }
        Ok::<_, RunError>(reports)
    };
    let reports: Vec<Report> = thread::scope(|scope| {
        let workers: Vec<_> = (0..asked.at_a_time.max(1)).map(|_| scope.spawn(work)).collect();
        let ended =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<_>, _>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    let (passed, failed) = reports.iter().fold((0, 0), |sum, one| (sum.0 + one.passed, sum.1 + one.failed));
    say(&format!("{} kernels: {passed} tests passed, {failed} failed", reports.len()));
    Ok(failed == 0)
}

fn one(
    place: &Place,
    kernel: Kernel,
    programs: &Programs,
    tests: &[Test],
    limit: Duration,
) -> Result<Report, RunError> {
    let initramfs = build(place, kernel, programs, tests)?;
    let mut boot = boot::boot(&place.kernel(kernel), &initramfs, limit)?;
    if boot.said.release.is_none() {
        // Emulation on a busy machine may break a boot; a kernel that cannot boot does so twice.
        say(&format!("kernel {}: it did not reach init and is booted once more", kernel.series));
        boot = boot::boot(&place.kernel(kernel), &initramfs, limit)?;
    }
    Ok(report(kernel, tests, &boot.said, boot.seconds, &boot.console))
}

/// The harness's own tests come first: what they show is what the smoke tests stand on.
fn tests(place: &Place, asked: &Run) -> Result<Vec<Test>, ScriptError> {
    if !asked.scripts.is_empty() {
        return asked.scripts.iter().map(|path| Test::read(path)).collect();
    }
    let mut tests = Test::read_all(&place.scripts("harness"))?;
    tests.extend(Test::read_all(&place.scripts("smoke"))?);
    Ok(tests)
}

fn programs(asked: &Run) -> Result<Programs, RunError> {
    let launcher = env::current_exe().map_err(RunError::OwnPlace)?.with_file_name("with-capabilities");
    if !launcher.is_file() {
        return Err(RunError::NoLauncher(launcher));
    }
    match &asked.agent {
        Some(agent) if !agent.is_file() => return Err(RunError::NoAgent(agent.clone())),
        None if asked.scripts.is_empty() => return Err(RunError::AgentNotNamed),
        _ => {}
    }
    Ok(Programs { busybox: BUSYBOX.into(), launcher, agent: asked.agent.clone() })
}
