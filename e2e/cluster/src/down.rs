//! Takes a cluster down, whatever state it is in: ends by process id and by cgroup, gives the machine back, and then
//! looks whether anything is left.

use std::path::Path;
use std::time::Duration;

use crate::cgroups::Hierarchies;
use crate::error::{Error, Result};
use crate::progress::step;
use crate::state::{Record, State};
use crate::{daemon, host, network};

/// Removes everything of the cluster in this folder. Again is fine.
pub(crate) fn down(folder: &Path) -> Result<()> {
    let Some(state) = find(folder)? else {
        eprintln!("no cluster in {}", folder.display());
        return Ok(());
    };
    let mut left = Vec::new();
    if state.record.nodes > 0 {
        step("nodes ended", || {
            left.extend(end_nodes(&state)?);
            Ok(())
        })?;
    }
    step("control plane ended", || {
        // Their data goes too: nothing is lost by haste.
        let ended = daemon::stop_all(&daemon::all_of(&state.folder), Duration::ZERO, &state.folder);
        left.extend(ended.iter().map(|process| format!("process {process}")));
        Ok(())
    })?;
    if state.record.nodes > 0 {
        step("machine given back", || {
            left.extend(give_back(&state)?);
            Ok(())
        })?;
    }
    if !left.is_empty() {
        return Err(Error::Left(left));
    }
    state.remove()
}

/// The cluster of a folder, even if the folder itself was removed while the cluster ran.
fn find(folder: &Path) -> Result<Option<State>> {
    if let Some(mut state) = State::open(folder)? {
        if network::owner().is_some_and(|owner| owner != state.folder) {
            // It never got as far as its nodes: those on this machine are another cluster's.
            state.record.nodes = 0;
        }
        return Ok(Some(state));
    }
    let folder = std::path::absolute(folder).map_err(Error::file("find", folder))?;
    if network::owner().is_some_and(|owner| owner == folder) {
        return Ok(Some(State::without_folder(&folder)));
    }
    let alone = !daemon::all_of(&folder).is_empty();
    Ok(alone.then(|| State { folder, record: Record::lost(0) }))
}

fn end_nodes(state: &State) -> Result<Vec<String>> {
    let cgroups = Hierarchies::of_this_machine()?;
    // All at once first: a node that is ended one by one sees the others go and works against it.
    for process in state.nodes().flat_map(|node| cgroups.processes(&node.name())) {
        daemon::send(process, nix::sys::signal::Signal::SIGKILL);
    }
    let mut left = Vec::new();
    for node in state.nodes() {
        let name = node.name();
        left.extend(cgroups.kill(&name).iter().map(|process| format!("process {process} of {name}")));
    }
    Ok(left)
}

fn give_back(state: &State) -> Result<Vec<String>> {
    host::unmount_below(&state.folder);
    let nodes: Vec<_> = state.nodes().collect();
    network::remove(&nodes);
    let cgroups = Hierarchies::of_this_machine()?;
    let mut left: Vec<String> = nodes
        .iter()
        .flat_map(|node| cgroups.remove(&node.name()))
        .map(|cgroup| format!("cgroup {}", cgroup.display()))
        .collect();
    left.extend(host::restore(&state.record.original));
    left.extend(host::forget_agents(&nodes));
    left.extend(network::left());
    let mounts = host::mount_points()?.into_iter().filter(|point| point.starts_with(&state.folder));
    left.extend(mounts.map(|point| format!("mount {}", point.display())));
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_cluster_there_is_nothing_to_do() {
        down(Path::new("/nonexistent/cluster")).unwrap();
    }
}
