//! Boots every requested kernel once with all tests, some kernels at a time, and prints a table for each and one for all.

use std::{
    collections::VecDeque,
    env, fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

use crate::{
    acts,
    boot::{self, Boot, BootError},
    console::say,
    fetch::{FetchError, fetch},
    initramfs::{InitramfsError, Programs, build},
    kernels::{Kernel, Purpose},
    paths::Paths,
    report::{Report, report},
    scripts::{Script, ScriptError, Test},
    summary::summary,
    verdicts::keep,
};

/// Debian's busybox-static puts it there.
const BUSYBOX: &str = "/bin/busybox";

/// What to run where.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) agent: Option<PathBuf>,
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) scripts: Vec<PathBuf>,
    pub(crate) silence: Duration,
    pub(crate) at_a_time: usize,
}

/// Why a kernel could not be booted at all; a boot that went wrong is a report, not an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootAllError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Script(#[from] ScriptError),
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("keep a console in {}: {error}", path.display())]
    Console { path: PathBuf, error: io::Error },
    #[error("keep the verdicts in {}: {error}", path.display())]
    Verdicts { path: PathBuf, error: io::Error },
    #[error("find the directory of this program: {0}")]
    OwnPath(io::Error),
    #[error("{} is missing: build the whole crate, `cargo build -p trilobite-kernels`", .0.display())]
    NotBuilt(PathBuf),
    #[error("the smoke tests need --agent PATH; --script FILE runs a test without it")]
    AgentNotNamed,
    #[error("there is no agent at {}", .0.display())]
    NoAgent(PathBuf),
}

/// True when every test of every kernel ended as expected.
pub(crate) fn boot_all(paths: &Paths, request: Request) -> Result<bool, BootAllError> {
    let scripts = scripts(paths, &request)?;
    let tests: Vec<Test> = scripts.iter().flat_map(|script| script.tests.clone()).collect();
    let programs = programs(&request)?;
    fetch(paths, &request.kernels, Purpose::Tests, false)?;
    let names: Vec<_> = request.kernels.iter().map(|kernel| kernel.series).collect();
    say(&format!(
        "booting {} with {} tests each, {} at a time",
        names.join(", "),
        tests.len(),
        request.at_a_time.clamp(1, names.len())
    ));
    let order = request.kernels.clone();
    let queue = Mutex::new(VecDeque::from(request.kernels));
    let next = || queue.lock().ok()?.pop_front();
    let work = || {
        let mut reports = Vec::new();
        while let Some(kernel) = next() {
            let report = one(paths, kernel, &programs, (&scripts, &tests), request.silence)?;
            say(&report.text);
            reports.push(report);
        }
        Ok::<_, BootAllError>(reports)
    };
    let mut reports: Vec<Report> = thread::scope(|scope| {
        let workers: Vec<_> = (0..request.at_a_time.max(1)).map(|_| scope.spawn(work)).collect();
        let ended =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<_>, _>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    reports.sort_by_key(|report| order.iter().position(|kernel| *kernel == report.kernel));
    say(&summary(&reports));
    let verdicts = paths.verdicts();
    let of_acts: Vec<Test> =
        acts::read_all(&paths.scripts("acts"))?.into_iter().flat_map(|script| script.tests).collect();
    keep(&verdicts, &reports, &of_acts).map_err(|error| BootAllError::Verdicts { path: verdicts.clone(), error })?;
    let counts = reports.iter().map(Report::counts);
    let (passed, failed) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    say(&format!("{} kernels: {passed} tests passed, {failed} failed", reports.len()));
    Ok(failed == 0)
}

fn one(
    paths: &Paths,
    kernel: Kernel,
    programs: &Programs,
    (scripts, tests): (&[Script], &[Test]),
    silence: Duration,
) -> Result<Report, BootAllError> {
    let initramfs = build(paths, kernel, programs, scripts)?;
    let vmlinuz = paths.kernel(kernel, Purpose::Tests).join("vmlinuz");
    let again = || -> Result<(Boot, Report), BootAllError> {
        let boot = boot::boot(&vmlinuz, kernel.processor, &initramfs, silence)?;
        let report = report(kernel, tests, &boot.said, boot.seconds, &boot.console);
        keep_console(&paths.consoles(kernel), &boot, report.counts().1 > 0)?;
        Ok((boot, report))
    };
    let (boot, first) = again()?;
    if boot.said.done.is_some() {
        return Ok(first);
    }
    // Emulation may break a boot; a kernel or an agent that breaks it does so twice.
    say(&format!("kernel {}: the boot did not reach its end and is made once more\n{}", kernel.series, first.text));
    Ok(again()?.1)
}

/// The console of the last boot, and beside it that of the last one that failed: a good run does not take it away.
fn keep_console(directory: &Path, boot: &Boot, failed: bool) -> Result<(), BootAllError> {
    let names: &[&str] = if failed { &["console.log", "console.failed.log"] } else { &["console.log"] };
    let kept = |error| BootAllError::Console { path: directory.to_owned(), error };
    fs::create_dir_all(directory).map_err(kept)?;
    names.iter().try_for_each(|name| fs::write(directory.join(name), boot.console.join("\n")).map_err(kept))
}

/// The harness's own tests come first: what they show is what the smoke tests stand on.
fn scripts(paths: &Paths, request: &Request) -> Result<Vec<Script>, ScriptError> {
    if !request.scripts.is_empty() {
        let is_table = |path: &Path| path.extension().is_some_and(|extension| extension == "yaml");
        let each = |path: &PathBuf| if is_table(path) { acts::read_file(path) } else { Ok(vec![Script::read(path)?]) };
        return Ok(request.scripts.iter().map(each).collect::<Result<Vec<_>, _>>()?.concat());
    }
    let mut scripts = Script::read_all(&paths.scripts("harness"))?;
    scripts.extend(Script::read_all(&paths.scripts("smoke"))?);
    scripts.extend(acts::read_all(&paths.scripts("acts"))?);
    Ok(scripts)
}

fn programs(request: &Request) -> Result<Programs, BootAllError> {
    let own = env::current_exe().map_err(BootAllError::OwnPath)?;
    let beside = |name| {
        let path = own.with_file_name(name);
        if path.is_file() { Ok(path) } else { Err(BootAllError::NotBuilt(path)) }
    };
    let (launcher, variants) = (beside("with-capabilities")?, beside("process-variants")?);
    match &request.agent {
        Some(agent) if !agent.is_file() => return Err(BootAllError::NoAgent(agent.clone())),
        None if request.scripts.is_empty() => return Err(BootAllError::AgentNotNamed),
        _ => {}
    }
    Ok(Programs { busybox: BUSYBOX.into(), launcher, variants, agent: request.agent.clone() })
}
