//! Profiles the whole machine, or one cgroup and all below it, without a cluster and without an agent.
//! `profile SECONDS [CGROUP-DIRECTORY]` as root writes `profile.folded` and `profile.svg` into the current folder.

use std::{
    env,
    error::Error,
    fs,
    io::copy,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use jiff::{SignedDuration, Timestamp};
use trilobite_node::{
    kernel::Map,
    layers::{
        application::{Membership, ProfileTarget, Results, Session, SessionSpec, cpu::programs::SamplerSpec},
        worker::WorkerProgram,
    },
    loss::Ledger,
};
use trilobite_node_ebpf::{CgroupClass, CgroupState};

/// The classes of the cgroups that the scope of the profile, number 0, selects and leaves out.
const SELECTED: u32 = 1;
const NOT_SELECTED: u32 = 2;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(profile())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("profile: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn profile() -> Result<(), Box<dyn Error>> {
    let seconds: i64 = env::args().nth(1).ok_or("usage: profile SECONDS [CGROUP-DIRECTORY]")?.parse()?;
    let cgroups = Map::hash::<u64, CgroupState>("cgroups", 64, true)?;
    let classes = Map::array::<CgroupClass>("classes", 3)?;
    for (class, selected) in [(NOT_SELECTED, false), (SELECTED, true)] {
        let (mut decided, mut wanted) = ([0; 16], [0; 16]);
        (decided[0], wanted[0]) = (1, u64::from(selected));
        classes.set(&class, &CgroupClass { decided, wanted })?;
    }
    let chosen = match env::args().nth(2) {
        Some(folder) => {
            let id = fs::metadata(&folder)?.ino();
            cgroups.set(&id, &CgroupState { class_id: SELECTED, flags: 0 })?;
            // The root: all other cgroups are not selected.
            cgroups.set(&1u64, &CgroupState { class_id: NOT_SELECTED, flags: 0 })?;
            Some(())
        }
        None => None,
    };
    let folder = env::temp_dir().join(format!("profile-{}", std::process::id()));
    let ledger = Ledger::default();
    let results = Results::open(&folder, ledger.clone());
    let spec = SessionSpec {
        name: "example/profile".into(),
        node: "this machine".into(),
        source: "example".into(),
        expires_at: Some(Timestamp::now() + SignedDuration::from_secs(seconds)),
        budget_bytes: 32 << 20,
        worker: WorkerProgram::open(&worker_path()?)?,
        cgroup_root: "/sys/fs/cgroup".into(),
    };
    let sampler = SamplerSpec {
        frequency_hz: 49,
        selection: chosen.map(|_| (0, cgroups.fd(), classes.fd())),
        ..SamplerSpec::default()
    };
    let target = ProfileTarget {
        membership: Box::new(|_| Membership::Selected),
        pods: Box::new(Vec::new),
        container_name: Box::new(|_| Some("this machine".into())),
    };
    let session =
        Session::start(spec, sampler, target, results.clone(), ledger).map_err(|problem| problem.message())?;
    let status = session.shared_status();
    session.wait_until_finished().await;
    let counts = status.lock().meta.counts;
    let (meta, mut folded, mut svg) = results.get("example/profile", Timestamp::now())?.ok_or("there is no result")?;
    copy(&mut folded, &mut fs::File::create(Path::new("profile.folded"))?)?;
    copy(&mut svg, &mut fs::File::create(Path::new("profile.svg"))?)?;
    fs::remove_dir_all(folder)?;
    eprintln!("{counts:?}\n{}", serde_json::to_string_pretty(&meta)?);
    Ok(())
}

/// Built by cargo a folder above the example: `cargo build -p trilobite-worker`.
fn worker_path() -> Result<PathBuf, Box<dyn Error>> {
    let folder = env::current_exe()?.parent().and_then(Path::parent).ok_or("the example has no folder")?.to_owned();
    Ok(folder.join("trilobite-worker"))
}
