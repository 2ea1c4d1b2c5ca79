//! Profiles the whole machine, or one cgroup and all below it, without a cluster and without an agent.
//! `profile SECONDS [CGROUP-DIRECTORY]` as root writes `profile.folded` and `profile.svg` into the current folder.

use std::{env, error::Error, fs, io::copy, os::unix::fs::MetadataExt, path::Path, process::ExitCode};

use jiff::{SignedDuration, Timestamp};
use trilobite_node::{
    kernel::Map,
    layers::application::{Belongs, Results, Session, SessionSpec, Subject, sampler::SamplerSpec},
    report::Ledger,
    worker,
};

fn main() -> ExitCode {
    // The example is its own worker, as the agent is.
    if env::args().nth(1).as_deref() == Some("worker") {
        return worker::run();
    }
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
    let cgroups = Map::hash("cgroups", 8, 24, 64, true)?;
    let chosen = match env::args().nth(2) {
        Some(folder) => {
            let id = fs::metadata(&folder)?.ino();
            cgroups.set(&id.to_ne_bytes(), &state(true))?;
            // The root: everything else is decided too.
            cgroups.set(&1u64.to_ne_bytes(), &state(false))?;
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
        program: "/proc/self/exe".into(),
        cgroups: "/sys/fs/cgroup".into(),
    };
    let sampler =
        SamplerSpec { frequency_hz: 49, selection: chosen.map(|_| (1, cgroups.fd())), ..SamplerSpec::default() };
    let subject = Subject { belongs: Box::new(|_| Belongs::Yes), pods: Box::new(Vec::new) };
    let session =
        Session::start(spec, sampler, subject, results.clone(), ledger).map_err(|problem| problem.message())?;
    let live = session.watch();
    session.over().await;
    let counts = live.lock().map_err(|error| error.to_string())?.meta.counts;
    let (meta, mut folded, mut svg) = results.get("example/profile", Timestamp::now())?.ok_or("there is no result")?;
    copy(&mut folded, &mut fs::File::create(Path::new("profile.folded"))?)?;
    copy(&mut svg, &mut fs::File::create(Path::new("profile.svg"))?)?;
    fs::remove_dir_all(folder)?;
    eprintln!("{counts:?}\n{}", serde_json::to_string_pretty(&meta)?);
    Ok(())
}

/// A cgroup's state in the map: decided for slot 1, and wanted or not.
fn state(wanted: bool) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&1u64.to_ne_bytes());
    bytes[8..16].copy_from_slice(&u64::from(wanted).to_ne_bytes());
    bytes
}
